"""Questions to a store, beside DuckDB on the same files.

usage: stored_bench.py FEDAUDIT STORE EVENTS ROUNDS      e.g. target/release/fedaudit /tmp/store 1000000 10

Fills the store, unless it is there: each round starts the demo with another organisation of so many events, under other
names, and collects it. Then asks twelve questions five times each, in turns, of `fedaudit query --stored` and of DuckDB with as
many threads, over the files that the table names. What is compared is the time of the question (`elapsed_ms` of the receipt),
without the start of the program. Needs `pip install duckdb==2.0.1 deltalake==1.6.6`.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from stand_ins import demo

QUESTIONS = {
    "count": "SELECT count(*) AS n FROM events",
    "by action": "SELECT action, outcome, count(*) AS n FROM events GROUP BY action, outcome",
    "by source": "SELECT source, stream, count(*) AS n, min(time) AS first, max(time) AS last FROM events GROUP BY 1, 2",
    "one day": "SELECT count(*) AS n FROM events WHERE time >= {day} AND time < {day} + INTERVAL '1 day'",
    "by user and hour": "SELECT user_name, date_trunc('hour', time) AS hour, count(*) AS n FROM events GROUP BY 1, 2",
    "users by day": "SELECT date_trunc('day', time) AS day, count(DISTINCT user_name) AS n FROM events GROUP BY 1",
    "newest": "SELECT time, source, user_name, action, src_ip FROM events ORDER BY time DESC LIMIT 20",
    "failures": "SELECT user_name, count(*) AS n FROM events WHERE action = 'auth.login' AND outcome = 'failure'"
    " GROUP BY 1 ORDER BY n DESC, 1 LIMIT 10",
    "one address": "SELECT time, source, user_name, action FROM events WHERE src_ip = '{address}' ORDER BY time LIMIT 100",
    "one session": "SELECT time, action, user_name FROM events WHERE session_key = '{session}' ORDER BY time",
    "text": "SELECT count(*) AS n FROM events WHERE target_name LIKE '%report%'",
    "join": "SELECT s.protocol, e.action, count(*) AS n FROM sessions s JOIN events e ON e.session_key = s.session_key"
    " WHERE s.source = '{gateway}' AND e.source = '{gateway}' GROUP BY 1, 2",
}


def main(fedaudit, store, events, rounds):
    import duckdb
    from deltalake import DeltaTable

    store = os.path.abspath(store)
    if not os.path.exists(store):
        for number in range(int(rounds)):
            fill(fedaudit, store, events, number)
    duck = duckdb.connect()
    duck.execute("SET threads = 2; SET TimeZone = 'UTC'")
    for table in ("events", "sessions"):
        files = [uri.removeprefix("file://") for uri in DeltaTable(f"{store}/{table}").file_uris()]
        duck.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({files}, hive_partitioning = true)")
    rows, first, last = duck.execute("SELECT count(*), min(time), max(time) FROM events").fetchone()
    session = duck.execute("SELECT session_key FROM events WHERE session_key IS NOT NULL LIMIT 1").fetchone()[0]
    address = duck.execute("SELECT src_ip FROM events WHERE src_ip IS NOT NULL LIMIT 1").fetchone()[0]
    gateway = duck.execute("SELECT min(source) FROM sessions WHERE product = 'sps'").fetchone()[0]
    middle = first + (last - first) / 2
    day = f"TIMESTAMP '{middle:%Y-%m-%d} 00:00:00Z'"
    print(f"{rows} events, {first} to {last}")
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "c.toml")
        # A source there has to be; it is not asked.
        source = '[[source]]\nname = "none"\ntype = "canvas"\nurl = "https://127.0.0.1:9"\ntoken = "env:NONE"\n'
        pathlib.Path(config).write_text(f'store = "{store}"\n{source}')
        os.environ["NONE"] = "unused"
        for name, question in QUESTIONS.items():
            sql = question.format(day=day, address=address, session=session, gateway=gateway)
            theirs_sql = sql.replace("TIMESTAMP '", "TIMESTAMPTZ '")
            ours, theirs = [], []
            for _ in range(5):
                ours.append(asked(fedaudit, config, sql, folder))
                began = time.perf_counter()
                answer = duck.execute(theirs_sql).fetchall()
                theirs.append(time.perf_counter() - began)
            count = sum(1 for _ in open(os.path.join(folder, "answer.csv"))) - 1
            same = "" if count == len(answer) else f"  ROWS DIFFER: {count} and {len(answer)}"
            ours, theirs = statistics.median(ours), statistics.median(theirs)
            print(f"{name:18} {ours * 1000:8.0f} ms, DuckDB {theirs * 1000:8.0f} ms: {ours / theirs:.2f} x{same}")


def asked(fedaudit, config, sql, folder):
    receipt = os.path.join(folder, "receipt.json")
    command = [fedaudit, "query", "--config", config, "--stored", "--all-time", "--format", "csv"]
    with open(os.path.join(folder, "answer.csv"), "w") as answer:
        run = subprocess.run([*command, "--receipt", receipt, sql], stdout=answer, stderr=subprocess.PIPE, text=True)
    # An open end means now, and nobody collected what is of just now.
    if run.returncode not in (0, 3):
        sys.exit(run.stderr)
    return json.load(open(receipt))["elapsed_ms"] / 1000


def fill(fedaudit, store, events, number):
    with demo(fedaudit, "--seed", str(number + 1), "--events", events) as (_, config):
        text = pathlib.Path(config).read_text()
        named = re.sub(r'^name = "(.*)"', rf'name = "\1-of-{number}"', text, flags=re.M)
        pathlib.Path(config).write_text(named)
        began = time.perf_counter()
        environment = {**os.environ, "FEDAUDIT_STORE": store}
        subprocess.run([fedaudit, "collect", "--config", config], env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"round {number}: collected in {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
