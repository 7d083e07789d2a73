"""Three providers under load of which one dies, one stalls and one returns garbage at random.

`TW_FAILOVER_REQUESTS` sets how many requests are sent; `make prove` sends more.
"""

import concurrent.futures
import contextlib
import json
import os

import pytest

import harness
import market
import simulator
from market import KEY, MODEL

REQUESTS = int(os.environ.get("TW_FAILOVER_REQUESTS", "120"))
SENDERS = 8
DEADLINE_S = 10
HANG_MS = 24 * 3_600_000  # of what is mute or stalls: whoever waits for it is given up by the client, and the test fails
SITES = ("site-a", "site-b", "site-c", "site-d")
# What a client may be told when no route answered: the early-exit table of src/gateway/chat.cc.
DOCUMENTED_STATUS = {429, 502, 503, 504}


class Three:
    """One simulator a provider, so that one can be killed; finds base URLs as a Simulator does."""

    def __init__(self, sims):
        self.sims = sims

    def base_url(self, slug):
        return self.sims[slug].base_url(slug)


@contextlib.contextmanager
def running(folder, sites, more="dear_failover = true", deadline_s=DEADLINE_S):
    with contextlib.ExitStack() as stack:
        sims = {slug: stack.enter_context(simulator.Simulator(f"{slug}:openai", flags=["--key", KEY])) for slug in sites}
        # Three attempts that may all be billed are more than is risked unasked (test_dear_failover.py).
        route = f"[route]\norder = {json.dumps(sites)}\n{more}\n"
        (folder / "config.toml").write_text(market.config(Three(sims), sites, extra=route))
        (folder / "no-models").mkdir()
        flags = ["--config", folder / "config.toml", "--stall", "300ms", "--first-byte", "2s", "--whole-answer", "2s", "--deadline", f"{deadline_s}s"]
        server = harness.Server(folder / "home", *flags, models=folder / "no-models", env=market.keys(sites))
        server = stack.enter_context(server)
        # Providers are for callers with a token.
        made = harness.run_cli("keys", "create", "--name", "failover", home=folder / "home")
        assert made.returncode == 0, made
        server.token = made.stdout.strip()
        yield sims, server


def make_trouble(sims):
    sims["site-b"].fault(probability=0.4, seed=3, stall_after=2, stall_ms=HANG_MS)
    sims["site-b"].fault(probability=0.1, seed=4, first_byte_ms=HANG_MS)
    for seed, fault in enumerate([
        {"body": "garbage"}, {"body": "html"}, {"body": "empty"}, {"malformed_after": 3}, {"status": 500}, {"cut_after": 4},
    ]):
        sims["site-c"].fault(probability=0.12, seed=seed, **fault)


def text_of(number):
    return f"request {number} alpha beta gamma"


def ask(server, number, stream):
    """(number, stream, status, text, whether it was shown as complete, its error)"""
    body = {"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": text_of(number)}]}
    reply = server.post("/v1/chat/completions", body)
    if reply.status != 200:
        return number, stream, reply.status, "", False, reply.json()["error"]
    if not stream:
        choice = reply.json()["choices"][0]
        return number, stream, 200, choice["message"]["content"], choice["finish_reason"] == "stop", None
    events = harness.sse_json(reply.body)
    error = next((event["error"] for event in events if "error" in event), None)
    text = "".join(c["delta"].get("content") or "" for event in events for c in event.get("choices", []))
    assert reply.body.count(b"data: [DONE]") <= 1
    return number, stream, 200, text, b"data: [DONE]" in reply.body, error


def under_load(server, kill, streams, requests=REQUESTS):
    """Sends all requests from several threads; `kill` is called when a third of them is answered."""
    with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
        asked = [pool.submit(ask, server, number, streams and number % 2 == 0) for number in range(requests)]
        answered = []
        for done in concurrent.futures.as_completed(asked):
            answered.append(done.result())
            if len(answered) == requests // 3:
                kill()
    return answered


