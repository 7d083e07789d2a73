"""Prices of thought, requests, pictures, sound, writes to a cache and tiers: the provider's own bill, to the nano-dollar, and never beyond a hold."""

import csv
import decimal
import io
import json
import re

import pytest

import harness
import market
from market import MODEL

# USD per million tokens, with places that make every request round.
PRICES = ("0.123456789", "1.500000001")
TIER = "{ above = 40, input_usd_per_mtok = \"0.246913579\", output_usd_per_mtok = \"4.5\", reasoning_usd_per_mtok = \"9.000000007\" }"
UNITS = f'reasoning_usd_per_mtok = "7.000000003", request_usd = "0.0005", image_usd = "0.001", tiers = [{TIER}]'
# The same, as the simulator has them.
BILLED = {
    "input_nanousd_per_mtok": 123456789,
    "output_nanousd_per_mtok": 1500000001,
    "reasoning_nanousd_per_mtok": 7000000003,
    "above": 40,
    "above_input_nanousd_per_mtok": 246913579,
    "above_output_nanousd_per_mtok": 4500000000,
    "above_reasoning_nanousd_per_mtok": 9000000007,
    "request_nanousd": 500000,
    "image_nanousd": 1000000,
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}


def cli(home, *words):
    done = harness.run_cli(*words, home=home)
    assert done.returncode == 0, done
    return done.stdout


def make_key(home, name, *words):
    return json.loads(cli(home, "keys", "create", "--name", name, "--json", *words))


@pytest.fixture
def site(tmp_path):
    price = ["--price", f"site-a={json.dumps(BILLED)}"]
    with market.Market(tmp_path, "site-a", prices=PRICES, also=UNITS, sim_flags=price) as running:
        yield running


def chat(site, key, words, pictures=0, **fields):
    content = [{"type": "text", "text": "word " * words}, *[PICTURE] * pictures]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}]} | fields
    reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
    assert reply.status == 200, reply.body
    return reply


def test_t27_receipt_bill_and_focus_are_what_the_provider_billed(site):
    home = site.server.home
    key = make_key(home, "long", "--budget", "100")
    told = 0
    shapes = [(1, 0), (7, 3), (39, 11), (40, 12), (41, 13), (200, 5)]
    for number, (words, thought) in enumerate(shapes * 2):
        site.sim.clear_faults()
        site.sim.fault(provider="site-a", reasoning_tokens=thought, tokens=9 + number)
        stream = number >= len(shapes)
        reply = chat(site, key, words, pictures=number % 3, max_tokens=60, stream=stream)
        receipt = json.loads(cli(home, "receipt", reply.headers["x-tradewind-receipt"], "--json"))
        (attempt,) = receipt["attempts"]
        assert attempt["reasoning_tokens"] == thought
        assert int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
        if not stream:
            assert reply.headers["x-tradewind-cost-nanousd"] == receipt["cost_nanousd"]
        told += int(receipt["cost_nanousd"])
    billed = int(site.sim.bill()["total"]["cost_nanousd"])
    assert told == billed
    used = json.loads(cli(home, "usage", "--key", key["id"], "--json"))
    assert int(used["cost_nanousd"]) == int(used["budget"]["spent_nanousd"]) == billed

    statement = json.loads(cli(home, "bill", "--json"))["statement"]
    assert int(statement["charge_nanousd"]) == sum(int(line["charge_nanousd"]) for line in statement["lines"]) == billed
    quantities = {(line["meter"], line.get("above_input_tokens")): line["quantity"] for line in statement["lines"]}
    assert quantities["requests", None] == len(shapes) * 2
    assert quantities["input_images", None] == 12
    # Pictures are tokens too: only requests of few words and no picture are below the tier.
    below = [thought for number, (words, thought) in enumerate(shapes * 2) if words <= 40 and number % 3 == 0]
    assert quantities["reasoning_tokens", None] == sum(below)
    assert quantities["reasoning_tokens", 40] == 2 * sum(thought for _, thought in shapes) - sum(below)
    assert json.loads(cli(home, "bill", "verify", "--json"))["good"]

    # What the provider alone can count is the same in every book.
    thought = 2 * sum(thought for _, thought in shapes)
    assert used["unverifiable_tokens"] == statement["unverifiable_tokens"] == thought
    hidden = {line["meter"]: line["unverifiable_tokens"] for line in statement["lines"] if "unverifiable_tokens" in line}
    assert set(hidden) == {"reasoning_tokens"}
    draft = ["bill", "invoice", "--org", statement["lines"][0]["org"], "--period", statement["period"], "--draft"]
    invoice = json.loads(cli(home, *draft))
    assert invoice["unverifiable_tokens"] == sum(line["unverifiable_tokens"] for line in invoice["lines"]) == thought
    invoiced = list(csv.DictReader(io.StringIO(cli(home, *draft, "--format", "csv"))))
    assert [row["unverifiable_tokens"] for row in invoiced if row["line"] == "unverifiable"] == [str(thought)]
    assert f"{thought} tokens of thought" in cli(home, "bill")

    rows = list(csv.DictReader(io.StringIO(cli(home, "bill", "export"))))
    assert sum(decimal.Decimal(row["x_UnverifiableTokens"]) for row in rows) == thought
    assert sum(decimal.Decimal(row["BilledCost"]) for row in rows) == decimal.Decimal(billed).scaleb(-9)
    tiers = {row["SkuPriceId"] for row in rows if "above 40 input tokens" in row["SkuPriceDetails"]}
    assert tiers == {f"1/{meter}/above-40" for meter in ("input_tokens", "output_tokens", "reasoning_tokens")}
    (version,) = json.loads(cli(home, "prices", "history", MODEL, "--json"))["versions"]
    assert version["reasoning_usd_per_mtok"] == "7.000000003" and version["request_usd"] == "0.0005"
    assert version["tiers"][0]["above"] == 40 and version["tiers"][0]["reasoning_usd_per_mtok"] == "9.000000007"
    assert "above 40" in cli(home, "bill") and "above 40" in cli(home, "prices", "history")


