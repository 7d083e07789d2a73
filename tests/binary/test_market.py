"""Providers behind one endpoint: routes, failover and what passes through, against simulated providers."""

import base64
import concurrent.futures
import datetime
import json
import os
import pathlib
import socket
import threading
import time

import openai
import pytest

import harness
from market import MODEL, SITES, KEY, Market


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    with Market(tmp_path_factory.mktemp("market")) as running:
        yield running


@pytest.fixture(autouse=True)
def well(request):
    if "market" in request.fixturenames:
        request.getfixturevalue("market").sim.reset()


def content(reply):
    assert reply.status == 200, reply.body
    return reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("site", SITES)
def test_a_pinned_provider_answers_with_its_own_bytes(market, site):
    reply = market.chat(model=f"{MODEL}:{site}")
    assert content(reply)
    assert reply.headers["x-inference-provider"] == site
    assert reply.headers["x-tradewind-route"].startswith(f"{site}/")
    usage = reply.json()["usage"]
    assert reply.headers["x-tradewind-cost-nanousd"] == str(usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 300)
    entry = market.sim.log()[-1]
    assert entry["provider"] == site


@pytest.mark.parametrize("site", SITES)
def test_a_stream_passes_event_by_event_and_ends_with_done(market, site):
    reply = market.chat(model=f"{MODEL}:{site}", stream=True)
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
    blocks = harness.sse_blocks(reply.body)
    assert blocks[-1] == b"data: [DONE]"
    assert any(block.startswith(b": tradewind ") for block in blocks), "the receipt is a comment"
    chunks = harness.sse_json(reply.body)
    assert all("error" not in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks), "nobody asked for a usage chunk"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("site", SITES)
def test_the_usage_chunk_that_was_asked_for_carries_the_receipt(market, site):
    reply = market.chat(model=f"{MODEL}:{site}", stream=True, stream_options={"include_usage": True})
    receipts = [chunk for chunk in harness.sse_json(reply.body) if "tradewind" in chunk]
    assert len(receipts) == 1
    usage = receipts[0]["usage"]
    cost = usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 300
    receipt = receipts[0]["tradewind"]
    assert receipt.pop("route").startswith(f"{site}/") and receipt.pop("price_version") > 0
    assert receipt == {"cost_nanousd": str(cost), "provider": site}


def test_an_unknown_model_names_what_was_considered(market):
    error = market.chat(model="acme/nobody").error()
    assert error["code"] == "model_not_supported" and error["param"] == "model"
    error = market.chat(model=f"{MODEL}:nowhere").error()
    assert error["code"] == "model_not_supported" and "site-a" in error["message"]


@pytest.mark.parametrize("fault", [
    {"status": 500}, {"status": 503}, {"status": 429}, {"status": 401}, {"status": 402}, {"status": 403}, {"close": "rst"}, {"close": "fin"},
    {"body": "empty"}, {"body": "html"}, {"body": "garbage"}, {"body": "truncated"}, {"content_type": "application/xml"},
    {"redirect": "http://169.254.169.254/"}, {"cut_after": 0}, {"error_after": 0},
], ids=lambda fault: "-".join(f"{k}" for k in fault))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_fails_before_the_first_byte_is_answered_by_the_next_route(tmp_path, fault, stream):
    with Market(tmp_path, "together", "site-a", extra='[route]\norder = ["together", "site-a"]\n') as market:
        market.sim.fault(provider="together", **fault)
        reply = market.chat(stream=stream)
        assert reply.status == 200, reply.body
        strikes_streams_alone = "error_after" in fault or "content_type" in fault
        if (strikes_streams_alone and not stream) or (fault.get("body") == "truncated" and stream):
            return
        assert reply.headers["x-inference-provider"] == "site-a"
        if stream:
            assert reply.body.count(b"data: [DONE]") == 1
            text = "".join(c["choices"][0]["delta"].get("content") or "" for c in harness.sse_json(reply.body))
        else:
            text = content(reply)
        direct = market.sim.chat("site-a", key=KEY).json()["choices"][0]["message"]["content"]
        assert text == direct


