#!/usr/bin/env python3
"""Times the queries of docs/analytics.md in DuckDB on tables that `snapledger bench tables --keep TABLES` has left.

    benches/tables.py TABLES

Needs tests/cluster/analytics/requirements.txt. One thread; each query three times, the median counts.
"""

import re
import statistics
import sys
import time
from pathlib import Path

import duckdb
import duckdb_extension_delta

ROOT = Path(__file__).resolve().parent.parent


def main():
    tables = Path(sys.argv[1]).resolve()
    blocks = re.findall(r"^```sql\n-- (.*?)\n(.*?)^```$", (ROOT / "docs/analytics.md").read_text(), re.M | re.S)
    named = {name: sql for name, sql in blocks if ":" not in name}
    connection = duckdb.connect(config={"threads": 1})
    (extension,) = Path(duckdb_extension_delta.__file__).parent.glob("extensions/*/delta.duckdb_extension")
    connection.execute(f"LOAD '{extension}'")
    for statement in named.pop("tables").split(";"):
        if "delta_scan" in statement:
            connection.execute(statement.replace("'tables/", f"'{tables}/"))
    connection.execute(named.pop("views"))
    named.pop("questions")
    snapshots = [row[0] for row in connection.execute(
        "SELECT snapshot_id FROM complete GROUP BY ALL ORDER BY min(initiated_at)").fetchall()]
    account = connection.execute("SELECT process, account FROM entries LIMIT 1").fetchone()
    for name, value in {
        "snapshot": snapshots[-1],
        "earlier": snapshots[max(0, len(snapshots) - 5)],
        "process": account[0],
        "account": account[1],
    }.items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    connection.execute("SET VARIABLE instant = (SELECT max(time) FROM entries)")
    for name, sql in named.items():
        took = []
        for _ in range(3):
            began = time.perf_counter()
            rows = len(connection.execute(sql).fetchall())
            took.append(time.perf_counter() - began)
        print(f"{name:40} {statistics.median(took):8.3f} s {rows:10} rows")


main()
