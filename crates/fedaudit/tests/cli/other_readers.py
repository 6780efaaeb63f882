"""Reads a store with DuckDB, as plain files and as Delta tables, and compares it with an answer of fedaudit.

Arguments: the folder of the store, a Parquet file with what fedaudit answered about its events. Prints JSON: for each way of
reading, how many rows there are, and how many groups and rows differ.
"""

import json
import sys

import duckdb
from deltalake import DeltaTable

store, answer = sys.argv[1:3]
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute(f"CREATE VIEW answer AS SELECT * FROM read_parquet('{answer}')")


def through_delta(table):
    """The files of the table's last version, as another implementation of Delta lists them."""
    files = DeltaTable(f"{store}/{table}").file_uris()
    return f"read_parquet({files!r}, hive_partitioning = true)" if files else "(SELECT 1 LIMIT 0)"


def plain(table):
    """What lies in the folder: files that were merged into others, too, until they are deleted."""
    return f"(SELECT DISTINCT ON (event_key) * FROM read_parquet('{store}/{table}/*/*/*.parquet', hive_partitioning = true))"


GROUPS = "source, stream, action, count(*) AS n"
COLUMNS = """event_key, source, product, stream, source_key, time, action, outcome, user_name, src_ip::VARCHAR AS src_ip,
             session_key, record_id, raw_sha256, raw"""


def one(sql):
    return db.execute(sql).fetchone()[0]


def compared(events):
    def differ(stored, asked):
        return sum(one(f"SELECT count(*) FROM ({a} EXCEPT ALL {b})") for a, b in [(stored, asked), (asked, stored)])

    by_day = differ(
        f"SELECT {GROUPS}, day::DATE AS day FROM {events} GROUP BY ALL",
        f"SELECT {GROUPS}, time::DATE AS day FROM answer GROUP BY ALL",
    )
    rows = differ(f"SELECT {COLUMNS} FROM {events}", f"SELECT {COLUMNS} FROM answer")
    return {"rows": one(f"SELECT count(*) FROM {events}"), "groups_differ": by_day, "rows_differ": rows}


delta = through_delta("events")
coverage = through_delta("coverage")
print(
    json.dumps(
        {
            "answered": one("SELECT count(*) FROM answer"),
            "plain": compared(plain("events")),
            "delta": compared(delta),
            "files": one(f"SELECT count(DISTINCT filename) FROM read_parquet('{store}/events/*/*/*.parquet', filename = true)"),
            "files_of_delta": len(DeltaTable(f"{store}/events").file_uris()),
            "new_in_ledger": one(f"SELECT sum(rows_new) FROM {coverage} WHERE table_name = 'events'"),
            "unknown_fetches": one(
                f"SELECT count(*) FROM {delta} WHERE fetch_id NOT IN (SELECT fetch_id FROM {coverage})"
            ),
            "sessions": one(f"SELECT count(*) FROM {through_delta('sessions')}"),
            "tables": [
                table
                for table in ["events", "sessions", "rejected", "coverage", "amendments", "identities"]
                if one(f"SELECT count(*) FROM {through_delta(table)}") >= 0
            ],
        }
    )
)