def test_t13_a_hard_budget_holds_the_dearest_tier_and_every_picture(site):
    home = site.server.home
    # The input is bounded by bytes: some 1,300 tokens, in the tier. 20 tokens of thought at most.
    key = make_key(home, "tight", "--budget", "0.001")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 20}
    headers = {"Authorization": f"Bearer {key['token']}"}
    refused = site.server.post("/v1/chat/completions", body | {"max_tokens": 100}, headers)
    assert refused.status == 402 and "max_tokens" in refused.error()["message"], refused.body
    assert site.server.post("/v1/chat/completions", body, headers).status == 200
    with_picture = body | {"messages": [{"role": "user", "content": [PICTURE, PICTURE]}]}
    assert site.server.post("/v1/chat/completions", with_picture, headers).status == 402, "two pictures cost $0.002"
    roomy = make_key(home, "roomy", "--budget", "10")
    assert chat(site, roomy, 2, pictures=2, max_tokens=20)
    spent = [json.loads(cli(home, "usage", "--key", one["id"], "--json")) for one in (key, roomy)]
    assert sum(int(one["cost_nanousd"]) for one in spent) == int(site.sim.bill()["total"]["cost_nanousd"])
    assert all(one["held_nanousd"] == "0" for one in spent)


def test_a_photo_as_a_data_url_is_held_as_a_picture_and_not_as_text(tmp_path):
    price = ["--price", f"site-a={json.dumps(BILLED)}"]
    sees = UNITS + ', input_modalities = ["text", "image"]'
    with market.Market(tmp_path, "site-a", prices=PRICES, also=sees, context=131072, sim_flags=price) as site:
        # Of 131,072 tokens of input the dearest tier makes more than $0.03.
        key = make_key(site.server.home, "small", "--budget", "0.02")
        photo = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "/9j/" * 75_000}}
        body = {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": "what is it"}, photo]}], "max_tokens": 20}
        headers = {"Authorization": f"Bearer {key['token']}"}
        reply = site.server.post("/v1/chat/completions", body, headers)
        assert reply.status == 200, reply.body
        attempt = attempt_of(site, key, reply)
        assert attempt["cost_nanousd"] == last_bill(site)["cost_nanousd"]
        assert int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
        # Where nobody says how many tokens it was: the budget counts the most, charged is what is usual.
        site.sim.fault(usage="missing", endpoint="chat")
        attempt = attempt_of(site, key, site.server.post("/v1/chat/completions", body, headers))
        assert (attempt["state"], attempt["usage_source"]) == ("settled", "metered")
        assert 1600 < attempt["input_tokens"] < 1700, "and a few words"
        assert int(last_bill(site)["cost_nanousd"]) <= int(attempt["charge_nanousd"]) < int(attempt["cost_nanousd"]) / 3
        # What is no picture is text still: a document of many pages, and words of that length.
        for url in ("data:application/pdf;base64," + "A" * 300_000, "https://a.example/" + "a" * 300_000):
            photo["image_url"]["url"] = url
            assert site.server.post("/v1/chat/completions", body, headers).status == 402
        photo["image_url"]["url"] = "data:image/jpeg;base64," + "/9j/" * 75_000
        headers = {"Authorization": f"Bearer {make_key(site.server.home, 'other', '--budget', '0.02')['token']}"}
        assert site.server.post("/v1/chat/completions", body, headers).status == 200
        site.config.write_text(site.config.read_text().replace(', input_modalities = ["text", "image"]', ""))
        site.server.process.send_signal(1)  # SIGHUP
        reply = harness.wait_for(lambda: next((one for one in [site.server.post("/v1/chat/completions", body, headers)] if one.status != 200), None), "the new config")
        assert reply.status == 402 and "$0.034" in reply.error()["message"], "who is not known to see may read it as text"


def held_for(site, key, **fields):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "what is it"}], "max_tokens": 10} | fields
    reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
    assert reply.status == 200, reply.body
    return int(reply.headers["x-tradewind-hold-nanousd"])