@pytest.mark.parametrize("fault", [
    {"cut_after": 3}, {"cut_after": 3, "cut": "fin"}, {"malformed_after": 3}, {"error_after": 3}, {"stall_after": 3},
], ids=lambda fault: "-".join(map(str, fault.values())))
def test_a_stream_that_breaks_is_never_shown_as_complete(tmp_path, fault):
    with Market(tmp_path, "site-a", flags=["--stall", "300ms"]) as market:
        market.sim.fault(provider="site-a", tokens=20, **fault)
        reply = market.chat(stream=True)
        assert reply.status == 200
        blocks = harness.sse_blocks(reply.body)
        assert b"data: [DONE]" not in blocks
        error = json.loads(blocks[-1].removeprefix(b"data: "))["error"]
        assert error["message"] and error["code"] in ("upstream_error", "timeout")


def test_what_arrived_together_with_a_failure_is_delivered_before_it(tmp_path):
    with Market(tmp_path, "site-a") as market:
        market.sim.fault(provider="site-a", tokens=20, events_per_write=30, error_after=5)
        blocks = harness.sse_blocks(market.chat(stream=True).body)
        assert len(blocks) == 6
        events = [json.loads(block.removeprefix(b"data: ")) for block in blocks]
        assert ["error" in event for event in events] == [False] * 5 + [True]


def test_a_broken_line_does_not_end_a_good_stream(market):
    reply = market.chat("one two three sim:broken_line_after=2", model=f"{MODEL}:site-a", stream=True)
    assert harness.sse_blocks(reply.body)[-1] == b"data: [DONE]"


def test_zero_usage_is_zero_and_missing_usage_is_unknown(market):
    zero = market.chat("a sim:usage=zero", model=f"{MODEL}:site-a")
    assert zero.headers["x-tradewind-cost-nanousd"] == "0"
    missing = market.chat("a sim:usage=missing", model=f"{MODEL}:site-a")
    assert missing.headers["x-tradewind-cost-nanousd"] is None
    assert missing.json()["usage"] is None
    stream = market.chat("a sim:usage=missing", model=f"{MODEL}:site-a", stream=True)
    assert b'"cost_nanousd":null' in stream.body


def test_a_refusal_of_the_request_reaches_the_client_in_one_envelope(market):
    reply = market.chat("a sim:status=400", model=f"{MODEL}:cerebras")
    assert reply.status == 400
    assert reply.json()["error"]["message"]
    assert market.chat("a sim:status=401", model=f"{MODEL}:together").status == 502
    limited = market.chat("a sim:status=429 sim:retry_after=7", model=f"{MODEL}:groq")
    assert limited.status == 429 and limited.headers["Retry-After"] == "7"


def test_fields_a_provider_refuses_do_not_reach_it(market):
    reply = market.chat(model=f"{MODEL}:cerebras", store=True, frequency_penalty=0.5, max_tokens=5)
    assert reply.status == 200, reply.body
    assert reply.headers["x-tradewind-ignored"] == "store, frequency_penalty"
    body = json.loads(market.sim.log()[-1]["body"])
    assert body["max_completion_tokens"] == 5 and "store" not in body


def test_what_needs_no_translation_passes_byte_for_byte(market):
    body = '{"model": "%s:site-a",\n "messages":[{"role":"user","content":"caf\\u00e9"}], "seed":18446744073709551615, "x":1.50}' % MODEL
    reply = market.server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert reply.status == 200, reply.body
    assert market.sim.log()[-1]["body"] == body.replace(f"{MODEL}:site-a", "model-x")


def test_a_client_that_leaves_closes_the_upstream(market):
    client = market.server.open_stream(model=f"{MODEL}:site-a", messages=[{"role": "user", "content": "a sim:tokens=100000 sim:tokens_per_s=50"}])
    head, rest = harness.read_head(client)
    assert " 200 " in head
    client.recv(10)
    client.close()
    market.sim.wait_for(lambda: market.sim.log() and market.sim.log()[-1].get("client_closed"), "the upstream closed")


