"""Many rounds of everything at once: afterwards the server holds what it held before.

TW_SOAK_ROUNDS sets the size; `make prove` runs it at full size."""

import asyncio
import json
import os
import pathlib
import random
import re

import aiohttp

import market
from harness import MODEL, PATIENCE_S, Server, wait_for

ROUNDS = int(os.environ.get("TW_SOAK_ROUNDS", "5"))
SLOTS, QUEUE = 4, 8
WARM_UP = 3  # rounds after which buffers, pools and the allocator have their size
GROWTH_BYTES_MAX = 8 << 20  # in all rounds after these: the allocator's noise, not a leak per request

STORY = "Tell me a long story about a lighthouse. " * 8
REFUSED = [  # path, fields, status, code
    ("chat/completions", {"temperature": 9}, 400, "invalid_value"),
    ("chat/completions", {"model": "nobody/nothing"}, 400, "model_not_supported"),
    ("completions", {"prompt": [1] * 9000}, 400, "context_length_exceeded"),
    ("completions", {"prompt": ["a"] * 256, "n": 4, "max_tokens": 900, "logprobs": 20}, 400, "invalid_value"),
    ("completions", {"prompt": "a", "suffix": "b"}, 400, "unsupported_value"),
]


class Client:
    """The ways in which people use a server, each checked."""

    def __init__(self, session, server, seen):
        self.session, self.server, self.seen = session, server, seen

    def post(self, path, fields):
        body = {"model": MODEL, "max_tokens": 8, "ignore_eos": True, "seed": 7} | fields
        if path.startswith("chat"):
            body |= {"messages": [{"role": "user", "content": STORY}]}
        return self.session.post(f"{self.server.url}/v1/{path}", json=body)

    def count(self, what):
        self.seen[what] = self.seen.get(what, 0) + 1

    async def whole(self, path, fields):
        async with self.post(path, fields) as reply:
            text = await reply.text()
            if reply.status == 429:
                assert int(reply.headers["Retry-After"]) >= 1
                return self.count("full")
            assert reply.status == 200, text
            choices = json.loads(text)["choices"]
            assert all(choice["finish_reason"] == "length" for choice in choices)
            self.count("whole")

    async def stream(self, path, fields):
        async with self.post(path, fields | {"stream": True}) as reply:
            text = await reply.text()
            if reply.status == 429:
                return self.count("full")
            assert reply.status == 200 and text.endswith("data: [DONE]\n\n"), text[-200:]
            self.count("stream")

    async def leave_stream(self, path, fields, after):
        async with self.post(path, fields | {"stream": True, "max_tokens": 500}) as reply:
            if reply.status == 429:
                return self.count("full")
            for _ in range(after):
                assert await reply.content.readline()
            reply.close()
            self.count("left")

    async def leave_waiting(self, path, fields, seconds):
        try:
            async with asyncio.timeout(seconds):
                async with self.post(path, fields | {"max_tokens": 500}) as reply:
                    await reply.read()
                    assert reply.status == 429
                    self.count("full")
        except TimeoutError:
            self.count("left")

    async def refused(self, path, fields, status, code):
        async with self.post(path, fields) as reply:
            assert reply.status == status and (await reply.json())["error"]["code"] == code
            self.count("refused")

    async def more_than_fits(self):
        """Takes every slot and every place in the queue, so that one more request is surely refused, then leaves."""
        held = [asyncio.create_task(self.hold()) for _ in range(SLOTS + QUEUE)]
        async with asyncio.timeout(PATIENCE_S):
            while await self.metric("engine_slots_used") < SLOTS or await self.metric("engine_queued") < QUEUE:
                await asyncio.sleep(0.01)
        async with self.post("completions", {"prompt": "One more"}) as reply:
            assert reply.status == 429 and int(reply.headers["Retry-After"]) >= 1, await reply.text()
            self.count("full")
        for one in held:
            one.cancel()
        self.seen["left"] = self.seen.get("left", 0) + len(held)
        await asyncio.gather(*held, return_exceptions=True)

    async def hold(self):
        async with self.post("completions", {"prompt": "Once upon a time", "max_tokens": 4000}) as reply:
            await reply.read()
            raise AssertionError(f"ended with {reply.status} before it was left")

    async def metric(self, name):
        async with self.session.get(f"{self.server.url}/metrics") as reply:
            return value_of(f"tradewind_{name}", await reply.text())

    async def half_a_request(self):
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n" + b" " * 200_000)
        await writer.drain()
        writer.close()
        self.count("half")

    async def look(self):
        for path in ("/metrics", "/healthz", "/v1/models", "/tw/v1/engine", "/nowhere"):
            async with self.session.get(self.server.url + path) as reply:
                assert reply.status == (404 if path == "/nowhere" else 200)
                await reply.read()
        self.count("look")


