"""Starts the provider simulator (tools/provider_sim) and talks to its control endpoints. Needs no other file here."""

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
BINARY = pathlib.Path(os.environ.get("PROVIDER_SIM_BINARY") or ROOT / "build" / "provider_sim").resolve()

# Only to end what hangs: no test measures time.
PATIENCE_S = 120

CHAT_PATHS = {
    "fireworks-ai": "/inference/v1/chat/completions",
    "together": "/v1/chat/completions",
    "cerebras": "/v1/chat/completions",
    "groq": "/openai/v1/chat/completions",
    "openai": "/v1/chat/completions",
    "llama-server": "/v1/chat/completions",
    "ollama": "/v1/chat/completions",
    "novita": "/v3/openai/chat/completions",
    "novita-2025": "/v3/openai/chat/completions",
    "hf-router": "/v1/chat/completions",
    "openrouter": "/api/v1/chat/completions",
    "pool": "/api/v1/chat/completions",
    "huggingface": "/v1/chat/completions",
    "site-n": "/v3/openai/chat/completions",  # novita and novita-2025 under slugs of their own
    "site-m": "/v3/openai/chat/completions",
}
MODELS = {
    "fireworks-ai": "accounts/fireworks/models/llama-v3p3-70b-instruct",
    "together": "meta-llama/Meta-Llama-3-8B-Instruct-Turbo",
    "cerebras": "llama-3.3-70b",
    "groq": "llama-3.1-8b-instant",
    "openai": "model-x",
    "llama-server": "model-x",
    "ollama": "model-x",
    "novita": "meta-llama/llama-3.1-8b-instruct",
    "novita-2025": "meta-llama/llama-3.1-8b-instruct",
    "hf-router": "openai/gpt-oss-120b",
    "openrouter": "meta-llama/llama-3.3-70b-instruct",
}
MODELS |= {"huggingface": MODELS["hf-router"], "site-n": MODELS["novita"], "site-m": MODELS["novita-2025"]}


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The data of a stream's events, as JSON where it is JSON; checks the framing."""
        assert self.body.endswith(b"\n\n"), self.body[-100:]
        data = [block[len(b"data: ") :] for block in self.body[:-2].split(b"\n\n")]
        return [text.decode() if text == b"[DONE]" else json.loads(text) for text in data]


class Simulator:
    """`with Simulator("together", "site-a:openai", flags=["--key", "k"]) as sim:`"""

    def __init__(self, *providers, flags=()):
        words = [str(BINARY), "--port", "0", *map(str, flags)]
        if providers:
            words += ["--providers", ",".join(providers)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "provider_sim prints nothing"
        line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"listening on (https?://(\S+):(\d+))\n", line)
        assert found, f"provider_sim said {line!r}, exit {self.process.poll()}"
        self.url, self.host, self.port = found[1], found[2], int(found[3])

    def base_url(self, provider):
        """What an OpenAI client is given for `provider` (a slug of CHAT_PATHS, or a name with the paths of `openai`)."""
        return f"{self.url}/{provider}" + CHAT_PATHS.get(provider, CHAT_PATHS["openai"]).removesuffix("/chat/completions")

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            text = json.dumps(body) if isinstance(body, (dict, list)) else body
            connection.request(method, path, text, headers or {})
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def chat(self, provider, text="one two three", key="k", **fields):
        body = {"model": MODELS.get(provider, "model-x"), "messages": [{"role": "user", "content": text}]} | fields
        path = f"/{provider}" + CHAT_PATHS.get(provider, CHAT_PATHS["openai"])
        return self.request("POST", path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})

    def control(self, method, path, body=None):
        answer = self.request(method, f"/_sim/{path}", body)
        assert answer.status == 200, answer.body
        return answer.json()

    def fault(self, **rule):
        """Adds a rule: sim.fault(provider="together", status=429, count=3)."""
        return self.control("POST", "faults", rule)

    def clear_faults(self):
        self.control("DELETE", "faults")

    def log(self, **query):
        return self.control("GET", "log?" + "&".join(f"{k}={v}" for k, v in query.items()))["entries"]

    def bill(self):
        return self.control("GET", "bill")

    def state(self):
        return self.control("GET", "state")

    def reset(self):
        self.control("POST", "reset")

    def wait_for(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never saw {what}"
            time.sleep(0.01)

    def connect(self):
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        killed = self.process.poll() is not None
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        if not failed and not killed:
            assert code == 0, f"provider_sim ended with {code}"
