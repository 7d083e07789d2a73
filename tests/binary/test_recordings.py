"""What providers really answered (../shared/recordings), read by the SDKs directly and through the binary: equal objects."""

import base64
import http.server
import json
import os
import re
import subprocess
import threading

import openai
import pytest
import yaml
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import harness

FOLDER = harness.reference("recordings")
MODEL = "recorded/model"
# Slugs of recorded hosts whose quirks are known by name; the others are generic.
KINDS = {"cerebras", "fireworks-ai", "together", "groq"}
# Sent where a recording keeps no request.
REQUEST = {"messages": [{"role": "user", "content": "What is deep learning?"}]}
TASKS = {"/chat/completions": "conversational", "/completions": "text-generation", "/embeddings": "feature-extraction"}
PATHS = tuple(TASKS)


class Recording:
    def __init__(self, file, exchange, number):
        request, response = exchange["request"], exchange["response"]
        url = request.get("uri") or request["url"]
        self.file, self.path = file, next(path for path in PATHS if url.endswith(path))
        slug = re.sub(r"https://router\.huggingface\.co/([^/]+)/.*", r"\1", url)
        self.kind = slug if slug in KINDS else "openai"
        body = response["body"]
        body = body["string"] if isinstance(body, dict) else body
        self.body = body if isinstance(body, bytes) else body.encode()
        headers = {name.lower(): values for name, values in response["headers"].items()}
        self.type = headers["content-type"][0]
        self.status = response.get("code") or response["status"]["code"]
        self.is_stream = self.type.startswith("text/event-stream")
        sent = json.loads(request["body"]) if request.get("body") else REQUEST
        self.request = {name: value for name, value in sent.items() if name not in ("model", "stream")}
        self.slug = f"rec-{number}"

    def asked_for_usage(self):
        return bool((self.request.get("stream_options") or {}).get("include_usage"))


def recordings():
    found = []
    files = sorted(FOLDER.glob("*/*.yaml")) if FOLDER else []
    for file in files:
        if file.parent.name == "openai" or "chat_completion" in file.name:
            for exchange in yaml.safe_load(file.read_text())["interactions"]:
                url = exchange["request"].get("uri") or exchange["request"]["url"]
                if exchange["request"]["method"] == "POST" and url.endswith(PATHS):
                    found.append(Recording(file, exchange, len(found)))
    return found


RECORDINGS = recordings()
CHATS = [each for each in RECORDINGS if each.path == "/chat/completions"]
pytestmark = pytest.mark.skipif(not RECORDINGS, reason="../shared/recordings is not there")


def named(kept):
    return [pytest.param(each, id=f"{each.file.parent.name}-{each.file.stem}") for each in kept]


