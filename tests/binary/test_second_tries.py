"""Where it is wanted: a stream that was cut goes on at another route, and a slow route is not waited for alone."""

import decimal
import json

import openai
import pytest

import harness
from market import MODEL, Market

CUTS = [{"cut_after": 5, "cut": "fin"}, {"malformed_after": 5}, {"error_after": 5}, {"stall_after": 5}]
ABC = ("site-a", "site-b", "site-c")


def route(*sites, **settings):
    lines = [f"order = {json.dumps(sites)}", *(f"{name} = {value}" for name, value in settings.items())]
    return "[route]\n" + "\n".join(lines) + "\n"


def market(folder, *sites, flags=("--stall", "300ms"), prefix="message", **settings):
    """Providers who go on with a last message of the assistant, if they are told to by `continues`."""
    fields = {"assistant_prefix": f'"{prefix}"'} if prefix else {}
    folder.mkdir(exist_ok=True)
    return Market(folder, *sites, flags=flags, extra=route(*sites, **settings), **fields)


def continues(market, *sites):
    for site in sites:
        market.sim.fault(provider=site, prefix="continue")


def text_of(reply):
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in harness.sse_json(reply.body) if c.get("choices"))


def is_complete(reply):
    return harness.sse_blocks(reply.body)[-1] == b"data: [DONE]"


def error_of(reply):
    assert not is_complete(reply)
    return json.loads(harness.sse_blocks(reply.body)[-1].removeprefix(b"data: "))["error"]


def asked(market):
    return [entry["provider"] for entry in market.sim.log()]


def line_of(market, reply):
    id = reply.headers["x-request-id"]
    return harness.wait_for(lambda: [e for e in market.server.access_log() if e.get("request_id") == id], "its line")[0]


def metric(market, name, **labels):
    wanted = "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"
    for line in market.server.metrics().splitlines():
        if line.startswith(name + "{") and set(line[len(name) + 1 : line.index("}")].split(",")) == set(wanted[1:-1].split(",")):
            return float(line.split()[-1])
    return 0


# --- A stream that was cut


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: next(iter(cut)))
def test_a_cut_stream_goes_on_where_it_was_cut(tmp_path, cut):
    with market(tmp_path, "site-a", "site-b", continuation="true") as running:
        whole = text_of(running.chat(stream=True))
        running.sim.reset()
        continues(running, "site-b")
        running.sim.fault(provider="site-a", **cut)
        reply = running.chat(stream=True)
        assert is_complete(reply) and text_of(reply) == whole
        assert b'"goes_on_at":"site-b"' in reply.body
        assert b'"cost_nanousd":null' in reply.body and b'"after":["site-a"]' in reply.body, "what was cut is unknown, not free"
        first, second = running.sim.log()
        said = json.loads(second["body"])["messages"][-1]
        assert (first["provider"], second["provider"], said["role"]) == ("site-a", "site-b", "assistant")
        assert said["content"] and whole.startswith(said["content"])
        line = line_of(running, reply)
        assert (line["attempts"], line["provider"], line["outcome"]) == (2, "site-b", "stop")
        assert "cost_nanousd" not in line


def test_a_client_sees_one_answer(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=4)
        client = openai.OpenAI(base_url=f"{running.server.url}/v1", api_key=running.server.token, max_retries=0)
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "a b c"}]}
        chunks = list(client.chat.completions.create(**ask, stream=True, extra_body={"provider": {"continuation": True}}))
        assert asked(running) == ["site-a", "site-b"]
        whole = client.chat.completions.create(**ask, extra_body={"provider": {"only": ["site-b"]}}).choices[0].message.content
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_it_has_to_be_asked_for(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5)
        assert error_of(running.chat(stream=True))["code"] == "upstream_error"
        assert asked(running) == ["site-a"]
        assert is_complete(running.chat(stream=True, provider={"continuation": True}))
    with market(tmp_path / "on", "site-a", "site-b", continuation="true") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5)
        error_of(running.chat(stream=True, provider={"continuation": False}))
        assert asked(running) == ["site-a"]


def test_an_answer_that_begins_anew_is_not_shown(tmp_path):
    flags = ("--stall", "300ms", "--billing-every", "200ms", "--billing-deadline", "1s")
    with market(tmp_path, "site-a", "site-b", flags=flags, continuation="true") as running:
        whole = text_of(running.chat(stream=True))
        running.sim.fault(provider="site-a", error_after=5)
        reply = running.chat(stream=True)  # site-b answers from the beginning
        assert "anew" in error_of(reply)["message"]
        text = text_of(reply)
        assert text and whole.startswith(text) and text != whole
        # It may be on a bill, and what nobody was shown is charged to nobody.
        path = f"/v1/receipts/{reply.headers['x-tradewind-receipt']}"
        attempts = lambda: running.server.get(path, {"Authorization": f"Bearer {running.server.token}"}).json()["attempts"]
        harness.wait_for(lambda: {one["state"] for one in attempts()} == {"settled"}, "both settled")
        shown, anew = attempts()
        assert 0 < int(shown["charge_nanousd"]) <= int(shown["cost_nanousd"])
        assert int(anew["cost_nanousd"]) > 0 and anew["charge_nanousd"] == "0"


