#!/usr/bin/env python3
"""Judges federated answers by the truth file of a generated organisation. It shares no code with the engine.

    truth.py TRUTH.json expected
        prints what a complete answer holds: counts of events by (product, action, outcome, user_name, hour), and sessions.
    truth.py TRUTH.json compare EVENTS.json SESSIONS.json
        compares two answers of `fedaudit query --format json` with it and prints every difference; exit code 1 on any.

The two questions are:

    SELECT product, action, outcome, user_name, date_trunc('hour', time) AS hour, count(*) AS n
    FROM events GROUP BY product, action, outcome, user_name, date_trunc('hour', time)

    SELECT product, session_id, user_name, start_time, end_time, state FROM sessions
"""

import json
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone

EVENT_KEYS = ("product", "action", "outcome", "user_name", "hour")
SESSION_KEYS = ("product", "session_id", "user_name", "start_time", "end_time", "state")
SHOWN = 40


def instant(text):
    """RFC 3339, with or without zone and fraction, as an aware datetime; times without a zone are UTC."""
    if text is None:
        return None
    text = text.strip().replace(" ", "T")
    if text[-1] in "zZ":
        text = text[:-1] + "+00:00"
    # fromisoformat of older Pythons takes three or six digits only.
    if "." in text:
        head, tail = text.split(".", 1)
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=timezone.utc) if parsed.tzinfo is None else parsed.astimezone(timezone.utc)


def canonical(text):
    """One spelling for each instant."""
    parsed = instant(text)
    if parsed is None:
        return None
    fraction = f".{parsed.microsecond:06d}".rstrip("0") if parsed.microsecond else ""
    return parsed.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def hour_of(text):
    parsed = instant(text)
    if parsed is None:
        return None
    return canonical(str(parsed - timedelta(minutes=parsed.minute, seconds=parsed.second, microseconds=parsed.microsecond)))


def order(key):
    """Sorts tuples with missing parts."""
    return tuple(("", "") if part is None else ("x", str(part)) for part in key)


def expected_events(truth):
    return Counter(
        (event["product"], event["action"], event["outcome"], event["user_name"], hour_of(event["time"]))
        for event in truth["events"]
        if event["observable"]
    )


def session_key(row):
    values = {**row, "start_time": canonical(row["start_time"]), "end_time": canonical(row["end_time"])}
    return tuple(values[key] for key in SESSION_KEYS)


def expected_sessions(truth):
    return Counter(session_key(session) for session in truth["sessions"] if session["observable"])


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        answer = json.load(file)
    rows = answer["rows"] if isinstance(answer, dict) else answer
    receipt = answer.get("receipt") if isinstance(answer, dict) else None
    return rows, receipt


def with_gaps(row, keys):
    """A JSON writer may leave NULL out."""
    return {key: row.get(key) for key in keys}


def given_events(rows):
    counts = Counter()
    for row in rows:
        values = with_gaps(row, EVENT_KEYS)
        values["hour"] = canonical(values["hour"])
        counts[tuple(values[key] for key in EVENT_KEYS)] += int(row["n"])
    return counts


def given_sessions(rows):
    return Counter(session_key(with_gaps(row, SESSION_KEYS)) for row in rows)


def differences(what, keys, expected, given):
    lines = []
    for key in sorted(expected.keys() | given.keys(), key=order):
        if expected[key] != given[key]:
            named = ", ".join(f"{name}={part!r}" for name, part in zip(keys, key))
            lines.append(f"{what}: {named}: expected {expected[key]}, given {given[key]}")
    missing = sum((expected - given).values())
    surplus = sum((given - expected).values())
    print(f"{what}: {sum(expected.values())} expected, {sum(given.values())} given, {missing} missing, {surplus} too many")
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"{what}: and {len(lines) - SHOWN} more")
    return bool(lines)


def explain(receipt):
    """An answer that differs may have said so: the receipt is shown, not believed."""
    if receipt is not None:
        print("receipt:", json.dumps(receipt)[:2000], file=sys.stderr)


def expected(truth):
    events = expected_events(truth)
    sessions = expected_sessions(truth)
    answer = {
        "events": [dict(zip(EVENT_KEYS, key), n=events[key]) for key in sorted(events, key=order)],
        "sessions": [dict(zip(SESSION_KEYS, key)) for key in sorted(sessions.elements(), key=order)],
    }
    json.dump(answer, sys.stdout, indent=1)
    print()
    return 0


def compare(truth, events_path, sessions_path):
    events, events_receipt = rows_of(events_path)
    sessions, sessions_receipt = rows_of(sessions_path)
    events_differ = differences("events", EVENT_KEYS, expected_events(truth), given_events(events))
    sessions_differ = differences("sessions", SESSION_KEYS, expected_sessions(truth), given_sessions(sessions))
    if events_differ:
        explain(events_receipt)
    if sessions_differ:
        explain(sessions_receipt)
    return 1 if events_differ or sessions_differ else 0


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[0], encoding="utf-8") as file:
        truth = json.load(file)
    match arguments[1:]:
        case ["expected"]:
            return expected(truth)
        case ["compare", events_path, sessions_path]:
            return compare(truth, events_path, sessions_path)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
