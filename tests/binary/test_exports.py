"""Exports of many rows: the memory they take, what they add up to, and those that end before their end."""

import calendar
import contextlib
import csv
import decimal
import http.client
import http.server
import io
import json
import re
import sqlite3
import threading

import harness
import market
import pytest
from market import MODEL

KEYS, HOURS = 400, 300  # 120,000 rows of some 1,000 bytes
MEMORY_MB = 80  # that they may take: a row group of Parquet, and its copies


def cli(home, *words, code=0):
    done = harness.run_cli(*words, home=home)
    assert done.returncode == code, done
    return done.stdout


def plant_rows(home):
    """Of a month that is over; as if each key was used in each hour. No server runs. Returns the month."""
    with contextlib.closing(sqlite3.connect(home / "ledger.db")) as database, database:
        cursor = database.execute("SELECT * FROM meters WHERE kind = 1 LIMIT 1")
        row = list(cursor.fetchone())
        names = [column[0] for column in cursor.description]
        first = calendar.timegm((2025, 11, 1, 0, 0, 0)) // 3600
        at_hour, at_key = names.index("hour"), names.index("key")

        def rows():
            for hour in range(HOURS):
                for key in range(KEYS):
                    row[at_hour], row[at_key] = first + hour, f"key_{key:016d}"
                    yield row

        database.executemany(f"INSERT INTO meters VALUES ({','.join('?' * len(row))})", rows())
        columns = "org, project, key, model, provider, provider_model, own_key, version, kind"
        sums = ", ".join(f"sum({name})" for name in names[names.index("kind") + 1 :])
        old = f"FROM meters WHERE hour < {first + 30 * 24} GROUP BY 1, {columns}"
        database.execute(f"INSERT INTO day_meters SELECT hour / 24 * 24, {columns}, {sums} {old}")
    return "2025-11"


def peak_mb(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) >> 10


@contextlib.contextmanager
def many_rows(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("10", "30")) as site:
        home = site.server.home
        key = json.loads(cli(home, "keys", "create", "--name", "k", "--json"))
        body = {"model": MODEL, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 3}
        assert site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"}).status == 200
        cli(home, "bill")
        site.server.kill()
        month = plant_rows(home)
        yield site, home, month


def test_an_export_of_many_rows_takes_little_memory_and_adds_up(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    with many_rows(tmp_path) as (site, home, month):
        charge = decimal.Decimal(json.loads(cli(home, "bill", "--period", month, "--json"))["statement"]["charge_nanousd"]).scaleb(-9)
        here = tmp_path / "here.csv"
        cli(home, "bill", "export", "--period", month, "--out", here)
        with harness.Server(home, "--config", site.config, models=site.models, env=market.keys(site.sites)) as server:
            before = peak_mb(server)
            for form in ("csv", "parquet"):
                out = tmp_path / f"focus.{form}"
                cli(home, "bill", "export", "--period", month, "--format", form, "--out", out)
                assert peak_mb(server) - before < MEMORY_MB, form
            assert (tmp_path / "focus.csv").read_bytes() == here.read_bytes(), "as without a server"
            assert cli(home, "bill", "export", "--period", month) == here.read_text(), "and on stdout"
        rows = list(csv.DictReader(io.StringIO(here.read_text())))
        assert len(rows) == KEYS * HOURS and sum(decimal.Decimal(row["BilledCost"]) for row in rows) == charge > 0
        table = parquet.read_table(tmp_path / "focus.parquet")
        assert table.num_rows == len(rows) and sum(table["BilledCost"].to_pylist()) == charge
        assert table["x_KeyId"].to_pylist() == [row["x_KeyId"] for row in rows]


def test_an_export_that_ends_half_way_is_no_export(tmp_path):
    with many_rows(tmp_path) as (site, home, month):
        with harness.Server(home, "--config", site.config, models=site.models, env=market.keys(site.sites)) as server:
            reader = http.client.HTTPConnection("127.0.0.1", server.port, timeout=harness.PATIENCE_S)
            admin = (home / "admin-token").read_text().strip()
            reader.request("GET", f"/tw/v1/bill/focus?period={month}", headers={"Authorization": f"Bearer {admin}"})
            answer = reader.getresponse()
            assert answer.status == 200 and answer.read(100_000)
            server.kill()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()

    class Half(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\na,b\r\n\r\n")
            self.close_connection = True

        def log_message(self, *words):
            pass

    out = tmp_path / "focus.csv"
    out.write_text("the last one")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half) as half:
        threading.Thread(target=half.serve_forever, daemon=True).start()
        done = harness.run_cli("bill", "export", "--out", out, "--host", "127.0.0.1", "--port", half.server_port, home=tmp_path / "other")
        assert done.returncode != 0 and done.stderr, done
        half.shutdown()
    assert out.read_text() == "the last one" and sorted(path.name for path in tmp_path.glob("*focus*")) == ["focus.csv"]
