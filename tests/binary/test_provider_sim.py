"""The provider simulator against what real providers were recorded to send, and each of its faults."""

import gzip
import http.client
import json
import re
import socket
import ssl
import struct
import subprocess
import urllib.request

import openai
import pytest
import yaml

from simulator import CHAT_PATHS, MODELS, ROOT, Simulator

RECORDINGS = ROOT.parent / "shared" / "recordings"
ALL = ["fireworks-ai", "together", "cerebras", "groq", "openai", "novita", "novita-2025", "hf-router", "llama-server", "ollama", "openrouter"]


@pytest.fixture(scope="module")
def running():
    with Simulator(*ALL) as made:
        yield made


@pytest.fixture
def sim(running):
    running.reset()
    return running


def client(sim, provider, **more):
    return openai.OpenAI(base_url=sim.base_url(provider), api_key="k", max_retries=0, **more)


def shape(value):
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


# --- Shapes as recorded


def recorded(provider, kind):
    path = RECORDINGS / "huggingface_hub" / f"TestInferenceClient.test_chat_completion_{kind}[{provider},conversational].yaml"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    interactions = yaml.safe_load(path.read_text())["interactions"]
    return next(i["response"] for i in interactions if i["request"]["method"] == "POST")


RECORDED = {"fireworks-ai": "fireworks-ai", "together": "together", "cerebras": "cerebras", "novita": "novita-2025"}

# What a proxy in between adds, and what only the billing protocol asks for.
FOREIGN_HEADERS = re.compile(
    r"via|x-amz-.*|x-cache|x-powered-by|x-robots-tag|cross-origin-.*|referrer-policy|access-control-.*|vary|"
    r"connection|date|content-length|transfer-encoding|inference-id|x-request-id"
)


def own_headers(headers):
    return {name.lower() for name in headers if not FOREIGN_HEADERS.fullmatch(name.lower())}


@pytest.mark.parametrize("slug", RECORDED)
def test_a_whole_answer_has_the_recorded_shape(sim, slug):
    real = recorded(slug, "no_stream")
    ours = sim.chat(RECORDED[slug])
    assert shape(ours.json()) == shape(json.loads(real["body"]["string"]))
    assert own_headers(ours.headers) == own_headers(real["headers"])
    assert ours.headers["Content-Type"] == real["headers"]["Content-Type"][0]


@pytest.mark.parametrize("slug", RECORDED)
def test_a_stream_has_the_recorded_shape(sim, slug):
    real = recorded(slug, "with_stream")
    text = real["body"]["string"]
    ours = sim.chat(RECORDED[slug], stream=True, max_tokens=10)
    assert own_headers(ours.headers) == own_headers(real["headers"])
    assert ours.headers["Content-Type"] == real["headers"]["Content-Type"][0]
    assert ours.body.endswith(b"data: [DONE]\n\n") == text.rstrip().endswith("data: [DONE]")
    theirs = [json.loads(block[6:]) for block in text.strip().split("\n\n") if block != "data: [DONE]"]
    mine = [event for event in ours.events() if event != "[DONE]"]
    for pick in (lambda events: events[0], a_middle_one, lambda events: events[-1]):
        assert shape(pick(mine)) == shape(pick(theirs))


def a_middle_one(events):
    return next(event for event in events[1:] if event["choices"][0]["delta"].get("content"))


def test_streams_of_openai_have_the_recorded_usage(sim):
    events = sim.chat("openai", stream=True, stream_options={"include_usage": True}).events()
    assert events[-1] == "[DONE]" and events[-2]["choices"] == []
    assert all("usage" in event and event["usage"] is None for event in events[:-2])
    assert all("usage" not in event for event in sim.chat("openai", stream=True).events()[:-1])


# --- Answers


