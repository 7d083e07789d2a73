"""Pools, whose price differs from request to request: a static table of prices is wrong for them. The judge is the simulated pool's own
bill, and each request has to cost what that says, to the nano-dollar.
"""

import csv
import decimal
import io
import json

import pytest

import harness
import market
from market import MODEL
from test_units import attempt_of, cli, make_key

DEAREST = {"pool": ("0.44", "0.88"), "hub": ("0.88", "0.88")}
NANO_A_TOKEN = (440, 880)  # of the pool's dearest
QUICK = ["--billing-every", "100ms", "--billing-give-up", "30s"]
POOLED = "acme/pooled"  # at the router; its other model has one price
TEXT = "one two three four five six seven"


def pool(folder, site, billing=True, **fields):
    more = {"hub": [(POOLED, "meta-llama/Llama-3.3-70B-Instruct", "conversational")]}
    fields = {"prices": DEAREST, "price_varies": "true"} | fields
    return market.Market(folder, site, billing=billing, flags=QUICK, more=more, **fields)


def chat(site, key, **fields):
    body = {"model": POOLED if "hub" in site.sites else MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20} | fields
    reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
    assert reply.status == 200, reply.body
    return reply


def shapes(count):
    return [({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}})[number % 3] for number in range(count)]


def billed(entry):
    return entry["billed"]["cost_nanousd"]


def asked(site, endpoint="chat"):
    return [entry for entry in site.sim.log() if entry["endpoint"] == endpoint]


def usage(site, key):
    return json.loads(cli(site.server.home, "usage", "--key", key["id"], "--json"))


def all_books_say(site, key):
    """What the provider bills, of usage, budget, statement and export, once nothing is in doubt."""
    spent = harness.wait_for(lambda: (now := usage(site, key))["requests"]["in_doubt"] == 0 and now, "no request in doubt")
    home, total = site.server.home, site.sim.bill()["total"]
    statement = json.loads(cli(home, "bill", "--json"))["statement"]
    rows = csv.DictReader(io.StringIO(cli(home, "bill", "export")))
    assert json.loads(cli(home, "bill", "verify", "--json"))["good"]
    exported = sum(decimal.Decimal(row["x_ProviderCost"]) for row in rows).scaleb(9)
    assert spent["requests"]["settled"] == statement["requests"] == total["requests"]
    figures = {int(spent["cost_nanousd"]), int(spent["budget"]["spent_nanousd"]), int(statement["cost_nanousd"]), int(exported)}
    assert figures == {int(total["cost_nanousd"])}
    return figures.pop()


@pytest.mark.parametrize("billing", [False, True])
def test_t30_a_request_costs_what_its_own_answer_says_and_not_what_the_table_does(tmp_path, billing):
    with pool(tmp_path, "pool", billing) as site:
        key = make_key(site.server.home, "pooled", "--budget", "1")
        prices, by_table = set(), 0
        for fields in shapes(24):
            reply = chat(site, key, **fields)
            attempt, bill = attempt_of(site, key, reply), asked(site)[-1]
            assert (attempt["state"], attempt["cost_nanousd"], attempt["charge_nanousd"]) == ("settled", billed(bill), billed(bill))
            if fields:
                assert f'"cost_nanousd":"{billed(bill)}"'.encode() in reply.body
            else:
                assert reply.headers["x-tradewind-cost-nanousd"] == billed(bill)
                # What the pool paid to others is in its cost, and not added to it.
                assert reply.json()["usage"]["cost_details"]["upstream_inference_cost"] < reply.json()["usage"]["cost"]
            assert (attempt["input_tokens"], attempt["output_tokens"]) == (bill["billed"]["prompt_tokens"], bill["billed"]["completion_tokens"])
            by_table += attempt["input_tokens"] * NANO_A_TOKEN[0] + attempt["output_tokens"] * NANO_A_TOKEN[1]
            prices.add(billed(bill))
        assert len(prices) == 3, "the same tokens at three prices"
        assert all_books_say(site, key) < by_table
        assert asked(site, "billing") == [], "nothing was left to ask"


def test_t30_what_tells_no_cost_is_asked_for_and_never_taken_from_the_table(tmp_path):
    with pool(tmp_path, "pool") as site:
        key = make_key(site.server.home, "pooled", "--budget", "1")
        for fault in ({"usage": "no_cost"}, {"usage": "missing"}, {"cut_after": 6}):
            site.sim.clear_faults()
            site.sim.fault(endpoint="chat", **fault)
            for fields in shapes(6) if "usage" in fault else [{"stream": True}] * 6:
                reply = chat(site, key, **fields)
                assert "x-tradewind-cost-nanousd" not in reply.headers and b'"cost_nanousd":"' not in reply.body
                chat(site, key, messages=[{"role": "user", "content": "sim:usage=cumulative sim:cut_after=-1 two"}])  # and one that does
        assert all_books_say(site, key) > 0
        sources = {attempt["usage_source"] for attempt in (attempt_of_entry(site, key, entry) for entry in asked(site))}
        assert sources == {"provider", "billed"}


