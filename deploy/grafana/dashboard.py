#!/usr/bin/env python3
"""Writes snapledger.json, the dashboard for Grafana, from the list of panels below.

dashboard.py            writes it
dashboard.py --check    fails if the file is not what the list gives
dashboard.py --rules    prints each expression as a recording rule, for `promtool check rules`
"""

import json
import sys
from pathlib import Path

FILE = Path(__file__).parent / "snapledger.json"
# The variables of Grafana in expressions, and what stands for them where promtool checks.
VARIABLES = {"$job": "snapledger", "$instance": ".*", "$__rate_interval": "5m"}

# The nodes of a cluster are one job, as in prometheus.yml: sums and ages are those of one cluster.
CHOSEN = 'job="$job", instance=~"$instance"'
OF = '{%s}' % CHOSEN


def of(labels):
    return '{%s, %s}' % (CHOSEN, labels)


def rate(metric, labels=OF):
    return f"rate(snapledger_{metric}{labels}[$__rate_interval])"


def quantile(share, metric, by, labels=OF):
    return f"histogram_quantile({share}, sum by ({by}, le) ({rate(metric + '_bucket', labels)}))"


# Title, kind, unit, what it says, and (legend, expression) of each line.
ROWS = [
    ("Is it well", [
        ("Ready", "stat", "bool_yes_no", "Whether each node is ready, as in /readyz.",
         [("{{instance}}", f"snapledger_ready{OF}")]),
        ("Peers that do not answer", "stat", "short", "Pairs of processes without an answer to greetings.",
         [("", f"count(snapledger_peer_up{OF} == 0) or vector(0)")]),
        ("Channels that are stopped", "stat", "short", "Until an operator decides.",
         [("", f"sum(snapledger_channel_stopped{OF})")]),
        ("Since a complete snapshot", "stat", "s", "The age of the newest state that can be proven.",
         [("", f"time() - max(snapledger_last_complete_timestamp_seconds{OF})")]),
        ("Verifications that failed", "stat", "short", "Since the start of each node; should be 0.",
         [("", f"sum(snapledger_verification_failed_total{OF})")]),
        ("Versions", "stat", "short", "Nodes by version and store format.",
         [("{{version}}, format {{store_format}}", f"count by (version, store_format) (snapledger_build_info{OF})")]),
    ]),
    ("Money moves", [
        ("Records", "timeseries", "ops", "Operations, deliveries, markers and others that became durable.",
         [("{{instance}}", rate("records_total"))]),
        ("Records of one commit", "timeseries", "short", "The mean size of a group commit.",
         [("{{instance}}", f"{rate('records_total')} / {rate('turns_total')}")]),
        ("Commit", "timeseries", "s", "Time to make one turn durable.",
         [("{{instance}} median", quantile(0.5, "commit_seconds", "instance")),
          ("{{instance}} 99 %", quantile(0.99, "commit_seconds", "instance"))]),
        ("Inputs that wait for a turn", "timeseries", "short", "At 32,768 clients are refused.",
         [("{{instance}}", f"snapledger_queue_depth{OF}")]),
        ("Messages in flight", "timeseries", "short", "Sent and not yet acknowledged, by channel.",
         [("{{from}}→{{to}}", f"snapledger_channel_in_flight_messages{OF}")]),
        ("Oldest message in flight", "timeseries", "s", "How long the oldest message of a channel has waited.",
         [("{{from}}→{{to}}", f"snapledger_channel_oldest_seconds{OF}")]),
        ("Credits to suspense", "timeseries", "short", "They wait for a person.",
         [("{{instance}}", f"increase(snapledger_credits_to_suspense_total{OF}[1h])")]),
    ]),
    ("Requests", [
        ("Requests by route", "timeseries", "reqps", "Answered requests at both ports.",
         [("{{route}}", f"sum by (route) ({rate('requests_total')})")]),
        ("Requests that failed", "timeseries", "reqps", "Answers that are not a success, by status.",
         [("{{code}}", "sum by (code) (%s)" % rate("requests_total", of('code!~"2..|304|OK"')))]),
        ("Time to answer, 99 %", "timeseries", "s", "From the head of a request to the head of its answer.",
         [("{{route}}", quantile(0.99, "request_seconds", "route"))]),
        ("Refused because of a limit", "timeseries", "ops", "By limit.",
         [("{{reason}}", f"sum by (reason) ({rate('refused_total')})")]),
        ("Logins refused", "timeseries", "ops", "By reason.",
         [("{{reason}}", f"sum by (reason) ({rate('logins_refused_total')})")]),
    ]),
    ("Snapshots", [
        ("Published", "timeseries", "short", "Snapshots in the last ten minutes.",
         [("complete", f"sum(increase(snapledger_snapshots_complete_total{OF}[10m]))"),
          ("partial", f"sum(increase(snapledger_snapshots_partial_total{OF}[10m]))")]),
        ("From start to complete", "timeseries", "s", "Of snapshots that became complete.",
         [("median", quantile(0.5, "snapshot_seconds", "job")),
          ("99 %", quantile(0.99, "snapshot_seconds", "job"))]),
        ("Not complete", "timeseries", "short", "Snapshots that a node still collects.",
         [("{{instance}} without a revision", f"snapledger_snapshots_in_progress{OF}"),
          ("{{instance}} open", f"snapledger_snapshots_open{OF}")]),
        ("Written by recordings", "timeseries", "Bps", "Bytes of recorded states, compressed.",
         [("{{instance}}", rate("snapshot_new_bytes_total"))]),
    ]),
    ("Archive", [
        ("Archive lag", "timeseries", "s", "Age of the oldest turn that the archive does not have.",
         [("{{instance}}", f"snapledger_archive_lag_seconds{OF}")]),
        ("Not archived", "timeseries", "bytes", "Durable turns that the archive does not have.",
         [("{{instance}}", f"snapledger_archive_lag_bytes{OF}")]),
        ("Puts", "timeseries", "s", "From the first attempt to put a segment until it is archived.",
         [("median", quantile(0.5, "archive_put_seconds", "job")),
          ("99 %", quantile(0.99, "archive_put_seconds", "job"))]),
        ("Repeated requests", "timeseries", "reqps", "Requests to the archive that were repeated.",
         [("{{instance}}", rate("archive_retries_total"))]),
    ]),
    ("Machines", [
        ("Free space", "timeseries", "bytes", "Below the minimum new work is refused.",
         [("{{instance}}", f"snapledger_store_free_bytes{OF}"),
          ("{{instance}} minimum", f"snapledger_store_free_space_min_bytes{OF}")]),
        ("Stores", "timeseries", "bytes", "Disk usage of each store.",
         [("{{instance}}", f"snapledger_store_disk_bytes{OF}")]),
        ("Memory", "timeseries", "bytes", "Of each program, in RAM.",
         [("{{instance}}", f"snapledger_process_resident_memory_bytes{OF}")]),
        ("File descriptors in use", "timeseries", "percentunit", "Share of the limit.",
         [("{{instance}}", f"snapledger_process_open_fds{OF} / snapledger_process_max_fds{OF}")]),
        ("Clocks", "timeseries", "s", "How far each wall clock is ahead, as seen by each node.",
         [("{{process}} at {{instance}}", f"snapledger_clock_skew_seconds{OF}")]),
        ("Starts", "timeseries", "short", "A step is a restart.",
         [("{{instance}}", f"changes(snapledger_process_start_time_seconds{OF}[1h])")]),
    ]),
]

