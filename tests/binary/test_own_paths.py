"""A provider's own paths behind its slug: what Hugging Face's clients send when a provider is named."""

import json
import os
import subprocess
import sys

import pytest

import harness
import simulator
from market import KEY, MODEL, SITES, Market

NAMED = ("fireworks-ai", "together", "cerebras", "groq")
TEXTS, VECTORS = "acme/texts", "acme/vectors"
TEXTS_ID, VECTORS_ID = "meta-llama/Llama-3.3-70B-Instruct-Turbo", "BAAI/bge-base-en-v1.5"
MORE = {"together": [(TEXTS, TEXTS_ID, "text-generation"), (VECTORS, VECTORS_ID, "feature-extraction")]}
# Behind the slug, as the providers' documentation has them.
PATHS = {site: simulator.CHAT_PATHS.get(site, "/v1/chat/completions") for site in SITES}
PATHS |= {site: f"/{site}{PATHS[site]}" for site, (kind, _) in SITES.items() if kind == "openai"}  # behind the host of base_url
IDS = {site: simulator.MODELS[SITES[site][1].split(":")[-1]] for site in SITES}


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    with Market(tmp_path_factory.mktemp("own"), more=MORE) as running:
        yield running


@pytest.fixture(autouse=True)
def well(market):
    market.sim.reset()


def ask(market, site, headers=None, path=None, **fields):
    body = {"model": IDS[site], "messages": [{"role": "user", "content": "one two three"}]} | fields
    return market.server.post(f"/{site}{path or PATHS[site]}", body, headers)


@pytest.mark.parametrize("site", SITES)
def test_a_request_goes_on_with_the_providers_key_and_is_metered(market, site):
    reply = ask(market, site, {"User-Agent": "program/1"})
    assert reply.status == 200, reply.body
    assert reply.headers["x-inference-provider"] == site
    usage = reply.json()["usage"]
    assert reply.headers["x-tradewind-cost-nanousd"] == str(usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 300)
    (entry,) = market.sim.log()
    assert entry["provider"] == site
    assert market.server.token not in str(entry) and "program/1" not in str(entry["headers"])
    line = harness.wait_for(
        lambda: [each for each in market.server.access_log() if each["request_id"] == reply.headers["x-request-id"]], "its line"
    )[0]
    assert (line["provider"], line["model"], line.get("attempts", 1)) == (site, MODEL, 1)
    assert line["cost_nanousd"] == reply.headers["x-tradewind-cost-nanousd"]


@pytest.mark.parametrize("site", SITES)
def test_a_stream_is_that_of_the_router(market, site):
    own = ask(market, site, stream=True)
    assert own.status == 200 and harness.sse_blocks(own.body)[-1] == b"data: [DONE]"
    by_name = market.chat(model=f"{MODEL}:{site}", stream=True)
    text = ["".join(c["choices"][0]["delta"].get("content") or "" for c in harness.sse_json(r.body)) for r in (own, by_name)]
    assert text[0] and text[0] == text[1]
    assert any(block.startswith(b": tradewind ") for block in harness.sse_blocks(own.body)), "the receipt is a comment"


def test_a_request_in_the_providers_own_form_keeps_every_byte(market):
    body = '{"messages":[{"role":"user","content":"caf\\u00e9"}], "tools":[], "logprobs":3, "model": "%s", "seed":18446744073709551615}'
    body %= IDS["together"]
    reply = market.server.request("POST", f"/together{PATHS['together']}?api-version=2024-05-01-preview", body, {"Content-Type": "application/json"})
    assert reply.status == 200, reply.body
    (entry,) = market.sim.log()
    assert entry["body"] == body and entry["path"].endswith("/v1/chat/completions?api-version=2024-05-01-preview")


@pytest.mark.parametrize(
    "query, named",
    [
        ("model=gpt-5-pro", "model"),
        ("api-version=1&%6dodel=m", "model"),
        ("n=8", "n"),
        ("stream", "stream"),
        ("api-version=1;model=m", "api-version"),
        ("api-version=1%26model=m", "api-version"),
        ("api-version=1&api-version=2", "api-version"),
        ("api%2dversion=1", "api-version"),
        ("api-version[]=1", "api-version"),
        ("&".join(["api-version=1"] * 70 + ["model=m"]), "api-version"),
        ("&", "api-version"),
        ("%ff=1", "\ufffd"),
        ("x" * 500 + "=1", "x" * 64),
    ],
)
def test_a_query_that_could_name_a_model_is_refused(market, query, named):
    for site in ("together", "groq"):
        reply = ask(market, site, path=f"{PATHS[site]}?{query}")
        assert (reply.status, reply.error()["param"]) == (400, named), reply.body
        assert "api-version" in reply.error()["message"]
    assert market.sim.log() == []


def test_what_is_meant_for_the_router_does_not_leave_it(market):
    assert ask(market, "together", provider={"data_collection": "allow"}).status == 200
    assert "provider" not in json.loads(market.sim.log()[-1]["body"])
    assert ask(market, "together", provider={"zdr": True}).error()["code"] == "model_not_supported", "preferences hold"


