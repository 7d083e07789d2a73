"""A million recorded requests, and how long the pages take that add them up.

usage: usage.py [--rows N] [--tries N] [--limit-ms N] [--out FOLDER]

The rows are written into the tables of a data folder that a server has made, with the sums that the recorder keeps of them; then
the real server answers. Writes usage.md, and exits 1 when the median of a page is not below the limit.
"""

import argparse
import datetime
import pathlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "binary"))
import harness  # noqa: E402
import machine  # noqa: E402

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
                f"INSERT INTO {table} SELECT admitted_ns / {width}000000000, org, key, model, provider, {summed}, 0 "
                "FROM attempts GROUP BY 1, 2, 3, 4, 5"
            )
        for table, hour in (("meters", "ended_ns / 3600000000000"), ("day_meters", "ended_ns / 86400000000000 * 24")):
            same = f"{hour}, org, project, key, model, provider, provider_model, own_key, price_version"
            for kind, quantity, cost in ((0, "count(*)", "0"), (1, "sum(input)", "sum(input * 100)"), (4, "sum(output)", "sum(output * 300)")):
                connection.execute(
                    f"INSERT INTO {table} SELECT {same}, {kind}, {quantity}, {cost}, {cost}, 0 FROM attempts GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"
                )
    tables = ("attempts", "sums", "day_sums", "meters", "day_meters")
    counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    total = connection.execute("SELECT count(*), sum(cost) FROM attempts").fetchone()
    connection.close()
    return counts, total


def pages():
    day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=10)
    return {
        "everything": "/tw/v1/usage",
        "one model": "/tw/v1/usage?model=org/model-7",
        "one provider": "/tw/v1/usage?provider=site-3",
        "from noon to noon, ten days": f"/tw/v1/usage?from={day}T12:00:00Z&to={day + datetime.timedelta(days=10)}T12:00:00Z",
        "one day": f"/tw/v1/usage?from={day}&to={day + datetime.timedelta(days=1)}",
        "the bill of a day": f"/tw/v1/bill?period={day}",
        "the bill of a month": f"/tw/v1/bill?period={str(day)[:7]}",
    }


def measure(folder, rows, tries):
    """The rows of each table, and (page, median ms, slowest ms)s."""
    home, models = folder / "home", folder / "models"
    made = harness.run_cli("keys", "create", "--name", "bench", home=home)
    assert made.returncode == 0, made
    counts, (count, cost) = fill(home / "ledger.db", rows)
    models.mkdir()
    lines = []
    with harness.Server(home, models=models, ready=False) as server:
        server.token = (home / "admin-token").read_text().strip()
        for name, path in pages().items():
            times = []
            for _ in range(tries):
                began = time.perf_counter()
                reply = server.get(path)
                times.append((time.perf_counter() - began) * 1000)
                assert reply.status == 200, reply.body
            if name == "everything":
                answer = reply.json()
                assert answer["requests"]["settled"] == count and int(answer["cost_nanousd"]) == cost, answer
            lines.append((name, statistics.median(times), max(times)))
    return counts, lines


def report(counts, lines, args):
    text = f"# Pages over {counts['attempts']:,} recorded requests\n\n{machine.header(machine.describe(args, 'none'))}\n\n"
    text += f"{KEYS} keys over {DAYS} days; rows: " + ", ".join(f"{count:,} {table}" for table, count in counts.items())
    text += f". A page's median is to be below {args.limit_ms:g} ms.\n\n"
    text += f"| page | median ms | slowest of {args.tries} |\n|---|---:|---:|\n"
    for name, median, most in lines:
        text += f"| {name} | {median:.1f}{'' if median < args.limit_ms else ', **missed**'} | {most:.1f} |\n"
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--limit-ms", type=float, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, lines = measure(pathlib.Path(folder), args.rows, args.tries)
    args.out.mkdir(parents=True, exist_ok=True)
    text = report(counts, lines, args)
    (args.out / "usage.md").write_text(text)
    print(text)
    if late := [f"{name} ({median:.1f} ms)" for name, median, _ in lines if median >= args.limit_ms]:
        sys.exit(f"missed, {args.limit_ms:g} ms: {', '.join(late)}")


if __name__ == "__main__":
    main()
