"""What providers and clients say in ways of their own: usages in pieces, thoughts beside the answer, texts that are pictures to some. What is billed
is held for and settled, and nothing else."""

import contextlib
import http.server
import json
import threading

import harness
import market
import pytest
from test_money import make_key

MODEL = "acme/model"
ROUTE = f'{{ id = "{MODEL}", provider_id = "m", input_usd_per_mtok = "100", output_usd_per_mtok = "300", context = 100000 }}'
EMBEDS = '{ id = "acme/embed", provider_id = "e", task = "feature-extraction", input_usd_per_mtok = "100", output_usd_per_mtok = "0", context = 1000 }'
INPUT, OUTPUT = 100_000, 300_000  # nano-dollars a token
STREAM, JSON = "text/event-stream", "application/json"


class Provider:
    """Answers each request with `answer`: (content type, body)."""

    def __enter__(self):
        self.asked, self.answer = [], None
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                provider.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                kind, body = provider.answer
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()

    def config(self, name):
        url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        return f'[[providers]]\nname = "{name}"\nkind = "openai"\nbase_url = "{url}"\nallow_private = true\nmodels = [{ROUTE}, {EMBEDS}]\n'


class World:
    """Two providers that say the same, and a key of $50."""

    def __init__(self, server, providers):
        self.server, self.providers = server, providers
        self.key = make_key(server.home, "asks", "--budget", "50")

    def ask(self, kind, body, text="x", path="chat/completions", **fields):
        for provider in self.providers:
            provider.asked, provider.answer = [], (kind, body if isinstance(body, bytes) else json.dumps(body).encode())
        what = {"input": text} if path == "embeddings" else {"prompt": text} if path == "completions" else {"messages": [{"role": "user", "content": text}]}
        reply = self.server.post(f"/v1/{path}", {"model": MODEL, "max_tokens": 2000} | what | fields, {"Authorization": f"Bearer {self.key['token']}"})
        receipt = self.server.get(f"/v1/receipts/{reply.headers['x-tradewind-receipt']}", {"Authorization": f"Bearer {self.key['token']}"}).json()
        assert json.loads(harness.run_cli("bill", "verify", "--json", home=self.server.home).stdout)["good"]
        return reply, receipt["attempts"]

    @property
    def asked(self):
        return sum(len(provider.asked) for provider in self.providers)


@pytest.fixture
def world(tmp_path):
    (tmp_path / "no-models").mkdir()
    config = tmp_path / "config.toml"
    with contextlib.ExitStack() as stack:
        providers = [stack.enter_context(Provider()) for _ in range(2)]
        config.write_text("\n".join(provider.config(f"site-{name}") for name, provider in zip("ab", providers)))
        server = stack.enter_context(harness.Server(tmp_path / "home", "--config", config, models=tmp_path / "no-models", env=market.keys(())))
        yield World(server, providers)


def chunk(text=None, finish=None, **more):
    delta = {} if text is None else {"content": text}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more


def used(prompt=None, completion=None, **more):
    said = {"prompt_tokens": prompt, "completion_tokens": completion} | more
    return chunk(choices=[], usage={name: value for name, value in said.items() if value is not None})


def stream(*events):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def whole(usage, text="hi there"):
    message = {"role": "assistant", "content": text}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.mark.parametrize(
    "first, last",
    [
        (used(20000, 1, total_tokens=20001), used(0, 500, total_tokens=500)),
        (used(20000), used(completion=500)),
        (used(20000, 500), used(0, 500)),
    ],
)
def test_a_prompt_that_was_said_stays_so_when_a_later_usage_has_none(world, first, last):
    reply, (attempt,) = world.ask(STREAM, stream(first, chunk("a" * 1500), chunk(finish="stop"), last), "word " * 16000, stream=True)
    assert reply.status == 200 and attempt["usage_source"] == "provider"
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (20000, 500)
    assert int(attempt["cost_nanousd"]) == 20000 * INPUT + 500 * OUTPUT


@pytest.mark.parametrize("streams", [True, False])
def test_a_prompt_of_nothing_is_not_free(world, streams):
    usage = {"prompt_tokens": 0, "completion_tokens": 500, "total_tokens": 500}
    said = (STREAM, stream(chunk("a" * 1500), chunk(finish="stop"), used(0, 500))) if streams else (JSON, whole(usage, "a" * 1500))
    reply, (attempt,) = world.ask(*said, "word " * 1600, stream=streams)
    assert reply.status == 200 and attempt["usage_source"] == "metered"
    assert attempt["input_tokens"] > 1600 and int(attempt["cost_nanousd"]) > 1600 * INPUT + 500 * OUTPUT