def test_a_route_that_fails_to_go_on_is_followed_by_the_next(tmp_path):
    for number, fault in enumerate([{"status": 500}, {"status": 503}, {"close": "fin"}, {"error_after": 0}]):
        with market(tmp_path / str(number), *ABC, continuation="true") as running:
            whole = text_of(running.chat(stream=True))
            running.sim.reset()
            continues(running, "site-c")
            running.sim.fault(provider="site-a", error_after=5)
            running.sim.fault(provider="site-b", **fault)
            reply = running.chat(stream=True)
            assert is_complete(reply) and text_of(reply) == whole, fault
            assert asked(running) == list(ABC)


def test_a_stream_that_is_cut_twice_goes_on_twice(tmp_path):
    with market(tmp_path, *ABC, continuation="true") as running:
        whole = text_of(running.chat(stream=True))
        running.sim.reset()
        continues(running, "site-b", "site-c")
        running.sim.fault(provider="site-a", error_after=4)
        running.sim.fault(provider="site-b", error_after=4, prefix="continue")
        reply = running.chat(stream=True)
        assert is_complete(reply) and text_of(reply) == whole
        assert b'"after":["site-a","site-b"]' in reply.body


def test_when_nobody_can_go_on_the_stream_ends_with_its_error(tmp_path):
    with market(tmp_path, "site-a", "site-b", prefix=None, continuation="true") as running:
        running.sim.fault(provider="site-a", error_after=5)
        assert error_of(running.chat(stream=True))["code"] == "upstream_error"
        assert asked(running) == ["site-a"], "a server of which it is not known is not tried"


@pytest.mark.parametrize("fields", [
    {"n": 2}, {"response_format": {"type": "json_object"}}, {"max_tokens": 4},
    {"messages": [{"role": "user", "content": "call f"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}}}]},
], ids=["n", "schema", "max_tokens", "tool"])
def test_what_cannot_go_on_ends_with_its_error(tmp_path, fields):
    with market(tmp_path, "site-a", "site-b", continuation="true") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5 if "max_tokens" in fields else 3)
        error_of(running.chat(stream=True, **fields))
        assert asked(running) == ["site-a"]


def test_the_rest_has_what_is_left_of_the_bound_on_tokens(tmp_path):
    with market(tmp_path, "site-a", "site-b", continuation="true") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5)
        assert is_complete(running.chat(stream=True, max_tokens=14))
        left = json.loads(running.sim.log()[-1]["body"])["max_tokens"]
        assert 0 < left < 14


def test_a_completion_goes_on_behind_its_prompt(tmp_path):
    with market(tmp_path, "site-a", "site-b", prefix=None, continuation="true") as running:
        body = {"model": MODEL, "prompt": "one two three", "stream": True}

        def text(reply):
            assert is_complete(reply), reply.body
            return "".join(chunk["choices"][0]["text"] or "" for chunk in harness.sse_json(reply.body) if chunk.get("choices"))

        whole = text(running.server.post("/v1/completions", body))
        running.sim.reset()
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5)
        assert text(running.server.post("/v1/completions", body)) == whole
        prompt = json.loads(running.sim.log()[-1]["body"])["prompt"]
        assert prompt.startswith("one two three") and len(prompt) > len("one two three")


def test_vllm_is_told_that_the_last_message_goes_on(tmp_path):
    with market(tmp_path, "site-a", "site-b", prefix="vllm", continuation="true") as running:
        continues(running, "site-b")
        running.sim.fault(provider="site-a", error_after=5)
        assert is_complete(running.chat(stream=True))
        body = json.loads(running.sim.log()[-1]["body"])
        assert body["continue_final_message"] is True and body["add_generation_prompt"] is False


# --- A route that is slow to begin


SLOW = {"first_byte_ms": 100_000}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_first_to_begin_answers_and_the_other_is_closed(tmp_path, stream):
    with market(tmp_path, "site-a", "site-b") as running:
        running.sim.fault(provider="site-a", **SLOW)
        reply = running.chat(stream=stream, provider={"hedge": 30})
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
        assert is_complete(reply) if stream else reply.json()["choices"][0]["message"]["content"]
        line = line_of(running, reply)
        assert (line["attempts"], line["provider"], line["outcome"]) == (2, "site-b", "stop")
        assert metric(running, "tradewind_attempts_total", provider="site-a", outcome="hedge_lost") == 1
        assert metric(running, "tradewind_attempts_total", provider="site-b", outcome="answered") == 1
        running.sim.wait_for(lambda: len(running.sim.log()) == 2, "the other's end")
        assert [e["client_closed"] for e in running.sim.log() if e["provider"] == "site-a"] == [True]