def test_the_answer_depends_on_the_request_alone(sim):
    first, second = (sim.chat("openai", "red green blue", max_tokens=5).json() for _ in range(2))
    assert first["choices"] == second["choices"]
    assert first["choices"][0]["message"]["content"] == "model-x heard red green blue"
    assert first["choices"][0]["finish_reason"] == "length"
    assert first["id"] != second["id"]
    assert sim.chat("openai", "red green blue").json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("provider", ALL)
def test_a_real_client_reads_the_answer_and_the_same_from_a_stream(sim, provider):
    ask = {"model": MODELS[provider], "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 12}
    with client(sim, provider) as api:
        whole = api.chat.completions.create(**ask)
        chunks = list(api.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert len(whole.choices[0].message.content.split()) == 12
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (3, 12, 15)
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == whole.choices[0].message.content
    assert choices[-1].finish_reason == whole.choices[0].finish_reason == "length"
    assert [chunk.usage for chunk in chunks if chunk.usage][-1].completion_tokens == 12


USAGE_AT = {"fireworks-ai": "finish", "together": "finish", "cerebras": "finish", "groq": "finish", "openai": "asked"}
USAGE_AT |= {"llama-server": "asked", "ollama": "asked", "novita": "chunk", "novita-2025": "every", "hf-router": "chunk", "openrouter": "chunk"}


@pytest.mark.parametrize("provider", ALL)
def test_usage_comes_where_the_provider_puts_it(sim, provider):
    events = [event for event in sim.chat(provider, stream=True).events() if event != "[DONE]"]
    carrying = [i for i, event in enumerate(events) if event.get("usage")]
    last = events[-1]
    want = {"finish": [len(events) - 1], "chunk": [len(events) - 1], "every": list(range(len(events))), "asked": []}
    assert carrying == want[USAGE_AT[provider]]
    assert bool(last["choices"]) == (USAGE_AT[provider] != "chunk")
    if provider == "groq":
        assert last["x_groq"]["usage"] == last["usage"]


TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {
            "type": "object",
            "properties": {"q": {"type": "string"}, "n": {"type": "integer"}, "kind": {"enum": ["fast", "slow"]}},
        },
    },
}


@pytest.mark.parametrize("provider", ALL)
def test_tools_are_called_when_the_message_says_so(sim, provider):
    other = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    ask = {"model": MODELS[provider], "tools": [TOOL, other]}
    ask["messages"] = [{"role": "user", "content": "call lookup and call weather, please"}]
    with client(sim, provider) as api:
        choice = api.chat.completions.create(**ask).choices[0]
        with api.chat.completions.stream(**ask) as stream:
            streamed = stream.get_final_completion().choices[0]
    for said in (choice, streamed):
        assert said.finish_reason == "tool_calls"
        assert [call.function.name for call in said.message.tool_calls] == ["lookup", "weather"]
        assert json.loads(said.message.tool_calls[0].function.arguments) == {"q": "please", "n": 7, "kind": "fast"}
    plain = sim.chat(provider, "do not", tools=[TOOL])
    assert not plain.json()["choices"][0]["message"].get("tool_calls")


SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red"]}, "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}}}}
SCHEMA["$defs"] = {"part": {"type": "object", "properties": {"size": {"type": "number", "minimum": 3}}}}


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_object", "schema": SCHEMA},
        {"type": "json_object", "value": SCHEMA},
    ],
)
def test_structured_output_fits_its_schema(sim, form):
    whole = sim.chat("together", response_format=form).json()["choices"][0]["message"]["content"]
    events = sim.chat("together", response_format=form, stream=True).events()[:-1]
    assert json.loads(whole) == {"colour": "red", "parts": [{"size": 3}]}
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == whole


