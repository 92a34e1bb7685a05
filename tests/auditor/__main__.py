"""An auditor that shares no code with snapledger.

It feeds a file of operations to a cluster of three while snapshots are taken, and computes from the file and the
statements what random accounts held at random instants and in every snapshot. Then it asks each node; then one node while
the two others are dead, as far as the history there reaches; then all again after a restart: every answer must be the one
that was computed, and the answers the same bytes wherever and whenever they were given. Last, it verifies the proofs of these
balances.

usage: python3 tests/auditor --program target/release/snapledger --orders FILE [--repeat K] [--seed S] …
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import orders
import proofs
from nodes import IDS, Cluster, account, until

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SHOWN_MAX = 5
# Accounts: a hash takes a millisecond here.
PROVEN_MAX = 25
# Between two snapshots, so that they are spread over the operations.
PAUSE_S = 0.06


class Audit:
    """What is known of the past, and what was found to differ."""

    def __init__(self, arguments: argparse.Namespace, cluster: Cluster):
        self.arguments, self.cluster = arguments, cluster
        self.random = random.Random(arguments.seed)
        self.pool = ThreadPoolExecutor(8)
        self.differences = 0
        self.statements: dict[tuple[str, str], list[dict]] = {}
        # By snapshot and process: the recorded position, and when that was.
        self.cuts: dict[str, dict[str, tuple[int, int]]] = {}
        self.instants: list[int] = []
        self.begun = 0

    def differs(self, what: str):
        self.differences += 1
        if self.differences <= SHOWN_MAX:
            print(f"  differs: {what}")

    def replay(self):
        """The operations, and snapshots from every node in turn while they go on."""
        command = [self.arguments.program, "replay", self.arguments.orders, *self.cluster.grpc()]
        replay = subprocess.Popen([*command, "--repeat", str(self.arguments.repeat)], stdout=subprocess.DEVNULL)
        for number in range(self.arguments.snapshots):
            one, snapshot = IDS[number % 3], f"audited-{number:03}"
            status, body = self.cluster.ask(one, "/v1/snapshots", {"snapshot_id": snapshot})
            if status != 202:
                raise SystemExit(f"snapshot {snapshot}: {status} {body.decode()}")
            until(f"{snapshot} is complete", lambda: self.status(one, snapshot) == "complete")
            time.sleep(PAUSE_S)
        if replay.wait():
            raise SystemExit("not every operation was done; give a file, and a --repeat, for which the money suffices")
        for one in IDS:
            until(f"{one} has every snapshot", lambda one=one: len(self.complete(one)) == self.arguments.snapshots)

    def status(self, one: str, snapshot: str) -> str:
        return self.cluster.read(one, f"/v1/snapshots/{snapshot}")["status"]

    def complete(self, one: str) -> list[dict]:
        return self.cluster.read(one, "/v1/snapshots?status=complete&limit=1000")["snapshots"]

    def learn(self):
        """Reads the statements of random accounts and holds them against the file."""
        expected = orders.expected(self.arguments.orders, self.arguments.repeat)
        chosen = self.random.sample(sorted(expected), min(self.arguments.accounts, len(expected)))
        self.statements = dict(zip(chosen, self.pool.map(lambda place: self.statement(*place), chosen)))
        for place, entries in self.statements.items():
            if orders.told(place[0], entries) != expected[place]:
                self.differs(f"the statement of {place}")
            balance = 0
            for entry in entries:
                balance += entry["amount"] if entry["op"] in ("deposit", "transfer_in") else -entry["amount"]
                if balance != entry["balance_after"]:
                    self.differs(f"{place} at {entry['journal_position']}")
        in_flight = 0
        for listed in self.complete("n1"):
            shown = self.cluster.read("n1", f"/v1/snapshots/{listed['snapshot_id']}")
            in_flight += shown["totals"]["in_flight"] > 0
            self.cuts[listed["snapshot_id"]] = {
                one["process"]: (one["journal_position"], micros(one["recorded_at"])) for one in shown["processes"]
            }
        times = [micros(entry["time"]) for entries in self.statements.values() for entry in entries]
        # Nothing is known of instants before the newest journal began.
        first, last = max(min(times) - 100_000, self.begun), max(times) + 100_000
        self.instants = sorted(self.random.randrange(first, last) for _ in range(self.arguments.instants))
        print(
            f"{len(times)} entries of {len(chosen)} accounts against the file: {self.differences} differences; "
            f"{len(self.cuts)} snapshots, {in_flight} with money in flight; {self.arguments.instants} instants "
            f"over {(last - first) / 1e6:.1f} s"
        )

    def statement(self, process: str, name: str) -> list[dict]:
        entries, cursor = [], ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            path = f"{account(process, name)}/history?order=oldest&limit=1000{more}"
            page = self.cluster.read("n1", path)
            entries, cursor = entries + page["entries"], page["next_cursor"]
            if page["kept_since"]:
                self.begun = max(self.begun, micros(page["kept_since"]))
        return entries

    def questions(self, dead: tuple[str, ...]):
        """Every question, with what must be in its answer; `None` where the process is dead and no snapshot helps."""
        for (process, name), entries in self.statements.items():
            times = [micros(entry["time"]) for entry in entries]
            for instant in self.instants:
                path = f"{account(process, name)}/balance?at={rfc3339(instant)}"
                if process not in dead:
                    past = [entry for entry, time in zip(entries, times) if time <= instant]
                    yield path, known(past) | {"complete": True}
                    continue
                cuts = [cut[process] for cut in self.cuts.values() if cut[process][1] <= instant]
                cut = max(cuts, default=None)
                yield path, cut and until_cut(entries, cut[0]) | {"complete": False, "journal_position": cut[0]}
            for snapshot, cut in self.cuts.items():
                path = f"{account(process, name)}/balance?snapshot={snapshot}"
                yield path, until_cut(entries, cut[process][0])

    def ask(self, one: str, dead: tuple[str, ...] = ()) -> str:
        """Asks a node everything; the hash of all answers."""
        questions = list(self.questions(dead))
        before, answers, unknown = self.differences, hashlib.sha256(), 0
        found = self.pool.map(lambda question: self.cluster.ask(one, question[0]), questions)
        for (path, expected), (status, body) in zip(questions, found):
            answers.update(body)
            if expected is None:
                unknown += 1
                if status != 503:
                    self.differs(f"{one}{path}: {status} {body.decode()}, and nothing can be known of it")
            elif status != 200 or not expected.items() <= json.loads(body).items():
                self.differs(f"{one}{path}: {status} {body.decode()}, expected {expected}")
        said = f", {unknown} said to be unknown" if dead else ""
        digest = answers.hexdigest()[:16]
        print(f"{one}: {len(questions)} balances asked, {self.differences - before} differ{said}; sha256 {digest}")
        return digest

    def prove(self):
        """Proofs of balances, and of accounts that never were, in every snapshot: verified against the root that another
        node states, and forged."""
        before, proven, runs, named, forged = self.differences, 0, 0, 0, 0
        roots = {one["snapshot_id"]: one["root"] for one in self.complete("n2")}
        places = list(self.statements.items())[:PROVEN_MAX] + [((one, "never"), []) for one in IDS]
        for (process, name), entries in places:
            for snapshot, cut in self.cuts.items():
                balance = until_cut(entries, cut[process][0])
                expected = balance["balance"] if balance["existed"] else None
                path = f"/v1/snapshots/{snapshot}/balances/{quote(process, safe='')}/{quote(name, safe='')}/proof"
                proof = self.cluster.read("n1", path)
                try:
                    found, others = proofs.verified(proof, roots[snapshot], process, name)
                except proofs.Invalid as why:
                    self.differs(f"the proof {path}: {why}")
                    continue
                shown = proof["proof"]["runs"]
                proven, runs, named = proven + 1, runs + len(shown), named + len(others)
                if found != expected or (proof["discloses"] == "nothing") != (not others):
                    self.differs(f"the proof {path}: {found} instead of {expected}, beside {others}")
                if not shown:
                    continue
                if "found" in shown[-1]:
                    shown[-1]["found"]["balance"] += 1
                else:
                    shown.pop()
                forged += 1
                if is_valid(proof, roots[snapshot], process, name):
                    self.differs(f"the proof {path} was forged, and is valid")
        print(
            f"{proven} proofs verified over {runs} runs, and {forged} forged ones: {self.differences - before} differ, "
            f"{named} neighbours named"
        )


def is_valid(proof: dict, root: str, process: str, name: str) -> bool:
    try:
        proofs.verified(proof, root, process, name)
    except proofs.Invalid:
        return False
    return True


def known(past: list[dict]) -> dict:
    return {"balance": past[-1]["balance_after"] if past else 0, "existed": bool(past)}


def until_cut(entries: list[dict], position: int) -> dict:
    return known([entry for entry in entries if entry["journal_position"] <= position])


def micros(time: str) -> int:
    return (datetime.fromisoformat(time.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


def rfc3339(instant: int) -> str:
    return (EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="auditor", description=__doc__.partition("\n\nusage")[0])
    parser.add_argument("--program", type=Path, required=True, help="snapledger, built with --release")
    parser.add_argument("--orders", type=Path, required=True, help="a file as replay takes it")
    parser.add_argument("--repeat", type=int, default=12, help="how often all but the deposits are done")
    parser.add_argument("--snapshots", type=int, default=20)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--instants", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7, help="of what is asked")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    arguments.program = arguments.program.resolve()
    with tempfile.TemporaryDirectory(prefix="snapledger-auditor-") as directory:
        cluster = Cluster(arguments.program, Path(directory))
        try:
            return audited(arguments, cluster)
        finally:
            cluster.stop()


def audited(arguments: argparse.Namespace, cluster: Cluster) -> int:
    cluster.start(*IDS)
    audit = Audit(arguments, cluster)
    audit.replay()
    audit.learn()
    first = {audit.ask(one) for one in IDS}
    cluster.kill("n2", "n3")
    print("n2 and n3 are dead")
    alone = audit.ask("n1", dead=("n2", "n3"))
    cluster.kill("n1")
    cluster.start("n1")
    print("n1 was killed, too, and is back alone")
    alone_again = audit.ask("n1", dead=("n2", "n3"))
    cluster.start("n2", "n3")
    print("all are back")
    again = {audit.ask(one) for one in IDS}
    audit.prove()
    if len(first | again) != 1:
        audit.differs("the same questions had different answers")
    if alone != alone_again:
        audit.differs("what was known of the dead was not the same after a restart")
    same = "the same bytes everywhere" if len(first | again) == 1 and alone == alone_again else "other bytes"
    print(f"{audit.differences} differences in all, {same}")
    return int(audit.differences > 0)


if __name__ == "__main__":
    sys.exit(main())
