"""Run by test_swap.py inside a network and mount namespace of its own: `router_host.py FOLDER`.

Makes a private CA, lets the public router's names lead to 127.0.0.1, and lets Hugging Face's clients run as they come. TLS ends
in a small proxy here; it hands each request on as one from this device.
"""

import fcntl
import http.client
import http.server
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import threading

import harness
from market import MODEL, Market

NAMES = ("router.huggingface.co", "huggingface.co")
SITES = ("fireworks-ai", "together", "cerebras", "groq")

PYTHON_PROGRAM = """
import sys
from huggingface_hub import InferenceClient
client = InferenceClient(api_key=sys.argv[1])
for model in sys.argv[2:]:
    fields = dict(model=model, messages=[{"role": "user", "content": "one two three"}])
    whole = client.chat.completions.create(**fields)
    text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **fields))
    assert text and text == whole.choices[0].message.content, (model, text)
    name, _, site = model.partition(":")
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
    const request = { model, messages: [{ role: 'user', content: 'one two three' }] };
    const whole = await client.chatCompletion(request, { retry_on_error: false });
    let text = '';
    for await (const chunk of client.chatCompletionStream(request)) text += chunk.choices[0]?.delta.content ?? '';
    if (!text || text !== whole.choices[0].message.content) throw new Error(`${model}: ${text}`);
    const [name, provider] = model.split(':');
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
    with Market(folder, *SITES) as market:
        start_front(certificate, key, market.server.port)
        models = [f"{MODEL}:{site}" for site in SITES]
        token = market.server.token
        keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
        env = keep | {"HOME": str(folder), "HF_TOKEN": token, "SSL_CERT_FILE": str(ca), "NODE_EXTRA_CA_CERTS": str(ca)}
        subprocess.run([sys.executable, "-c", PYTHON_PROGRAM, token, *models], env=env, check=True)
        node = harness.ROOT / "build" / "node"
        words = [node / "bin" / "node", "-e", NODE_PROGRAM, node / "package.json", token, *models]
        subprocess.run(words, env=env, check=True)
        seen = {entry["provider"] for entry in market.sim.log()}
        assert seen == set(SITES), seen


if __name__ == "__main__":
    main()
