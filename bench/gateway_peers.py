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

# $1, in two ways that need no database. The first is documented for that. A key that `/key/generate` makes needs PostgreSQL and the
# engines of Prisma, which are on neither PyPI nor npm; so the second is a key that LiteLLM's hook for authentication answers for (its
# documents say that such a key's `max_budget` is not supported; its source reserves and counts it as any other's). Its spending is
# counted by the callback that the proxy has with a database, told by LITELLM_BUDGET_ENV to leave that out.
LITELLM_BUDGET_CONFIG = """model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{provider_model}, api_base: "{base_url}", api_key: {key},
                     input_cost_per_token: {price_in}, output_cost_per_token: {price_out}}}
    model_info: {{mode: chat, max_input_tokens: 8192, max_output_tokens: 8192}}
{budget}
"""
LITELLM_BUDGETS = {
    "budget of a provider": """router_settings: {{provider_budget_config: {{openai: {{budget_limit: 1, time_period: 1d}}}}}}
litellm_settings: {{num_retries: 0, request_timeout: 2400}}
general_settings: {{master_key: {token}}}""",
    "budget of a key": """litellm_settings: {{num_retries: 0, request_timeout: 2400, callbacks: one_key.spending}}
general_settings: {{master_key: {master_key}, custom_auth: one_key.user_api_key_auth,
                    custom_auth_run_common_checks: true}}""",
}
LITELLM_BUDGET_ENV = {"DISABLE_SPEND_UPDATES": "True"}
LITELLM_ONE_KEY = """from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.hooks.proxy_track_cost_callback import ProxyDBLogger

spending = ProxyDBLogger()

async def user_api_key_auth(request, api_key):
    if api_key != "{token}":
        raise Exception("an unknown key")
    return UserAPIKeyAuth(api_key=api_key, max_budget=1.0)
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


def _litellm(stack, folder, config, env):
    """Its port and process, with `config` in `folder`."""
    port = gateway.free_port()
    (folder / "config.yaml").write_text(config)
    with open(folder / "log", "w") as log:
        process = gateway.start(stack, [LITELLM, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port,
                                        "--num_workers", 1], env=_environment(folder, env), cwd=folder, stdout=log, stderr=log)
    gateway.await_answer(port, "/health/liveliness", process, "LiteLLM")
    return port, process


def start_litellm(stack, folder, provider):
    folder = folder / "litellm"
    folder.mkdir()
    master_key = "sk-" + secrets.token_hex(16)
    port, process = _litellm(stack, folder, LITELLM_CONFIG.format(
        model=gateway.MODEL, provider_model=gateway.PROVIDER_MODEL, upstream=provider.port, key=gateway.PROVIDER_KEY,
        master_key=master_key), LITELLM_ENV)
    return gateway.Target("LiteLLM", port, "/v1/chat/completions", process.pid, gateway.MODEL,
                          [f"Authorization: Bearer {master_key}"], share=0.02)


def start_litellm_with_budget(stack, folder, way, base_url, key, prices):
    """`way`: of LITELLM_BUDGETS; `prices`: USD per million tokens, in and out. Returns its port and the token of whom the budget is."""
    folder = folder / way.replace(" ", "-")
    folder.mkdir()
    token = "sk-" + secrets.token_hex(16)
    (folder / "one_key.py").write_text(LITELLM_ONE_KEY.format(token=token))
    price_in, price_out = (f"{float(price) / 1e6:.10f}" for price in prices)
    budget = LITELLM_BUDGETS[way].format(token=token, master_key="sk-" + secrets.token_hex(16))
    port, _ = _litellm(stack, folder, LITELLM_BUDGET_CONFIG.format(
        model=gateway.MODEL, provider_model=gateway.PROVIDER_MODEL, base_url=base_url, key=key, price_in=price_in, price_out=price_out,
        budget=budget), LITELLM_ENV | LITELLM_BUDGET_ENV)
    return port, token


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
