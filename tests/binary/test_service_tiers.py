"""Service tiers, each at prices of its own: the provider's own bill, to the nano-dollar, and never beyond a hold."""

import csv
import decimal
import io
import json

import pytest

import harness
import market
from market import MODEL
from test_units import attempt_of, cli, last_bill, make_key

# USD per million tokens, with places that make every request round; the second is above 40 tokens of input.
TIERS = {
    "": (("0.123456789", "0.012345679", "1.500000001", "7.000000003"), ("0.2", "0.02", "2.5", "9.000000007")),
    "flex": (("0.061728395", "0.00617284", "0.750000001", "3.500000002"), ("0.1", "0.01", "1.25", "4.500000004")),
    "priority": (("0.246913579", "0.024691358", "3.000000002", "14.000000006"), ("0.4", "0.04", "5", "18.000000014")),
}
FIELDS = ("input", "cached_input", "output", "reasoning")
SIM_FIELDS = ("input", "cached", "output", "reasoning")


def words_of(name):
    """A price list of the config."""

    def prices(row):
        return ", ".join(f'{field}_usd_per_mtok = "{usd}"' for field, usd in zip(FIELDS, row) if name or field not in ("input", "output"))

    usual, longer = TIERS[name]
    above = ", ".join(f'{field}_usd_per_mtok = "{usd}"' for field, usd in zip(FIELDS, longer))
    return f"{prices(usual)}, tiers = [{{ above = 40, {above} }}]"


def billed(name):
    """The same, as the simulator has it."""

    def nano(usd):
        return int(decimal.Decimal(usd).scaleb(9))

    usual, longer = TIERS[name]
    out = {f"{field}_nanousd_per_mtok": nano(usd) for field, usd in zip(SIM_FIELDS, usual)}
    return out | {"above": 40} | {f"above_{field}_nanousd_per_mtok": nano(usd) for field, usd in zip(SIM_FIELDS, longer)}


ALSO = words_of("") + ", service_tiers = { " + ", ".join(f"{name} = {{ {words_of(name)} }}" for name in ("flex", "priority")) + " }"
# It has one more, which the config says nothing of.
BILLED = billed("") | {"service_tiers": {"flex": billed("flex"), "priority": billed("priority"), "scale": billed("priority")}}


@pytest.fixture
def site(tmp_path):
    flags = ["--price", f"site-a={json.dumps(BILLED)}"]
    with market.Market(tmp_path, "site-a", prices=TIERS[""][0][0:3:2], also=ALSO, sim_flags=flags) as running:
        yield running


def ask(site, key, words=3, **fields):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "word " * words}], "max_tokens": 60} | fields
    return site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})


def told_cost(reply):
    if not reply.body.startswith(b"data:"):
        return reply.headers.get("x-tradewind-cost-nanousd")
    (receipt,) = [block for block in harness.sse_blocks(reply.body) if block.startswith(b": tradewind ")]
    return json.loads(receipt.removeprefix(b": tradewind "))["cost_nanousd"]