def test_nothing_is_sent_to_a_pair_that_is_not_in_the_catalogue(market):
    for site, fields in [
        ("together", {"model": "someone/else"}),
        ("together", {"model": MODEL}),  # the provider's id is asked for, not the Hub's
        ("together", {"model": IDS["groq"]}),
        ("together", {"model": f"{IDS['together']}#deployment"}),
        ("together", {"model": VECTORS_ID}),  # known, for another task
    ]:
        reply = ask(market, site, **fields)
        error = reply.error()
        assert (reply.status, error["code"], error["param"]) == (400, "model_not_supported", "model")
        assert site in error["message"]
    assert ask(market, "together", models=["acme/other"]).error()["param"] == "models"
    assert market.sim.log() == []


@pytest.mark.parametrize("path", ["/v1/files", "/v1/chat/completions/", "/v1/chat/../files", "/v1%2Fchat%2Fcompletions%00", "/v2/videos"])
def test_no_other_path_is_passed_on(market, path):
    reply = ask(market, "together", path=path)
    assert reply.status in (400, 404), reply.body
    if reply.status == 404:
        assert "v1/chat/completions" in reply.error()["message"]
    assert market.sim.log() == []


def test_a_provider_that_this_server_has_not_is_named(market):
    reply = market.server.post("/novita/v3/openai/chat/completions", {"model": "m", "messages": []})
    assert reply.status == 404 and "novita" in reply.error()["message"]
    assert market.server.post("/local/v1/chat/completions", {"model": "m", "messages": []}).status == 404
    assert market.server.post("/nobody/v1/chat/completions", {"model": "m", "messages": []}).status == 404
    reply = market.server.get("/together/v1/chat/completions")
    assert reply.status == 405 and reply.headers["Allow"] == "POST"


def test_without_a_token_nothing_passes(market):
    refused = ask(market, "together", {"Authorization": "Bearer hf_tw_nobody"})
    assert refused.status == 401 and refused.headers["X-Error-Message"]
    assert market.sim.log() == []


def test_allow_lists_hold(market):
    def token(name, *flags):
        made = harness.run_cli("keys", "create", "--name", name, *flags, home=market.server.home)
        assert made.returncode == 0, made
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    groq = token("groq-alone", "--providers", "groq")
    assert ask(market, "groq", groq).status == 200
    assert ask(market, "together", groq).status == 403
    other = token("other-model", "--models", TEXTS)
    assert ask(market, "together", other).status == 403
    assert [entry["provider"] for entry in market.sim.log()] == ["groq"]


def test_the_named_provider_alone_answers_or_fails(market):
    market.sim.fault(provider="together", status=500)
    assert ask(market, "together").status == 502
    assert {entry["provider"] for entry in market.sim.log()} == {"together"}


PYTHON_PROGRAM = """
import sys
from huggingface_hub import InferenceClient, constants
url, token, model, texts, vectors, *sites = sys.argv[1:]
if url:
    constants.INFERENCE_PROXY_TEMPLATE = url + "/{provider}"
schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
for site in sites:
    client = InferenceClient(provider=site, api_key=token)
    fields = dict(model=model, messages=[{"role": "user", "content": "one two three"}])
    whole = client.chat.completions.create(**fields)
    text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **fields))
    assert text and text == whole.choices[0].message.content, (site, text)
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert "a" in client.chat.completions.create(response_format=form, **fields).choices[0].message.content, site
if texts:
    client = InferenceClient(provider="together", api_key=token)
    assert client.text_generation("one two three", model=texts, max_new_tokens=5)
    assert client.feature_extraction("one two", model=vectors).shape[0] >= 1
print("huggingface_hub: right")
"""


def test_the_python_client_with_a_named_provider(market):
    keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    env = keep | {"HF_ENDPOINT": market.server.url, "HF_TOKEN": market.server.token, "HOME": str(market.folder)}
    words = [sys.executable, "-c", PYTHON_PROGRAM, market.server.url, market.server.token, MODEL, TEXTS, VECTORS, *NAMED]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=harness.PATIENCE_S)
    assert done.stdout == "huggingface_hub: right\n", done.stderr
    asked = [(entry["provider"], json.loads(entry["body"])["model"]) for entry in market.sim.log()]
    together = [("together", TEXTS_ID), ("together", VECTORS_ID)]
    assert asked == [(site, IDS[site]) for site in NAMED for _ in range(3)] + together


def test_the_javascript_client_with_a_named_provider(market):
    node = harness.ROOT / "build" / "node" / "bin" / "node"
    env = os.environ | {
        "TRADEWIND_TEST_URL": market.server.url,
        "TRADEWIND_TEST_TOKEN": market.server.token,
        "TRADEWIND_TEST_MODELS": ",".join((MODEL, TEXTS, VECTORS)),
        "TRADEWIND_TEST_SITES": ",".join(NAMED),
    }
    words = [node, "--test", harness.ROOT / "tests" / "js" / "own_paths.test.mjs"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=harness.PATIENCE_S)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    asked = {(entry["provider"], json.loads(entry["body"])["model"]) for entry in market.sim.log()}
    assert asked == {(site, IDS[site]) for site in NAMED} | {("together", TEXTS_ID), ("together", VECTORS_ID)}
    assert KEY not in done.stdout
