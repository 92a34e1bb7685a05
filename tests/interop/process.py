"""A bank process of another make: it takes part in a cluster through the published interface alone.

It serves `SnapshotService` and `BankService` and calls the other processes, one call after the other per channel, each
repeated until it is answered. All it knows is in one SQLite file, and every call is one transaction: it may be killed at
any moment. It ends with its stdin.

usage: process.py [--tls DIR] PROTO FILE ID=HOST:PORT ID=HOST:PORT...     (itself first, then the others)
       DIR has ca.crt, and ID.crt and ID.key of this process; without it there is no TLS
"""

import importlib
import json
import os
import sqlite3
import sys
import tempfile
import threading
import time
from concurrent import futures
from importlib import resources
from pathlib import Path

import grpc
from grpc_tools import protoc

CALL_S = 5
PAUSE_S = 0.05

SCHEMA = """
pragma journal_mode = wal;
create table if not exists account (id text primary key, balance integer not null);
create table if not exists key (key text primary key, value text);
create table if not exists figure (name text primary key, value integer not null);
create table if not exists outbox (place integer primary key autoincrement, peer text not null, call text not null);
create table if not exists applied (message_id text primary key, call text not null);
create table if not exists snapshot (id text primary key, initiator text not null, state text not null);
create table if not exists channel (snapshot text, peer text, closed integer not null, primary key (snapshot, peer));
create table if not exists recorded (place integer primary key autoincrement, snapshot text, peer text, call text);
"""


def generate(proto: Path, out: str):
    well_known = str(resources.files("grpc_tools") / "_proto")
    failed = protoc.main(
        ["protoc", f"-I{proto.parent}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", proto.name]
    )
    if failed:
        sys.exit("the published interface does not compile")
    sys.path.insert(0, out)
    return importlib.import_module(f"{proto.stem}_pb2"), importlib.import_module(f"{proto.stem}_pb2_grpc")


class Ledger:
    """What the process knows. Every method runs within a transaction of its caller."""

    def __init__(self, file: str, me: str, peers: list):
        self.me, self.peers = me, peers
        self.db = sqlite3.connect(file, check_same_thread=False)
        self.db.executescript(SCHEMA)
        self.lock = threading.Condition()

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, failed, *_):
        self.db.rollback() if failed else self.db.commit()
        self.lock.notify_all()
        self.lock.release()

    def one(self, sql, *values):
        row = self.db.execute(sql, values).fetchone()
        return row and row[0]

    def add(self, name, amount):
        self.db.execute(
            "insert into figure values (?1, ?2) on conflict do update set value = value + ?2", (name, amount)
        )

    def figure(self, name):
        return self.one("select value from figure where name = ?", name) or 0

    def tick(self, received=0):
        now = max(self.figure("clock"), received) + 1
        self.add("clock", now - self.figure("clock"))
        return now

    def balance(self, account):
        return self.one("select balance from account where id = ?", account)

    def credit(self, account, amount):
        self.db.execute(
            "insert into account values (?1, ?2) on conflict do update set balance = balance + ?2", (account, amount)
        )

    def passed(self, end, peer, amount):
        self.add(f"{end}/{peer}/transfers", 1)
        self.add(f"{end}/{peer}/amount", amount)

    def put_out(self, peer, call):
        self.db.execute("insert into outbox (peer, call) values (?, ?)", (peer, json.dumps(call)))

    def transfer(self, request):
        clock = self.tick()
        self.credit(request.from_account, -request.amount)
        if request.to_process in ("", self.me):
            self.credit(request.to_account, request.amount)
            return
        self.passed("sent", request.to_process, request.amount)
        payload = {
            "transfer_id": f"{self.me}:{clock}",
            "from_account": request.from_account,
            "to_account": request.to_account,
            "amount": request.amount,
        }
        self.put_out(request.to_process, {"type": "transfer", "payload": payload, "clock": clock})

    def receive(self, message):
        """Applies a message once; says what is wrong with it."""
        call = {"type": message.message_type, "payload": json.loads(message.payload), "clock": message.sender_clock}
        known = self.one("select call from applied where message_id = ?", message.message_id)
        if known is not None:
            return "" if json.loads(known) == call else "this message_id had another content"
        self.tick(message.sender_clock)
        payload = call["payload"]
        if message.message_type == "transfer":
            self.credit(payload["to_account"], payload["amount"])
            self.passed("delivered", message.from_process, payload["amount"])
        elif message.message_type == "put":
            self.db.execute("insert or replace into key values (?, ?)", (payload["key"], payload["value"]))
        else:
            return f"message_type {message.message_type!r} is not known here"
        text = json.dumps({"id": message.message_id, **call})
        self.db.execute(
            "insert into recorded (snapshot, peer, call)"
            " select snapshot, peer, ? from channel where peer = ? and not closed",
            (text, message.from_process),
        )
        self.db.execute("insert into applied values (?, ?)", (message.message_id, json.dumps(call)))
        return ""

    def record(self, snapshot, initiator, received=0):
        """The marker-sending rule; says whether the snapshot was new."""
        if self.one("select id from snapshot where id = ?", snapshot):
            return False
        clock = self.tick(received)
        flows = {
            end: {
                peer: {what: self.figure(f"{end}/{peer}/{what}") for what in ("transfers", "amount")}
                for peer in self.peers
            }
            for end in ("sent", "delivered")
        }
        state = {
            "clock": clock,
            "accounts": dict(self.db.execute("select id, balance from account")),
            "keys": dict(self.db.execute("select key, value from key where value is not null")),
            "figures": {"deposits": self.figure("deposits"), "withdrawals": self.figure("withdrawals"), **flows},
        }
        self.db.execute("insert into snapshot values (?, ?, ?)", (snapshot, initiator, json.dumps(state)))
        for peer in self.peers:
            self.db.execute("insert into channel values (?, ?, 0)", (snapshot, peer))
            self.put_out(peer, {"type": "marker", "snapshot": snapshot, "initiator": initiator, "clock": clock})
        return True

    def close(self, snapshot, peer):
        self.db.execute("update channel set closed = 1 where snapshot = ? and peer = ?", (snapshot, peer))