def test_reasoning_comes_under_the_providers_name(sim):
    for provider, model, name in [
        ("fireworks-ai", "accounts/fireworks/models/deepseek-r1", "reasoning_content"),
        ("cerebras", "gpt-oss-120b", "reasoning"),
        ("groq", "openai/gpt-oss-120b", "reasoning"),
        ("novita", "deepseek/deepseek-r1", "reasoning_content"),
    ]:
        answer = sim.chat(provider, model=model).json()
        assert answer["choices"][0]["message"][name].startswith("considered")
        assert answer["usage"]["completion_tokens"] == 8 + 16
        events = [e for e in sim.chat(provider, model=model, stream=True).events() if e != "[DONE]"]
        said = "".join(e["choices"][0]["delta"].get(name) or "" for e in events if e["choices"])
        assert said == answer["choices"][0]["message"][name]
    content = sim.chat("together", model="deepseek-ai/DeepSeek-R1").json()["choices"][0]["message"]["content"]
    assert content.startswith("<think>") and "</think>" in content


def test_completions_embeddings_and_model_lists(sim):
    with client(sim, "openai") as api:
        text = api.completions.create(model="model-x", prompt=["a b", "c"], max_tokens=3)
        assert [choice.text for choice in text.choices] == ["model-x heard a", "model-x heard c"]
        chunks = list(api.completions.create(model="model-x", prompt="a b", max_tokens=3, stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == "model-x heard a"
        asked = [{"encoding_format": "float"}, {}]  # the client asks for base64 by itself, and decodes it
        vectors = [api.embeddings.create(model="embed-x", input="hi", **more).data[0].embedding for more in asked]
        assert vectors[0] == pytest.approx(vectors[1]) and sum(x * x for x in vectors[0]) == pytest.approx(1, rel=1e-5)
        assert api.models.retrieve("model-x").id == "model-x"
    for provider in ("fireworks-ai", "cerebras", "groq", "openai", "novita", "hf-router"):
        with client(sim, provider) as api:
            assert MODELS[provider] in {model.id for model in api.models.list()}
    models = sim.request("GET", "/together/v1/models", headers={"Authorization": "Bearer k"}).json()
    assert {"input": 0.18, "output": 0.18}.items() <= models[0]["pricing"].items()
    assert sim.request("GET", "/hf-router/v1/models").json()["data"][0]["providers"][0]["status"] == "live"


def test_stop_n_and_logprobs(sim):
    choices = sim.chat("openai", "red green blue", stop=[" green"], n=2, logprobs=True, top_logprobs=2).json()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["model-x heard red"] * 2
    assert [len(entry["top_logprobs"]) for entry in choices[0]["logprobs"]["content"]] == [2, 2, 2]
    together = sim.chat("together", logprobs=1, max_tokens=2).json()["choices"][0]
    assert len(together["logprobs"]["tokens"]) == 2 and together["seed"] > 2**63


# --- What it refuses


def test_each_provider_refuses_in_its_own_words():
    keys = [word for provider in ALL for word in ("--key", f"{provider}=key-{provider}")]
    with Simulator(*ALL, flags=keys) as sim:
        for provider in ALL:
            assert sim.chat(provider, key=f"key-{provider}").status == 200
            assert sim.chat(provider, key="key-other").status == 401
            with pytest.raises(openai.AuthenticationError):
                client(sim, provider).chat.completions.create(model=MODELS[provider], messages=[{"role": "user", "content": "x"}])
        assert sim.chat("hf-router", key="x").json() == {"error": "Invalid username or password."}
        assert sim.chat("cerebras", key="x").json()["code"] == "wrong_api_key"


def test_unknown_models_and_paths_and_broken_json(sim):
    assert sim.chat("fireworks-ai", model="x").json()["error"]["code"] == "NOT_FOUND"
    assert sim.chat("cerebras", model="x").json()["code"] == "model_not_found"
    router = sim.chat("hf-router", model="openai/gpt-oss-120b:nowhere")
    assert (router.status, router.json()["error"]["code"]) == (400, "model_not_supported")
    assert sim.chat("hf-router", model="openai/gpt-oss-120b:fireworks-ai").headers["x-inference-provider"] == "fireworks-ai"
    assert sim.request("POST", "/openai/v1/nothing", {}).status == 404
    for provider in ALL:
        path = f"/{provider}{CHAT_PATHS[provider]}"
        assert sim.request("POST", path, "{", {"Authorization": "Bearer k"}).status == 400
        assert sim.request("POST", path, "[1]", {"Authorization": "Bearer k"}).status == 400


def test_quirks_of_validation(sim):
    refused = sim.chat("cerebras", store=True)
    assert refused.status == 400
    assert refused.json()["message"] == "body.store: property 'body.store' is unsupported"
    history = [{"role": "assistant", "content": "a", "reasoning_content": "b"}, {"role": "user", "content": "c"}]
    assert sim.chat("cerebras", messages=history).status == 400
    assert sim.chat("cerebras", temperature=1.6).status == 400
    assert sim.chat("cerebras", response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}}).status == 400
    assert sim.chat("together", logprobs=True).status == 400
    assert sim.chat("openai", tools=[]).status == 400
    calls = [{"id": "c", "type": "function", "function": {"name": "f"}}]
    broken = [{"role": "assistant", "content": None, "tool_calls": calls}, {"role": "user", "content": "c"}]
    assert sim.chat("together", messages=broken).status == 500


