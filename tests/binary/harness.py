"""Starts the real binary for tests, and talks to it without any client library in between."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TRADEWIND_BINARY") or ROOT / "build" / "tradewind").resolve()
MODELS = pathlib.Path(os.environ.get("TRADEWIND_TEST_MODELS") or ROOT / "build" / "models").resolve()
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODEL_FILE = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"

# Only to end what hangs: no test measures time.
PATIENCE_S = 120


def reference(path):
    """A file of the reference data from where it lies, ../shared or TW_SHARED_DIR, else our own copy; None when neither is there."""
    for base in (pathlib.Path(os.environ.get("TW_SHARED_DIR") or ROOT.parent / "shared"), ROOT / "tests" / "data"):
        if (base / path).exists():
            return base / path
    return None


def environment(home, models=MODELS, **extra):
    """This process's environment without what would steer the binary, and with `home` as its only home."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRADEWIND_") and k != "NO_COLOR"}
    env |= {"TRADEWIND_HOME": str(home), "TRADEWIND_MODELS": str(models), "HOME": str(home), "LC_ALL": "C.UTF-8"}
    env |= {"XDG_CONFIG_HOME": str(pathlib.Path(home) / "no-config")}
    return env | {k: str(v) for k, v in extra.items()}


def run_cli(*words, home, stdin="", models=MODELS, timeout=PATIENCE_S, **extra):
    """Runs a verb to its end. `stdin` None: /dev/null."""
    return subprocess.run(
        [BINARY, *map(str, words)],
        env=environment(home, models, **extra),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def wait_for(condition, what, timeout=PATIENCE_S):
    """Polls until `condition()` is truthy and returns that; fails the test otherwise."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout} s for: {what}"
        time.sleep(0.02)


class Reply:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The one shape that every error has."""
        error = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["message"] and "\n" not in error["message"], error
        assert error["message"].endswith(".") or self.status >= 500, f"no whole sentence: {error['message']}"
        return error


class Server:
    """One `tradewind serve`. Use as a context manager: leaving it stops the server and checks how it went."""

    def __init__(self, home, *flags, models=MODELS, ready=True, stderr=None, env=None, binary=BINARY, **how):
        self.home = pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.log_path = self.home.parent / f"{self.home.name}.stderr"
        words = [str(binary), "serve", "--access-log", "-", *([] if "--port" in flags else ["--port", "0"])]
        if "--threads" not in flags:
            words += ["--threads", "1"]  # tests run side by side; one thread each is quicker than two that compete
        with open(stderr or self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                words + [str(f) for f in flags],
                env=environment(home, models, **(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                **how,
            )
        self.expected_exit = 0
        self.token = None  # sent with every request that brings none of its own
        self.first_line = self._read_line()
        found = re.fullmatch(r"listening on (http://(\S+):(\d+))\n", self.first_line)
        if not found:
            code = self.process.wait(PATIENCE_S)
            raise AssertionError(f"serve said {self.first_line!r}, exit {code}: {self.log()}")
        self.url, self.host, self.port = found[1], found[2], int(found[3])
        if ready:
            self.wait_ready()

    def _read_line(self):
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "serve prints nothing"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            line += byte
        return line.decode()

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}: {self.log()}"
            return self.get("/readyz").status == 200

        wait_for(ready, "readyz 200")

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def access_log(self):
        """The JSON lines of stderr."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    # --- Requests

    def connect(self, timeout=PATIENCE_S):
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            headers = dict(headers or {})
            if self.token and not {"authorization", "x-api-key"} & {name.lower() for name in headers}:
                headers["Authorization"] = f"Bearer {self.token}"
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response, response.read())
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def chat(self, content="Name the capital city of France.", **fields):
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0} | fields
        return self.post("/v1/chat/completions", body)

    def complete(self, prompt, **fields):
        return self.post("/v1/completions", {"model": MODEL, "prompt": prompt} | fields)

    def open_stream(self, path="/v1/chat/completions", **fields):
        """A socket on which a stream has been asked for, nothing read yet."""
        body = {"model": MODEL, "stream": True, "temperature": 0, "ignore_eos": True}
        if path.endswith("chat/completions"):
            body["messages"] = [{"role": "user", "content": "Tell me a long story."}]
        text = json.dumps(body | fields).encode()
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{token}Content-Length: {len(text)}\r\n\r\n"
        client = self.connect()
        client.sendall(head.encode() + text)
        return client

    # --- State

    def engine(self):
        models = self.get("/tw/v1/engine").json()["models"]
        return models[0] if models else {}

    def metrics(self):
        """As the operator sees them: with keys they are for him alone."""
        admin = (self.home / "admin-token").read_text().strip()
        return self.get("/metrics", {"Authorization": f"Bearer {admin}"}).body.decode()

    def wait_idle(self):
        wait_for(lambda: self.engine()["slots_used"] == 0 and self.engine()["queued"] == 0, "every slot free")

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024

    # --- Ending

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.expected_exit = -signal.SIGKILL

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()
        if not failed:
            assert code == self.expected_exit, f"serve ended with {code}: {self.log()[-2000:]}"


def read_head(client):
    """The head of a response, and what came after it in the same reads."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(4096)
        assert piece, f"connection ended in the head: {data!r}"
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    return head.decode(), rest


def read_to_end(client):
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            yield piece


def sse_blocks(body):
    """Splits a stream's bytes at its blank lines; every block must be complete."""
    assert body.endswith(b"\n\n"), body[-100:]
    return body[:-2].split(b"\n\n")


def sse_json(body):
    """The JSON of each data event, without [DONE]."""
    data = [block[len(b"data: ") :] for block in sse_blocks(body) if block.startswith(b"data: ")]
    return [json.loads(text) for text in data if text != b"[DONE]"]


def read_to_end_of_stream(client):
    """The rest of a chunked body on a connection that stays open."""
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        piece = client.recv(65536)
        assert piece, f"cut: {data[-200:]!r}"
        data += piece
        yield piece