# Asked for, what the provider serves it at, where it says so -> at which prices it is settled.
SERVED = [
    ("flex", "", "", "flex"),
    ("flex", "", "usage", "flex"),
    ("flex", "default", "", ""),
    ("priority", "", "", "priority"),
    ("priority", "", "usage", "priority"),
    ("priority", "default", "", ""),
    ("priority", "", "none", "priority"),
    ("default", "", "", ""),
    ("auto", "flex", "", "flex"),
    (None, "", "", ""),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_t28_tokens_of_every_kind_are_billed_at_the_tier_that_the_answer_says(site, stream):
    home = site.server.home
    key = make_key(home, "k", "--budget", "100")
    told = 0
    thoughts = {"": 0, "flex": 0, "priority": 0}
    served = SERVED + [(asked, by, "first", at) for asked, by, where, at in SERVED[:1] + SERVED[3:4] if stream]
    for number, (asked, by, where, at) in enumerate(served):
        for words, thought in ((7, 5), (60, 11)):
            site.sim.clear_faults()
            site.sim.fault(provider="site-a", reasoning_tokens=thought, cached_tokens=words // 2, tokens=9 + number, service_tier=by, tier_told=where)
            reply = ask(site, key, words, stream=stream, **({"service_tier": asked} if asked else {}))
            assert reply.status == 200, reply.body
            attempt = attempt_of(site, key, reply)
            assert attempt.get("service_tier", "") == at, (asked, by, where)
            assert attempt["reason"] == ""
            assert attempt["cost_nanousd"] == last_bill(site)["cost_nanousd"] == told_cost(reply), (asked, by, where, words)
            assert int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
            told += int(attempt["cost_nanousd"])
            thoughts[at] += thought
    assert told == int(site.sim.bill()["total"]["cost_nanousd"])
    statement = json.loads(cli(home, "bill", "--json"))["statement"]
    assert int(statement["charge_nanousd"]) == sum(int(line["charge_nanousd"]) for line in statement["lines"]) == told
    assert all(line["charge_nanousd"] == "0" for line in statement["lines"] if line["meter"] == "requests")
    for name, thought in thoughts.items():
        lines = [line for line in statement["lines"] if line["meter"] == "reasoning_tokens" and line.get("service_tier", "") == name]
        assert sum(line["quantity"] for line in lines) == thought
        assert {line["usd_per_mtok"] for line in lines} == {prices[3] for prices in TIERS[name]}
    assert json.loads(cli(home, "bill", "verify", "--json"))["good"]
    assert "output_tokens above 40 at flex" in cli(home, "bill")

    rows = list(csv.DictReader(io.StringIO(cli(home, "bill", "export"))))
    assert sum(decimal.Decimal(row["BilledCost"]) for row in rows) == decimal.Decimal(told).scaleb(-9)
    details = [json.loads(row["SkuPriceDetails"]) for row in rows]
    assert {detail.get("x_ServiceTier", "") for detail in details} == {"", "flex", "priority"}
    (version,) = json.loads(cli(home, "prices", "history", MODEL, "--json"))["versions"]
    assert version["service_tiers"]["flex"]["reasoning_usd_per_mtok"] == "3.500000002"
    assert version["service_tiers"]["priority"]["tiers"][0]["input_usd_per_mtok"] == "0.4"
    assert "flex: $0.061728395 in" in cli(home, "prices", "history")
    (provider,) = [one for one in site.server.get(f"/v1/models/{MODEL}").json()["providers"] if one["provider"] == "site-a"]
    assert provider["pricing"]["service_tiers"]["priority"]["output"] == 3.000000002
    assert provider["pricing"]["service_tiers"]["flex"]["tiers"][0]["above"] == 40


def test_t13_a_hard_budget_holds_the_dearer_of_the_tier_asked_for_and_the_usual_one(site):
    home = site.server.home
    roomy = make_key(home, "roomy", "--budget", "100")

    def held(tier):
        return int(attempt_of(site, roomy, ask(site, roomy, service_tier=tier))["held_nanousd"])

    usual = held("default")
    assert held("flex") == usual - 3 * 200, "it may be served as any other; its word has three bytes less"
    assert held("priority") > 1.9 * usual
    tight = make_key(home, "tight", "--budget", f"{decimal.Decimal(usual).scaleb(-9):f}")
    refused = ask(site, tight, service_tier="priority")
    assert refused.status == 402 and "max_tokens" in refused.error()["message"], refused.body
    unknown = ask(site, tight, service_tier="scale")
    assert (unknown.status, unknown.error()["param"]) == (402, "service_tier"), unknown.body
    assert ask(site, tight, service_tier="flex").status == 200, "what the usual price has room for"
    capped = ask(site, roomy, service_tier="priority", provider={"max_price": {"completion": 10}})
    assert "over the cap" in capped.error()["message"], "a dearer tier is capped too"
    spent = [json.loads(cli(home, "usage", "--key", one["id"], "--json")) for one in (roomy, tight)]
    assert sum(int(one["cost_nanousd"]) for one in spent) == int(site.sim.bill()["total"]["cost_nanousd"])
    assert all(one["held_nanousd"] == "0" for one in spent)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_tier_without_prices_has_no_exact_cost(site, stream):
    def reason(reply):
        assert reply.status == 200 and told_cost(reply) is None, reply.body
        (attempt,) = site.server.get(f"/v1/receipts/{reply.headers['x-tradewind-receipt']}").json()["attempts"]
        assert int(attempt["cost_nanousd"]) > 0, "what is known counts in budgets"
        return attempt["reason"]

    incomplete = "incomplete: service_tier is billed apart from tokens"
    assert reason(site.chat(stream=stream, service_tier="scale")) == incomplete
    site.sim.fault(provider="site-a", service_tier="scale")
    assert reason(site.chat(stream=stream, service_tier="flex")) == incomplete
    assert reason(site.chat(stream=stream)) == incomplete


def test_a_flex_answer_that_says_no_tier_is_settled_at_the_usual_price(site):
    key = make_key(site.server.home, "k", "--budget", "100")
    site.sim.fault(provider="site-a", tier_told="none")
    attempt = attempt_of(site, key, ask(site, key, service_tier="flex"))
    site.sim.fault(provider="site-a", service_tier="default")
    usual = attempt_of(site, key, ask(site, key))
    assert attempt["cost_nanousd"] == usual["cost_nanousd"], "nobody says that it was served for less"
    assert "service_tier" not in attempt
