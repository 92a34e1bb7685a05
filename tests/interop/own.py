"""A client of package snapledger.v1, its LedgerService and its HistoryService, that shares no code with snapledger.

It comes after client.py, on the same cluster. Says on stderr what does not hold and ends with 1; the last line on
stdout is `ok`.

usage: own.py PROTO ID=HOST:PORT ID=HOST:PORT ID=HOST:PORT
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import grpc
from client import CALL_S, check, generate, until


def deposit(pb, account, amount, request_id=""):
    return pb.Operation(request_id=request_id, deposit=pb.Deposit(account=account, amount=amount))


def payment(pb, to_process, amount):
    paid = pb.Payment(from_account="own", to_process=to_process, to_account="own", amount=amount)
    return pb.Operation(payment=paid)


def batches(pb, ledger):
    """Each operation has its own result; a request id makes a repeat harmless; refusals are named."""
    batch = pb.ApplyRequest(operations=[deposit(pb, "own", 500, "r1"), payment(pb, "n2", 100), payment(pb, "n2", 10**9)])
    first, paid, refused = ledger.Apply(batch, timeout=CALL_S).results
    check(first.success and first.balance == 500 and first.journal_position > 0, "a deposit", first)
    check(paid.success and paid.balance == 400 and paid.transfer_id, "a payment to another process", paid)
    check(not refused.success and refused.kind == "insufficient-funds" and refused.error, "a refusal", refused)
    again = ledger.Apply(pb.ApplyRequest(operations=[deposit(pb, "own", 500, "r1")]), timeout=CALL_S).results[0]
    check(again == first, "a repeat is answered as the first was", again, first)


def stream(pb, ledger):
    """Batches in flight are answered in their order."""
    requests = (pb.ApplyRequest(operations=[deposit(pb, "own", 1)]) for _ in range(20))
    answers = [answer.results[0].balance for answer in ledger.Stream(requests, timeout=CALL_S)]
    check(answers == list(range(401, 421)), "a pipeline keeps its order", answers)


def snapshots(pb, history, newest):
    """Snapshots, newest first; one of them with all that is in it."""
    listed = history.List(pb.ListRequest(limit=2), timeout=CALL_S)
    check(len(listed.snapshots) == 2 and listed.next_cursor, "a page and where the next begins", listed)
    behind = history.List(pb.ListRequest(limit=1, cursor=listed.next_cursor), timeout=CALL_S)
    check(behind.snapshots[0].snapshot_id not in (one.snapshot_id for one in listed.snapshots), "another page", behind)

    events = list(history.Watch(pb.WatchRequest(snapshot_id=newest), timeout=CALL_S))
    check(events[-1].published.status == "complete", "a watch ends when the snapshot is complete", events[-1])
    one = history.Get(pb.GetRequest(snapshot_id=newest), timeout=CALL_S)
    check(one.status == "complete" and one.conserved and one.consistent_cut, "it is complete and proven", one)
    balances = list(history.Balances(pb.BalancesRequest(snapshot_id=newest), timeout=CALL_S))
    held = sum(balance.balance for balance in balances)
    check(held == one.totals.balances.low, "its balances", held, one.totals)
    messages = list(history.Channels(pb.ChannelsRequest(snapshot_id=newest), timeout=CALL_S))
    moving = sum(each.message.transfer.amount for each in messages)
    check(moving == one.totals.in_flight.low, "its channels", moving, one.totals)
    verified = history.Verify(pb.VerifyRequest(snapshot_id=newest), timeout=CALL_S)
    check(verified.conserved and all(one.holds for one in verified.checks), "its certificate", verified)
    own = [balance for balance in balances if (balance.process, balance.account) == ("n1", "own")]
    check([balance.balance for balance in own] == [420], "one account of it", own)
    return one


def past(pb, history, taken):
    """Balances and sums at an instant, and statements."""
    at_us = time.time_ns() // 1000
    # An instant is past on a clock that may be a moment behind this one.
    asked = pb.BalanceAtRequest(process="n1", account="own", at_us=at_us)

    def balance():
        with contextlib.suppress(grpc.RpcError):
            return history.BalanceAt(asked, timeout=CALL_S)
        return None

    then = until("the instant is past", balance)
    check(then.existed and then.balance == 420, "a balance at an instant", then)
    audited = history.AuditAt(pb.AuditAtRequest(at_us=at_us), timeout=CALL_S)
    check(audited.complete and audited.conserved, "an audit at the same", audited)
    totals = taken.totals
    check(audited.deposits.low == totals.deposits.low, "nothing came in since the snapshot", audited, totals)
    page = history.Statement(pb.StatementRequest(process="n1", account="own", limit=5), timeout=CALL_S)
    check(page.has_more and len(page.entries) == 5 and page.entries[0].balance_after == 420, "a statement", page)
    try:
        history.Get(pb.GetRequest(snapshot_id="absent"), timeout=CALL_S)
        check(False, "an unknown snapshot is an error")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.NOT_FOUND and error.details(), "it is NOT_FOUND", error.code())


def main():
    proto, *members = sys.argv[1:]
    address = members[0].split("=")[1]
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(address) as channel:
        pb, stubs = generate(Path(proto), out)
        published, published_stubs = generate(Path(proto).with_name("chandy_lamport.proto"), out)
        ledger = stubs.LedgerServiceStub(channel)
        history = stubs.HistoryServiceStub(channel)
        batches(pb, ledger)
        stream(pb, ledger)
        starter = published_stubs.SnapshotServiceStub(channel)
        started = starter.InitiateSnapshot(published.InitiateSnapshotRequest(), timeout=CALL_S)
        taken = snapshots(pb, history, started.snapshot_id)
        past(pb, history, taken)
    print("ok")


if __name__ == "__main__":
    main()