def work_of(client, chance):
    """One round's requests; whether they are more than fits depends on the machine."""
    echo = {"prompt": STORY, "echo": True, "logprobs": 5, "max_tokens": 1}
    plain = {"prompt": "Once upon a time", "n": 2}
    work = [client.whole("chat/completions", {"logprobs": True, "top_logprobs": 3}) for _ in range(3)]
    work += [client.whole("completions", echo), client.whole("completions", plain), client.stream("completions", echo)]
    work += [client.stream("chat/completions", {}) for _ in range(4)]
    work += [client.leave_stream("chat/completions", {}, chance.randrange(1, 12)) for _ in range(4)]
    work += [client.leave_waiting("completions", plain, chance.uniform(0.01, 0.5)) for _ in range(4)]
    work += [client.refused(*one) for one in REFUSED]
    work += [client.half_a_request(), client.look()]
    chance.shuffle(work)
    return work


async def rounds(server, numbers, after_each):
    seen = {}
    for number in numbers:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            client = Client(session, server, seen)
            await client.more_than_fits()
            async with asyncio.TaskGroup() as group:
                for one in work_of(client, random.Random(number)):
                    group.create_task(one)
        after_each()
    return seen


def value_of(name, metrics):
    return float(re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", metrics, re.MULTILINE)[1])


def held(server):
    """What a request takes and has to give back."""
    process = pathlib.Path(f"/proc/{server.process.pid}")
    names = ["engine_slots_used", "engine_queued", "engine_kv_bytes", "requests_in_flight"]
    metrics = server.metrics()
    state = {name: value_of(f"tradewind_{name}", metrics) for name in names}
    state["descriptors"] = len(list((process / "fd").iterdir()))
    state["threads"] = len(list((process / "task").iterdir()))
    return state


def test_rounds_of_everything_leave_nothing_behind(home):
    with Server(home, "--slots", str(SLOTS), "--queue", str(QUEUE)) as server:
        idle = held(server)
        sizes = []

        def back_to_idle():
            wait_for(lambda: held(server) == idle, f"what it held when idle: {idle}")
            sizes.append(server.rss_bytes())

        seen = asyncio.run(rounds(server, range(WARM_UP + ROUNDS), back_to_idle))
        print(f"{WARM_UP + ROUNDS} rounds: {seen}; RssAnon in MB: {[size >> 20 for size in sizes]}")
        for what in ("whole", "stream", "left", "full", "refused", "half", "look"):
            assert seen[what] >= ROUNDS, seen
        after = sizes[WARM_UP - 1 :]
        assert min(after[-3:]) - min(after[:3]) < GROWTH_BYTES_MAX, sizes
        assert "Paris" in server.chat(max_tokens=16).json()["choices"][0]["message"]["content"]


# --- The same in front of providers: what goes wrong there, and clients that leave, leave nothing behind either


class Shopper:
    """One request each, with trouble that its own words ask the simulated providers for."""

    def __init__(self, session, running, seen):
        self.session, self.running, self.seen = session, running, seen

    def post(self, text, path="/v1/chat/completions", **fields):
        body = {"model": market.MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 30} | fields
        headers = {"Authorization": f"Bearer {self.running.server.token}"}
        return self.session.post(self.running.server.url + path, json=body, headers=headers)

    async def answered(self, what, text, **fields):
        async with self.post(text, **fields) as reply:
            body = await reply.text()
            assert reply.status == 200, body
            assert not fields.get("stream") or body.endswith("data: [DONE]\n\n"), body[-200:]
        self.seen[what] = self.seen.get(what, 0) + 1

    async def cut(self, text):
        async with self.post(text, stream=True) as reply:
            body = await reply.text()
            assert reply.status == 200 and '"error"' in body and "[DONE]" not in body, body[-200:]
        self.seen["cut"] = self.seen.get("cut", 0) + 1

    async def leave(self, text, after, **fields):
        try:
            async with asyncio.timeout(after):
                async with self.post(text, **fields) as reply:
                    await reply.read()
        except TimeoutError:
            self.seen["left"] = self.seen.get("left", 0) + 1


def purchases_of(shopper, chance):
    own_path = {"path": "/site-b/site-b/v1/chat/completions", "model": "model-x"}
    for number in range(4):
        stream = number % 2 == 0
        for _ in range(6):  # most are well, or the budget of second attempts ends
            yield shopper.answered("plain", "a b c", stream=stream)
        for fault in ("status=500", "status=503", "close=rst", "body=garbage", "cut_after=0"):
            yield shopper.answered("elsewhere", f"a b c sim:site-a:{fault}", stream=stream)
        # Without a second route in health, or a budget for it, the first one is waited for.
        yield shopper.answered("hedged", "a b c sim:site-a:first_byte_ms=1000", stream=stream, provider={"hedge": 20})
        yield shopper.answered("own path", "a b c", stream=stream, **own_path)
        yield shopper.cut("a b c sim:cut_after=5")
        yield shopper.cut("a b c sim:malformed_after=5")
        yield shopper.leave("a b c sim:site-a:first_byte_ms=100000", chance.uniform(0.01, 0.3), stream=stream)
        yield shopper.leave("a b c sim:tokens=1000 sim:tokens_per_s=50", chance.uniform(0.05, 0.4), stream=stream)
        yield shopper.leave("a b c sim:site-b:stall_after=2", chance.uniform(0.05, 0.4), stream=True, **own_path)


async def shop(running, numbers, after_each):
    seen = {}
    for number in numbers:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            work = list(purchases_of(Shopper(session, running, seen), random.Random(number)))
            async with asyncio.TaskGroup() as group:
                for one in work:
                    group.create_task(one)
        after_each(len(work))
    return seen


def test_rounds_of_trouble_with_providers_leave_nothing_behind(tmp_path):
    extra = '[route]\norder = ["site-a", "site-b"]\n'
    with market.Market(tmp_path, "site-a", "site-b", flags=["--stall", "20s"], extra=extra) as running:
        server = running.server
        process = pathlib.Path(f"/proc/{server.process.pid}")
        idle = len(list((process / "fd").iterdir()))
        threads = len(list((process / "task").iterdir()))
        sizes = []

        def back_to_idle(requests):
            running.sim.wait_for(lambda: running.sim.state()["streams"] == 0, "no stream left open")
            metrics = lambda: server.metrics()
            wait_for(lambda: value_of("tradewind_requests_in_flight", metrics()) <= 1, "no request in flight but this one")
            # Connections to providers are kept, at most one for each request that ran at once.
            wait_for(lambda: len(list((process / "fd").iterdir())) <= idle + requests + 8, "clients' descriptors closed")
            assert len(list((process / "task").iterdir())) == threads
            sizes.append(server.rss_bytes())

        seen = asyncio.run(shop(running, range(WARM_UP + ROUNDS), back_to_idle))
        print(f"{WARM_UP + ROUNDS} rounds: {seen}; RssAnon in MB: {[size >> 20 for size in sizes]}")
        for what in ("plain", "elsewhere", "hedged", "own path", "cut", "left"):
            assert seen[what] >= ROUNDS, seen
        after = sizes[WARM_UP - 1 :]
        assert min(after[-3:]) - min(after[:3]) < GROWTH_BYTES_MAX, sizes
        assert running.chat(model=f"{market.MODEL}:site-b").status == 200
