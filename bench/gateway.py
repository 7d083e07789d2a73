"""What compare_gateways.py measures: a simulated provider, and the gateways in front of it, each started as its
operator would, on loopback."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

PATIENCE_S = 300
PROVIDER_KEY = "k"
MODEL = "acme/model"        # as clients of Tradewind write it
PROVIDER_MODEL = "model-x"  # as the provider knows it

NGINX = """worker_processes 1; worker_rlimit_nofile 20000; daemon off; pid {folder}/pid; error_log {folder}/error warn;
events {{ worker_connections 16384; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
 fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_body_buffer_size 1m;
 upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{port}; client_max_body_size 20m;
  location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }} }}
"""

TRADEWIND = """[[providers]]
name = "site-a"
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/openai/v1"
allow_private = true
api_key_env = "SITE_A_KEY"
models = [{{ id = "{model}", provider_id = "{provider_model}", input_usd_per_mtok = "0.10", output_usd_per_mtok = "0.30", context = 200000 }}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _processes(root):
    """`root` and its children: nginx works in one."""
    children = pathlib.Path(f"/proc/{root}/task/{root}/children").read_text().split()
    return [root, *(int(child) for child in children)]


def cpu_s(root):
    """CPU time of all its threads so far, to the nanosecond, those that have ended included: the processes' own clocks
    (clock_getcpuclockid(3) makes their numbers in this way)."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in _processes(root))


def rss_bytes(root):
    """Without the pages of files. Not from /proc/PID/status, whose counts lag behind."""
    total = 0
    for pid in _processes(root):
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"Anonymous:\s+(\d+) kB", rollup)[1]) * 1024
    return total


class Target:
    """Something that answers at `port` and `path`; `pid` None: nothing stands before the provider. `share`: of the counts
    of requests, for those that would take hours."""

    def __init__(self, name, port, path, pid=None, model=PROVIDER_MODEL, headers=(), share=1):
        self.name, self.port, self.path, self.pid, self.model, self.headers = name, port, path, pid, model, list(headers)
        self.share = share

    def body(self, folder, text, **fields):
        """The file of a request of one user message."""
        path = pathlib.Path(folder) / f"{self.name}.json"
        messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": text}]
        path.write_text(json.dumps({"model": self.model, "messages": messages} | fields))
        return path


def _stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start(stack, command, **options):
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, **options)
    stack.callback(_stop, process)
    return process


def _listening_port(process, what):
    line = process.stdout.readline().decode()
    found = re.search(r"listening on http://\S+:(\d+)", line)
    if not found:
        raise SystemExit(f"{what} did not start: {line!r}")
    return int(found[1])


def await_answer(port, path, process, what):
    """Until it answers anything but 5xx."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"{what} never answered")


def start_provider(stack, args):
    sim = start(stack, [args.sim, "--port", 0, "--providers", "openai", "--key", PROVIDER_KEY, "--no-log", "--created",
                         1_700_000_000], stdout=subprocess.PIPE)
    port = _listening_port(sim, "provider_sim")
    return Target("direct", port, "/openai/v1/chat/completions", headers=[f"Authorization: Bearer {PROVIDER_KEY}"])


def _nginx():
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def nginx_version():
    if not _nginx():
        return "nginx is not there"
    said = subprocess.run([_nginx(), "-v"], stderr=subprocess.PIPE, text=True).stderr
    return said.removeprefix("nginx version: ").strip()


def start_nginx(stack, args, folder, provider):
    nginx = _nginx()
    if not nginx:
        raise SystemExit("nginx is not there: install the package nginx-light")
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, upstream=provider.port))
    process = start(stack, [nginx, "-c", folder / "nginx.conf", "-e", folder / "error"])
    await_answer(port, "/", process, "nginx")
    return Target("nginx", port, provider.path, process.pid, headers=provider.headers)


def start_tradewind(stack, args, folder, provider, binary=None, name="tradewind"):
    folder = folder / name
    (folder / "models").mkdir(parents=True)
    (folder / "config.toml").write_text(TRADEWIND.format(upstream=provider.port, model=MODEL, provider_model=PROVIDER_MODEL))
    env = {key: value for key, value in os.environ.items() if not key.startswith("TRADEWIND_")}
    env |= {"TRADEWIND_HOME": str(folder / "home"), "TRADEWIND_MODELS": str(folder / "models"), "SITE_A_KEY": PROVIDER_KEY}
    process = start(stack, [binary or args.binary, "serve", "--port", 0, "--config", folder / "config.toml",
                             "--access-log", "none", *args.flags.split()], env=env, stdout=subprocess.PIPE,
                     stderr=subprocess.DEVNULL)
    port = _listening_port(process, name)
    await_answer(port, "/readyz", process, name)
    made = subprocess.run([binary or args.binary, "keys", "create", "--name", "bench"], env=env, check=True,
                          stdout=subprocess.PIPE, text=True)
    return Target(name, port, "/v1/chat/completions", process.pid, MODEL, [f"Authorization: Bearer {made.stdout.strip()}"])


class Load:
    """One run of bench/load.cc against a target."""

    def __init__(self, args, target, body, connections, requests=0, warm=0, hold=False):
        self.command = [args.load, "--port", target.port, "--path", target.path, "--body", body, "--connections",
                        connections, "--requests", requests, "--warm", warm]
        for header in target.headers:
            self.command += ["--header", header]
        self.command = [str(word) for word in [*self.command, *(["--hold"] if hold else [])]]

    def run(self):
        done = subprocess.run(self.command, check=True, stdout=subprocess.PIPE, text=True, timeout=3600)
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def held(self):
        """Every connection has a stream that has begun, until this is left."""
        with subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            if process.stdout.readline() != b"held\n":
                raise SystemExit("the load ended early")
            yield
            process.stdin.close()
            process.wait()