def test_a_picture_is_held_as_the_most_that_any_provider_makes_of_one(tmp_path):
    # OpenAI's gpt-4o-mini: 2,833 tokens, and 5,667 for each of the 8 tiles of 2048x768.
    most = 2833 + 8 * 5667
    with market.Market(tmp_path, "site-a", prices=("1", "2"), context=131072) as site:
        key = make_key(site.server.home, "k", "--budget", "10")
        with_picture = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it"}, PICTURE]}]}
        assert held_for(site, key, **with_picture) - held_for(site, key) >= most * 1000


def test_json_that_a_template_writes_anew_is_held_as_it_may_be_written(tmp_path):
    schema = {"type": "object", "properties": {"a": {"enum": [1] * 1000}, "b": {"description": "<é 中 & 'c'>"}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": [1] * 500}, separators=(",", ":"))}}
    read = call | {"function": call["function"] | {"arguments": {"a": [1] * 500}}}
    answered = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "1"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    structured = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}

    def written(value):
        return max(len(json.dumps(value, indent=indent, ensure_ascii=ascii)) for indent in (None, 4) for ascii in (False, True))

    with market.Market(tmp_path, "site-a", prices=("1", "2"), context=131072) as site:
        key = make_key(site.server.home, "k", "--budget", "10")
        plain = held_for(site, key)
        assert held_for(site, key, tools=tools) - plain >= written(tools) * 1000
        assert held_for(site, key, response_format=structured) - plain >= written(structured) * 1000
        assert held_for(site, key, messages=answered) - plain >= written([read]) * 1000


def test_tools_that_a_template_writes_many_times_are_held_as_often(tmp_path):
    def tools(parameters):
        return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]

    def doubling(names):
        twice = {f"A{i}": {"properties": {side: {"$ref": f"#/$defs/A{i + 1}"} for side in "ab"}} for i in range(names)}
        return tools({"properties": {"x": {"$ref": "#/$defs/A0"}}, "$defs": twice | {f"A{names}": {"type": "string"}}})

    large = tools({"description": "a" * 1000})
    developers = [{"role": "developer", "content": ""}] * 11 + [{"role": "user", "content": "a"}]
    with market.Market(tmp_path, "site-a", prices=("1", "2"), context=131072) as site:
        key = make_key(site.server.home, "k", "--budget", "10")
        assert held_for(site, key, tools=large, messages=developers) - held_for(site, key, messages=developers) > 11 * 1000 * 1000
        own = [{"role": "system", "content": "", "tools": tools({"enum": [1] * 1000})}, {"role": "user", "content": "a"}]
        assert held_for(site, key, messages=own) > len(json.dumps(own[0]["tools"], indent=4)) * 1000
        assert held_for(site, key, tools=doubling(8)) > 2**8 * len('{"type": "string"}') * 1000
        assert held_for(site, key, tools=doubling(40)) >= 131072 * 1000, "no more than the context holds"