class Replay(http.server.BaseHTTPRequestHandler):
    """Answers /N/... with the bytes of recording N, in pieces that end anywhere."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        recording = RECORDINGS[int(self.path.split("/")[1])]
        self.send_response(recording.status)
        self.send_header("Content-Type", recording.type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(recording.body), 777):
            piece = recording.body[at : at + 777]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def replay():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def router(replay, tmp_path_factory):
    """A server with one provider per recording."""
    folder = tmp_path_factory.mktemp("recordings")
    parts = [
        f'[[providers]]\nname = "{each.slug}"\nkind = "{each.kind}"\nbase_url = "{replay}/{number}"\nallow_private = true\n'
        f'api_key_env = "REPLAY_KEY"\nmodels = [{{ id = "{MODEL}", provider_id = "recorded", task = "{TASKS[each.path]}", '
        f'input_usd_per_mtok = "1", output_usd_per_mtok = "2", context = 131072 }}]\n'
        for number, each in enumerate(RECORDINGS)
    ]
    (folder / "config.toml").write_text("\n".join(parts))
    (folder / "no-models").mkdir()
    with harness.Server(
        folder / "home", "--config", folder / "config.toml", models=folder / "no-models", env={"REPLAY_KEY": "k"}
    ) as running:
        # Providers are for callers with a token.
        made = harness.run_cli("keys", "create", "--name", "recordings", home=folder / "home")
        assert made.returncode == 0, made
        running.token = made.stdout.strip()
        yield running


def openai_client(base_url, token):
    return openai.OpenAI(base_url=base_url, api_key=token, max_retries=0)


def from_openai(client, recording, model):
    """What the openai package makes of an answer: plain objects."""
    call = {
        "/chat/completions": client.chat.completions.create,
        "/completions": client.completions.create,
        "/embeddings": client.embeddings.create,
    }[recording.path]
    stream = {"stream": True} if recording.is_stream else {}
    answer = call(model=model, **recording.request, **stream)
    if not recording.is_stream:
        return [answer.to_dict()]
    return [chunk.to_dict() for chunk in answer]


def from_hugging_face(client, recording, model):
    """What huggingface_hub makes of an answer: its dataclasses."""
    fields = {name: value for name, value in recording.request.items() if value is not None}
    answer = client.chat_completion(model=model, stream=recording.is_stream, **fields)
    return list(answer) if recording.is_stream else [answer]


def is_usage_alone(chunk):
    usage = chunk.get("usage")
    return bool(usage) and not chunk.get("choices")


def as_documented(chunks, recording):
    """Direct objects as docs/formats/upstreams.md says they pass: an unasked usage chunk is swallowed, stops are named alike."""
    kept = [chunk for chunk in chunks if recording.asked_for_usage() or not recording.is_stream or not is_usage_alone(chunk)]
    for chunk in kept:
        for choice in chunk.get("choices") or []:
            if choice.get("finish_reason") in ("eos", "eos_token", "stop_sequence"):
                choice["finish_reason"] = "stop"
        if chunk.get("error", 0) is None:
            del chunk["error"]
        if not recording.is_stream:
            chunk.setdefault("usage", None)
    return kept


GOOD = [each for each in RECORDINGS if each.status == 200]


@pytest.mark.parametrize("recording", named(GOOD))
def test_the_openai_package_reads_the_same_objects(replay, router, recording):
    number = RECORDINGS.index(recording)
    direct = from_openai(openai_client(f"{replay}/{number}", "k"), recording, "recorded")
    through = from_openai(openai_client(f"{router.url}/v1", router.token), recording, f"{MODEL}:{recording.slug}")
    receipts = [chunk.pop("tradewind") for chunk in through if "tradewind" in chunk]
    assert len(receipts) == (1 if recording.asked_for_usage() and recording.is_stream else 0)
    assert through == as_documented(direct, recording)
    assert through


@pytest.mark.parametrize("recording", named(each for each in GOOD if each in CHATS and each.file.parent.name == "huggingface_hub"))
def test_huggingface_hub_reads_the_same_objects(replay, router, recording):
    number = RECORDINGS.index(recording)
    direct = from_hugging_face(InferenceClient(base_url=f"{replay}/{number}/chat/completions", api_key="k"), recording, "recorded")
    client = InferenceClient(base_url=f"{router.url}/v1", api_key=router.token)
    through = from_hugging_face(client, recording, f"{MODEL}:{recording.slug}")
    assert through == as_documented(direct, recording)
    assert through


def test_the_javascript_clients_read_the_same_objects(replay, router, tmp_path):
    told = [
        {"name": f"{each.file.parent.name}-{each.file.stem}-{number}", "number": number, "model": f"{MODEL}:{each.slug}", "request": each.request,
         "stream": each.is_stream, "askedForUsage": each.asked_for_usage()}
        for number, each in enumerate(RECORDINGS) if each in CHATS and each.status == 200
    ]
    (tmp_path / "recordings.json").write_text(json.dumps(told))
    env = os.environ | {
        "TRADEWIND_TEST_URL": router.url, "TRADEWIND_TEST_TOKEN": router.token, "TRADEWIND_TEST_REPLAY": replay,
        "TRADEWIND_TEST_RECORDINGS": str(tmp_path / "recordings.json"),
    }
    node = harness.ROOT / "build" / "node" / "bin" / "node"
    done = subprocess.run([node, "--test", harness.ROOT / "tests" / "js" / "recordings.test.mjs"], env=env, capture_output=True, text=True,
                          timeout=2 * harness.PATIENCE_S)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert int(re.search(r"^(?:#|ℹ) pass (\d+)", done.stdout, re.M)[1]) == 2 * len(told) > 40


@pytest.mark.parametrize("recording", named(each for each in GOOD if each.is_stream and each in CHATS))
def test_data_events_keep_their_bytes(router, recording):
    body = recording.request | {"model": f"{MODEL}:{recording.slug}", "stream": True}
    reply = router.post("/v1/chat/completions", body)
    assert reply.status == 200, reply.body

    def events(text):
        blocks = [block.strip(b"\n") for block in text.replace(b"\r\n", b"\n").split(b"\n\n")]
        return [block for block in blocks if block.startswith(b"data:") and b"[DONE]" not in block]

    seen, sent = events(reply.body), events(recording.body)
    usage_alone = [event for event in sent if is_usage_alone(json.loads(event[len(b"data:") :]))]
    if recording.asked_for_usage():
        assert seen[:-1] == sent[:-1] and seen[-1].startswith(sent[-1][: sent[-1].rindex(b"}")])
    else:
        assert seen == [event for event in sent if event not in usage_alone]
    assert harness.sse_blocks(reply.body)[-1] == b"data: [DONE]"


@pytest.mark.parametrize("recording", named(each for each in RECORDINGS if 400 <= each.status < 500))
def test_a_refusal_keeps_its_status_and_words(replay, router, recording):
    number = RECORDINGS.index(recording)
    client = openai_client(f"{router.url}/v1", router.token)
    with pytest.raises(openai.APIStatusError) as through:
        from_openai(client, recording, f"{MODEL}:{recording.slug}")
    if recording.status in (401, 402):  # about the operator's account, not about the client's
        assert through.value.status_code == 502
        with pytest.raises(HfHubHTTPError):
            from_hugging_face(InferenceClient(base_url=f"{router.url}/v1", api_key=router.token), recording, f"{MODEL}:{recording.slug}")
        return
    with pytest.raises(openai.APIStatusError) as direct:
        from_openai(openai_client(f"{replay}/{number}", "k"), recording, "recorded")
    assert (type(through.value), through.value.status_code) == (type(direct.value), direct.value.status_code)
    assert through.value.body == direct.value.body


def test_what_was_recorded_is_covered():
    assert len(CHATS) >= 27 and {each.kind for each in CHATS} >= {"cerebras", "fireworks-ai", "together", "openai"}
    assert {each.path for each in RECORDINGS} == set(PATHS)
