"""Run by test_swap.py inside a network and mount namespace of its own: `router_host.py FOLDER`.

Makes a private CA, lets the public router's names lead to 127.0.0.1, and lets Hugging Face's clients run as they come. TLS ends
in a small proxy here; it hands each request on as one from this device.
"""

import fcntl
import http.client
import http.server
import json
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import threading

import harness
from market import Market

NAMES = ("router.huggingface.co", "huggingface.co")
SITES = ("fireworks-ai", "together", "cerebras", "groq")

# What each program is given behind the token: model strings, ID:PLACE. The model of this device knows no tools and no schemas.
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
GIVEN = json.dumps({"tools": [TOOL], "response_format": FORMAT})

OPENAI_PYTHON_PROGRAM = """
import json, os, sys
import openai
given = json.loads(os.environ["GIVEN"])
client = openai.OpenAI(base_url="https://router.huggingface.co/v1", api_key=sys.argv[1], max_retries=0)
def ask(model, text="one two three", **fields):
    return client.chat.completions.create(model=model, temperature=0, max_tokens=24, messages=[{"role": "user", "content": text}], **fields)
for model in sys.argv[2:]:
    whole = ask(model)
    text = "".join(c.choices[0].delta.content or "" for c in ask(model, stream=True) if c.choices)
    assert text and text == whole.choices[0].message.content, (model, text)
    if not model.endswith(":local"):
        (call,) = ask(model, "call lookup", tools=given["tools"]).choices[0].message.tool_calls
        assert call.function.name == "lookup" and "q" in json.loads(call.function.arguments), (model, call)
        answer = ask(model, response_format=given["response_format"]).choices[0].message.content
        assert isinstance(json.loads(answer)["a"], str), (model, answer)
print("openai for Python: right")
"""

OPENAI_NODE_PROGRAM = """
const { createRequire } = require('node:module');
const { OpenAI } = createRequire(process.argv[1])('openai');
const given = JSON.parse(process.env.GIVEN);
(async () => {
  const client = new OpenAI({ baseURL: 'https://router.huggingface.co/v1', apiKey: process.argv[2], maxRetries: 0 });
  const ask = (model, content, fields) =>
    client.chat.completions.create({ model, temperature: 0, max_tokens: 24, messages: [{ role: 'user', content }], ...fields });
  for (const model of process.argv.slice(3)) {
    const whole = await ask(model, 'one two three');
    let text = '';
    for await (const chunk of await ask(model, 'one two three', { stream: true })) text += chunk.choices[0]?.delta.content ?? '';
    if (!text || text !== whole.choices[0].message.content) throw new Error(`${model}: ${text}`);
    if (model.endsWith(':local')) continue;
    const call = (await ask(model, 'call lookup', { tools: given.tools })).choices[0].message.tool_calls[0];
    if (call.function.name !== 'lookup' || !('q' in JSON.parse(call.function.arguments))) throw new Error(JSON.stringify(call));
    const answer = (await ask(model, 'one two three', { response_format: given.response_format })).choices[0].message.content;
    if (typeof JSON.parse(answer).a !== 'string') throw new Error(`${model}: ${answer}`);
  }
  console.log('openai for JavaScript: right');
})().catch((error) => { console.error(error); process.exit(1); });
"""

PYTHON_PROGRAM = """
import sys
from huggingface_hub import InferenceClient
client = InferenceClient(api_key=sys.argv[1])
for model in sys.argv[2:]:
    fields = dict(model=model, messages=[{"role": "user", "content": "one two three"}], temperature=0, max_tokens=24)
    whole = client.chat.completions.create(**fields)
    text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **fields))
    assert text and text == whole.choices[0].message.content, (model, text)
    name, _, site = model.partition(":")
    if site == "local":
        continue
    named = InferenceClient(provider=site, api_key=sys.argv[1]).chat.completions.create(**(fields | {"model": name}))
    assert named.choices[0].message.content == text, (site, named)
print("huggingface_hub: right")
"""