def test_sound_is_held_where_it_has_a_price_and_refused_by_name_elsewhere(tmp_path):
    sound = 'audio_input_usd_per_mtok = "40", audio_output_usd_per_mtok = "80"'
    for priced in (True, False):
        folder = tmp_path / str(priced)
        folder.mkdir()
        with market.Market(folder, "site-a", prices=PRICES, also=sound if priced else "") as site:
            key = make_key(site.server.home, "k", "--budget", "10")
            headers = {"Authorization": f"Bearer {key['token']}"}
            heard = {"model": MODEL, "messages": [{"role": "user", "content": [SOUND]}], "max_tokens": 10}
            spoken = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": 10, "modalities": ["text", "audio"]}
            for body, param in ((heard, "input_audio"), (spoken, "modalities")):
                reply = site.server.post("/v1/chat/completions", body, headers)
                if not priced:
                    assert (reply.status, reply.error()["param"]) == (402, param), reply.body
                    continue
                assert reply.status == 200, reply.body
                receipt = json.loads(cli(site.server.home, "receipt", reply.headers["x-tradewind-receipt"], "--json"))
                held = int(receipt["attempts"][0]["held_nanousd"])
                # All of the context at the price of sound; and every token of the answer.
                assert held >= (8192 * 40_000 if body is heard else 10 * 80_000)
                cap = {"prompt": 39, "completion": 2} if body is heard else {"prompt": 1, "completion": 79}
                reply = site.server.post("/v1/chat/completions", body | {"provider": {"max_price": cap}}, headers)
                assert "over the cap" in reply.error()["message"], "of sound, which has a price of its own"
            assert priced or site.sim.bill()["total"]["requests"] == 0


def test_a_cap_on_prices_is_compared_with_the_tiers_that_a_prompt_can_reach(tmp_path):
    longer = 'tiers = [{ above = 3000, input_usd_per_mtok = "2", output_usd_per_mtok = "4" }]'
    with market.Market(tmp_path, "site-a", prices=("1", "2"), also=longer) as site:
        body = {"model": MODEL, "max_tokens": 10, "provider": {"max_price": {"prompt": 1, "completion": 2}}}
        for text, may_be_dear in (("a", False), ("a" * 3000, True)):
            reply = site.server.post("/v1/chat/completions", body | {"messages": [{"role": "user", "content": text}]})
            assert (reply.status == 200) != may_be_dear, reply.body
            assert not may_be_dear or "over the cap" in reply.error()["message"], reply.body


def test_what_beats_the_bounds_of_a_request_is_refused_by_name_under_a_hard_budget(tmp_path):
    picture = "https://a.example/b.png"
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        key, free = make_key(site.server.home, "k", "--budget", "10"), make_key(site.server.home, "free")
        for fields, param in (
            ({"prediction": {"type": "content", "content": "a " * 4000}}, "prediction"),
            ({"extra_body": {"max_tokens": 100_000, "n": 8}}, "extra_body"),
            ({"Fallbacks": ["dear/model"]}, "fallbacks"),
            ({"preset": "dear"}, "preset"),
            ({"images": [picture] * 30}, "images"),
            ({"messages": [{"role": "user", "content": "a", "images": [picture] * 30}]}, "images"),
            ({"chat_template_kwargs": {"chat_template": "{% for i in range(9999) %}a{% endfor %}"}}, "chat_template_kwargs"),
        ):
            body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": 10} | fields
            reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
            assert (reply.status, reply.error()["param"]) == (402, param), reply.body
            assert f"`{param}`" in reply.error()["message"]
            assert site.sim.bill()["total"]["requests"] == 0
        body |= {"images": [], "chat_template_kwargs": {"enable_thinking": False}}
        assert site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"}).status == 200
        body["images"] = [picture]
        reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {free['token']}"})
        assert reply.status == 200, reply.body
        assert attempt_of(site, free, reply)["reason"] == "incomplete: images is billed apart from tokens"


