"""A server that is killed again and again while clients ask it. Needs a market.Market."""

import concurrent.futures
import http.client
import random
import signal
import threading
import time

import harness
import market

CLIENTS = 8


def kills(site, token, count, seed, flags=(), by=signal.SIGKILL):
    """Kills the server of `site` `count` times, each after a random while under load, half of it streams. After each kill
    the next one has its place, on the same port and folder; yields how long its start took, recovery included. SIGTERM
    (`by`) is one with a short `--drain` in `flags`: most of what runs is cut."""
    chance = random.Random(seed)
    words = ["--config", site.config, "--port", str(site.server.port), *flags]
    site.server.token = None  # nothing but the clients' own
    for _ in range(count):
        stop = threading.Event()

        def client(index):
            body = {"model": market.MODEL, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 40}
            while not stop.is_set():
                try:
                    site.server.post("/v1/chat/completions", body | {"stream": index % 2 == 0}, {"Authorization": f"Bearer {token}"})
                except (OSError, http.client.HTTPException):
                    return

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(client, index) for index in range(CLIENTS)]
            time.sleep(chance.uniform(0.02, 0.4))
            site.server.process.send_signal(by)
            site.server.process.wait(harness.PATIENCE_S)
            stop.set()
            for one in clients:
                one.result()
        site.server.process.stdout.close()
        begun = time.monotonic()
        next_one = harness.Server(site.server.home, *words, models=site.models, env=market.keys(site.sites))
        site.server.process = next_one.process  # the one that the end of the test stops
        yield time.monotonic() - begun
