"""Failover that would cost more than anybody asked for: a route that is much dearer than the first, and more attempts than
two that may all be billed.
"""

import json

import harness
import pytest
from market import MODEL, Market
from test_money import usage

ABC = ("site-a", "site-b", "site-c")
ORDER = f"[route]\norder = {json.dumps(ABC)}\n"
DEAR = {"site-a": ("1", "1"), "site-b": ("3", "3"), "site-c": ("20", "20")}


def asked(market):
    return [entry["provider"] for entry in market.sim.log() if entry["endpoint"] == "chat"]


def receipt(market, reply):
    got = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=market.server.home)
    return [(one["provider"], one["state"]) for one in json.loads(got.stdout)["attempts"]]


@pytest.mark.parametrize("wanted", ["nobody", "request", "config"])
def test_a_much_dearer_route_follows_only_where_it_is_wanted(tmp_path, wanted):
    extra = ORDER + ("dear_failover = true\n" if wanted == "config" else "")
    with Market(tmp_path, *ABC, prices=DEAR, extra=extra) as market:
        fields = {"provider": {"dear_failover": True}} if wanted == "request" else {}
        for site in ("site-a", "site-b"):
            market.sim.fault(provider=site, status=503, endpoint="chat")
        explained = harness.run_cli("route", "explain", MODEL, home=market.server.home).stdout
        if wanted == "nobody":
            reply = market.chat(max_tokens=10)
            assert reply.status != 200 and "site-c" not in asked(market) and "site-b" in asked(market)
            # However long the cheap ones are down: they stay the measure.
            for _ in range(6):
                assert market.chat(max_tokens=10).status != 200
            assert "site-c" not in asked(market)
            assert "20 times" in explained and "dear_failover" in explained
        else:
            reply = market.chat(max_tokens=10, **fields)
            assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-c"
            assert [site for site, _ in receipt(market, reply)] == list(ABC)
            assert ("20 times" in explained) == (wanted == "request")


def test_a_request_may_forbid_what_the_config_allows(tmp_path):
    with Market(tmp_path, *ABC, prices=DEAR, extra=ORDER + "dear_failover = true\n") as market:
        for site in ("site-a", "site-b"):
            market.sim.fault(provider=site, status=503, endpoint="chat")
        assert market.chat(max_tokens=10, provider={"dear_failover": False}).status != 200
        assert "site-c" not in asked(market)
        wrong = market.chat(provider={"dear_failover": "yes"})
        assert wrong.status == 400 and wrong.error()["param"] == "provider.dear_failover"


def test_attempts_that_may_all_be_billed_are_at_most_two_holds(tmp_path):
    with Market(tmp_path, *ABC, extra=ORDER) as market:
        for site in ("site-a", "site-b"):
            market.sim.fault(provider=site, close="rst", endpoint="chat")  # it had the request: nobody knows what it did
        reply = market.chat(max_tokens=10)
        assert reply.status >= 500, "the third would be a third time the worst case"
        assert asked(market) == ["site-a", "site-b"]
        assert usage(market.server.home, "market")["requests"]["in_doubt"] == 2
        reply = market.chat(max_tokens=10, provider={"dear_failover": True})
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-c"


def test_what_was_refused_before_any_work_does_not_count(tmp_path):
    with Market(tmp_path, *ABC, extra=ORDER) as market:
        for site, status in [("site-a", 429), ("site-b", 500)]:
            market.sim.fault(provider=site, status=status, endpoint="chat")
        reply = market.chat(max_tokens=10)
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-c"
        assert receipt(market, reply) == [("site-a", "void"), ("site-b", "in_doubt"), ("site-c", "settled")]


def test_after_one_that_may_be_billed_a_dearer_one_follows_and_after_two_none(tmp_path):
    prices = {"site-a": ("1", "1"), "site-b": ("2", "2"), "site-c": ("1", "1")}
    with Market(tmp_path, *ABC, prices=prices, extra=ORDER) as market:
        market.sim.fault(provider="site-a", close="rst", endpoint="chat")
        reply = market.chat(max_tokens=10)
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
        assert receipt(market, reply) == [("site-a", "in_doubt"), ("site-b", "settled")]
        market.sim.fault(provider="site-b", close="rst", endpoint="chat")
        reply = market.chat(max_tokens=10)
        assert reply.status >= 500 and "site-c" not in asked(market)
        assert usage(market.server.home, "market")["requests"]["in_doubt"] == 3
        lines = market.server.metrics().splitlines()
        assert len([line for line in lines if '"too_dear"' in line and '"site-c"' in line and line.endswith(" 1")]) == 1


def test_what_the_request_names_itself_may_be_dear(tmp_path):
    more = {"site-b": [("acme/b", "model-y", "conversational")], "site-c": [("acme/b", "model-y", "conversational")]}
    prices = {"site-a": ("0.1", "0.3"), "site-b": ("1", "3"), "site-c": ("20", "60")}
    with Market(tmp_path, *ABC, prices=prices, extra=ORDER, more=more) as market:
        fault = {"status": 503}
        market.sim.fault(provider="site-a", endpoint="chat", **fault)
        reply = market.chat(max_tokens=10, models=["acme/b"])
        assert (reply.status, reply.headers["x-inference-provider"]) == (200, "site-b"), "a model of its list"
        reply = market.chat(max_tokens=10, provider={"order": ["site-a", "site-c"]})
        assert (reply.status, reply.headers["x-inference-provider"]) == (200, "site-c"), "a provider of its order"

        market.sim.fault(provider="site-b", endpoint="chat", **fault)
        reply = market.chat(max_tokens=10, models=["acme/b"])
        assert reply.status == 429, "acme/b is named, but not where it costs twenty times as much"
        message = reply.error()["message"]
        assert "acme/b at site-c" in message and "acme/model at site-b" in message and "dear_failover" in message
        reply = market.chat(max_tokens=10, models=["acme/b"], provider={"order": ["site-a", "site-c"], "dear_failover": False})
        assert reply.status == 429 and "acme/b at site-b" in reply.error()["message"], "who forbids it means what he names too"
        allowed = market.chat(max_tokens=10, models=["acme/b"], provider={"dear_failover": True})
        assert (allowed.status, allowed.headers["x-inference-provider"]) == (200, "site-c")


def test_what_is_named_may_follow_one_attempt_that_may_be_billed_and_no_second(tmp_path):
    prices = {"site-a": ("0.1", "0.3"), "site-b": ("1", "3"), "site-c": ("1", "3")}
    with Market(tmp_path, *ABC, prices=prices, extra=ORDER) as market:
        market.sim.fault(provider="site-a", close="rst", endpoint="chat")
        wanted = {"order": list(ABC)}
        reply = market.chat(max_tokens=10, provider=wanted)
        assert receipt(market, reply) == [("site-a", "in_doubt"), ("site-b", "settled")]
        market.sim.fault(provider="site-b", close="rst", endpoint="chat")
        reply = market.chat(max_tokens=10, provider=wanted)
        assert receipt(market, reply) == [("site-a", "in_doubt"), ("site-b", "in_doubt")]
        assert reply.status == 502 and f"{MODEL} at site-c" in reply.error()["message"]
        # What would not have helped is not told.
        market.sim.reset()
        reply = market.chat("a sim:status=400", max_tokens=10)
        assert reply.status == 400 and "dear_failover" not in reply.json()["error"]["message"]