# What a field may cost that nobody here knows is anybody's guess, until the operator has said it.
def test_a_hard_budget_takes_no_field_that_nobody_knows(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        key, free = make_key(site.server.home, "k", "--budget", "10"), make_key(site.server.home, "free")
        body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": 10, "Turbo_Mode": True, "top_k": 3}
        ask = lambda who: site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {who['token']}"})
        reply = ask(key)
        assert (reply.status, reply.error()["param"]) == (402, "turbo_mode"), reply.body
        assert "`harmless_fields` of site-a" in reply.error()["message"]
        assert site.sim.bill()["total"]["requests"] == 0
        reply = ask(free)
        assert reply.status == 200, reply.body
        assert attempt_of(site, free, reply)["reason"] == ""
        site.config.write_text(site.config.read_text().replace("[[providers]]\n", '[[providers]]\nharmless_fields = ["turbo_mode"]\n', 1))
        site.server.process.send_signal(1)  # SIGHUP
        harness.wait_for(lambda: ask(key).status == 200, "the new config")


# A template, or the prefix of an embedding, stands before each of them, and what is to follow the answer behind it.
def test_each_prompt_of_a_request_is_held_with_what_is_put_around_it(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES, context=131072) as site:
        key = make_key(site.server.home, "k", "--budget", "10")
        body = {"model": MODEL, "prompt": [""] * 40, "suffix": "x" * 500, "max_tokens": 1}
        reply = site.server.post("/v1/completions", body, {"Authorization": f"Bearer {key['token']}"})
        assert reply.status == 200, reply.body
        assert int(reply.headers["x-tradewind-hold-nanousd"]) > 40 * 500 * 100, "at 100 nano-dollars a token"


def test_the_page_of_budgets_names_every_field_that_is_refused():
    listed = (harness.ROOT / "src/dialects/billed_apart.cc").read_text().split("kApart =")[1].split("namespace")[0]
    names = set(re.findall(r'^ +"([a-z_]+)",', listed, re.MULTILINE))
    page = (harness.ROOT / "docs/operating/budgets.md").read_text()
    assert len(names) > 60 and not [name for name in sorted(names) if f"`{name}`" not in page]
    known = (harness.ROOT / "src/dialects/known_fields.cc").read_text().split("kKnown =")[1].split("static_assert")[0]
    names = set(re.findall(r'"([a-z_]+)",', known))
    assert len(names) > 150 and not [name for name in sorted(names) if f"`{name}`" not in page]


HOUR = {"type": "ephemeral", "ttl": "1h"}
WRITES = {"input_nanousd_per_mtok": 1000000000, "output_nanousd_per_mtok": 2000000000, "cache_write_nanousd_per_mtok": 1250000000, "cache_write_1h_nanousd_per_mtok": 2000000000}


def prompt(control, where="part"):
    part = {"type": "text", "text": "word " * 50}
    message = {"role": "user", "content": [part]}
    body = {"model": MODEL, "messages": [message], "max_tokens": 10}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    if where == "tool":
        body["tools"] = [tool | {"cache_control": control}]
    else:
        (part if where == "part" else message)["cache_control"] = control
    return body


def test_what_is_kept_for_an_hour_is_held_billed_and_never_beyond_a_hard_budget(tmp_path):
    also = 'cache_write_usd_per_mtok = "1.25", cache_write_1h_usd_per_mtok = "2"'
    price = ["--price", f"site-a={json.dumps(WRITES)}"]
    with market.Market(tmp_path, "site-a", prices=("1", "2"), also=also, sim_flags=price) as site:
        home = site.server.home
        key = make_key(home, "roomy", "--budget", "10")
        headers = {"Authorization": f"Bearer {key['token']}"}
        site.sim.fault(provider="site-a", cache_write_tokens=40, tokens=5)
        held, told = {}, 0
        for control, kept in (({"type": "ephemeral"}, 0), (HOUR, 40)):
            for where in ("part", "message", "tool"):
                for stream in (False, True):
                    body = prompt(control, where) | {"stream": stream}
                    reply = site.server.post("/v1/chat/completions", body, headers)
                    assert reply.status == 200, reply.body
                    receipt = json.loads(cli(home, "receipt", reply.headers["x-tradewind-receipt"], "--json"))
                    (attempt,) = receipt["attempts"]
                    assert (attempt["cache_write_tokens"], attempt["cache_write_1h_tokens"]) == (40, kept)
                    assert int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
                    held[kept] = int(attempt["held_nanousd"])
                    told += int(attempt["cost_nanousd"])
        assert held[40] > 1.5 * held[0], "all of its input at the price of an hour"
        assert told == int(site.sim.bill()["total"]["cost_nanousd"])
        statement = json.loads(cli(home, "bill", "--json"))["statement"]
        quantities = {line["meter"]: line["quantity"] for line in statement["lines"]}
        assert (quantities["cache_write_tokens"], quantities["cache_write_1h_tokens"]) == (6 * 40, 6 * 40)
        assert json.loads(cli(home, "bill", "verify", "--json"))["good"]
        # A budget that has room for five minutes, and none for an hour.
        tight = make_key(home, "tight", "--budget", str(decimal.Decimal(held[0] + held[40]) / 2 / 10**9))
        headers = {"Authorization": f"Bearer {tight['token']}"}
        refused = site.server.post("/v1/chat/completions", prompt(HOUR, where), headers)
        assert refused.status == 402, refused.body
        assert site.server.post("/v1/chat/completions", prompt({"type": "ephemeral"}, where), headers).status == 200


def filters():
    """The schema that many tools of databases have: types that name each other, as pydantic writes them."""
    any_of = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("And", "Or", "Not", "Is")]}
    many = {"type": "object", "properties": {"of": {"type": "array", "items": any_of}}}
    one = {"type": "object", "properties": {"of": any_of}}
    leaf = {"type": "object", "properties": {"field": {"type": "string"}, "value": {"type": "string"}}}
    return {"type": "object", "properties": {"where": any_of}, "$defs": {"And": many, "Or": many, "Not": one, "Is": leaf}}