@pytest.fixture(scope="module")
def right():
    """The one right answer to each request: what a provider in health says."""
    with simulator.Simulator("site-a:openai", flags=["--key", KEY]) as sim:
        answers = [sim.chat("site-a", text_of(number), key=KEY).json() for number in range(REQUESTS)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert len(set(texts)) == REQUESTS, "each request has an answer of its own"
    return texts


def check(answered, right, requests=REQUESTS):
    """Counts of outcomes; every one is a right answer, or the documented error and no false end."""
    counts = {"right": 0, "cut": 0, "refused": 0}
    for number, stream, status, text, is_complete, error in answered:
        if status != 200:
            assert status in DOCUMENTED_STATUS, (status, error)
            assert error["message"] and set(error) == {"message", "type", "param", "code"}
            counts["refused"] += 1
        elif is_complete:
            assert text == right[number] and error is None, (number, stream, text, error)
            counts["right"] += 1
        else:
            assert stream, "an answer that is no stream is whole"
            assert error and error["code"] in ("upstream_error", "timeout"), (number, text, error)
            assert text and right[number].startswith(text), (number, text, right[number])
            counts["cut"] += 1
    assert sum(counts.values()) == requests
    return counts


def outcomes(server):
    lines = [line for line in server.access_log() if line.get("path") == "/v1/chat/completions"]
    return [line["outcome"] for line in lines]


def nothing_outlived_its_deadline(server):
    """By the server's own watch, with room for a machine that does much else."""
    took = [line["duration_ms"] for line in server.access_log() if line.get("path") == "/v1/chat/completions"]
    assert max(took) < 1000 * DEADLINE_S + 10_000, max(took)


def nothing_is_left(sims, server, requests=REQUESTS):
    """Stalled streams were closed, and each request is one line of the log."""
    for sim in sims.values():
        if sim.process.poll() is None:
            sim.wait_for(lambda sim=sim: sim.state()["streams"] == 0, "no stream left open")
    harness.wait_for(lambda: len(outcomes(server)) == requests, "a line for each request")


def test_every_request_ends_in_its_answer_or_in_the_documented_error(tmp_path, right):
    with running(tmp_path, SITES[:3]) as (sims, server):
        make_trouble(sims)
        answered = under_load(server, sims["site-a"].kill, streams=True)
        counts = check(answered, right)
        print(counts)
        assert counts["right"] > REQUESTS // 3, "the first third had a provider in health"
        assert sims["site-b"].log() and sims["site-c"].log(), "the others were tried"
        nothing_is_left(sims, server)
        nothing_outlived_its_deadline(server)


def test_a_fourth_provider_in_health_makes_every_answer_right(tmp_path, right):
    with running(tmp_path, SITES) as (sims, server):
        make_trouble(sims)
        answered = under_load(server, sims["site-a"].kill, streams=False)
        counts = check(answered, right)
        print(counts)
        assert counts == {"right": REQUESTS, "cut": 0, "refused": 0}
        nothing_is_left(sims, server)
        nothing_outlived_its_deadline(server)


def spent_at(server, slug):
    """Settled, or held for what is in doubt, of what was asked of one provider."""
    got = server.get(f"/tw/v1/usage?provider={slug}").json()
    return int(got["cost_nanousd"]) + int(got["in_doubt_nanousd"])


def test_by_default_no_request_is_paid_more_than_twice_and_each_ends_in_its_answer_or_in_the_documented_error(tmp_path, right):
    requests = max(40, REQUESTS // 2)
    # Its last attempt has all the time that is left, and more of them are the last one here.
    with running(tmp_path, SITES[:3], more="", deadline_s=5) as (sims, server):
        make_trouble(sims)
        answered = under_load(server, sims["site-a"].kill, True, requests)
        counts = check(answered, right, requests)
        print(counts)
        assert counts["right"] > requests // 3, "the first third had a provider in health"
        nothing_is_left(sims, server, requests)
        nothing_outlived_its_deadline(server)
        seen = [entry for slug in SITES[1:3] for entry in sims[slug].log() if entry["billed"]["cost_nanousd"] != "0"]
        texts = [json.loads(entry["body"])["messages"][-1]["content"] for entry in seen]
        assert max(texts.count(text_of(number)) for number in range(requests)) <= 2, "of what may be billed, one and one more"
        for slug in SITES[1:3]:
            assert 0 < sum(int(row["cost_nanousd"]) for row in sims[slug].bill()["rows"]) <= spent_at(server, slug), "all of it is on our books"
