"""A client of package chandy_lamport that shares no code with snapledger.

Its stubs are generated from the published interface when it runs. It says on stderr what does not hold and ends
with 1; the last line on stdout is `ok`.

usage: client.py PROTO ID=HOST:PORT ID=HOST:PORT ID=HOST:PORT
"""

import contextlib
import importlib
import json
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import grpc
from grpc_tools import protoc

DEADLINE_S = 30
CALL_S = 10


def generate(proto: Path, out: str):
    """The messages and the stubs of the published interface."""
    well_known = str(resources.files("grpc_tools") / "_proto")
    failed = protoc.main(
        ["protoc", f"-I{proto.parent}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", proto.name]
    )
    check(failed == 0, "the published interface compiles")
    sys.path.insert(0, out)
    return importlib.import_module(f"{proto.stem}_pb2"), importlib.import_module(f"{proto.stem}_pb2_grpc")


def check(holds: bool, what: str, *found):
    if not holds:
        sys.exit(f"does not hold: {what} {found if found else ''}")


def until(what: str, look):
    """What `look` gives as soon as it gives something."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    check(False, f"within {DEADLINE_S} s: {what}")


class Node:
    """One process, through its three services."""

    def __init__(self, name: str, channel: grpc.Channel, stubs):
        self.name = name
        self.bank = stubs.BankServiceStub(channel)
        self.keys = stubs.KeyValueServiceStub(channel)
        self.snapshots = stubs.SnapshotServiceStub(channel)


def bank(pb, nodes):
    """Deposits, withdrawals, transfers here and to another process. Gives what is in the cluster then."""
    first, second, third = nodes
    for node, amount in zip(nodes, (1000, 2000, 3000)):
        answer = node.bank.Deposit(pb.DepositRequest(account_id="alice", amount=amount), timeout=CALL_S)
        check(answer.success and answer.new_balance == amount, "a deposit is answered with the balance", answer)
    answer = first.bank.Withdraw(pb.WithdrawRequest(account_id="alice", amount=100), timeout=CALL_S)
    check(answer.success and answer.new_balance == 900, "a withdrawal", answer)

    here = pb.TransferRequest(from_account="alice", to_account="bob", amount=250)
    answer = first.bank.Transfer(here, timeout=CALL_S)
    check(answer.success and (answer.from_balance, answer.to_balance) == (650, 250), "a local transfer", answer)

    there = pb.TransferRequest(from_account="alice", to_account="carol", amount=150, to_process=second.name)
    answer = first.bank.Transfer(there, timeout=CALL_S)
    check(answer.success and (answer.from_balance, answer.to_balance) == (500, 0), "a transfer away", answer)
    carol = pb.GetBalanceRequest(account_id="carol")
    until("the credit arrives", lambda: second.bank.GetBalance(carol, timeout=CALL_S).balance == 150)
    check(not third.bank.GetBalance(carol, timeout=CALL_S).found, "an account belongs to its process")
    return 1000 + 2000 + 3000 - 100


def refusals(pb, node):
    """What the rules of the bank refuse is answered; what makes no sense is an error."""
    too_much = pb.TransferRequest(from_account="alice", to_account="bob", amount=10**9)
    answer = node.bank.Transfer(too_much, timeout=CALL_S)
    check(not answer.success and answer.error, "insufficient funds are answered with a sentence", answer)
    for amount in (0, -5):
        answer = node.bank.Deposit(pb.DepositRequest(account_id="alice", amount=amount), timeout=CALL_S)
        check(not answer.success and answer.error, "an amount that is not positive", answer)
    nowhere = pb.TransferRequest(from_account="alice", to_account="bob", amount=1, to_process="nobody")
    check(not node.bank.Transfer(nowhere, timeout=CALL_S).success, "an unknown process")
    try:
        node.bank.Deposit(pb.DepositRequest(account_id="", amount=1), timeout=CALL_S)
        check(False, "an empty account id is an error")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.INVALID_ARGUMENT, "it is INVALID_ARGUMENT", error.code())


def keys(pb, nodes):
    """What is put on one process is found on the others, until it is deleted."""
    first, _, third = nodes
    check(first.keys.Put(pb.PutRequest(key="colour", value="blue"), timeout=CALL_S).success, "a put")
    get = pb.GetRequest(key="colour")
    until("the put arrives", lambda: third.keys.Get(get, timeout=CALL_S).value == "blue")
    check(third.keys.Delete(pb.DeleteRequest(key="colour"), timeout=CALL_S).success, "a deletion")
    until("the deletion arrives", lambda: not first.keys.Get(get, timeout=CALL_S).found)
    first.keys.Put(pb.PutRequest(key="kept", value="yes"), timeout=CALL_S)


def status(pb, nodes):
    """Every process knows the others, and says so."""
    names = sorted(node.name for node in nodes)
    for node in nodes:
        answer = until("all members are healthy", lambda node=node: healthy(pb, node))
        check(answer.node_id == node.name, "a process knows its name", answer)
        check(sorted(member.node_id for member in answer.members) == names, "all are members", answer)


def clocks(pb, nodes):
    """After operations the logical clocks have run."""
    for node in nodes:
        answer = node.keys.GetClusterStatus(pb.GetClusterStatusRequest(), timeout=CALL_S)
        check(answer.logical_clock > 0, "the logical clock runs", answer)


def healthy(pb, node):
    answer = node.keys.GetClusterStatus(pb.GetClusterStatusRequest(), timeout=CALL_S)
    return answer if all(member.is_healthy for member in answer.members) else None


def snapshot(pb, nodes, total, name):
    """A snapshot holds every process, every channel, and all the money. Gives its global state."""
    initiator = nodes[0]
    started = initiator.snapshots.InitiateSnapshot(pb.InitiateSnapshotRequest(snapshot_id=name), timeout=CALL_S)
    check(started.success and started.snapshot_id, "a snapshot starts", started)
    check(not name or started.snapshot_id == name, "under the name that was asked for", started)
    wanted = pb.GetGlobalSnapshotRequest(snapshot_id=started.snapshot_id)

    def complete():
        state = initiator.snapshots.GetGlobalSnapshot(wanted, timeout=CALL_S)
        return state if state.is_complete else None

    state = until("the snapshot is complete", complete)
    names = sorted(node.name for node in nodes)
    check(state.success and not state.error, "a complete snapshot has no error", state)
    check(state.initiator_id == initiator.name, "who started it", state)
    check(sorted(part.process_id for part in state.process_states) == names, "every process has its state", state)
    channels = sorted((channel.from_process, channel.to_process) for channel in state.channel_states)
    check(channels == [(a, b) for a in names for b in names if a != b], "every channel has its state", channels)
    balances = sum(sum(part.account_balances.values()) for part in state.process_states)
    check(state.total_value == total, "the money of the snapshot is the money of the cluster", state.total_value)
    check(balances + in_flight(state) == total, "so are its balances and transfers", balances, in_flight(state))
    check(state.completed_at >= state.initiated_at == started.initiated_at, "its clocks are in order", state)
    return state


def in_flight(state):
    """The money in the recorded channels."""
    total = 0
    for channel in state.channel_states:
        for message in channel.messages:
            check(message.from_process == channel.from_process, "a message stands in its channel", message)
            if message.message_type == "transfer":
                payload = json.loads(message.payload.decode("utf-8"))
                fields = {"transfer_id", "from_account", "to_account", "amount"}
                check(fields <= payload.keys(), "a recorded transfer has its fields", payload)
                total += payload["amount"]
    return total


def snapshots(pb, nodes, total):
    """A snapshot at rest, then some while money moves."""
    state = snapshot(pb, nodes, total, "at-rest")
    first = next(part for part in state.process_states if part.process_id == nodes[0].name)
    check(dict(first.account_balances) == {"alice": 500, "bob": 250}, "the balances of n1", first)
    check(first.kv_state.get("kept") == "yes", "its keys", first)
    check(in_flight(state) == 0, "nothing is in flight at rest", state)
    own = nodes[1].snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot_id="at-rest"), timeout=CALL_S)
    check(own.found and own.recording_complete, "each process has its part", own)
    check(own.local_state.process_id == nodes[1].name, "which is its own", own)
    absent = nodes[0].snapshots.GetGlobalSnapshot(pb.GetGlobalSnapshotRequest(snapshot_id="absent"), timeout=CALL_S)
    check(not absent.success and absent.error, "an unknown snapshot is answered with a sentence", absent)

    for _ in range(5):
        calls = []
        for sender, receiver in zip(nodes, nodes[1:] + nodes[:1]):
            move = pb.TransferRequest(from_account="alice", to_account="alice", amount=7, to_process=receiver.name)
            calls += [sender.bank.Transfer.future(move, timeout=CALL_S) for _ in range(10)]
        snapshot(pb, nodes, total, "")
        check(all(call.result().success for call in calls), "every transfer was done")


def main():
    proto, *members = sys.argv[1:]
    with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as channels:
        pb, stubs = generate(Path(proto), out)
        nodes = []
        for member in members:
            name, address = member.split("=")
            channel = channels.enter_context(grpc.insecure_channel(address))
            nodes.append(Node(name, channel, stubs))
        status(pb, nodes)
        total = bank(pb, nodes)
        refusals(pb, nodes[0])
        clocks(pb, nodes)
        keys(pb, nodes)
        snapshots(pb, nodes, total)
        leader = nodes[1].keys.GetLeader(pb.GetLeaderRequest(), timeout=CALL_S)
        check(leader.initiator_id == nodes[0].name and not leader.is_initiator, "who started the newest", leader)
        check(leader.initiator_address == members[0].split("=")[1], "and where it is", leader)
    print("ok")


if __name__ == "__main__":
    main()
