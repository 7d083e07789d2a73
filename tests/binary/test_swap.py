"""One program, the same headers, several clients: switched over providers and `local` by the model string alone."""

import json
import os
import pathlib
import subprocess
import sys

import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import harness
from market import Market

SITES = ("fireworks-ai", "together", "cerebras", "groq")
# One id, here and at each of them: only what stands behind the colon changes.
MODELS = [f"{harness.MODEL}:{place}" for place in (*SITES, "local")]
TOOL = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    with Market(tmp_path_factory.mktemp("swap"), *SITES, model=harness.MODEL, models=harness.MODELS) as running:
        running.token = running.server.token
        yield running


class OpenAi:
    refusal = openai.BadRequestError

    def __init__(self, market):
        self.client = openai.OpenAI(base_url=f"{market.server.url}/v1", api_key=market.token, max_retries=0)

    def chat(self, text, **fields):
        return self.client.chat.completions.create(messages=[{"role": "user", "content": text}], **fields)


class HuggingFace:
    refusal = HfHubHTTPError

    def __init__(self, market):
        self.client = InferenceClient(base_url=f"{market.server.url}/v1", api_key=market.token)

    def chat(self, text, **fields):
        return self.client.chat.completions.create(messages=[{"role": "user", "content": text}], **fields)


@pytest.fixture(params=[OpenAi, HuggingFace], ids=["openai", "huggingface_hub"])
def client(request, market):
    return request.param(market)


@pytest.mark.parametrize("model", MODELS)
def test_chat_and_stream_say_the_same(market, client, model):
    fields = {"model": model, "max_tokens": 12, "temperature": 0}
    whole = client.chat("one two three", **fields)
    assert whole.choices[0].message.content and whole.usage.completion_tokens > 0
    chunks = list(client.chat("one two three", stream=True, **fields))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    place = model.rpartition(":")[2]
    if place != "local":
        assert [entry["provider"] for entry in market.sim.log()[-2:]] == [place, place]


@pytest.mark.parametrize("model", MODELS)
def test_usage_comes_when_asked_for(client, model):
    chunks = list(client.chat("one", model=model, max_tokens=4, stream=True, stream_options={"include_usage": True}))
    assert [chunk for chunk in chunks if chunk.usage][-1].usage.completion_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_tools(client, model):
    fields = {"model": model, "tools": [TOOL], "tool_choice": "auto"}
    if model.endswith(":local"):
        with pytest.raises(client.refusal):
            client.chat("call lookup", **fields)
        return
    whole = client.chat("call lookup", **fields)
    (call,) = whole.choices[0].message.tool_calls
    assert call.function.name == "lookup" and isinstance(json.loads(call.function.arguments)["q"], str)
    assert whole.choices[0].finish_reason == "tool_calls"
    deltas = [chunk.choices[0].delta.tool_calls or [] for chunk in client.chat("call lookup", stream=True, **fields)]
    assert "".join(piece.function.arguments or "" for delta in deltas for piece in delta) == call.function.arguments


@pytest.mark.parametrize("model", MODELS)
def test_structured_output(client, model):
    fields = {"model": model, "response_format": FORMAT}
    if model.endswith(":local"):
        with pytest.raises(client.refusal):
            client.chat("one two three", **fields)
        return
    assert isinstance(json.loads(client.chat("one two three", **fields).choices[0].message.content)["a"], str)


def test_what_the_local_model_cannot_do_is_a_refusal_with_its_reason(market):
    for fields in ({"tools": [TOOL]}, {"response_format": FORMAT}):
        reply = market.chat(model=f"{harness.MODEL}:local", **fields)
        assert reply.status == 400
        assert reply.error()["code"] and reply.error()["param"] in ("model", *fields)


def test_the_program_sends_the_same_headers_wherever_it_goes(market):
    """Providers see their own key and nothing of the client's; the answer names who made it."""
    for model in MODELS:
        reply = market.chat(model=model, headers={"User-Agent": "program/1"}, max_tokens=2)
        assert reply.status == 200 and reply.headers["x-inference-provider"] == model.rpartition(":")[2]
    for entry in market.sim.log()[-len(SITES) :]:
        assert "program/1" not in str(entry["headers"]) and market.token not in str(entry["headers"])


def test_the_javascript_clients(market):
    node = harness.ROOT / "build" / "node" / "bin" / "node"
    env = os.environ | {
        "TRADEWIND_TEST_URL": market.server.url,
        "TRADEWIND_TEST_MODELS": ",".join(MODELS),
        "TRADEWIND_TEST_TOKEN": market.token,
    }
    words = [node, "--test", harness.ROOT / "tests" / "js" / "swap.test.mjs"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=2 * harness.PATIENCE_S)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "# pass 0" not in done.stdout and "ℹ pass 0" not in done.stdout


def test_unchanged_clients_by_the_routers_own_host_name(tmp_path):
    """Nothing is configured in the clients: a hosts entry and a private CA lead them here, in a network of their own."""
    words = ["unshare", "--map-root-user", "--net", "--mount", sys.executable, "-B"]
    try:
        tried = subprocess.run([*words[:4], "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if tried.returncode != 0:
        pytest.skip(f"no network namespace here: {tried.stderr.strip()}")
    script = pathlib.Path(__file__).with_name("router_host.py")
    done = subprocess.run([*words, script, tmp_path], capture_output=True, text=True, timeout=3 * harness.PATIENCE_S)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    for client in ("huggingface_hub", "@huggingface/inference", "openai for Python", "openai for JavaScript"):
        assert f"{client}: right" in done.stdout