def test_types_that_name_each_other_are_held_for_where_any_model_may_answer_and_there_alone(tmp_path):
    with market.Market(tmp_path, "groq", "site-a", prices=("1", "2"), context=131072) as site:
        key = make_key(site.server.home, "k", "--budget", "10")

        def held(slug, parameters):
            tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
            body = {"model": f"{MODEL}:{slug}", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10, "tools": tools}
            reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
            assert reply.status == 200, reply.body
            return int(reply.headers["x-tradewind-hold-nanousd"])

        plain = json.loads(json.dumps(filters()).replace("$ref", "_ref"))
        assert held("groq", filters()) == held("groq", plain)
        assert held("site-a", filters()) > 10 * held("site-a", plain)


def test_a_route_without_a_price_for_an_hour_is_used_by_no_hard_budget(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1", "2"), also='cache_write_usd_per_mtok = "1.25"') as site:
        key, free = make_key(site.server.home, "k", "--budget", "10"), make_key(site.server.home, "free")
        for where in ("part", "message", "tool"):
            for ttl in ("1h", "24h", 3600):
                reply = site.server.post("/v1/chat/completions", prompt({"type": "ephemeral", "ttl": ttl}, where), {"Authorization": f"Bearer {key['token']}"})
                assert (reply.status, reply.error()["param"]) == (402, "cache_control"), reply.body
        assert site.sim.bill()["total"]["requests"] == 0
        reply = site.server.post("/v1/chat/completions", prompt({"type": "ephemeral", "ttl": "5m"}), {"Authorization": f"Bearer {key['token']}"})
        assert reply.status == 200, reply.body
        assert site.server.post("/v1/chat/completions", prompt(HOUR), {"Authorization": f"Bearer {free['token']}"}).status == 200


def test_what_asks_for_a_cache_is_served_where_that_changes_nothing(tmp_path):
    sites = ("fireworks-ai", "together", "groq", "cerebras")
    with market.Market(tmp_path, *sites, prices=("1", "2"), also='cached_input_usd_per_mtok = "0.1"') as site:
        key = make_key(site.server.home, "k", "--budget", "10")
        for slug in sites:
            body = prompt({"type": "ephemeral"}) | {"model": f"{MODEL}:{slug}"}
            reply = site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})
            assert reply.status == 200, (slug, reply.body)