def test_the_config_is_read_again_without_dropping_a_stream(tmp_path):
    import signal

    with Market(tmp_path, "site-a", "together") as market:
        client = market.server.open_stream(model=f"{MODEL}:site-a", messages=[{"role": "user", "content": "a sim:tokens=40 sim:tokens_per_s=40"}])
        harness.read_head(client)
        market.config.write_text(market.config.read_text().replace(f'"{MODEL}"', '"acme/renamed"'))
        market.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: market.chat(model="acme/renamed:site-a").status == 200, "the new name")
        assert market.chat(model=f"{MODEL}:site-a").status == 400
        rest = b"".join(harness.read_to_end_of_stream(client))
        assert b"data: [DONE]" in rest
        market.config.write_text("[[providers]]\nname = 7\n")
        market.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config stays as it was" in market.server.log(), "a word about the bad config")
        assert market.chat(model="acme/renamed:together").status == 200


def test_keys_are_nowhere_to_be_seen(market):
    for text in ("a", "a sim:status=401", "a sim:status=500", "a sim:body=html"):
        reply = market.chat(text, model=f"{MODEL}:together")
        assert KEY.encode() not in reply.body and KEY not in str(reply.headers)
    assert KEY not in market.server.log()
    assert KEY not in market.server.metrics()


# --- T43: where a request goes is the config's to say


def test_no_client_chooses_an_address_or_a_key(market):
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen()
        elsewhere.settimeout(0.3)
        host = f"127.0.0.1:{elsewhere.getsockname()[1]}"
        url = f"http://{host}/v1"
        fields = {"api_base": url, "base_url": url, "api_key": "sk-of-the-client", "custom_host": url, "endpoint": url}
        named = {"x-portkey-custom-host": url, "x-api-base": url, "x-base-url": url, "x-forwarded-host": host}
        for headers in (named, {"Host": host}, {"Forwarded": f"host={host}"}):
            reply = market.chat(model=f"{MODEL}:site-a", headers=headers, **fields)
            assert reply.status == 200, reply.body
            entry = market.sim.log()[-1]
            sent = {name.lower(): value for name, value in entry["headers"]}
            assert entry["provider"] == "site-a" and sent["host"] == f"{market.sim.host}:{market.sim.port}"
            assert not {"x-portkey-custom-host", "x-api-base", "forwarded", "x-forwarded-host"} & set(sent)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


# --- Bytes on the way


@pytest.mark.parametrize("site", ["site-a", "together", "cerebras"])
def test_an_answer_that_comes_compressed_is_the_same_answer(market, site):
    plain = [content(market.chat(model=f"{MODEL}:{site}")), market.chat(model=f"{MODEL}:{site}", stream=True)]
    market.sim.fault(gzip=True)
    reply = market.chat(model=f"{MODEL}:{site}")
    assert content(reply) == plain[0] and reply.headers["Content-Encoding"] is None
    stream = market.chat(model=f"{MODEL}:{site}", stream=True)
    assert stream.status == 200 and harness.sse_blocks(stream.body)[-1] == b"data: [DONE]"

    def text(reply):
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in harness.sse_json(reply.body))

    assert text(stream) == text(plain[1]) != ""


def test_a_rate_limits_pause_may_be_a_date(market):
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)  # beyond the deadline: not waited for
    market.sim.fault(status=429, retry_after=later.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    reply = market.chat(model=f"{MODEL}:site-a")
    assert reply.status == 429 and 3000 < int(reply.headers["Retry-After"]) <= 3601


@pytest.mark.parametrize("site", SITES)
def test_two_tool_calls_at_once_stay_two(market, site):
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
             for name in ("weather", "time")]
    ask = {"messages": [{"role": "user", "content": "call weather call time"}], "tools": tools}
    ours = openai.OpenAI(base_url=f"{market.server.url}/v1", api_key=market.server.token, max_retries=0)
    played = SITES[site][1].split(":")[0]
    theirs = openai.OpenAI(base_url=market.sim.base_url(played), api_key=KEY, max_retries=0)
    their_model = json.loads(market.sim.log()[-1]["body"])["model"] if market.chat(model=f"{MODEL}:{site}").status == 200 else None

    def calls(client, model):
        whole = client.chat.completions.create(model=model, **ask).choices[0].message.tool_calls
        with client.chat.completions.stream(model=model, **ask) as stream:
            streamed = stream.get_final_completion().choices[0].message.tool_calls
        return [[(call.function.name, call.function.arguments) for call in some] for some in (whole, streamed)]

    got = calls(ours, f"{MODEL}:{site}")
    assert [name for name, _ in got[0]] == [name for name, _ in got[1]] == ["weather", "time"]
    assert got == calls(theirs, their_model), "as the provider says it without us"


