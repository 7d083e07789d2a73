"""The server dies at named points: right before and right behind calls that talk to a provider or a client, and calls that
write the journal and the database, at its start too. The judge is the simulated provider's own bill.

`TW_MONEY_CRASHES` sets how often each point is taken (1); `make prove` takes more.
"""

import concurrent.futures
import http.client
import os
import pathlib
import random
import subprocess

import harness
import market
from test_money import PRICES, chat, make_key, nano, usage

TIMES = int(os.environ.get("TW_MONEY_CRASHES", "1"))
LIBRARY = pathlib.Path(os.environ.get("CRASH_POINTS_LIBRARY") or harness.ROOT / "build/tests/libcrash_points.so").resolve()
CLIENTS = 8
PATIENCE_S = 20  # for a point that is not reached

# The call, what it is made on, and up to which of its calls one is the last.
POINTS = [
    ("connect", "upstream", 4),
    ("send", "upstream", 12),
    ("recv", "upstream", 60),
    ("send", "client", 60),
    ("recv", "client", 40),
    ("fdatasync", "journal", 40),
    ("fsync", "journal", 2),
    ("fallocate", "journal", 1),
    ("rename", "journal", 1),
    ("pwrite", "ledger.db-wal", 60),
    ("pwrite", "ledger.db", 1),
    ("fdatasync", "ledger.db-wal", 2),
]


def die(site, token, when, call, what, nth):
    """Starts the server that is to die there, and asks it until it does; whether it did."""
    env = market.keys(site.sites) | {
        "LD_PRELOAD": str(LIBRARY),
        "TW_CRASH_AT": f"{when}:{call}:{what}:{nth}",
        "TW_CRASH_UPSTREAM_PORT": str(site.sim.port),
    }
    words = ["--config", site.config, "--port", str(site.server.port)]
    try:
        server = harness.Server(site.server.home, *words, models=site.models, env=env)
    except (AssertionError, OSError, http.client.HTTPException):
        return True  # while it started

    def client(index):
        body = {"model": market.MODEL, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 30}
        while server.process.poll() is None:
            try:
                server.post("/v1/chat/completions", body | {"stream": index % 2 == 0}, {"Authorization": f"Bearer {token}"})
            except (OSError, http.client.HTTPException):
                return

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, index) for index in range(CLIENTS)]
        try:
            server.process.wait(PATIENCE_S)
            died = True
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
            died = False
        for one in clients:
            one.result()
    server.process.stdout.close()
    return died


def test_a_kill_at_any_named_point_overspends_nothing_and_loses_nothing(tmp_path):
    chance = random.Random(11)
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        home, sim = site.server.home, site.sim
        sim.fault(tokens_per_s=600)
        key = make_key(home, "dying", "--budget", "100000")
        words = ["--config", site.config, "--port", str(site.server.port)]
        missed = []
        for when, (call, what, most) in [(when, point) for point in POINTS for when in ("before", "after")] * TIMES:
            where = (when, call, what, chance.randint(1, most))
            site.server.process.kill()
            site.server.process.wait()
            site.server.process.stdout.close()
            if not die(site, key["token"], *where):
                missed.append(where)
            site.server.process = harness.Server(home, *words, models=site.models, env=market.keys(site.sites)).process
            sim.wait_for(lambda: sim.state()["streams"] == 0, "no stream left open")
            spent = usage(home, key["id"])
            bill = sim.bill()["total"]
            settled, doubtful, requests = int(spent["cost_nanousd"]), int(spent["in_doubt_nanousd"]), spent["requests"]
            assert settled <= nano(bill), f"charged twice: {where}"
            assert nano(bill) <= settled + doubtful, f"lost: {where}"
            assert bill["requests"] <= requests["settled"] + requests["in_doubt"], (where, bill, requests)
            assert requests["running"] == 0 and int(spent["held_nanousd"]) == 0, f"a hold that nobody has: {where}"
        assert chat(site.server, key["token"], max_tokens=5).status == 200
        verified = harness.run_cli("bill", "verify", home=home)
        assert verified.returncode == 0, verified
        assert not missed, f"never reached: {missed}"