class Process:
    """The two services."""

    def __init__(self, pb, ledger):
        self.pb, self.ledger = pb, ledger

    def Deposit(self, request, _):
        with self.ledger:
            self.ledger.tick()
            self.ledger.credit(request.account_id, request.amount)
            self.ledger.add("deposits", request.amount)
            return self.pb.DepositResponse(success=True, new_balance=self.ledger.balance(request.account_id))

    def GetBalance(self, request, _):
        with self.ledger:
            balance = self.ledger.balance(request.account_id)
            return self.pb.GetBalanceResponse(balance=balance or 0, found=balance is not None)

    def Transfer(self, request, _):
        with self.ledger:
            if (self.ledger.balance(request.from_account) or 0) < request.amount or request.amount <= 0:
                return self.pb.TransferResponse(error="insufficient funds")
            if request.to_process not in ("", self.ledger.me, *self.ledger.peers):
                return self.pb.TransferResponse(error="no channel leads there")
            self.ledger.transfer(request)
            return self.pb.TransferResponse(success=True, from_balance=self.ledger.balance(request.from_account))

    def SendMessage(self, request, _):
        with self.ledger:
            error = self.ledger.receive(request)
            return self.pb.SendMessageResponse(success=not error, error=error)

    def ReceiveMarker(self, request, _):
        with self.ledger:
            first = self.ledger.record(request.snapshot_id, request.initiator_id, request.logical_clock)
            self.ledger.close(request.snapshot_id, request.sender_id)
            return self.pb.MarkerResponse(success=True, first_marker=first, process_id=self.ledger.me)

    def InitiateSnapshot(self, request, _):
        with self.ledger:
            self.ledger.record(request.snapshot_id, self.ledger.me)
            clock = self.ledger.figure("clock")
            return self.pb.InitiateSnapshotResponse(success=True, snapshot_id=request.snapshot_id, initiated_at=clock)

    def GetSnapshot(self, request, _):
        snapshot = request.snapshot_id
        with self.ledger:
            found = self.ledger.one("select state from snapshot where id = ?", snapshot)
            if found is None:
                return self.pb.GetSnapshotResponse(snapshot_id=snapshot, error="it is not recorded here")
            state = json.loads(found)
            channels = self.ledger.db.execute("select peer, closed from channel where snapshot = ?", (snapshot,))
            channels = dict(channels.fetchall())
            return self.pb.GetSnapshotResponse(
                found=True,
                snapshot_id=snapshot,
                local_state=self.pb.ProcessState(
                    process_id=self.ledger.me,
                    state_data=json.dumps(state["figures"]).encode(),
                    logical_clock=state["clock"],
                    account_balances=state["accounts"],
                    kv_state=state["keys"],
                ),
                channel_states=[self.channel_state(snapshot, peer) for peer in channels],
                recording_complete=all(channels.values()),
            )

    def channel_state(self, snapshot, peer):
        rows = self.ledger.db.execute(
            "select call from recorded where snapshot = ? and peer = ? order by place", (snapshot, peer)
        )
        calls = [json.loads(call) for (call,) in rows]
        messages = [message(self.pb, call["id"], (peer, self.ledger.me), call) for call in calls]
        return self.pb.ChannelState(from_process=peer, to_process=self.ledger.me, messages=messages)


