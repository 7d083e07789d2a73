"""Other LLM gateways in front of the simulated provider, each started as its documents say, with one worker. They are
measured when tools/setup_bench_tools.sh has installed them."""
import json
import os
import pathlib
import re
import secrets
import shutil

import gateway

ROOT = pathlib.Path(__file__).resolve().parent.parent
LITELLM = ROOT / "build" / "peers" / "litellm" / "bin" / "litellm"
PORTKEY = ROOT / "build" / "peers" / "portkey"

# A master key, and neither database nor callbacks; without the first line it asks for a price map on the network.
LITELLM_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False",
               "REPEATED_STREAMING_CHUNK_LIMIT": "100000"}  # the streams of these measurements say one word again and again
LITELLM_CONFIG = """model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{provider_model}, api_base: "http://127.0.0.1:{upstream}/openai/v1", api_key: {key}}}
litellm_settings: {{callbacks: [], num_retries: 0, request_timeout: 60}}
general_settings: {{master_key: {master_key}}}
"""


def versions():
    """Of those that are there: {"LiteLLM": "1.2.3"}."""
    found = {}
    if LITELLM.exists():
        found["LiteLLM"] = re.search(r"^litellm==(\S+)", (ROOT / "bench" / "litellm.lock").read_text(), re.M)[1]
    if (PORTKEY / "node_modules").exists():
        wanted = json.loads((ROOT / "bench" / "portkey" / "package.json").read_text())["dependencies"]
        found["Portkey"] = wanted["@portkey-ai/gateway"]
    return found


def _environment(folder, more):
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(folder)} | more


def start_litellm(stack, folder, provider):
    folder = folder / "litellm"
    folder.mkdir()
    port, master_key = gateway.free_port(), "sk-" + secrets.token_hex(16)
    (folder / "config.yaml").write_text(LITELLM_CONFIG.format(
        model=gateway.MODEL, provider_model=gateway.PROVIDER_MODEL, upstream=provider.port, key=gateway.PROVIDER_KEY,
        master_key=master_key))
    with open(folder / "log", "w") as log:
        process = gateway.start(stack, [LITELLM, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port,
                                        "--num_workers", 1], env=_environment(folder, LITELLM_ENV), cwd=folder,
                                stdout=log, stderr=log)
    gateway.await_answer(port, "/health/liveliness", process, "LiteLLM")
    return gateway.Target("LiteLLM", port, "/v1/chat/completions", process.pid, gateway.MODEL,
                          [f"Authorization: Bearer {master_key}"], share=0.02)


def start_portkey(stack, folder, provider):
    """Headers choose the provider; it knows no tokens of its own."""
    folder = folder / "portkey"
    folder.mkdir()
    port = gateway.free_port()
    node = ROOT / "build" / "node" / "bin" / "node"
    script = PORTKEY / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    with open(folder / "log", "w") as log:
        process = gateway.start(stack, [node if node.exists() else shutil.which("node"), script, "--headless",
                                        f"--port={port}"], env=_environment(folder, {"NODE_ENV": "production"}),
                                cwd=folder, stdout=log, stderr=log)
    gateway.await_answer(port, "/", process, "Portkey")
    return gateway.Target("Portkey", port, "/v1/chat/completions", process.pid, headers=[
        *provider.headers, "x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{provider.port}/openai/v1"],
        share=0.1)


def start_all(stack, folder, provider):
    starters = {"LiteLLM": start_litellm, "Portkey": start_portkey}
    return [starters[name](stack, folder, provider) for name in versions()]
