"""Everybody at once on one budget of $1. `test_money.py` does it to the real binary, `bench/compare_attack.py` to another gateway as
well. The judge is the simulated provider's own bill."""

import asyncio
import http.client
import json
import resource
import time

import harness

BUDGET_NANO = 1_000_000_000
# A request is held at some 2.4 cents and costs about half of that: $1 is for 80 of them.
PRICES = ("10", "300")  # USD per million tokens
NANO_IN, NANO_OUT = 10_000, 300_000  # nano-dollars a token
TEXT = "sim:tokens=40 one two three"


def ask_body(model, **fields):
    return {"model": model, "messages": [{"role": "user", "content": TEXT}]} | fields


def allow_many_files():
    """A connection is a file: here, and for the servers that are started after it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _ask(connection, token, body, leaves_after_s):
    reader, writer = connection
    text = json.dumps(body)
    try:
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        if leaves_after_s is not None:
            await writer.drain()
            await asyncio.sleep(leaves_after_s)
            return None
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1]), answer.split(b"\r\n\r\n", 1)[1].decode()
    except (OSError, IndexError, ValueError) as error:
        return 0, f"no answer: {error!r}"
    finally:
        writer.close()


async def _all_at_once(host, port, token, model, clients, some_leave, unbounded):
    few = asyncio.Semaphore(200)

    async def connect():
        async with few:
            return await asyncio.open_connection(host, port, limit=1 << 20)

    connections = await asyncio.gather(*(connect() for _ in range(clients)))
    asking = []
    for index, connection in enumerate(connections):
        body = ask_body(model, stream=index % 2 == 0, **({} if unbounded and index % unbounded == 0 else {"max_tokens": 40}))
        asking.append(_ask(connection, token, body, 0.001 * (index % 50) if some_leave and index % 7 == 0 else None))
    begun = time.monotonic()
    answers = await asyncio.gather(*asking)
    return [one for one in answers if one], time.monotonic() - begun


def attack(host, port, token, model, clients, some_leave=False, unbounded=3):
    """Everybody connects, then everybody asks at once, each on a connection of its own, each `unbounded`th without `max_tokens` (0: all
    with it). Returns (status, body) of each that stayed, status 0 without an answer, and the seconds until all had theirs."""
    return asyncio.run(asyncio.wait_for(_all_at_once(host, port, token, model, clients, some_leave, unbounded), 20 * harness.PATIENCE_S))


def ask_until_refused(host, port, token, model, most=1000):
    """One after the other, until nothing fits any more. Returns (status, body) of the last, and how many were answered."""
    body = json.dumps(ask_body(model, max_tokens=40))
    for answered in range(most):
        connection = http.client.HTTPConnection(host, port, timeout=harness.PATIENCE_S)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            last = reply.status, reply.read().decode()
        finally:
            connection.close()
        if last[0] != 200:
            return last, answered
    raise AssertionError(f"{most} requests more, and none was refused")


def billed_nano(sim):
    """What the provider bills, once it has ended what it was saying."""
    sim.wait_for(lambda: sim.state()["streams"] == 0, "no stream left open")
    bill = sim.bill()["total"]
    return bill["prompt_tokens"] * NANO_IN + bill["completion_tokens"] * NANO_OUT