def message(pb, message_id, ends, call):
    return pb.ApplicationMessage(
        message_id=message_id,
        from_process=ends[0],
        to_process=ends[1],
        payload=json.dumps(call["payload"]).encode(),
        message_type=call["type"],
        sender_clock=call["clock"],
    )


def send(pb, stub, ledger, peer):
    """Empties the outbox of one channel, in order, for ever."""
    while True:
        with ledger.lock:
            first = "select place, call from outbox where peer = ? order by place limit 1"
            row = ledger.db.execute(first, (peer,)).fetchone()
            if row is None:
                ledger.lock.wait()
                continue
        place, call = row[0], json.loads(row[1])
        try:
            if call["type"] == "marker":
                marker = pb.MarkerMessage(
                    snapshot_id=call["snapshot"],
                    sender_id=ledger.me,
                    logical_clock=call["clock"],
                    initiator_id=call["initiator"],
                )
                answer = stub.ReceiveMarker(marker, timeout=CALL_S)
            else:
                sent = message(pb, f"m{place}", (ledger.me, peer), call)
                answer = stub.SendMessage(sent, timeout=CALL_S)
        except grpc.RpcError:
            time.sleep(PAUSE_S)
            continue
        if not answer.success:
            print(f"{peer} refuses {call}: {answer}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_S)
            continue
        with ledger:
            ledger.db.execute("delete from outbox where place = ?", (place,))


def credentials(tls: Path, me: str):
    """Of the server, which demands certificates of its callers, and of the channels to the others."""
    ca, key, certificate = ((tls / name).read_bytes() for name in ("ca.crt", f"{me}.key", f"{me}.crt"))
    server = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    return server, grpc.ssl_channel_credentials(ca, key, certificate)


def main():
    arguments = sys.argv[1:]
    tls = None
    if arguments[0] == "--tls":
        tls, arguments = Path(arguments[1]), arguments[2:]
    proto, file, own, *others = arguments
    me, address = own.split("=")
    served, called = credentials(tls, me) if tls else (None, None)
    peers = dict(other.split("=") for other in others)
    with tempfile.TemporaryDirectory() as out:
        pb, stubs = generate(Path(proto), out)
    ledger = Ledger(file, me, sorted(peers))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    process = Process(pb, ledger)
    # What a service has and this process does not is UNIMPLEMENTED.
    for name in ("SnapshotService", "BankService"):
        servicer = type(name, (Process, getattr(stubs, f"{name}Servicer")), {})
        getattr(stubs, f"add_{name}Servicer_to_server")(servicer(pb, ledger), server)
    port = server.add_secure_port(address, served) if served else server.add_insecure_port(address)
    if port == 0:
        sys.exit(f"{address} is taken")
    server.start()
    for peer, at in peers.items():
        channel = grpc.secure_channel(at, called) if called else grpc.insecure_channel(at)
        stub = stubs.SnapshotServiceStub(channel)
        threading.Thread(target=send, args=(pb, stub, ledger, peer), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