@pytest.mark.parametrize("nothing", ["", {}, False])
@pytest.mark.parametrize("streams", [True, False])
def test_an_error_that_says_nothing_beside_an_answer_is_none(world, streams, nothing):
    no_error = {"error": nothing}
    events = [chunk("hi", **no_error), chunk(finish="stop", **no_error), used(20, 5) | no_error]
    reply, (attempt,) = world.ask(*((STREAM, stream(*events)) if streams else (JSON, whole(USAGE) | no_error)), stream=streams)
    assert (reply.status, attempt["state"], attempt["usage_source"]) == (200, "settled", "provider"), reply.body
    assert b'"error"' not in reply.body and world.asked == 1


# --- Requests in another form


def test_what_says_nothing_or_is_the_clients_own_is_refused_by_no_hard_budget(world):
    patch = {"type": "custom", "custom": {"name": "apply_patch", "format": {"type": "text"}}}
    for fields in (
        {"tools": [patch]},
        {"plugins": []},
        {"mm_processor_kwargs": {}},
        {"features": {"web_search": False, "image_generation": False}},
        {"provider": {"preferred_max_latency": {"p90": 3}, "preferred_min_throughput": {"p50": 10}}},
    ):
        reply, _ = world.ask(JSON, whole(USAGE), **fields)
        assert reply.status == 200, (fields, reply.body)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("budget", [True, False])
def test_a_bound_of_minus_one_is_none_and_sent_to_nobody(world, name, budget):
    if not budget:
        world.key = make_key(world.server.home, "free")
    reply, _ = world.ask(JSON, whole(USAGE), **{"max_tokens": None, name: -1})
    assert reply.status == 200, reply.body
    (sent,) = [body for provider in world.providers for body in provider.asked]
    assert -1 not in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert ((sent.get("max_tokens") or 0) >= 256) == budget, "the budget's own bound"


def test_embeddings_are_never_a_stream(world):
    answer = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "e", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    reply, (attempt,) = world.ask(JSON, answer, path="embeddings", model="acme/embed", max_tokens=None, stream=True, stream_options={"include_usage": True})
    assert reply.status == 200 and reply.json()["data"], reply.body
    assert int(attempt["cost_nanousd"]) == 5 * INPUT and world.asked == 1
    assert not {"stream", "stream_options"} & set(world.providers[0].asked[0])


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_pictures_that_stand_in_a_text_are_held_for(world, path):
    # text-generation-inference fetches each, and counts it.
    marks = "![](https://a.example/b.png) " * 3
    usage = {"prompt_tokens": 3 * 16384 + 30, "completion_tokens": 5}
    answer = whole(usage) if path != "completions" else {"object": "text_completion", "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}], "usage": usage}
    reply, (attempt,) = world.ask(JSON, answer, marks, path, max_tokens=10)
    assert reply.status == 200, reply.body
    assert int(attempt["cost_nanousd"]) == (3 * 16384 + 30) * INPUT + 5 * OUTPUT <= int(attempt["held_nanousd"])
    plain, (attempt,) = world.ask(JSON, answer | {"usage": USAGE}, marks.replace("![]", "![b]"), path, max_tokens=10)
    assert plain.status == 200 and int(attempt["held_nanousd"]) < 16384 * INPUT, "a picture with words is text"


def test_a_text_that_stands_for_files_at_the_provider_is_billed_apart(world):
    body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "system", "content": "fileid://file-fe-abc"}, {"role": "user", "content": "sum it up"}]}
    reply = world.server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {world.key['token']}"})
    assert (reply.status, reply.error()["param"]) == (402, "fileid://"), reply.body
    assert world.asked == 0


# --- Answers in another form

USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
COST = 1000 * INPUT + 500 * OUTPUT


