"""Runs the queries of docs/analytics.md as they are written there and prints their rows as JSON.

ask.py duckdb|clickhouse|polars DOC TABLES QUESTIONS    answers, by the name of the query
ask.py sql DOC TABLES SQL                               the rows of a query about the tables and views of the page
ask.py same TABLES OTHER COLUMN…                        the rows that are in one of two sets of tables alone, by table; without
                                                        these columns of snapshots
ask.py second TABLES SNAPSHOT OTHER REVISION PROCESS…   adds a complete revision of a snapshot: the parts of another one of these processes
ask.py iceberg DOC TABLES QUESTIONS WAREHOUSE           the answers from the tables that deploy/iceberg/register.py has made
"""

import datetime
import decimal
import json
import os
import re
import sys
from pathlib import Path


def blocks(doc, fence, mark):
    """The code blocks of a page, each named by its first line."""
    text = Path(doc).read_text()
    for code in re.findall(rf"^```{fence}\n(.*?)^```$", text, re.M | re.S):
        first = code.splitlines()[0]
        assert first.startswith(mark), f"a block without a name: {first}"
        yield first[len(mark) :].strip(), code


def plain(value):
    """A value as JSON has it: sums are whole numbers, times microseconds since the epoch."""
    if isinstance(value, decimal.Decimal):
        assert value == int(value)
        return int(value)
    if isinstance(value, datetime.datetime):
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return (value - epoch) // datetime.timedelta(microseconds=1)
    return value


def rows(found):
    return [[plain(value) for value in row] for row in found]


def duckdb_with(tables, load):
    import duckdb
    import duckdb_extension_delta

    connection = duckdb.connect()
    home = Path(duckdb_extension_delta.__file__).parent
    (extension,) = home.glob("extensions/*/delta.duckdb_extension")
    connection.execute(f"LOAD '{extension}'")
    for statement in load.split(";"):
        if "delta_scan" in statement:
            connection.execute(statement.replace("'tables/", f"'{tables}/"))
    return connection


def ask_duckdb(doc, tables, questions):
    named = dict(blocks(doc, "sql", "-- "))
    connection = duckdb_with(tables, named.pop("tables"))
    return ask_in(connection, named, questions)


def ask_sql(doc, tables, sql):
    named = dict(blocks(doc, "sql", "-- "))
    connection = duckdb_with(tables, named["tables"])
    connection.execute(named["views"])
    return rows(connection.execute(sql).fetchall())


def ask_in(connection, named, questions):
    connection.execute(named.pop("views"))
    for name in re.findall(r"^SET VARIABLE (\w+)", named.pop("questions"), re.M):
        connection.execute(f"SET VARIABLE {name} = ?", [questions[name]])
    connection.execute("SET VARIABLE instant = getvariable('instant')::TIMESTAMPTZ")
    own = {name: sql for name, sql in named.items() if ":" not in name}
    return {name: rows(connection.execute(sql).fetchall()) for name, sql in own.items()}


def ask_clickhouse(doc, tables, questions):
    from chdb import session

    # It reads files below its directory only.
    os.chdir(Path(tables).parent)
    chdb = session.Session()
    for name in ("snapshot", "instant"):
        value = questions[name].replace("\\", "\\\\").replace("'", "\\'")
        chdb.query(f"SET param_{name} = '{value}'")
    answers = {}
    for name, sql in blocks(doc, "sql", "-- "):
        if name.startswith("clickhouse: "):
            found = chdb.query(
                sql.replace("'tables/", f"'{tables}/"), "JSONCompact"
            )
            found = json.loads(found.bytes())
            # Numbers of more than 32 bits come as texts.
            is_number = ["Int" in column["type"] for column in found["meta"]]
            answers[name.removeprefix("clickhouse: ")] = [
                [int(value) if number else value for value, number in zip(row, is_number)]
                for row in found["data"]
            ]
    return answers