# --- Embeddings


def test_embeddings_pass_with_their_cost_and_fail_over(tmp_path):
    more = {site: [("acme/embed", "embed-x", "feature-extraction")] for site in ("site-a", "site-b")}
    flags = [word for site in more for word in ("--model", f"{site}=embed-x")]
    with Market(tmp_path, *more, more=more, sim_flags=flags, extra='[route]\norder = ["site-a", "site-b"]\n') as market:
        def ask():
            return market.server.post("/v1/embeddings", {"model": "acme/embed", "input": ["one two", "three"]})

        reply = ask()
        assert reply.status == 200, reply.body
        answer = reply.json()
        assert [row["index"] for row in answer["data"]] == [0, 1] and all(row["embedding"] for row in answer["data"])
        assert reply.headers["x-tradewind-cost-nanousd"] == str(answer["usage"]["prompt_tokens"] * 100)
        market.sim.fault(provider="site-a", status=500)
        assert ask().headers["x-inference-provider"] == "site-b"
        here = market.server.post("/v1/embeddings", {"model": MODEL, "input": "a"})
        assert here.status == 400 and here.error()["code"] == "model_not_supported"
        market.sim.clear_faults()
        texts = {"model": "acme/embed", "input": ["one two three four " * 50] * 100}
        reply = market.server.post("/v1/embeddings", texts)
        assert reply.status == 200, "95 kB, but a context of 8,192 tokens is for each text"
        assert len(reply.json()["data"]) == 100


# --- T38: large bodies, many at once


def test_large_pictures_at_once_reach_the_provider_and_hold_nobody_up(market):
    picture = base64.b64encode(os.urandom(4 << 20)).decode()
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]
    body = json.dumps({"model": f"{MODEL}:site-a", "messages": [{"role": "user", "content": parts}]})
    assert len(body) > 5 << 20

    def ask():
        return market.server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"}).status

    assert ask() == 200
    before = market.server.rss_bytes()
    done = threading.Event()
    small = []
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        large = [pool.submit(ask) for _ in range(20)]
        other = pool.submit(lambda: [small.append(market.chat(model=f"{MODEL}:site-a").status) for _ in range(20) if not done.is_set()])
        assert [one.result() for one in large] == [200] * 20
        done.set()
        other.result()
    assert small and set(small) == {200}
    # Eleven are on their way at a time, each as the body, its text and what goes out.
    assert market.server.rss_bytes() - before < 11 * 4 * len(body)


# --- Back-pressure, end to end