# --- Faults


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 502, 503])
def test_a_status_comes_in_the_providers_own_shape(sim, status):
    sim.fault(status=status, count=len(ALL))
    for provider in ALL:
        assert sim.chat(provider).status == status
    assert all(sim.chat(provider).status == 200 for provider in ALL)


def test_retry_after_only_when_told(sim):
    sim.fault(provider="openai", status=429, count=1)
    assert "retry-after" not in sim.chat("openai").headers
    sim.fault(provider="openai", status=429, retry_after=3, count=1)
    assert sim.chat("openai").headers["retry-after"] == "3"


def test_probability_follows_its_seed(sim):
    def pattern(seed):
        sim.reset()
        sim.fault(status=500, probability=0.5, seed=seed)
        return [sim.chat("openai").status for _ in range(24)]

    assert pattern(1) == pattern(1)
    assert set(pattern(1)) == {200, 500}
    assert pattern(1) != pattern(2)


@pytest.mark.parametrize("stream", [False, True])
def test_it_closes_without_an_answer(sim, stream):
    for rule in ({"close": "fin"}, {"close": "rst"}, {"accept_close": True}):
        sim.fault(**rule, count=1)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            sim.chat("openai", stream=stream)
    assert sim.chat("openai").status == 200


@pytest.mark.parametrize("cut", ["rst", "fin"])
def test_a_stream_is_cut_after_so_many_events(sim, cut):
    sim.fault(cut_after=3, cut=cut, count=1)
    head, body = raw_stream(sim)
    assert b"200 OK" in head and body.count(b"data: ") == 3 and not body.endswith(b"0\r\n\r\n")
    [entry] = sim.log()
    assert (entry["outcome"], entry["events_sent"], entry["tokens_sent"]) == ("cut", 3, 2)
    assert entry["billed"]["completion_tokens"] == 2


def raw_stream(sim, text="one two three", read_bytes=None):
    """Head and body of a stream on a bare socket, as far as they come."""
    body = json.dumps({"model": "model-x", "stream": True, "messages": [{"role": "user", "content": text}]}).encode()
    head = f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
    data = b""
    with sim.connect() as bare:
        bare.sendall(head.encode() + body)
        try:
            while piece := bare.recv(65536):
                data += piece
                if data.endswith(b"0\r\n\r\n") or (read_bytes is not None and len(data) >= read_bytes):
                    break
        except ConnectionResetError:
            pass
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def test_a_stalled_stream_is_noticed_to_be_left(sim):
    sim.fault(stall_after=2, count=1)
    raw_stream(sim, read_bytes=1)
    sim.wait_for(lambda: sim.log()[0]["outcome"] == "stalled", "the client's leaving")
    assert sim.log()[0]["client_closed"]
    sim.fault(stall_after=2, stall_ms=1, count=1)
    assert raw_stream(sim)[1].count(b"data: ") == 2