@pytest.mark.parametrize("kind", [JSON, "text/plain; charset=utf-8"])
@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_whole_answer_to_a_streams_request_is_a_stream_of_it(world, kind, wants_usage):
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = whole(USAGE) | {"choices": [{"message": {"role": "assistant", "content": "hi there", "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    reply, (attempt,) = world.ask(kind, answer, stream=True, **options)
    assert reply.status == 200 and world.asked == 1
    assert (attempt["state"], attempt["usage_source"]) == ("settled", "provider")
    assert int(attempt["cost_nanousd"]) == int(attempt["charge_nanousd"]) == COST
    *chunks, end = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    assert end == "[DONE]" and len(chunks) == (2 if wants_usage else 1)
    first = json.loads(chunks[0])
    (choice,) = first["choices"]
    assert first["object"] == "chat.completion.chunk" and choice["finish_reason"] == "tool_calls"
    assert choice["delta"]["content"] == "hi there" and choice["delta"]["tool_calls"] == [{"index": 0} | calls[0]]
    assert not wants_usage or json.loads(chunks[1])["usage"] == USAGE


def test_a_plain_completion_that_is_whole_is_a_stream_of_it_too(world):
    answer = {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "hi there", "finish_reason": "stop"}], "usage": USAGE}
    reply, (attempt,) = world.ask(JSON, answer, path="completions", stream=True)
    assert reply.status == 200 and b'"text":"hi there"' in reply.body and b"[DONE]" in reply.body
    assert int(attempt["cost_nanousd"]) == COST and world.asked == 1


@pytest.mark.parametrize("kind", ["text/json", "text/html; charset=utf-8"])
def test_a_whole_answer_is_one_under_any_type_of_text(world, kind):
    reply, (attempt,) = world.ask(kind, whole(USAGE))
    assert reply.status == 200 and reply.json()["choices"][0]["message"]["content"] == "hi there"
    assert int(attempt["cost_nanousd"]) == COST and world.asked == 1


def test_a_stream_under_another_type_is_one(world):
    reply, (attempt,) = world.ask("text/plain", stream(chunk("hi"), chunk(finish="stop"), used(1000, 500)), stream=True)
    assert reply.status == 200 and b"[DONE]" in reply.body
    assert int(attempt["cost_nanousd"]) == COST and world.asked == 1


def test_a_stream_instead_of_a_whole_answer_is_settled_and_not_bought_again(world):
    reply, (attempt,) = world.ask(STREAM, stream(chunk("hi"), chunk(finish="stop"), used(1000, 500)))
    assert reply.status == 502 and "a stream" in reply.json()["error"]["message"]
    assert world.asked == 1, "it has been billed"
    assert (attempt["state"], int(attempt["cost_nanousd"]), int(attempt["charge_nanousd"])) == ("settled", COST, 0)


@pytest.mark.parametrize("kind", [STREAM, "application/vnd.api+json"])
@pytest.mark.parametrize("streams", [True, False])
def test_a_whole_answer_is_one_under_any_type_there_is(world, kind, streams):
    reply, (attempt,) = world.ask(kind, whole(USAGE), stream=streams)
    assert reply.status == 200 and b"hi there" in reply.body and (b"[DONE]" in reply.body) == streams
    assert int(attempt["cost_nanousd"]) == COST and world.asked == 1


def test_events_without_data_say_nothing(world):
    said = b"data: \n\n" + stream(chunk("hi"), chunk(finish="stop"), used(1000, 500)).replace(b"\n\n", b"\n\ndata:\n\n", 1)
    reply, (attempt,) = world.ask(STREAM, said, stream=True)
    assert reply.status == 200 and b"[DONE]" in reply.body
    assert int(attempt["cost_nanousd"]) == COST and world.asked == 1


# --- Streams as iFlytek's, which say that nothing failed, and never why they end

SUCCESS = {"code": 0, "message": "Success"}
CALL = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}


@pytest.mark.parametrize("first", [chunk("hi", **SUCCESS), chunk(**CALL)])
@pytest.mark.parametrize("last", [chunk("", usage=USAGE, **SUCCESS), used(1000, 500, **SUCCESS)])
def test_a_stream_that_says_done_is_complete_without_a_finish_reason(world, first, last):
    for _ in range(3):
        reply, (attempt,) = world.ask(STREAM, stream(first, last), stream=True)
        assert reply.status == 200 and b"[DONE]" in reply.body and b'"error"' not in reply.body
        assert b'"finish_reason": "' not in reply.body and b'"finish_reason":"' not in reply.body, "nothing is put in"
        assert (attempt["state"], attempt["usage_source"]) == ("settled", "provider")
        assert int(attempt["cost_nanousd"]) == int(attempt["charge_nanousd"]) == COST and world.asked == 1


def test_a_stream_that_says_neither_is_cut(world):
    reply, (attempt,) = world.ask(STREAM, stream(chunk("hi")).removesuffix(b"data: [DONE]\n\n"), stream=True)
    assert b"[DONE]" not in reply.body and b'"error"' in reply.body
    assert attempt["state"] == "in_doubt"


# --- Errors with the status of an answer

RATE = {"error": {"message": "Slow down, please", "type": "rate_limit", "code": 429}}
MINIMAX = {"id": "x", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit of yours"}}
BAIDU = {"error_code": 18, "error_msg": "Open api qps request limit reached"}
BALANCE = {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}


def in_events(error, name=""):
    return name.encode() + b"data: " + json.dumps(error).encode() + b"\n\n"


@pytest.mark.parametrize("streams, in_stream", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("error, words", [(RATE, "Slow down"), (MINIMAX, "rate limit of yours"), (BAIDU, "qps request limit")])
def test_a_rate_limit_is_one_whatever_its_status_is(world, streams, in_stream, error, words):
    said = (STREAM, in_events(error)) if in_stream else (JSON, error)
    reply, attempts = world.ask(*said, stream=streams)
    assert reply.status == 429 and words in reply.json()["error"]["message"], reply.body
    assert {one["state"] for one in attempts} == {"void"}, "at once"


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("error, words", [({"error": {"message": "it broke"}}, "it broke"), ({"detail": "no such thing"}, "no such thing")])
def test_any_other_error_takes_nothing_from_the_budget_in_the_end(tmp_path, world, streams, error, words):
    reply, attempts = world.ask(JSON, error, stream=streams)
    assert reply.status == 502 and words in reply.json()["error"]["message"], reply.body
    assert {(one["state"], one["reason"]) for one in attempts} == {("in_doubt", "error_event")}, "void after ten minutes"


def test_an_error_has_the_status_that_it_says(world):
    reply, attempts = world.ask(JSON, {"error": {"message": "temperature is too hot", "code": 400}}, stream=True)
    assert reply.status == 400 and reply.json()["error"]["message"] == "temperature is too hot"
    assert [one["state"] for one in attempts] == ["void"] and world.asked == 1
    reply, attempts = world.ask(JSON, BALANCE, stream=True)
    assert {(one["state"], one["reason"]) for one in attempts} == {("void", "no_funds")}


@pytest.mark.parametrize("data", [b'{"message":"overloaded"}', b"overloaded"])
def test_an_event_that_is_named_error_is_one(world, data):
    reply, attempts = world.ask(STREAM, b"event: error\ndata: " + data + b"\n\n", stream=True)
    assert reply.status == 502 and "overloaded" in reply.json()["error"]["message"], reply.body
    assert {one["reason"] for one in attempts} == {"error_event"}


@pytest.mark.parametrize("streams", [True, False])
def test_a_web_page_is_nothing_that_a_model_wrote(tmp_path, streams):
    """A sign-in of a network, a block of what stands before the provider."""
    (tmp_path / "no-models").mkdir()
    config = tmp_path / "config.toml"
    with Provider() as provider:
        config.write_text(provider.config("site-a"))
        flags = ["--config", config, "--billing-deadline", "1s", "--billing-every", "200ms"]
        with harness.Server(tmp_path / "home", *flags, models=tmp_path / "no-models", env=market.keys(())) as server:
            world = World(server, [provider])
            reply, attempts = world.ask("text/html; charset=utf-8", b"<html>Sign in</html>", stream=streams)
            assert reply.status == 502 and "a web page" in reply.json()["error"]["message"]
            assert {one["reason"] for one in attempts} == {"garbage"}

            def states():
                receipt = server.get(f"/v1/receipts/{reply.headers['x-tradewind-receipt']}", {"Authorization": f"Bearer {world.key['token']}"})
                return {(one["state"], one.get("cost_nanousd") or "0") for one in receipt.json()["attempts"]}

            harness.wait_for(lambda: states() == {("void", "0")}, "nothing in the budget")


# --- Thoughts beside the answer


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        {"completion_tokens_details": {"reasoning_tokens": 1000}},
        {"total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 1000}},
        {"total_tokens": 15, "reasoning_tokens": 1000},
        {"total_tokens": 1015, "completion_tokens_details": {"reasoning_tokens": 1000}},
    ],
)
def test_more_thoughts_than_the_answer_has_stand_beside_it(world, streams, said):
    usage = {"prompt_tokens": 10, "completion_tokens": 5} | said
    answer = (STREAM, stream(chunk("hi"), chunk(finish="stop"), chunk(choices=[], usage=usage))) if streams else (JSON, whole(usage))
    reply, (attempt,) = world.ask(*answer, stream=streams)
    assert reply.status == 200 and (attempt["output_tokens"], attempt["reasoning_tokens"]) == (1005, 1000)
    assert int(attempt["cost_nanousd"]) == 10 * INPUT + 1005 * OUTPUT


def test_thoughts_beyond_the_hold_are_posted_and_told(world):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "reasoning_tokens": 9000}
    _, (attempt,) = world.ask(JSON, whole(usage))
    assert int(attempt["cost_nanousd"]) == 10 * INPUT + 9005 * OUTPUT > int(attempt["held_nanousd"])
    alerts = json.loads(harness.run_cli("alerts", "--json", home=world.server.home).stdout)["alerts"]
    assert any(alert["kind"] == "barred" for alert in alerts)
