"""The OpenAPI document (../shared/specs) validates chat answers and each event of a stream, made here and passed on.

A provider's own answer need not follow the document (its bytes pass as they are): there the router must add no fault.
"""

import functools
import json

import jsonschema
import pytest

import harness
from market import KEY, MODEL, SITES, Market

DOCUMENT = harness.reference("specs/openai-openapi.json")
pytestmark = pytest.mark.skipif(DOCUMENT is None, reason="../shared/specs is not there")

TOOLS = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
ASKED = {
    "chat": ("one two three", {}),
    "logprobs": ("one two three", {"logprobs": True, "top_logprobs": 2}),
    "tools": ("call lookup", {"tools": TOOLS}),
    "structured": ("one two three", {"response_format": FORMAT}),
    "length": ("one two three", {"max_tokens": 2}),
}


def as_json_schema(node):
    """`nullable`, of OpenAPI 3.0, in the words of JSON Schema."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {name: as_json_schema(value) for name, value in node.items() if name != "nullable"}
    return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out


@functools.cache
def validator(name):
    document = json.loads(DOCUMENT.read_text())
    components = {"schemas": as_json_schema(document["components"]["schemas"])}
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


def faults(name, value):
    return sorted({f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in validator(name).iter_errors(value)})


def whole_faults(answer):
    return faults("CreateChatCompletionResponse", answer)


def event_faults(event):
    return faults("CreateChatCompletionStreamResponse", event)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    with Market(tmp_path_factory.mktemp("market"), models=harness.MODELS) as running:
        yield running


def test_the_document_finds_faults():
    assert whole_faults({"id": "x"}) and event_faults({"choices": [{"delta": {"content": 7}}]})
    assert faults("ErrorResponse", {"error": "text"})


@pytest.mark.parametrize("asked", ["chat", "logprobs", "length"])
def test_what_the_local_model_says(market, asked):
    text, fields = ASKED[asked]
    fields = {"max_tokens": 8, "temperature": 0} | fields
    whole = market.chat(text, model=f"{harness.MODEL}:local", **fields)
    assert whole.status == 200, whole.body
    assert whole_faults(whole.json()) == []
    stream = market.chat(text, model=f"{harness.MODEL}:local", stream=True, stream_options={"include_usage": True}, **fields)
    events = harness.sse_json(stream.body)
    assert events[-1]["usage"] and len(events) > 2
    assert [event_faults(event) for event in events] == [[]] * len(events)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("site", SITES)
def test_what_passes_gains_no_fault(market, site, asked):
    text, fields = ASKED[asked]
    if asked == "logprobs" and site in ("together", "groq"):
        pytest.skip("one has a form of its own, the other has none")
    whole = market.chat(text, model=f"{MODEL}:{site}", **fields)
    assert whole.status == 200, whole.body
    direct = market.sim.chat(site, text, key=KEY, **fields)
    assert direct.status == 200, direct.body
    assert whole_faults(whole.json()) == whole_faults(direct.json())
    if site == "site-a" and asked != "logprobs":
        seen = whole_faults(whole.json())
        assert all(": None is not" in fault for fault in seen), "vLLM, which it plays, sends nulls where nothing should be"
    fields = fields | {"stream": True, "stream_options": {"include_usage": True}}
    stream = harness.sse_json(market.chat(text, model=f"{MODEL}:{site}", **fields).body)
    sent = [event for event in market.sim.chat(site, text, key=KEY, **fields).events() if event != "[DONE]"]
    assert len(stream) > 1
    assert [event_faults(event) for event in stream] == [event_faults(event) for event in sent]


@pytest.mark.parametrize("text, model", [
    ("one sim:status=400", f"{MODEL}:cerebras"), ("one sim:status=500", f"{MODEL}:together"),
    ("one sim:status=429", f"{MODEL}:groq"), ("one", "nobody/nothing"), ("one sim:body=html", f"{MODEL}:site-a"),
])
def test_errors_of_all_kinds(market, text, model):
    reply = market.chat(text, model=model)
    assert reply.status >= 400
    assert faults("ErrorResponse", reply.json()) == []


def test_an_error_in_a_stream_follows_the_document_of_errors(market):
    reply = market.chat("one sim:cut_after=3", model=f"{MODEL}:site-a", stream=True)
    *events, error = harness.sse_json(reply.body)
    assert events and [event_faults(event) for event in events] == [[]] * len(events)
    assert faults("ErrorResponse", error) == []