def test_an_abort_ends_a_paced_stream_and_bills_what_was_sent(sim):
    sim.fault(tokens_per_s=1, tokens=1000, count=1)
    with client(sim, "openai") as api:
        stream = api.chat.completions.create(model="model-x", messages=[{"role": "user", "content": "x"}], stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        assert sim.state()["streams"] == 1
        stream.close()
    sim.wait_for(lambda: sim.state()["streams"] == 0, "the end of the stream")
    [entry] = sim.log()
    assert entry["outcome"] == "client_closed" and entry["client_closed"]
    assert 1 <= entry["billed"]["completion_tokens"] < 1000


@pytest.mark.parametrize(
    "rule, seen",
    [
        ({"malformed_after": 2}, lambda body: [b for b in blocks(body) if not is_json(b[6:])]),
        ({"broken_line_after": 2}, lambda body: [b for b in blocks(body) if not b.startswith(b"data: ")]),
        ({"error_after": 2}, lambda body: [b for b in blocks(body) if "error" in json.loads(b[6:])]),
        ({"comments": True}, lambda body: re.findall(rb"^: keep-alive$", body, re.M)[:1]),
        ({"done": "nospace"}, lambda body: re.findall(rb"^data:\[DONE\]$", body, re.M)),
        ({"crlf": True}, lambda body: re.findall(rb"data: \[DONE\]\r\n\r\n$", body)),
    ],
)
def test_one_event_of_a_stream_goes_wrong(sim, rule, seen):
    sim.fault(**rule, count=1)
    broken = sim.chat("openai", stream=True).body
    assert len(seen(broken)) == 1
    assert sim.chat("openai", stream=True).events()[-1] == "[DONE]"


def blocks(body):
    return [block for block in body.split(b"\n\n") if block and block != b"data: [DONE]"]


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_an_error_in_mid_stream_reaches_a_real_client(sim):
    for provider in ALL:
        sim.fault(error_after=3, message="out of luck", count=1)
        with client(sim, provider) as api, pytest.raises(openai.APIError, match="out of luck"):
            ask = [{"role": "user", "content": "one two three"}]
            list(api.chat.completions.create(model=MODELS[provider], messages=ask, stream=True))


def test_gzip_is_real(sim):
    sim.fault(provider="openai", gzip=True, count=2)
    whole = sim.chat("openai")
    assert whole.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(whole.body))["object"] == "chat.completion"
    assert gzip.decompress(sim.chat("openai", stream=True).body).endswith(b"data: [DONE]\n\n")


def test_bodies_that_are_no_answer(sim):
    sim.fault(body="empty", count=1)
    assert (lambda a: (a.status, a.body))(sim.chat("openai")) == (200, b"")
    sim.fault(body="html", count=1)
    assert sim.chat("openai").headers["content-type"].startswith("text/html")
    sim.fault(body="garbage", count=1)
    assert not is_json(sim.chat("openai").body.decode("latin-1"))
    sim.fault(content_type="text/plain", count=1)
    assert sim.chat("openai").headers["content-type"] == "text/plain"
    sim.fault(body="truncated", count=1)
    with pytest.raises(http.client.IncompleteRead):
        sim.chat("openai")
    sim.fault(redirect="http://169.254.169.254/latest/meta-data", count=1)
    assert sim.chat("openai").headers["location"] == "http://169.254.169.254/latest/meta-data"
    sim.fault(huge_header_bytes=50_000, count=1)
    assert sum(len(v) for k, v in sim.chat("openai").headers.items() if k.startswith("x-sim-filler")) == 50_000