def ask_polars(doc, tables, questions):
    scope = {"snapshot": questions["snapshot"]}
    for name, code in blocks(doc, "python", "# "):
        if name.startswith("polars: "):
            exec(code.replace('"tables/', f'"{tables}/'), scope)
    return {
        "balances at a snapshot": rows(scope["balances"].select("process", "account", "balance").rows()),
        "sums per process": rows(scope["sums"].rows()),
    }


def same(tables, other, *without):
    """`base_cut` is left out: a writer that was started anew names an earlier one for older snapshots."""
    differences = {}
    for name in ("entries", "balances", "snapshots", "channel_messages"):
        load = f"CREATE VIEW a AS FROM delta_scan('{tables}/{name}');"
        load += f"CREATE VIEW b AS FROM delta_scan('{other}/{name}')"
        connection = duckdb_with(tables, load)
        left_out = ", ".join(["base_cut", *without])
        columns = f"* EXCLUDE ({left_out})" if name == "snapshots" else "*"
        a, b = (f"SELECT {columns} FROM {one}" for one in "ab")
        differences[name] = {
            "rows": connection.execute("SELECT count(*) FROM a").fetchone()[0],
            "missing": rows(connection.execute(f"({b}) EXCEPT ALL ({a}) LIMIT 5").fetchall()),
            "more": rows(connection.execute(f"({a}) EXCEPT ALL ({b}) LIMIT 5").fetchall()),
        }
    return differences


def second(tables, snapshot, other, revision, *processes):
    """As another assembler would have published it."""
    import duckdb
    import pyarrow.parquet

    folder = Path(tables, "snapshots")
    connection = duckdb_with(tables, f"CREATE VIEW snapshots AS FROM delta_scan('{tables}/snapshots')")
    found = connection.execute(
        "SELECT * REPLACE (? AS snapshot_id, ?::BIGINT AS revision) FROM snapshots "
        "WHERE snapshot_id = ? AND status = 'complete' AND list_contains(?, process)",
        [snapshot, int(revision), other, list(processes)],
    ).to_arrow_table()
    path = f"second-{revision}.parquet"
    pyarrow.parquet.write_table(found, folder / path)
    add = {"path": path, "partitionValues": {}, "size": (folder / path).stat().st_size, "modificationTime": 0, "dataChange": True}
    version = len(list((folder / "_delta_log").glob("*.json")))
    (folder / "_delta_log" / f"{version:020}.json").write_text(json.dumps({"add": add}) + "\n")
    return found.num_rows


def ask_iceberg(doc, tables, questions, warehouse):
    scope = {}
    for name, code in blocks(doc, "python", "# "):
        if name.startswith("iceberg: "):
            code = code.replace("sqlite:///warehouse/", f"sqlite:///{warehouse}/")
            exec(code.replace('"n1@n1-9511"', repr(f"n1@{questions['snapshot']}")), scope)
    connection, balances = scope["connection"], scope["balances"]
    named = dict(blocks(doc, "sql", "-- "))
    named.pop("tables")
    answers = ask_in(connection, named, questions)
    connection.register("then", scope["then"])
    (answers["newest at the tag"],) = connection.execute(
        "SELECT max(cut) FROM \"then\" WHERE process = 'n1'"
    ).fetchone()
    (answers["cut of n1"],) = connection.execute(
        "SELECT cut FROM complete WHERE process = 'n1' AND snapshot_id = ?", [questions["snapshot"]]
    ).fetchone()
    answers["tags"] = sorted(name for name, ref in balances.refs().items() if ref.snapshot_ref_type == "tag")
    return answers


def main():
    how, *rest = sys.argv[1:]
    if how == "same":
        answers = same(*rest)
    elif how == "second":
        answers = second(*rest)
    elif how == "sql":
        answers = ask_sql(*rest)
    else:
        doc, tables, questions, *more = rest
        ask = {
            "duckdb": ask_duckdb,
            "clickhouse": ask_clickhouse,
            "polars": ask_polars,
            "iceberg": ask_iceberg,
        }[how]
        answers = ask(doc, tables, json.loads(questions), *more)
    json.dump(answers, sys.stdout)


main()