def test_a_client_that_reads_no_further_stops_the_provider(market):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.settimeout(harness.PATIENCE_S)
    client.connect((market.server.host, market.server.port))
    body = json.dumps({"model": f"{MODEL}:site-a", "stream": True, "messages": [{"role": "user", "content": "a sim:tokens=100000"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {market.server.token}\r\n"
    client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    before = market.server.rss_bytes()
    harness.read_head(client)

    def work():  # CPU time of both, in ticks
        stats = [pathlib.Path(f"/proc/{one.process.pid}/stat").read_text().rsplit(") ")[1].split() for one in (market.sim, market.server)]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats)

    def stand_still():
        begun = work()
        time.sleep(0.3)
        return work() == begun

    harness.wait_for(stand_still, "the provider to stand still")
    assert market.chat(model=f"{MODEL}:site-a").status == 200, "nobody else waits"
    assert market.sim.state()["streams"] == 1, "the provider has not been able to end"
    assert market.server.rss_bytes() - before < 8 << 20
    seen, tail = 0, b""
    while not tail.endswith(b"0\r\n\r\n"):
        piece = client.recv(1 << 20)
        assert piece, f"cut after {seen} bytes: {tail!r}"
        seen, tail = seen + len(piece), (tail + piece)[-200:]
    assert b"data: [DONE]" in tail and seen > 16 << 20, "more than all the buffers in between"
    client.close()


def test_a_request_that_failed_names_its_receipt(tmp_path):
    with Market(tmp_path, "site-a", flags=["--deadline", "2s"]) as market:

        def check(reply, status, states):
            assert reply.status == status, reply.body
            id = reply.headers["x-request-id"]
            line = harness.wait_for(lambda: [e for e in market.server.access_log() if e.get("request_id") == id], "its line")[0]
            assert line.get("receipt") == reply.headers["x-tradewind-receipt"]
            if states is None:
                assert "receipt" not in line, "no attempt was begun"
                return
            receipt = market.server.get(f"/v1/receipts/{line['receipt']}").json()
            assert [(attempt["provider"], attempt["state"]) for attempt in receipt["attempts"]] == [("site-a", state) for state in states]

        check(market.chat(), 200, ["settled"])
        check(market.chat("a sim:close=rst"), 502, ["in_doubt", "in_doubt"])
        check(market.chat("a sim:status=429"), 429, ["void", "void"])
        check(market.chat("a sim:status=400"), 400, ["void"])
        check(market.chat("a sim:first_byte_ms=100000"), 504, ["in_doubt"])
        key = harness.run_cli("keys", "create", "--name", "poor", "--budget", "0.000001", home=market.server.home)
        check(market.chat(headers={"Authorization": f"Bearer {key.stdout.strip()}"}), 402, None)
        check(market.chat(model="acme/nobody"), 400, None)
        check(market.chat(stream="yes"), 400, None)


def test_what_is_billed_apart_from_tokens_has_no_exact_cost(tmp_path):
    with Market(tmp_path, "site-a") as market:

        def reason(reply):
            assert reply.status == 200, reply.body
            (attempt,) = market.server.get(f"/v1/receipts/{reply.headers['x-tradewind-receipt']}").json()["attempts"]
            assert attempt["state"] == "settled" and int(attempt["cost_nanousd"]) > 0, "what is known counts in budgets"
            return attempt["reason"]

        for name, value in {"service_tier": "flex", "web_search_options": {}}.items():
            whole = market.chat(**{name: value})
            assert "x-tradewind-cost-nanousd" not in whole.headers
            assert reason(whole) == f"incomplete: {name} is billed apart from tokens"
            stream = market.chat(stream=True, **{name: value})
            assert b': tradewind {"cost_nanousd":null' in stream.body
            assert reason(stream) == reason(whole)
        usual = market.chat(service_tier="default")
        assert reason(usual) == "" and int(usual.headers["x-tradewind-cost-nanousd"]) > 0
        verified = harness.run_cli("bill", "verify", "--json", home=market.server.home)
        assert json.loads(verified.stdout)["good"], verified


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_after_an_attempt_that_may_be_billed_nobody_knows_what_the_request_costs(tmp_path, stream):
    def cost(reply):
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b", reply.body
        if not stream:
            return reply.headers["x-tradewind-cost-nanousd"]
        receipts = [block for block in harness.sse_blocks(reply.body) if block.startswith(b": tradewind ")]
        return json.loads(receipts[-1].removeprefix(b": tradewind "))["cost_nanousd"]

    with Market(tmp_path, "site-a", "site-b", extra='[route]\norder = ["site-a", "site-b"]\n') as market:
        assert cost(market.chat("a sim:site-a:status=500", stream=stream)) is None
        assert cost(market.chat("a sim:site-a:close=rst", stream=stream)) is None
        assert cost(market.chat("a sim:site-a:first_byte_ms=100000", stream=stream, provider={"hedge": 30})) is None
        assert int(cost(market.chat("a sim:site-a:status=503", stream=stream))) > 0, "which was refused before any work"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_nor_when_this_device_answers_instead(tmp_path, stream):
    model = harness.MODEL
    own = {"site-a": [(model, "model-y", "conversational")]}
    extra = '[route]\norder = ["site-a", "local"]\n'
    with Market(tmp_path, "site-a", models=harness.MODELS, extra=extra, more=own) as market:
        for fault, known in [("status=500", False), ("status=503", True)]:
            reply = market.chat(f"a sim:site-a:{fault}", model=model, stream=stream, max_tokens=3)
            assert reply.status == 200 and reply.headers["x-inference-provider"] == "local", reply.body
            assert (b'"cost_nanousd":"0"' in reply.body, b'"cost_nanousd":null' in reply.body) == (known, not known)
            if not stream:
                assert ("x-tradewind-cost-nanousd" in reply.headers) == known
