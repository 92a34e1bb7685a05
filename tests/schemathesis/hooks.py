"""What the schemas cannot say, so that every answer that remains is judged in full."""

import datetime
import re

import schemathesis
from schemathesis.core import NotSet


def with_integers(value):
    """1.0 is an integer to JSON Schema; here amounts are written without a fraction, and all else is refused."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: with_integers(field) for name, field in value.items()}
    return value


def is_over(at):
    """Whether an instant is known to be over: what will be is not known, and asking about it is refused."""
    try:
        instant = datetime.datetime.fromisoformat(at.upper().replace("Z", "+00:00"))
        return instant < datetime.datetime.now(datetime.timezone.utc)
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def before_call(context, case, kwargs):
    # Examples do not come by map_case.
    if case.query and (case.meta is None or not case.meta.generation.mode.is_negative):
        one_past(case.query)
        some_snapshots(case.query)


def one_past(query):
    """A question about the past names an instant, a cut that was answered, or a snapshot; never two of them."""
    if "at" in query:
        query.pop("snapshot", None)
        if not is_over(query["at"]):
            query["at"] = "2026-01-31T12:00:00Z"
    # Opaque like a cursor.
    query.pop("cut", None)


def some_snapshots(query):
    """A filter that nothing can pass is refused: it names a process of the cluster, and an end that is not before its begin."""
    if "initiator" in query:
        query["initiator"] = "n1"
    if "from" in query and "to" in query:
        query["to"] = query["from"]


@schemathesis.hook
def map_case(context, case):
    case.body = with_integers(case.body)
    # A cursor is opaque: one that is well-formed and was never handed out is refused.
    cursor = (case.query or {}).get("cursor")
    if isinstance(cursor, str) and re.fullmatch("([0-9a-f]{2})+", cursor):
        del case.query["cursor"]
    # The body of a snapshot may be left out; where the tool means that as a violation it sends a list instead.
    is_negative = case.meta is not None and case.meta.generation.mode.is_negative
    if isinstance(case.body, NotSet) and case.operation.label == "POST /v1/snapshots" and is_negative:
        case.body = []
    return case