@pytest.mark.parametrize("also", ['cached_input_usd_per_mtok = "0.1"', ""])
def test_writes_to_a_cache_without_a_price_are_told_of_and_end_a_hard_budget_there(tmp_path, also):
    with market.Market(tmp_path, "site-a", prices=("1", "2"), also=also) as site:
        home = site.server.home
        free, key = make_key(home, "free"), make_key(home, "k", "--budget", "10")
        site.sim.fault(cache_write_tokens=40, tokens=5)

        def ask(key, control):
            body = prompt(control)
            if control is None:
                del body["messages"][0]["content"][0]["cache_control"]
            return site.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {key['token']}"})

        asked = ask(key, {"type": "ephemeral"})
        assert (asked.status, asked.error()["param"]) == (402, "cache_control"), asked.body
        assert "cache_write_usd_per_mtok" in asked.error()["message"] and site.sim.bill()["total"]["requests"] == 0

        def alerts(kind):
            listed = json.loads(cli(home, "alerts", "--json"))["alerts"]
            return [alert for alert in listed if alert["kind"] == kind]

        reply = ask(free, {"type": "ephemeral"})
        assert reply.status == 200 and "x-tradewind-cost-nanousd" not in reply.headers, "nobody knows it"
        assert attempt_of(site, free, reply)["reason"] == "incomplete: cache_write is billed apart from tokens"
        harness.wait_for(lambda: alerts("usage"), "the alert")
        (told,) = alerts("usage")
        assert "cache_write_usd_per_mtok" in told["text"] and not alerts("barred")
        # Some write without having been asked to.
        assert ask(key, None).status == 200
        refused = ask(key, None)
        assert refused.status == 402 and "alerts ack" in refused.error()["message"], refused.body
        harness.wait_for(lambda: alerts("barred"), "the alert")
        assert len(alerts("usage")) == 1, "once a route"
        assert ask(free, None).status == 200
        assert json.loads(cli(home, "bill", "verify", "--json"))["good"]


# A tenth of the input's price, with places that make every request round.
CACHED = {"input_nanousd_per_mtok": 1234567891, "cached_nanousd_per_mtok": 123456789, "output_nanousd_per_mtok": 4000000001}
CACHED_PRICES = ("1.234567891", "4.000000001")
# The others tell nothing of a cache.
TELL_CACHED = [slug for slug in market.SITES if slug not in ("site-l", "site-m", "site-n", "site-o")]


def attempt_of(site, key, reply):
    """The only one."""
    path = f"/v1/receipts/{reply.headers['x-tradewind-receipt']}"
    (attempt,) = site.server.get(path, {"Authorization": f"Bearer {key['token']}"}).json()["attempts"]
    return attempt


def last_bill(site):
    """Of the provider's last answer: its own books."""
    return [entry for entry in site.sim.log() if entry["endpoint"] == "chat"][-1]["billed"]


