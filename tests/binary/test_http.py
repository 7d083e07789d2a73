"""What is on the wire, byte for byte, without a client library."""

import http.client
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import MODEL, PATIENCE_S, Server, read_head, read_to_end, sse_blocks, sse_json, wait_for

ANSWER_HEADERS = ("x-request-id", "Inference-Id", "x-inference-provider", "x-tradewind-route")


def stream(server, path="/v1/chat/completions", **fields):
    body = {"model": MODEL, "stream": True, "temperature": 0, "max_tokens": 6}
    if path.endswith("chat/completions"):
        body["messages"] = [{"role": "user", "content": "Name the capital city of France."}]
    reply = server.post(path, body | fields)
    assert reply.status == 200, reply.body
    return reply


# --- Streams


def test_a_chat_stream_is_exact_sse(server):
    reply = stream(server)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert b"\r" not in reply.body
    *events, receipt, done = sse_blocks(reply.body)
    assert done == b"data: [DONE]"
    for event in events:
        assert re.fullmatch(rb"data: \{[^\n]*\}", event), event
    # Nobody asked for usage, so the receipt is a comment.
    assert receipt.startswith(b": tradewind {")
    assert json.loads(receipt[len(b": tradewind ") :])["cost_nanousd"] == "0"
    chunks = sse_json(reply.body)
    assert chunks[0]["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert "usage" not in chunk
    assert {chunk["id"] for chunk in chunks} == {reply.headers["Inference-Id"]}


def test_a_usage_chunk_carries_the_receipt_when_asked(server):
    reply = stream(server, stream_options={"include_usage": True})
    assert not any(block.startswith(b":") for block in sse_blocks(reply.body))
    *others, last = sse_json(reply.body)
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    receipt = last["tradewind"]
    assert receipt["cost_nanousd"] == "0"
    assert all(receipt[key] >= 0 for key in ("queue_ms", "prefill_ms", "decode_ms"))
    assert receipt["output_tokens_per_s"] > 0


def test_a_completions_stream_is_exact_sse(server):
    reply = stream(server, "/v1/completions", prompt="One, two, three,")
    *_, receipt, done = sse_blocks(reply.body)
    assert (receipt[:12], done) == (b": tradewind ", b"data: [DONE]")
    chunks = sse_json(reply.body)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"


def test_streamed_text_never_has_half_a_character(server):
    # Emoji take several tokens here; each chunk is JSON, so it is valid UTF-8 or json.loads fails.
    text = "Repeat exactly: 🦜🌍🎈 żółć 日本語"
    reply = stream(server, "/v1/completions", prompt=f"{text} | {text} | Repeat exactly:", max_tokens=40)
    said = "".join(chunk["choices"][0]["text"] for chunk in sse_json(reply.body))
    whole = server.complete(f"{text} | {text} | Repeat exactly:", temperature=0, max_tokens=40).json()
    assert said == whole["choices"][0]["text"]
    assert "🦜" in said and "\ufffd" not in said[:-1]


# --- Headers


def test_an_answer_says_who_gave_it_and_what_it_cost(server):
    reply = server.chat(max_tokens=3)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert all(reply.headers[name] for name in ANSWER_HEADERS)
    assert reply.headers["x-inference-provider"] == "local"
    assert reply.headers["x-tradewind-route"] == f"local/{MODEL}"
    assert reply.headers["x-tradewind-cost-nanousd"] == "0"
    assert reply.headers["Inference-Id"] == reply.json()["id"]
    assert reply.json()["tradewind"]["cost_nanousd"] == "0"


def test_a_stream_has_the_same_headers_but_no_cost(server):
    reply = stream(server)
    assert all(reply.headers[name] for name in ANSWER_HEADERS)
    assert reply.headers["x-tradewind-cost-nanousd"] is None


def test_a_request_id_is_kept_when_it_is_harmless(server):
    assert server.get("/v1/models", {"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for hostile in ("a b", "x" * 65, "<script>"):
        assert server.get("/v1/models", {"x-request-id": hostile}).headers["x-request-id"] != hostile


def test_unknown_fields_are_named_not_refused(server):
    reply = server.chat(max_tokens=1, frobnicate=True)
    assert reply.status == 200
    assert reply.headers["x-tradewind-ignored"] == "frobnicate"


def test_one_connection_serves_many_requests(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE_S)
    for path in ("/healthz", "/v1/models", "/nothing", "/readyz"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        first = connection.sock if path == "/healthz" else first
        assert connection.sock is first
    connection.close()


# --- Probes, metrics, log


def test_probes_say_ok(server):
    assert server.get("/healthz").json() == {"status": "ok"}
    assert server.get("/readyz").json() == {"status": "ready"}


def test_metrics_are_prometheus_text(server):
    server.chat(max_tokens=2)
    reply = server.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        assert family.documentation and family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    chats = [s for s in samples["tradewind_requests_total"] if s.labels == {"path": "/v1/chat/completions", "status": "200"}]
    assert chats[0].value >= 1
    assert [s.labels for s in samples["tradewind_output_tokens_total"]] == [{"model": MODEL, "provider": "local"}]
    assert samples["tradewind_engine_slots"][0].value > 0
    buckets = [s for s in samples["tradewind_ttft_seconds_bucket"] if s.labels["le"] == "+Inf"]
    assert buckets[0].value == samples["tradewind_ttft_seconds_count"][0].value


def test_the_access_log_has_one_json_line_per_request(server):
    request_id = "log-me-1"
    server.post(
        "/v1/chat/completions",
        {"model": MODEL, "messages": [{"role": "user", "content": "secret words"}], "max_tokens": 2},
        {"x-request-id": request_id},
    )
    lines = wait_for(lambda: [e for e in server.access_log() if e["request_id"] == request_id], "the log line")
    assert len(lines) == 1
    line = lines[0]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (line["model"], line["output_tokens"], line["outcome"]) == (MODEL, 2, "length")
    assert line["input_tokens"] > 0 and line["bytes_sent"] > 0 and line["duration_ms"] >= line["ttft_ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert "secret words" not in server.log()


# --- Errors


def test_an_unknown_path_is_404_and_a_wrong_method_405(server):
    missing = server.get("/v1/nothing")
    assert (missing.status, missing.error()["code"]) == (404, "not_found")
    wrong = server.get("/v1/chat/completions")
    assert (wrong.status, wrong.error()["code"], wrong.headers["Allow"]) == (405, "method_not_allowed", "POST")
    assert server.request("DELETE", f"/v1/models/{MODEL}").status == 405


BAD_BODIES = {
    "no json": (b"{", None, "invalid_value"),
    "not an object": (b"[]", None, "invalid_value"),
    "no model": ({"messages": [{"role": "user", "content": "x"}]}, "model", "invalid_value"),
    "no messages": ({"model": MODEL}, "messages", "invalid_value"),
    "empty messages": ({"model": MODEL, "messages": []}, "messages", "invalid_value"),
    "wrong role": ({"model": MODEL, "messages": [{"role": "cat", "content": "x"}]}, "messages[0].role", "invalid_value"),
    "wrong type": (
        {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}, "max_tokens", "invalid_value",
    ),
    "out of range": (
        {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "temperature": -1}, "temperature", "invalid_value",
    ),
    "n too large": ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "n": 1000}, "n", "invalid_value"),
    "schema": (
        {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}},
        "response_format", "unsupported_value",
    ),
    "image": (
        {"model": MODEL, "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
        "messages[0].content[0]", "unsupported_value",
    ),
    "deep": (b'{"model":' + b"[" * 5000, None, "invalid_value"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_request_names_the_field(server, name):
    body, param, code = BAD_BODIES[name]
    reply = server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    error = reply.error()
    assert reply.status == 400, error
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_a_body_over_the_bound_is_413(server):
    client = server.connect()
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    head, rest = read_head(client)
    assert head.startswith("HTTP/1.1 413 ")
    body = rest + b"".join(read_to_end(client))
    assert json.loads(body)["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    ("bytes_sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
    ],
    ids=["no http", "large head", "two lengths", "negative length"],
)
def test_what_is_not_http_gets_an_error_and_the_server_goes_on(server, bytes_sent, status):
    client = server.connect()
    client.sendall(bytes_sent)
    head, rest = read_head(client)
    assert head.startswith(f"HTTP/1.1 {status} "), head
    assert "error" in json.loads(rest + b"".join(read_to_end(client)))
    assert server.get("/healthz").status == 200


# --- Who may call without a token


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 403, "permission_denied"),
        ({"Host": "127.evil.example"}, 403, "permission_denied"),
        ({"Host": "localhost.evil.example:8737"}, 403, "permission_denied"),
        ({"Origin": "http://evil.example"}, 403, "permission_denied"),
        ({"Origin": "null"}, 403, "permission_denied"),
        ({"Forwarded": "for=1.2.3.4"}, 403, "permission_denied"),
        ({"X-Forwarded-For": "1.2.3.4"}, 403, "permission_denied"),
        ({"X-Forwarded-Host": "a"}, 403, "permission_denied"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ],
)
def test_foreign_callers_are_refused(server, headers, status, code):
    body = json.dumps({"model": MODEL, "prompt": "x", "max_tokens": 1})
    reply = server.request("POST", "/v1/completions", body, {"Content-Type": "application/json"} | headers)
    assert (reply.status, reply.error()["code"]) == (status, code)
    if status == 403:
        assert reply.headers["X-Error-Message"] == reply.error()["message"]
    if status == 403:
        assert server.get("/metrics", headers).status == 403


def test_a_body_without_a_content_type_is_refused(server):
    reply = server.request("POST", "/v1/completions", json.dumps({"model": MODEL, "prompt": "x"}))
    assert reply.status == 415


def test_programs_on_this_device_are_welcome(server):
    for headers in (
        {"Host": f"localhost:{server.port}"},
        {"Host": "[::1]"},
        {"Host": f"127.0.0.1:{server.port}", "Origin": f"http://127.0.0.1:{server.port}"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Authorization": "Bearer anything"},
    ):
        reply = server.post("/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 1}, headers)
        assert reply.status == 200, (headers, reply.body)


def test_no_cors_is_granted(server):
    reply = server.request("OPTIONS", "/v1/chat/completions", headers={"Origin": "http://evil.example"})
    assert reply.status in (403, 405)
    assert reply.headers["Access-Control-Allow-Origin"] is None


# --- Models and the tokenizer


def test_models_list_what_is_served(server):
    listed = server.get("/v1/models").json()
    assert listed["object"] == "list"
    entry = next(model for model in listed["data"] if model["id"] == MODEL)
    assert entry["object"] == "model" and entry["owned_by"] == "HuggingFaceTB" and entry["max_model_len"] > 0
    assert server.get(f"/v1/models/{MODEL}").json()["id"] == MODEL
    assert server.get(f"/v1/models/{MODEL.replace('/', '%2F')}").json()["id"] == MODEL
    missing = server.get("/v1/models/nobody/nothing")
    assert (missing.status, missing.error()["param"]) == (404, "model")


def test_a_path_is_no_model_over_http(server):
    for model in ("/etc/passwd", "../../etc/passwd", "./x.gguf", f"{MODEL}:nowhere-known"):
        reply = server.post("/v1/completions", {"model": model, "prompt": "x", "max_tokens": 1})
        assert (reply.status, reply.error()["code"]) == (400, "model_not_supported"), model


def test_tokenize_and_detokenize_are_inverse(server):
    text = "Hello, world! żółć 🦜\n\tif (x) { return 1234567; }"
    made = server.post("/tokenize", {"model": MODEL, "prompt": text, "return_token_strs": True}).json()
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    assert made["max_model_len"] > 0
    assert server.post("/detokenize", {"model": MODEL, "tokens": made["tokens"]}).json() == {"prompt": text}


def test_tokenize_renders_messages(server):
    messages = [{"role": "user", "content": "Hi"}]
    made = server.post("/tokenize", {"model": MODEL, "messages": messages}).json()
    answer = server.post("/v1/chat/completions", {"model": MODEL, "messages": messages, "max_tokens": 1}).json()
    assert made["count"] == answer["usage"]["prompt_tokens"]


def test_special_tokens_are_never_formed_from_a_message(server):
    plain = server.post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "<|im_end|>"}]}).json()
    parsed = server.post("/tokenize", {"model": MODEL, "prompt": "<|im_end|>"}).json()
    assert parsed["count"] == 1
    ends = [token for token in plain["tokens"] if token == parsed["tokens"][0]]
    empty = server.post("/tokenize", {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).json()
    assert len(ends) == empty["tokens"].count(parsed["tokens"][0])


def test_tokenizer_info_describes_the_tokenizer(server):
    info = server.get("/tokenizer_info").json()
    assert info["vocab_size"] == 49152
    assert info["eos_token"] == "<|im_end|>"
    assert server.post("/tokenize", {"prompt": info["eos_token"]}).json()["tokens"] == [info["eos_token_id"]]


def test_detokenize_refuses_what_is_no_id(server):
    for tokens in ([-1], [10**9], ["a"], "text", None):
        assert server.post("/detokenize", {"tokens": tokens}).status == 400


def test_no_model_in_the_folder_is_said_not_hidden(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    with Server(tmp_path / "home", models=models, ready=False) as empty:
        assert empty.get("/healthz").status == 200
        reply = empty.get("/readyz")
        assert (reply.status, reply.json()["status"]) == (503, "no_model")
        assert empty.get("/v1/models").json()["data"] == []
        asked = empty.chat()
        assert (asked.status, asked.error()["code"]) == (400, "model_not_supported")


def test_a_connection_beyond_the_setting_waits_until_another_closes(tmp_path):
    (tmp_path / "models").mkdir()
    ask = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with Server(tmp_path / "home", "--connections", "1", models=tmp_path / "models", ready=False) as server:
        first, second = server.connect(), server.connect(timeout=0.3)
        first.sendall(ask)
        assert first.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        second.sendall(ask)
        with pytest.raises(TimeoutError):
            second.recv(4096)
        first.close()
        second.settimeout(PATIENCE_S)
        assert second.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        second.close()
