"""What collecting costs: time, memory and bytes on the disk, beside what others need for the same records.

usage: collect_bench.py FEDAUDIT EVENTS [dlt] [dlt-tuned] [tenzir]      e.g. target/release/fedaudit 1000000

Starts the demo with Canvas' log of logins alone, in a process of its own, and reads it whole: by `fedaudit collect` into a
new store three times, then by each of the others once. `dlt` loads it into DuckDB as its documentation begins
(a REST source that follows Link headers), `dlt-tuned` without nested tables, by Parquet, a window for each worker;
`tenzir` writes Parquet. Needs `pip install duckdb==2.0.1 deltalake==1.6.6 dlt==1.31.0 pyarrow==26.0.1 tenzir==6.20.0`, as far as asked for.
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import tomllib
from datetime import datetime, timedelta, timezone

from stand_ins import demo


def main(fedaudit, events, *others):
    with demo(fedaudit, "--only", "canvas", "--events", events) as (_, config):
        source = next(s for s in tomllib.load(open(config, "rb"))["source"] if s["type"] == "canvas")
        folder = os.path.dirname(config)
        rates = [collect(fedaudit, config, source["name"], os.path.join(folder, f"store-{n}")) for n in range(3)]
        ours = statistics.median(rates)
        for other in others:
            rate = {"dlt": dlt, "dlt-tuned": dlt_tuned, "tenzir": tenzir}[other](source, folder)
            print(f"fedaudit is {ours / rate:.1f} times as fast as {other}")


def collect(fedaudit, config, source, store):
    command = [fedaudit, "collect", "--config", config, source]
    began = time.perf_counter()
    run = subprocess.Popen(command, env={**os.environ, "FEDAUDIT_STORE": store}, stdout=subprocess.PIPE, text=True)
    said = run.stdout.read()
    _, status, usage = os.wait4(run.pid, 0)
    seconds = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"collect: {said}")
    rows, size, kept = on_disk(store)
    processor = usage.ru_utime + usage.ru_stime
    print(
        f"fedaudit collect: {rows} events in {seconds:.2f} s, {rows / seconds:.0f}/s"
        f" ({processor:.2f} s of processor time), {usage.ru_maxrss / 1024:.0f} MB at most,"
        f" {(size - sum(kept.values())) / rows:.1f} bytes per event on the disk, and besides "
        + ", ".join(f"{name} {size / rows:.1f}" for name, size in kept.items())
    )
    return rows / seconds


def on_disk(store):
    """Rows, bytes of all files of events, and bytes of the columns that keep the evidence."""
    import duckdb
    from deltalake import DeltaTable

    # Those that were merged into others lie there for a day.
    files = [uri.removeprefix("file://") for uri in DeltaTable(f"{store}/events").file_uris()]
    rows = duckdb.execute(f"SELECT count(*) FROM read_parquet({files})").fetchone()[0]
    size = sum(os.path.getsize(file) for file in files)
    columns = duckdb.execute(
        f"SELECT path_in_schema, sum(total_compressed_size) FROM parquet_metadata({files})"
        " WHERE path_in_schema IN ('raw', 'raw_sha256', 'event_key') GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return rows, size, {name: int(size) for name, size in columns}


def token(source):
    return pathlib.Path(source["token"].removeprefix("file:")).read_text().strip()


def loaded(name, source, folder, resources, **how):
    import dlt

    os.environ["REQUESTS_CA_BUNDLE"] = source["tls"]["ca_file"]
    os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"})
    from dlt.sources.rest_api import rest_api_source

    client = {
        "base_url": source["url"].rstrip("/") + "/api/v1/",
        "auth": {"type": "bearer", "token": token(source)},
        "paginator": {"type": "header_link"},
    }
    defaults = {"endpoint": {"data_selector": "events"}}
    read = rest_api_source({"client": client, "resource_defaults": defaults, "resources": resources}, **how)
    database = os.path.join(folder, f"{name}.duckdb")
    pipeline = dlt.pipeline(
        pipeline_name=re.sub(r"\W", "_", name),
        destination=dlt.destinations.duckdb(database),
        dataset_name="canvas",
        pipelines_dir=os.path.join(folder, name),
    )
    return pipeline, read, database


def told(name, database, seconds):
    import duckdb

    with duckdb.connect(database, read_only=True) as opened:
        rows = opened.execute("SELECT count(*) FROM canvas.events").fetchone()[0]
    print(f"{name}: {rows} events in {seconds:.2f} s, {rows / seconds:.0f}/s")
    return rows / seconds


PATH = "audit/authentication/accounts/self"


def dlt(source, folder):
    resource = {"name": "events", "endpoint": {"path": PATH, "params": {"per_page": 100}}}
    pipeline, read, database = loaded("dlt", source, folder, [resource])
    began = time.perf_counter()
    pipeline.run(read)
    return told("dlt", database, time.perf_counter() - began)


def dlt_tuned(source, folder):
    os.environ.update({
        "EXTRACT__WORKERS": "8",
        "NORMALIZE__WORKERS": "2",
        "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "100000",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    })
    now = datetime.now(timezone.utc)
    bounds = [now - timedelta(days=days) for days in range(16, -1, -2)]
    text = lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ")
    resources = [
        {
            "name": f"window_{number}",
            "table_name": "events",
            "parallelized": True,
            "endpoint": {
                "path": PATH,
                "params": {"per_page": 100, "start_time": text(since), "end_time": text(until)},
            },
        }
        for number, (since, until) in enumerate(zip(bounds, bounds[1:]))
    ]
    pipeline, read, database = loaded("dlt-tuned", source, folder, resources, max_table_nesting=0)
    began = time.perf_counter()
    pipeline.run(read, loader_file_format="parquet")
    return told("dlt-tuned", database, time.perf_counter() - began)


def tenzir(source, folder):
    import duckdb

    target = os.path.join(folder, "tenzir.parquet")
    pipeline = (
        f'from_http "{source["url"].rstrip("/")}/api/v1/{PATH}?per_page=100",'
        f' headers={{Authorization: "Bearer {token(source)}"}}, paginate="link",'
        f' tls={{cacert: "{source["tls"]["ca_file"]}"}} {{ read_json }}\n'
        f'unroll events\nselect event=events\nto_file "{target}" {{ write_parquet }}\n'
    )
    began = time.perf_counter()
    subprocess.run(["tenzir", pipeline], check=True)
    seconds = time.perf_counter() - began
    rows = duckdb.execute(f"SELECT count(*) FROM '{target}'").fetchone()[0]
    print(f"tenzir: {rows} events in {seconds:.2f} s, {rows / seconds:.0f}/s")
    return rows / seconds


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