def test_a_dear_route_that_is_passed_over_for_a_cheap_one_is_no_refusal(tmp_path):
    prices = {"site-a": ("100", "300"), "site-b": ("1", "3")}
    with Market(tmp_path, "site-a", "site-b", prices=prices, extra=route("site-a", "site-b")) as running:
        home = running.server.home
        key = json.loads(harness.run_cli("keys", "create", "--name", "tight", "--budget", "0.01", "--json", home=home).stdout)
        headers = {"Authorization": f"Bearer {key['token']}"}
        dear_first = {"order": ["site-a", "site-b"]}
        assert running.chat(max_tokens=1000, provider=dear_first, headers=headers).status == 200
        assert asked(running) == ["site-b"]
        assert running.chat(max_tokens=6000, provider=dear_first, headers=headers).status == 402

        def alerts():
            listed = json.loads(harness.run_cli("alerts", "--json", home=home).stdout)["alerts"]
            return [alert["text"] for alert in listed if "no room" in alert["text"]]

        (told,) = harness.wait_for(alerts, "the alert")
        assert "may cost $1." in told, "of the request that was refused"


def test_a_second_one_without_room_is_no_refusal(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        home = running.server.home
        free = running.chat(max_tokens=10)
        budget = str(decimal.Decimal(int(free.headers["x-tradewind-hold-nanousd"])) * 3 / 2 / 10**9)
        key = json.loads(harness.run_cli("keys", "create", "--name", "tight", "--budget", budget, "--json", home=home).stdout)
        headers = {"Authorization": f"Bearer {key['token']}"}
        running.sim.fault(provider="site-a", first_byte_ms=600)
        assert running.chat(max_tokens=10, provider={"hedge": 30}, headers=headers).status == 200
        running.sim.clear_faults()
        running.sim.fault(provider="site-a", status=500)
        failed = running.chat(max_tokens=10, headers=headers)
        assert failed.status >= 500 and "was not tried again" in failed.error()["message"], failed.body
        assert asked(running) == ["site-a"] * 3
        refused = running.chat(max_tokens=1000, headers=headers)
        assert refused.status == 402, refused.body
        cost = refused.error()["message"].split("may cost up to ")[1].split(",")[0]

        def alerts():
            listed = json.loads(harness.run_cli("alerts", "--json", home=home).stdout)["alerts"]
            return [alert["text"] for alert in listed if "no room" in alert["text"]]

        (told,) = harness.wait_for(alerts, "the alert")
        assert cost in told, "of the request that was refused"


def test_the_first_may_still_win(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        running.sim.fault(provider="site-a", first_byte_ms=600)
        running.sim.fault(provider="site-b", **SLOW)
        reply = running.chat(stream=True, provider={"hedge": 30})
        assert is_complete(reply) and reply.headers["x-inference-provider"] == "site-a"
        assert metric(running, "tradewind_attempts_total", provider="site-b", outcome="hedge_lost") == 1


def test_a_route_that_is_quick_enough_is_asked_alone(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        assert is_complete(running.chat(stream=True, provider={"hedge": 60_000}))
        assert running.chat(provider={"hedge": 60_000}).status == 200
        assert asked(running) == ["site-a", "site-a"]


def test_nobody_is_hedged_who_does_not_want_it(tmp_path):
    with market(tmp_path, "site-a", "site-b", hedge="true", hedge_after_ms="30") as running:
        running.sim.fault(provider="site-a", first_byte_ms=300)
        assert running.chat(provider={"hedge": False}).headers["x-inference-provider"] == "site-a"
        assert asked(running) == ["site-a"]
        assert running.chat().headers["x-inference-provider"] == "site-b"


def test_without_a_time_it_is_the_routes_own(tmp_path):
    with market(tmp_path, "site-a", "site-b", hedge="true") as running:
        for _ in range(25):
            assert running.chat(stream=True).headers["x-inference-provider"] == "site-a"
        assert "site-b" not in asked(running)
        running.sim.fault(provider="site-a", **SLOW)
        assert running.chat(stream=True).headers["x-inference-provider"] == "site-b"


def test_when_both_fail_the_third_answers(tmp_path):
    with market(tmp_path, *ABC) as running:
        for site in ABC[:2]:
            running.sim.fault(provider=site, first_byte_ms=300, status=500)
        reply = running.chat(provider={"hedge": 30})
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-c"
        assert line_of(running, reply)["attempts"] == 3


def test_a_client_that_leaves_closes_both(tmp_path):
    with market(tmp_path, "site-a", "site-b") as running:
        for site in ABC[:2]:
            running.sim.fault(provider=site, **SLOW)
        message = {"role": "user", "content": "a"}
        client = running.server.open_stream(model=MODEL, messages=[message], provider={"hedge": 30})
        running.sim.wait_for(lambda: running.sim.state()["requests"] == 2, "both asked")
        client.close()
        running.sim.wait_for(lambda: [e["client_closed"] for e in running.sim.log()] == [True, True], "both closed")