@pytest.mark.parametrize("half", ["half", "padded_half"])
@pytest.mark.parametrize("billing", [False, True])
def test_t30_a_cost_that_is_told_with_half_of_the_tokens_is_the_cost(tmp_path, billing, half):
    with pool(tmp_path, "pool", billing) as site:
        key = make_key(site.server.home, "pooled", "--budget", "1")
        site.sim.fault(endpoint="chat", usage=half)
        for fields in shapes(6):
            reply = chat(site, key, **fields)
            bill = asked(site)[-1]
            assert f'"cost_nanousd":"{billed(bill)}"'.encode() in reply.body or reply.headers["x-tradewind-cost-nanousd"] == billed(bill)
            attempt = harness.wait_for(lambda: (now := attempt_of(site, key, reply))["state"] == "settled" and now, "its end")
            assert (attempt["cost_nanousd"], attempt["charge_nanousd"], attempt["usage_source"]) == (billed(bill), billed(bill), "metered")
        all_books_say(site, key)
        assert asked(site, "billing") == [], "nothing was left to ask"


def attempt_of_entry(site, key, entry):
    receipt, number = dict(entry["headers"])["x-client-request-id"].rsplit("-", 1)
    got = site.server.get(f"/v1/receipts/{receipt}", {"Authorization": f"Bearer {key['token']}"}).json()
    return next(one for one in got["attempts"] if one["attempt"] == int(number))


def test_t30_a_router_that_tells_no_cost_at_all_is_asked_about_every_request(tmp_path):
    with pool(tmp_path, "hub") as site:
        key = make_key(site.server.home, "routed", "--budget", "1")
        for fields in shapes(18):
            reply = chat(site, key, **fields)
            assert "x-tradewind-cost-nanousd" not in reply.headers and b'"cost_nanousd":"' not in reply.body
        assert all_books_say(site, key) > 0
        costs = {billed(entry) for entry in asked(site)}
        assert len(costs) == 2, "both of who serve it"
        for entry in asked(site):
            attempt = attempt_of_entry(site, key, entry)
            assert (attempt["cost_nanousd"], attempt["charge_nanousd"], attempt["usage_source"]) == (billed(entry), billed(entry), "billed")
            assert (attempt["input_tokens"], attempt["output_tokens"]) == tokens(entry)
        used = usage(site, key)
        assert (used["input_tokens"], used["output_tokens"]) == tuple(map(sum, zip(*map(tokens, asked(site)))))


def tokens(entry):
    return entry["billed"]["prompt_tokens"], entry["billed"]["completion_tokens"]


def start_again(site):
    """After a kill."""
    site.server.process.kill()
    site.server.process.wait(harness.PATIENCE_S)
    site.server.process.stdout.close()
    flags = ["--config", site.config, "--port", str(site.server.port), *QUICK]
    server = harness.Server(site.server.home, *flags, models=site.models, env=market.keys(site.sites))
    site.server.process = server.process  # the one that the end of the test stops


def test_t30_what_an_answer_said_outlives_kills_before_its_bill(tmp_path):
    with pool(tmp_path, "hub") as site:
        key = make_key(site.server.home, "routed", "--budget", "1")
        site.sim.fault(endpoint="billing", status=503)
        replies = [chat(site, key, **fields) for fields in shapes(3)]
        site.sim.fault(endpoint="chat", usage="padded")
        replies.append(chat(site, key))
        for _ in range(2):  # the second one reads what the first one wrote of all that is open
            start_again(site)
        assert usage(site, key)["requests"]["in_doubt"] == len(replies)
        site.sim.clear_faults()
        all_books_say(site, key)
        attempts = [attempt_of_entry(site, key, entry) for entry in asked(site)]
        told = [tokens(entry) for entry in asked(site)]
        told[-1] = (told[-1][0], told[-1][1] + 1000)
        assert [(one["input_tokens"], one["output_tokens"]) for one in attempts] == told
        harness.wait_for(lambda: "the bytes of its answer" in cli(site.server.home, "alerts", "ls"), "the alert about who says more")


@pytest.mark.parametrize("where", ["pool", "hub"])
def test_t30_a_hard_budget_is_kept_by_the_dearest_of_the_pool(tmp_path, where):
    with pool(tmp_path, where) as site:
        home = site.server.home
        roomy = make_key(home, "roomy", "--budget", "1")
        held = int(attempt_of(site, roomy, chat(site, roomy))["held_nanousd"])
        all_books_say(site, roomy)
        site.sim.reset()
        tight = make_key(home, "tight", "--budget", str(decimal.Decimal(held + held // 20).scaleb(-9)))
        body = {"model": POOLED if where == "hub" else MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20}
        answered = 0
        while site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {tight['token']}"}).status == 200:
            answered += 1
            harness.wait_for(lambda: usage(site, tight)["requests"]["in_doubt"] == 0, "no request in doubt")
        spent = usage(site, tight)["budget"]
        assert answered > 0 and int(spent["spent_nanousd"]) == int(site.sim.bill()["total"]["cost_nanousd"])
        assert 0 <= int(spent["available_nanousd"]) < held, "refused by its worst case, and not before"


def test_t30_a_cost_beyond_the_dearest_price_is_posted_whole_and_told(tmp_path):
    with pool(tmp_path, "pool", prices=("0.01", "0.01")) as site:
        key = make_key(site.server.home, "surprised", "--budget", "1")
        for _ in range(200):
            reply = chat(site, key, max_tokens=4000, messages=[{"role": "user", "content": "sim:tokens=4000 one"}])
            attempt = attempt_of(site, key, reply)
            assert attempt["cost_nanousd"] == billed(asked(site)[-1])
            if int(attempt["cost_nanousd"]) > int(attempt["held_nanousd"]):
                break
        assert int(attempt["charge_nanousd"]) <= int(attempt["held_nanousd"]) < int(attempt["cost_nanousd"])
        assert all_books_say(site, key) > 0
        harness.wait_for(lambda: "barred" in cli(site.server.home, "alerts", "ls"), "its alert")
