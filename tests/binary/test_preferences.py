"""What a request may say about who answers it: suffixes, `provider` preferences and `models`, as OpenRouter's clients write
them. The judge is who was asked, by the simulator's log."""

import json

import pytest

import harness
from market import MODEL, Market

DEAR, CHEAP = "together", "site-a"
ORDER = f'[route]\norder = ["{DEAR}", "{CHEAP}"]\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """`site-a` costs half of what `together` does, and comes after it; `acme/b` is at site-b alone."""
    with Market(tmp_path_factory.mktemp("shop"), DEAR, CHEAP, "site-b", extra=ORDER) as market:
        text = market.config.read_text()
        dear, cheap, other = text.split("[[providers]]")[1:]
        cheap = cheap.replace('"0.10"', '"0.05"').replace('"0.30"', '"0.15"') + 'data_policy = "no-retention"\n\n'
        other = other.replace(f'"{MODEL}"', '"acme/b"').replace('"0.10"', '"0.01"')
        market.config.write_text("[[providers]]".join([ORDER, dear, cheap, other]))
        market.server.process.send_signal(1)
        harness.wait_for(lambda: "the config was read again" in market.server.log(), "the new config")
        yield market


@pytest.fixture(autouse=True)
def well(shop):
    shop.sim.reset()


def asked(shop):
    return [entry["provider"] for entry in shop.sim.log()]


def answered_by(shop, reply):
    assert reply.status == 200, reply.body
    return reply.headers["x-inference-provider"]


# --- Suffixes


def test_suffixes_choose_by_order_price_and_measured_speed(shop):
    assert answered_by(shop, shop.chat()) == DEAR
    assert answered_by(shop, shop.chat(model=f"{MODEL}:preferred")) == DEAR
    assert answered_by(shop, shop.chat(model=f"{MODEL}:cheapest")) == CHEAP
    for site, speed in ((DEAR, 50), (CHEAP, 400)):
        for _ in range(2):
            shop.chat(f"a sim:tokens=20 sim:tokens_per_s={speed}", model=f"{MODEL}:{site}", stream=True)
    assert answered_by(shop, shop.chat(model=f"{MODEL}:fastest")) == CHEAP


# --- `provider`


@pytest.mark.parametrize("preference, sites", [
    ({"order": [CHEAP]}, [CHEAP, DEAR]),
    ({"ignore": [DEAR]}, [CHEAP]),
    ({"only": [CHEAP, DEAR]}, [DEAR, CHEAP]),
    ({"sort": "price"}, [CHEAP, DEAR]),
    ({"sort": {"by": "price", "partition": "model"}}, [CHEAP, DEAR]),
    ({"max_price": {"prompt": "0.07"}}, [CHEAP]),
    ({"max_price": {"prompt": 1, "completion": 0.2, "request": 0}}, [CHEAP]),
    ({"data_collection": "deny"}, [CHEAP]),
    ({"zdr": True}, [CHEAP]),
    ({"order": [DEAR], "allow_fallbacks": False}, [DEAR]),
], ids=lambda value: json.dumps(value) if isinstance(value, dict) else "")
def test_preferences_decide_who_is_asked_and_after_whom(shop, preference, sites):
    assert answered_by(shop, shop.chat(provider=preference)) == sites[0]
    shop.sim.reset()
    shop.sim.fault(status=400, message="not supported here")  # says that another route may
    assert shop.chat(provider=preference).status == 400
    assert asked(shop) == sites
    assert all("provider" not in json.loads(entry["body"]) for entry in shop.sim.log())


def test_a_cap_that_nobody_meets_leaves_no_route(shop):
    error = shop.chat(provider={"max_price": {"prompt": "0.001"}}).error()
    assert error["code"] == "model_not_supported" and "cap" in error["message"]
    refused = shop.chat(provider={"max_price": {"image": 1}})
    assert refused.status == 400 and refused.error()["param"] == "provider.max_price"
    assert asked(shop) == []


def test_a_preference_that_is_not_known_is_named_in_the_answer(shop):
    reply = shop.chat(provider={"only": [CHEAP], "enforce_distillable_text": True})
    assert answered_by(shop, reply) == CHEAP
    assert reply.headers["x-tradewind-ignored"] == "provider.enforce_distillable_text"


# --- `models`


@pytest.mark.parametrize("fields", [{"models": ["acme/b"]}, {"model": None, "models": [MODEL, "acme/b"]}], ids=["beside", "alone"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_models_of_the_list_follow_when_the_first_cannot_be_had(shop, fields, stream):
    assert answered_by(shop, shop.chat(stream=stream, **fields)) == DEAR
    shop.sim.reset()
    for site in (DEAR, CHEAP):
        shop.sim.fault(provider=site, status=500)
    reply = shop.chat(stream=stream, **fields)
    assert answered_by(shop, reply) == "site-b" and reply.headers["x-tradewind-route"] == "site-b/model-x"
    *others, last = asked(shop)
    assert last == "site-b" and set(others) <= {DEAR, CHEAP}, "a route whose circuit is open by now is not asked"
    for entry in shop.sim.log():
        body = json.loads(entry["body"])
        assert "models" not in body and body["model"], body
    assert harness.wait_for(
        lambda: [e for e in shop.server.access_log() if e.get("request_id") == reply.headers["x-request-id"]], "its line"
    )[0]["model"] == "acme/b"


def test_partition_none_ranks_all_models_together(shop):
    reply = shop.chat(models=["acme/b"], provider={"sort": {"by": "price", "partition": "none"}})
    assert answered_by(shop, reply) == "site-b"


def test_fallback_same_model_leaves_the_other_models_out(tmp_path):
    more = {"site-b": [("acme/b", "model-x", "conversational")]}
    with Market(tmp_path, "site-a", "site-b", extra='[route]\norder = ["site-a", "site-b"]\nfallback = "same-model"\n', more=more) as market:
        market.sim.fault(status=500)
        assert market.chat(models=["acme/b"]).status == 502
        models = [entry["provider"] for entry in market.sim.log()]
        assert models[:2] == ["site-a", "site-b"] and set(models) == {"site-a", "site-b"} and len(models) <= 3
        market.sim.reset()
        market.sim.fault(provider="site-a", status=500)
        assert market.chat().headers["x-inference-provider"] == "site-b"
