"""A million recorded requests, and how long the pages take that add them up.

    build/venv/bin/python bench/usage.py [--rows 1000000] [--out bench/results/usage.md]

The rows are written into the tables of a data folder that a server has made, with the sums that the recorder keeps of them; then
the real server answers.
"""

import argparse
import datetime
import json
import pathlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "binary"))
import harness  # noqa: E402

DAYS, KEYS, MODELS, PROVIDERS = 30, 200, 40, 6


def fill(database, rows):
    chance = random.Random(5)
    connection = sqlite3.connect(database)
    connection.executescript("PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;")
    end_s = int(time.time()) - 3600
    # A key asks for a few models, each at one or two providers.
    habits = [
        [(f"org/model-{chance.randrange(MODELS)}", f"site-{chance.randrange(PROVIDERS)}") for _ in range(4)] for _ in range(KEYS)
    ]

    def attempts():
        for number in range(rows):
            key = chance.randrange(KEYS)
            model, provider = chance.choice(habits[key])
            admitted = (end_s - chance.randrange(DAYS * 86_400)) * 10**9 + number
            tokens_in, tokens_out = chance.randrange(20, 4000), chance.randrange(1, 800)
            cost = tokens_in * 100 + tokens_out * 300
            yield (
                number.to_bytes(16, "big"), 1, f"org_{key % 10}", "prj_1", f"key_{key}", f"usr_{key}", model, provider, "m", 0, 1, 3,
                admitted, admitted + 10**9, cost * 2, cost, cost, 1, tokens_in, 0, tokens_out, 0, "provider", "stop", "", "",
            )  # fmt: skip

    columns = (
        "request, attempt, org, project, key, user, model, provider, provider_model, own_key, priced, state, admitted_ns, ended_ns, "
        "held, cost, charge, price_version, input, cached, output, reasoning, source, finish, upstream_id, reason"
    )
    with connection:
        connection.executemany(f"INSERT INTO attempts ({columns}) VALUES ({','.join('?' * 26)})", attempts())
        summed = "count(*), 0, 0, sum(cost), sum(charge), sum(input), sum(cached), sum(output), sum(reasoning)"
        for table, width in (("sums", 900), ("day_sums", 86_400)):
            connection.execute(
                f"INSERT INTO {table} SELECT admitted_ns / {width}000000000, org, key, model, provider, {summed} "
                "FROM attempts GROUP BY 1, 2, 3, 4, 5"
            )
        for table, hour in (("meters", "ended_ns / 3600000000000"), ("day_meters", "ended_ns / 86400000000000 * 24")):
            same = f"{hour}, org, project, key, model, provider, provider_model, own_key, price_version"
            for kind, quantity, cost in ((0, "count(*)", "0"), (1, "sum(input)", "sum(input * 100)"), (4, "sum(output)", "sum(output * 300)")):
                connection.execute(
                    f"INSERT INTO {table} SELECT {same}, {kind}, {quantity}, {cost}, {cost} FROM attempts GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
                )
    counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("attempts", "sums", "day_sums", "meters", "day_meters")}
    total = connection.execute("SELECT count(*), sum(cost) FROM attempts").fetchone()
    connection.close()
    return counts, total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder) / "home"
        made = harness.run_cli("keys", "create", "--name", "bench", home=home)
        assert made.returncode == 0, made
        counts, (rows, cost) = fill(home / "ledger.db", flags.rows)
        models = pathlib.Path(folder) / "models"
        models.mkdir()
        day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=10)
        pages = {
            "everything": "/tw/v1/usage",
            "one model": "/tw/v1/usage?model=org/model-7",
            "one provider": "/tw/v1/usage?provider=site-3",
            "from noon to noon, ten days": f"/tw/v1/usage?from={day}T12:00:00Z&to={day + datetime.timedelta(days=10)}T12:00:00Z",
            "one day": f"/tw/v1/usage?from={day}&to={day + datetime.timedelta(days=1)}",
            "the bill of a day": f"/tw/v1/bill?period={day}",
            "the bill of a month": f"/tw/v1/bill?period={str(day)[:7]}",
        }
        lines = []
        with harness.Server(home, models=models, ready=False) as server:
            server.token = (home / "admin-token").read_text().strip()
            for name, path in pages.items():
                times = []
                for _ in range(flags.tries):
                    began = time.perf_counter()
                    reply = server.get(path)
                    times.append((time.perf_counter() - began) * 1000)
                    assert reply.status == 200, reply.body
                if name == "everything":
                    answer = reply.json()
                    assert answer["requests"]["settled"] == rows and int(answer["cost_nanousd"]) == cost, answer
                times.sort()
                lines.append((name, statistics.median(times), times[-1]))
        text = f"# Pages over {counts['attempts']:,} recorded requests\n\n"
        text += f"{KEYS} keys over {DAYS} days; rows: " + ", ".join(f"{count:,} {table}" for table, count in counts.items()) + ".\n\n"
        text += "| page | median ms | slowest of " + f"{flags.tries} |\n|---|---:|---:|\n"
        text += "".join(f"| {name} | {median:.1f} | {most:.1f} |\n" for name, median, most in lines)
        print(text)
        if flags.out:
            flags.out.write_text(text)
        json.dump({name: median for name, median, _ in lines}, sys.stderr)


if __name__ == "__main__":
    main()