def test_usage_goes_missing_zero_double_and_cumulative(sim):
    def usages(provider, usage):
        sim.fault(usage=usage, count=1)
        events = sim.chat(provider, stream=True, max_tokens=4).events()
        return [e["usage"]["completion_tokens"] for e in events if e != "[DONE]" and e.get("usage")]

    for provider in ALL:
        assert usages(provider, "missing") == []
        assert usages(provider, "zero")[-1:] == ([] if USAGE_AT[provider] == "asked" else [0])
        assert usages(provider, "duplicate")[-1:] == [4]
        assert usages(provider, "cumulative")[-1] == 4
        assert usages(provider, "cumulative")[0] < 4
        assert sum(usages(provider, "delta")) == 4
        assert usages(provider, "early") == [1]
    sim.fault(usage="missing", count=1)
    assert "usage" not in sim.chat("openai").json()
    sim.fault(usage="half", count=1)
    told = sim.chat("openai").json()["usage"]
    assert told["prompt_tokens"] > 0 and told["completion_tokens"] is None
    sim.fault(usage="padded_half", count=1)
    told = sim.chat("openai").json()["usage"]
    assert told["prompt_tokens"] is None and told["completion_tokens"] > 0


def test_a_stream_speaks_or_lacks_a_choice(sim):
    sim.fault(spoken=True, count=1)
    deltas = [e["choices"][0]["delta"] for e in sim.chat("openai", stream=True).events() if e != "[DONE]" and e["choices"]]
    spoken = "".join(delta["audio"]["transcript"] for delta in deltas if "audio" in delta)
    assert spoken and not any(delta.get("content") for delta in deltas)
    sim.fault(choices=1, done="none", count=1)
    events = sim.chat("openai", stream=True, n=2).events()
    assert {choice["index"] for e in events for choice in e["choices"]} == {0}


def test_pacing_splitting_and_a_slow_first_byte_change_no_byte(sim):
    plain = re.sub(rb'"(id|created)":[^,]*', b"", sim.chat("openai", stream=True).body)
    for rule in ({"tokens_per_s": 1000}, {"split_bytes": 7}, {"first_byte_ms": 5}, {"events_per_write": 8}):
        sim.fault(**rule, count=1)
        assert re.sub(rb'"(id|created)":[^,]*', b"", sim.chat("openai", stream=True).body) == plain


def test_words_of_the_message_set_what_only_that_request_gets(sim):
    assert sim.chat("together", "sim:status=503").status == 503
    assert sim.chat("together", "sim:openai:status=503").status == 200
    assert sim.chat("openai", "a sim:openai:status=503 b").status == 503
    assert sim.chat("openai", "a sim:tokens=40").json()["usage"]["completion_tokens"] == 40
    assert sim.chat("openai").status == 200


def test_rules_that_make_no_sense_are_refused(sim):
    for rule in ({"nonsense": 1}, {"status": "x"}, {"usage": "third"}, {"redirect": "a\r\nb"}, 3):
        answer = sim.request("POST", "/_sim/faults", json.dumps(rule))
        assert answer.status == 400 and answer.json()["error"]
    assert sim.control("GET", "faults") == []


# --- Log and bill


def test_the_log_tells_what_was_seen_but_no_key(sim):
    sim.chat("together", "hello there", key="secret-key-1", temperature=0.5)
    text = json.dumps(sim.control("GET", "log"))
    assert "secret-key-1" not in text
    [entry] = sim.log(provider="together")
    assert json.loads(entry["body"])["temperature"] == 0.5
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/together/v1/chat/completions", 200)
    assert (entry["outcome"], entry["model"]) == ("ok", MODELS["together"])
    assert entry["billed"] == {"prompt_tokens": 2, "cached_tokens": 0, "completion_tokens": 16, "cost_nanousd": "3240"}
    assert ["Content-Type", "application/json"] in entry["headers"]
    assert sim.log(since=entry["number"]) == []


