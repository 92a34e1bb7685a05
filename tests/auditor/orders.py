"""What a file of bank operations says that every account must have seen. Nothing here asks a node."""

import csv
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

# Of a statement: what happened, minor units, the process and the account at the other end.
Operation = tuple[str, int, str | None, str | None]


def expected(orders: Path, repeat: int) -> dict[tuple[str, str], Counter]:
    """How often each operation happens to each account when all but the deposits are repeated."""
    seen: dict[tuple[str, str], Counter] = defaultdict(Counter)
    with orders.open(newline="") as rows:
        for row in csv.DictReader(rows):
            amount = int(Decimal(row["amount"]) * 100)
            process, account = row["process"], row["account"]
            if row["op"] == "deposit":
                seen[process, account]["deposit", amount, None, None] += 1
            elif row["op"] == "withdraw":
                seen[process, account]["withdrawal", amount, None, None] += repeat
            else:
                to = row["to_process"] or process
                seen[process, account]["transfer_out", amount, to, row["to_account"]] += repeat
                seen[to, row["to_account"]]["transfer_in", amount, process, account] += repeat
    return seen


def told(process: str, entries: list[dict]) -> Counter:
    """The same, as a statement tells it."""
    seen: Counter = Counter()
    for entry in entries:
        is_transfer = entry["op"].startswith("transfer")
        to = entry.get("counterparty_process", process) if is_transfer else None
        seen[entry["op"], entry["amount"], to, entry.get("counterparty")] += 1
    return seen
