"""Answers that do not end well, or whose usage is told in odd ways: nothing is charged twice, and nothing is free. The judge
is the simulated provider's own bill."""

import contextlib
import json

import pytest

import harness
import market
from test_money import PRICES, chat, make_key, nano, usage

ASK = {"include_usage": True}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaves")
    with market.Market(folder, "site-a", "site-b", "site-m", prices=PRICES, extra='[route]\norder = ["site-a", "site-b"]\n') as running:
        yield running


@pytest.fixture
def key(site, request):
    site.sim.reset()
    made = make_key(site.server.home, request.node.name.replace("[", "-").replace("]", ""), "--budget", "1000")
    site.server.token = made["token"]
    return made


def settled_and_doubtful(site, key):
    """Both in nano-USD, when no request runs any more."""

    def at_rest():
        spent = usage(site.server.home, key["id"])
        return spent if spent["requests"]["running"] == 0 and sum(spent["requests"].values()) > 0 else None

    site.sim.wait_for(lambda: site.sim.state()["streams"] == 0, "no stream left open")
    spent = harness.wait_for(at_rest, "the end of all requests")
    assert int(spent["held_nanousd"]) == 0, "held for nobody"
    return int(spent["cost_nanousd"]), int(spent["in_doubt_nanousd"]), spent["requests"]


def leave(site, text, stream, read_until=None):
    body = json.dumps({"model": market.MODEL, "stream": stream, "max_tokens": 60, "messages": [{"role": "user", "content": text}]})
    before = site.sim.state()["requests"]
    with contextlib.closing(site.server.connect()) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.server.token}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        site.sim.wait_for(lambda: site.sim.state()["requests"] > before, "the provider's turn")
        seen = b""
        while read_until and read_until not in seen:
            piece = client.recv(4096)
            assert piece, seen
            seen += piece


# --- T15, T16, T19: the client leaves


@pytest.mark.parametrize("bill", ["none", "generated", "whole"])
@pytest.mark.parametrize("how", ["mid-stream", "before the first byte", "whole answer"])
def test_who_leaves_is_charged_what_the_provider_may_bill(site, key, how, bill):
    site.sim.fault(bill=bill, **({"tokens_per_s": 40} if how == "mid-stream" else {"first_byte_ms": 100_000}))
    if how == "mid-stream":
        leave(site, "one two three sim:tokens=60", True, read_until=b"delta")
    else:
        leave(site, "one two three", stream=how != "whole answer")
    settled, doubtful, requests = settled_and_doubtful(site, key)
    assert requests["in_doubt"] == 1 and requests["settled"] == 0, requests
    assert settled == 0 and doubtful > 0, "nobody said what it cost"
    assert nano(site.sim.bill()["total"]) <= settled + doubtful


# The loser's prompt may be on its provider's bill: it stays held until that is known.
def test_the_loser_of_a_hedge_is_in_doubt(site, key):
    site.sim.fault(provider="site-a", first_byte_ms=100_000, bill="whole")
    reply = chat(site.server, key["token"], max_tokens=20, provider={"hedge": 20})
    assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
    settled, doubtful, requests = settled_and_doubtful(site, key)
    assert (requests["settled"], requests["in_doubt"]) == (1, 1)
    assert settled == nano(reply.json()["usage"]), "the winner's"
    assert "x-tradewind-cost-nanousd" not in reply.headers, "which is not what the request cost: the other one may be billed too"
    receipt = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=site.server.home)
    assert "hedge_lost" in receipt.stdout and "client_left" not in receipt.stdout, "nobody left"
    assert nano(site.sim.bill()["total"]) <= settled + doubtful


# --- Usage that is told again and again, or too early


@pytest.mark.parametrize("asked", [{}, {"stream_options": ASK}], ids=["unasked", "asked"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("told", ["cumulative", "duplicate", ""], ids=["cumulative", "duplicate", "usual"])
@pytest.mark.parametrize("name", ["site-a", "site-m"])
def test_a_stream_costs_what_its_last_usage_says(site, key, name, told, n, asked):
    if told:
        site.sim.fault(usage=told)
    reply = chat(site.server, key["token"], model=f"{market.MODEL}:{name}", stream=True, n=n, max_tokens=30, **asked)
    assert reply.status == 200 and b"data: [DONE]" in reply.body, reply.body
    billed = nano(site.sim.bill()["total"])
    assert billed > 0
    settled, doubtful, _ = settled_and_doubtful(site, key)
    assert (settled, doubtful) == (billed, 0)
    assert reply.body.count(b'"cost_nanousd":"%d"' % billed) == 1, "and so says the receipt"


# T18: what a cut stream has told by then is no bill, however often it was told.
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("cut", [4, 20])
def test_a_cut_stream_is_not_settled_by_what_it_told_on_the_way(site, key, n, cut):
    # A reset may take events back that nobody has read yet, and the attempt is tried again.
    site.sim.fault(usage="cumulative", bill="whole", tokens=30, cut_after=cut, cut="fin")
    reply = chat(site.server, key["token"], stream=True, n=n, max_tokens=30, stream_options=ASK, model=f"{market.MODEL}:site-a")
    assert b"data: [DONE]" not in reply.body
    settled, doubtful, requests = settled_and_doubtful(site, key)
    assert nano(site.sim.bill()["total"]) <= settled + doubtful
    assert requests["in_doubt"] == 1 and settled == 0, requests
    receipt = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=site.server.home)
    assert [attempt["state"] for attempt in json.loads(receipt.stdout)["attempts"]] == ["in_doubt"], receipt