def test_the_bill_adds_up_and_billing_ids_are_priced(sim):
    sim.fault(provider="fireworks-ai", cached_tokens=2)
    answers = [sim.chat("fireworks-ai", stream=stream, key=key) for stream, key in ((False, "a"), (True, "a"), (False, "b"))]
    sim.fault(status=500, count=1)
    sim.chat("fireworks-ai")
    cost = 1 * 900 + 2 * 450 + 16 * 900  # nano-USD: one fresh token, two cached ones, sixteen written
    bill = sim.bill()
    assert bill["total"] == {"requests": 3, "prompt_tokens": 9, "cached_tokens": 6, "completion_tokens": 48, "cost_nanousd": str(3 * cost)}
    assert sorted(row["requests"] for row in bill["rows"]) == [1, 2]
    ids = [answer.headers["inference-id"] for answer in answers]
    ask = {"requestIds": ids + ["unknown"]}
    priced = sim.request("POST", "/fireworks-ai/billing", ask, {"Authorization": "Bearer a"}).json()
    assert priced == {"requests": [{"requestId": one, "costNanoUsd": cost} for one in ids]}
    assert sim.request("POST", "/billing", ask, {"Authorization": "Bearer a"}).json() == priced
    sim.reset()
    assert sim.bill()["rows"] == [] and sim.log() == []


def test_a_pool_has_a_price_for_each_who_serves_it_and_says_what_it_was(sim):
    costs = set()
    for number in range(12):
        stream = number % 2 == 0
        answer = sim.chat("openrouter", max_tokens=16, stream=stream)
        usage = answer.events()[-2]["usage"] if stream else answer.json()["usage"]
        bill = sim.log()[-1]["billed"]
        assert round(usage["cost"] * 10**9) == int(bill["cost_nanousd"]) > usage["cost_details"]["upstream_inference_cost"] * 10**9
        costs.add(bill["cost_nanousd"])
    assert len(costs) == 3, "the same request, by three who serve it"
    # The router's clients may say who serves; then the price is his.
    router = {"model": "meta-llama/Llama-3.3-70B-Instruct", "max_tokens": 10}
    for who, cost in (("together", 880 * 13), ("groq", 590 * 3 + 790 * 10)):
        for _ in range(4):
            answer = sim.chat("hf-router", **router | {"model": f"{router['model']}:{who}"})
            assert answer.headers["x-inference-provider"] == who and "cost" not in answer.json()["usage"]
            assert sim.log()[-1]["billed"]["cost_nanousd"] == str(cost)
    assert {sim.chat("hf-router", **router).headers["x-inference-provider"] for _ in range(12)} == {"together", "groq"}
    sim.fault(usage="no_cost")
    assert "cost" not in sim.chat("openrouter").json()["usage"]


def test_it_serves_under_other_names_with_faults_of_its_own():
    with Simulator("site-a:openai", "site-b:openai", flags=["--root", "site-b", "--fault", "provider=site-a,status=503"]) as sim:
        assert sim.chat("site-a").status == 503
        assert sim.chat("site-b").status == 200
        root = sim.request("POST", "/v1/chat/completions", {"model": "model-x", "messages": [{"role": "user", "content": "x"}]}, {"Authorization": "Bearer k"})
        assert root.status == 200


def test_it_serves_over_tls(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    with Simulator("openai", flags=["--tls-cert", cert, "--tls-key", key]) as sim:
        context = ssl.create_default_context(cafile=str(cert))
        body = json.dumps({"model": "model-x", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
        request = urllib.request.Request(f"{sim.url}/openai/v1/chat/completions", body, {"Authorization": "Bearer k"})
        with urllib.request.urlopen(request, context=context) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")


def test_many_slow_streams_at_once(sim):
    sim.fault(tokens_per_s=0.1)
    body = json.dumps({"model": "model-x", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    head = f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
    open_ones = [sim.connect() for _ in range(400)]
    for bare in open_ones:
        bare.sendall((head + body).encode())
    sim.wait_for(lambda: sim.state()["streams"] == 400, "400 streams")
    for bare in open_ones:
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        bare.close()
    sim.wait_for(lambda: sim.state()["streams"] == 0, "the end of all")


def test_it_shares_no_code_with_the_product():
    for path in (ROOT / "tools" / "provider_sim").glob("*.*"):
        if path.suffix in (".h", ".cc"):
            for include in re.findall(r'^#include "(.*)"', path.read_text(), re.M):
                assert include.startswith("provider_sim/"), f"{path.name} includes {include}"