NODE_PROGRAM = """
const { createRequire } = require('node:module');
const { InferenceClient } = createRequire(process.argv[1])('@huggingface/inference');
(async () => {
  const client = new InferenceClient(process.argv[2]);
  for (const model of process.argv.slice(3)) {
    const request = { model, messages: [{ role: 'user', content: 'one two three' }], temperature: 0, max_tokens: 24 };
    const whole = await client.chatCompletion(request, { retry_on_error: false });
    let text = '';
    for await (const chunk of client.chatCompletionStream(request)) text += chunk.choices[0]?.delta.content ?? '';
    if (!text || text !== whole.choices[0].message.content) throw new Error(`${model}: ${text}`);
    const [name, provider] = model.split(':');
    if (provider === 'local') continue;
    const named = await client.chatCompletion({ ...request, provider, model: name }, { retry_on_error: false });
    if (named.choices[0].message.content !== text) throw new Error(`${provider}: ${JSON.stringify(named)}`);
  }
  console.log('@huggingface/inference: right');
})().catch((error) => { console.error(error); process.exit(1); });
"""


def bring_loopback_up():
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        got = fcntl.ioctl(any_socket, siocgifflags, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", got)[1] | iff_up
        fcntl.ioctl(any_socket, siocsifflags, struct.pack("16sh14x", b"lo", flags))


def name_hosts(folder):
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost " + " ".join(NAMES) + "\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


def make_certificates(folder):
    """(CA, chain, key) of the names."""

    def run(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run(*new, "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=private CA")
    run(*new, "-keyout", "site.key", "-out", "site.csr", "-subj", f"/CN={NAMES[0]}")
    (folder / "names.ext").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in NAMES) + "\n")
    sign = ["x509", "-req", "-in", "site.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    run(*sign, "-extfile", "names.ext", "-out", "site.pem")
    return folder / "ca.pem", folder / "site.pem", folder / "site.key"


class Front(http.server.BaseHTTPRequestHandler):
    """Ends TLS; the answer goes on as it comes."""

    protocol_version = "HTTP/1.1"
    port = 0

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        onward = http.client.HTTPConnection("127.0.0.1", self.port, timeout=harness.PATIENCE_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        onward.request(self.command, self.path, body, headers)
        answer = onward.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(65536):
            self.wfile.write(piece)
        self.close_connection = True
        onward.close()

    do_GET = do_POST = pass_on

    def log_message(self, *_):
        pass


def start_front(certificate, key, port):
    Front.port = port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    front = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Front)
    front.socket = context.wrap_socket(front.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=front.serve_forever, daemon=True).start()


def main():
    folder = pathlib.Path(sys.argv[1])
    bring_loopback_up()
    name_hosts(folder)
    ca, certificate, key = make_certificates(folder)
    with Market(folder, *SITES, model=harness.MODEL, models=harness.MODELS) as market:
        start_front(certificate, key, market.server.port)
        models = [f"{harness.MODEL}:{place}" for place in (*SITES, "local")]
        token = market.server.token
        keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
        env = keep | {"HOME": str(folder), "HF_TOKEN": token, "GIVEN": GIVEN, "SSL_CERT_FILE": str(ca), "NODE_EXTRA_CA_CERTS": str(ca)}
        node = harness.ROOT / "build" / "node"
        for program in (PYTHON_PROGRAM, OPENAI_PYTHON_PROGRAM, NODE_PROGRAM, OPENAI_NODE_PROGRAM):
            market.sim.reset()
            is_node = "require(" in program
            words = [node / "bin" / "node", "-e", program, node / "package.json"] if is_node else [sys.executable, "-c", program]
            before = len(market.server.access_log())
            subprocess.run([*words, token, *models], env=env, check=True)
            seen = {entry["provider"] for entry in market.sim.log()}
            assert seen == set(SITES), seen
            local = harness.wait_for(
                lambda: [e for e in market.server.access_log()[before:] if e.get("provider") == "local"], "the model on this device")
            assert local[0]["status"] == 200


if __name__ == "__main__":
    main()
