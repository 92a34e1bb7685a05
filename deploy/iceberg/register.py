#!/usr/bin/env python3
"""Registers the tables of snapledger as Iceberg tables over the same Parquet files, and tags each snapshot of the cluster.

    register.py TABLES WAREHOUSE

TABLES is the directory of the tables, for example CLUSTER/tables of an archive; WAREHOUSE one for the metadata. The catalog is the SQLite
file catalog.db in it, with the name "tables"; the tables are in the namespace "snapledger". No data file is copied, so both directories
stay where they are. Run it again to add what is new. Needs pyiceberg[sql-sqlite,pyarrow]. docs/analytics.md shows how to read the tables.

A version of the Delta log becomes an Iceberg snapshot. One that belongs to a snapshot of the cluster gets the tag PROCESS@SNAPSHOT.
"""

import json
import sys
from pathlib import Path

import pyarrow
from pyiceberg.catalog import load_catalog

# Those that a reader has to name.
CATALOG = "tables"
NAMESPACE = "snapledger"
TABLES = ("entries", "balances", "channel_messages", "snapshots", "progress")
# The newest version of the Delta log that is registered.
VERSION = "snapledger.version"


# Columns by their types in a Delta log.
TYPES = {
    "string": pyarrow.string(),
    "integer": pyarrow.int32(),
    "long": pyarrow.int64(),
    "timestamp": pyarrow.timestamp("us", "UTC"),
    "decimal(38,0)": pyarrow.decimal128(38, 0),
}


def columns(table):
    """The columns of a table, from the first version of its log."""
    first = (table / "_delta_log" / f"{0:020}.json").read_text()
    (described,) = [line["metaData"] for line in map(json.loads, first.splitlines()) if "metaData" in line]
    fields = json.loads(described["schemaString"])["fields"]
    return pyarrow.schema([pyarrow.field(one["name"], TYPES[one["type"]], one["nullable"]) for one in fields])


def versions(table, after):
    """The versions of a Delta log after one: number, paths of the added files, PROCESS@SNAPSHOT if it belongs to one."""
    for log in sorted((table / "_delta_log").glob("*.json")):
        number = int(log.stem)
        if number <= after:
            continue
        files, snapshot, process = [], None, None
        for line in log.read_text().splitlines():
            action = json.loads(line)
            # Without a change of data they have the rows of other files, which are registered.
            if action.get("add", {}).get("dataChange"):
                files.append(str(table / action["add"]["path"]))
            written = action.get("commitInfo", {})
            snapshot = written.get("userMetadata", snapshot)
            process = written.get("operationParameters", {}).get("writer", process)
        yield number, files, snapshot and process and f"{process}@{snapshot}"


def register(catalog, tables, name):
    known = f"{NAMESPACE}.{name}"
    table = catalog.create_table_if_not_exists(known, columns(tables / name))
    after = int(table.properties.get(VERSION, -1))
    for number, files, tag in versions(tables / name, after):
        if files:
            # One commit: a run that is interrupted neither loses nor doubles a file.
            with table.transaction() as change:
                change.add_files(files)
                change.set_properties({VERSION: str(number)})
            table = catalog.load_table(known)
        newest = table.current_snapshot()
        if tag and newest and tag not in table.refs():
            table.manage_snapshots().create_tag(newest.snapshot_id, tag).commit()
            table = catalog.load_table(known)
    return table


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    tables, warehouse = (Path(path).resolve() for path in sys.argv[1:])
    lacking = [name for name in TABLES if not (tables / name / "_delta_log").is_dir()]
    if lacking:
        sys.exit(f"{tables} is not a directory of tables: it has no {', '.join(lacking)}")
    warehouse.mkdir(parents=True, exist_ok=True)
    catalog = load_catalog(
        CATALOG, type="sql", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse.as_uri()
    )
    catalog.create_namespace_if_not_exists(NAMESPACE)
    for name in TABLES:
        table = register(catalog, tables, name)
        tags = [ref for ref in table.refs().values() if ref.snapshot_ref_type == "tag"]
        print(f"{name}: {len(table.inspect.files())} files, {len(tags)} tags")


if __name__ == "__main__":
    main()