WIDTH, STAT_HEIGHT, HEIGHT = 24, 4, 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


def panels():
    number, top, made = 0, 0, []
    for name, row in ROWS:
        number += 1
        made.append({"id": number, "type": "row", "title": name, "collapsed": False, "panels": [],
                     "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top}})
        top, left, height = top + 1, 0, 0
        for title, kind, unit, description, lines in row:
            number += 1
            width, high = (4, STAT_HEIGHT) if kind == "stat" else (8, HEIGHT)
            if left + width > WIDTH:
                top, left, height = top + height, 0, 0
            targets = [{"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression,
                        "legendFormat": legend, "instant": kind == "stat"}
                       for index, (legend, expression) in enumerate(lines)]
            made.append({"id": number, "type": kind, "title": title, "description": description,
                         "datasource": SOURCE, "targets": targets,
                         "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                         "gridPos": {"h": high, "w": width, "x": left, "y": top}})
            left, height = left + width, max(height, high)
        top += height
    return made


def dashboard():
    job = {"name": "job", "label": "Cluster (job)", "type": "query", "datasource": SOURCE,
           "query": "label_values(snapledger_build_info, job)", "refresh": 2, "includeAll": False, "multi": False}
    instance = {"name": "instance", "label": "Node", "type": "query", "datasource": SOURCE,
                "query": 'label_values(snapledger_build_info{job="$job"}, instance)', "refresh": 2,
                "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {"uid": "snapledger", "title": "snapledger", "tags": ["snapledger"], "schemaVersion": 39, "version": 1,
            "editable": True, "timezone": "utc", "refresh": "30s", "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [source, job, instance]}, "panels": panels()}


def rules():
    expressions = [expression for _, row in ROWS for *_, lines in row for _, expression in lines]
    for number, expression in enumerate(expressions):
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        yield {"record": f"panel:{number}", "expr": expression}


def main(arguments):
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if arguments == ["--rules"]:
        print(json.dumps({"groups": [{"name": "panels", "rules": list(rules())}]}))
    elif arguments == ["--check"]:
        if not FILE.is_file() or FILE.read_text("utf-8") != text:
            sys.exit(f"{FILE} is not what the list of panels gives: run {__file__}")
    elif not arguments:
        FILE.write_text(text, "utf-8")
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