def test_t25_t26_cached_tokens_are_charged_once_in_every_providers_words_whole_and_streamed(tmp_path):
    prices = [word for slug in TELL_CACHED for word in ("--price", f"{slug}={json.dumps(CACHED)}")]
    also = 'cached_input_usd_per_mtok = "0.123456789"'
    with market.Market(tmp_path, *TELL_CACHED, prices=CACHED_PRICES, also=also, sim_flags=prices) as site:
        home = site.server.home
        key = make_key(home, "cached", "--budget", "10")
        told = asked = cached_sum = 0
        for slug in TELL_CACHED:
            for cached in (0, 7, 60, 1000):
                site.sim.clear_faults()
                site.sim.fault(provider=slug, cached_tokens=cached, tokens=9 + cached % 8)
                for fields in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}):
                    reply = chat(site, key, 60, model=f"{MODEL}:{slug}", max_tokens=40, **fields)
                    attempt = attempt_of(site, key, reply)
                    bill = last_bill(site)
                    assert attempt["provider"] == slug and attempt["usage_source"] == "provider"
                    assert (attempt["input_tokens"], attempt["cached_tokens"]) == (60, min(60, cached)) == (bill["prompt_tokens"], bill["cached_tokens"])
                    assert attempt["cost_nanousd"] == bill["cost_nanousd"], (slug, cached, fields)
                    if not fields:
                        assert reply.headers["x-tradewind-cost-nanousd"] == attempt["cost_nanousd"]
                    told += int(attempt["cost_nanousd"])
                    cached_sum += attempt["cached_tokens"]
                    asked += 1
        spent = json.loads(cli(home, "usage", "--key", key["id"], "--json"))
        assert told == int(spent["cost_nanousd"]) == int(spent["budget"]["spent_nanousd"]) == int(site.sim.bill()["total"]["cost_nanousd"])
        assert (spent["input_tokens"], spent["cached_tokens"]) == (60 * asked, cached_sum)
        statement = json.loads(cli(home, "bill", "--json"))["statement"]
        assert int(statement["cost_nanousd"]) == told
        quantities = dict.fromkeys(("input_tokens", "cached_input_tokens"), 0)
        for line in statement["lines"]:
            if line["meter"] in quantities:
                quantities[line["meter"]] += line["quantity"]
        assert quantities == {"input_tokens": 60 * asked - cached_sum, "cached_input_tokens": cached_sum}, "none of them twice"


@pytest.mark.parametrize("control, hours", [(None, False), ({"type": "ephemeral"}, False), (HOUR, True)])
def test_t25_t26_what_is_read_from_a_cache_and_written_to_it_in_anthropics_words_is_each_charged_once(tmp_path, control, hours):
    also = 'cached_input_usd_per_mtok = "0.123456789", cache_write_usd_per_mtok = "1.543209864", cache_write_1h_usd_per_mtok = "2.469135782"'
    price = CACHED | {"cache_write_nanousd_per_mtok": 1543209864, "cache_write_1h_nanousd_per_mtok": 2469135782}
    with market.Market(tmp_path, "site-a", prices=CACHED_PRICES, also=also, sim_flags=["--price", f"site-a={json.dumps(price)}"]) as site:
        home = site.server.home
        key = make_key(home, "k", "--budget", "10")
        headers = {"Authorization": f"Bearer {key['token']}"}
        told = 0
        for cached, written in [(0, 0), (0, 50), (20, 13), (20, 30), (50, 0)]:
            site.sim.clear_faults()
            site.sim.fault(cached_tokens=cached, cache_write_tokens=written, tokens=5)
            for stream in (False, True):
                body = prompt(control) | {"stream": stream}
                if control is None:
                    del body["messages"][0]["content"][0]["cache_control"]
                reply = site.server.post("/v1/chat/completions", body, headers)
                assert reply.status == 200, reply.body
                attempt = attempt_of(site, key, reply)
                assert (attempt["cached_tokens"], attempt["cache_write_tokens"], attempt["cache_write_1h_tokens"]) == (cached, written, written * hours)
                assert attempt["cost_nanousd"] == last_bill(site)["cost_nanousd"], (cached, written, stream)
                assert int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
                told += int(attempt["cost_nanousd"])
        assert told == int(site.sim.bill()["total"]["cost_nanousd"])
