"""Verifies the proof of a balance, from the description of the format alone (docs/past.md, docs/decisions)."""

import base64
import struct

import blake3

CHUNK, NODE, ENTRY = b"snapledger 7: chunk", b"snapledger 7: node of the tree", b"snapledger 7: entry of an index"
CELLS = tuple(b"snapledger 7: cell, " + kind for kind in (b"account", b"key", b"request", b"snapshot"))
FRAME_BYTES = 10


class Invalid(Exception):
    """The proof proves nothing; the sentence says why."""


def require(holds: bool, why: str):
    if not holds:
        raise Invalid(why)


def keyed(key: bytes, *pieces: bytes) -> bytes:
    return blake3.keyed(key.ljust(32), b"".join(pieces))


class Reader:
    """The stored form of a value: fixed widths, little-endian, lengths of 8 bytes."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        require(self.at + count <= len(self.data), "the revision ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width: int = 8) -> int:
        return int.from_bytes(self.take(width), "little")

    def text(self) -> str:
        return self.take(self.number()).decode()

    def flows(self):
        for _ in range(self.number()):
            self.text()
            self.take(8 + 8 + 16)

    def run(self) -> list[bytes]:
        self.take(8 + 8)
        return [self.take(32) for _ in range(self.number())]

    def part(self) -> tuple[str, list[list[bytes]]]:
        self.text()
        process = self.text()
        self.text()
        # Position, time, clock, accounts; then three sums.
        self.take(4 * 8 + 3 * 16)
        self.flows()
        self.flows()
        self.take(32)
        runs = [self.run() for _ in range(self.number())]
        self.take(8 + 8)
        for _ in range(self.number()):
            self.text()
            self.take(3 * 8 + 16)
            self.take(32 * self.number())
        for _ in range(self.number()):
            self.text()
        return process, runs

    def revision(self) -> tuple[str, int, dict[str, list[list[bytes]]]]:
        snapshot, _, revision = self.text(), self.text(), self.number(4)
        self.take(5 * 8)
        parts = {}
        for _ in range(self.number()):
            self.text()
            process, runs = self.part()
            parts[process] = runs
        return snapshot, revision, parts


def root_of(leaf: bytes, place: dict) -> bytes:
    at, last = place["position"], place["count"] - 1
    require(0 <= at <= last, "a position is not in its chunk")
    path = [bytes.fromhex(step) for step in place["path"]]
    while last > 0:
        if at % 2 or at < last:
            require(bool(path), "a path ends early")
            beside = path.pop(0)
            leaf = keyed(NODE, beside, leaf) if at % 2 else keyed(NODE, leaf, beside)
        at, last = at // 2, last // 2
    require(not path, "a path is too long")
    return leaf


def chunk(leaf: bytes, place: dict) -> bytes:
    return keyed(CHUNK, root_of(leaf, place), struct.pack("<I", place["count"]), bytes.fromhex(place["body"]))


def stands(run: list[bytes], leaf: bytes, place: dict):
    """The run has this leaf at this place."""
    entry = keyed(ENTRY, bytes.fromhex(place["entry_name"]), chunk(leaf, place["cell"]))
    require(place["index"] < len(run), "there is no such index")
    require(run[place["index"]] == chunk(entry, place["entry"]), "it does not lead to the root")


def salted(salt: str, data: bytes) -> bytes:
    require(len(salt) == 32, "a salt has 16 bytes")
    return blake3.plain(bytes.fromhex(salt) + data)


def place_of(place: dict) -> tuple[int, int, int]:
    return place["index"], place["entry"]["position"], place["cell"]["position"]


def is_end(place: dict) -> bool:
    return place["position"] == place["count"] - 1


def follows(run: list[bytes], before: dict | None, after: dict | None) -> bool:
    """Whether no cell of the run is between these two; none is before the first and behind the last."""
    if before is None or after is None:
        if before is None:
            return not run if after is None else place_of(after) == (0, 0, 0)
        return before["index"] == len(run) - 1 and is_end(before["entry"]) and is_end(before["cell"])
    index, entry, cell = place_of(before)
    following = [(index, entry, cell + 1)] if not is_end(before["cell"]) else []
    if is_end(before["cell"]):
        following = [(index + 1, 0, 0)] if is_end(before["entry"]) else [(index, entry + 1, 0)]
    return place_of(after) in following


def absent(run: list[bytes], account: str, shown: dict) -> list[str]:
    """Checks that the account is not in the run; the ids of other accounts that show it."""
    before, after = shown["before"], shown["after"]
    require(follows(run, before and before["place"], after and after["place"]), "cells are left out")
    ids = []
    for cell, is_before in ((before, True), (after, False)):
        if cell is None:
            continue
        name = cell["name"]
        if "account" in name:
            ids.append(name["account"])
            # Ids are ordered by their bytes.
            one, other = name["account"].encode(), account.encode()
            require(one < other if is_before else one > other, "it belongs elsewhere")
            kind, hashed = 0, salted(name["id_salt"], one)
        else:
            require(not is_before and name["kind"] in (1, 2, 3), "only accounts are before accounts")
            kind, hashed = name["kind"], bytes.fromhex(name["hash"])
        stands(run, keyed(CELLS[kind], hashed, bytes.fromhex(cell["content"])), cell["place"])
    return ids


def verified(proof: dict, root: str, process: str, account: str) -> tuple[int | None, list[str]]:
    """The proven balance, `None` if there was no such account, and the ids of other accounts in the proof."""
    framed = base64.b64decode(proof["proof"]["revision"], validate=True)
    require(blake3.plain(framed[FRAME_BYTES:]).hex() == root, "the revision does not have this root")
    snapshot, revision, parts = Reader(framed[FRAME_BYTES:]).revision()
    require((proof["snapshot_id"], proof["revision"]) == (snapshot, revision), "it is of another revision")
    require(process in parts, "the process is not in it")
    given, others, balance = list(proof["proof"]["runs"]), [], None
    for run in reversed(parts[process]):
        require(bool(given), "a run is left out")
        shown = given.pop(0)
        if "found" in shown:
            found = shown["found"]
            balance = found["balance"]
            name = salted(found["id_salt"], account.encode())
            content = salted(found["balance_salt"], struct.pack("<q", balance))
            stands(run, keyed(CELLS[0], name, content), found["place"])
            break
        require("absent" in shown, "it carries whole chunks")
        others += absent(run, account, shown["absent"])
    require(not given, "it goes on behind the run of the account")
    return balance, others
