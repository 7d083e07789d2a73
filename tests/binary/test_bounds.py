"""How long an answer may be: said in the words that the provider knows, and, where the request does not say it and a hard budget
has to be kept, by as much as fits."""

import contextlib
import http.server
import json
import threading

import harness
import pytest
from market import MODEL

NANO_IN, NANO_OUT = 100_000, 300_000  # a token
NAMES = ("max_tokens", "max_completion_tokens")


class Ollama(http.server.BaseHTTPRequestHandler):
    """Knows `max_tokens` alone, unless the server says otherwise; answers as long as that, or 10,000 tokens. Refuses what is more than a
    context of 8192, as vLLM does."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        bound = asked.get(self.server.knows)
        status, tokens = 200, (bound or 10_000) + asked.get("thinking_budget", 0)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}, "text": "hi"}
        answer = {"id": "c", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}}
        if self.server.refusal or (bound or 0) + 5 > 8192:
            status, answer = 400, {"error": {"message": self.server.refusal or f"'max_tokens' is too large: {bound}", "code": 400}}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Site:
    def __init__(self, home, server, provider):
        self.home, self.server, self.provider = home, server, provider

    def key(self, name, *words):
        made = harness.run_cli("keys", "create", "--name", name, "--json", *words, home=self.home)
        assert made.returncode == 0, made
        return json.loads(made.stdout)

    def ask(self, key, path="/v1/chat/completions", model=MODEL, **fields):
        what = {"prompt": "x"} if path.endswith("/v1/completions") else {"messages": [{"role": "user", "content": "x"}]}
        return self.server.post(path, {"model": model} | what | fields, {"Authorization": f"Bearer {key['token']}"})

    def sent(self):
        asked = self.provider.asked[-1]
        return {name: asked[name] for name in NAMES if name in asked}

    def spent(self, key):
        got = harness.run_cli("usage", "--key", key["id"], "--json", home=self.home)
        return int(json.loads(got.stdout)["budget"]["spent_nanousd"])


@contextlib.contextmanager
def site(folder, fields="", of_model=""):
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    provider.asked, provider.refusal, provider.knows = [], "", "max_tokens"
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    config = folder / "config.toml"
    config.write_text(
        f"""[[providers]]
        name = "site-a"
        kind = "openai"
        base_url = "http://127.0.0.1:{provider.server_port}/v1"
        allow_private = true
        {fields}
        models = [{{ id = "{MODEL}", provider_id = "m", input_usd_per_mtok = "100", output_usd_per_mtok = "300", context = 8192{of_model} }}]
        """
    )
    with harness.Server(folder / "home", "--config", config) as server:
        yield Site(folder / "home", server, provider)
    provider.shutdown()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/site-a/v1/chat/completions"])
def test_a_bound_by_openais_newer_name_is_kept_by_a_server_that_does_not_know_it(tmp_path, path):
    with site(tmp_path) as at:
        key = at.key("hard", "--budget", "3")
        reply = at.ask(key, path, model="m" if path.startswith("/site-a") else MODEL, max_completion_tokens=100)
        assert reply.status == 200, reply.body
        assert at.sent()["max_tokens"] == 100
        assert at.spent(key) <= int(reply.headers["x-tradewind-hold-nanousd"])


def test_the_name_of_the_bound_is_the_providers(tmp_path):
    with site(tmp_path, 'bound_name = "max_completion_tokens"') as at:
        at.provider.knows = "max_completion_tokens"
        key, free = at.key("hard", "--budget", "30"), at.key("free")
        for fields in ({"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_tokens": 7, "max_completion_tokens": 9}):
            for who in (key, free):
                assert at.ask(who, **fields).status == 200
                assert at.sent() == {"max_completion_tokens": 7}
        at.ask(key)
        assert list(at.sent()) == ["max_completion_tokens"], "what is injected goes by the same name"
        shown = harness.run_cli("config", "get", "--config", tmp_path / "config.toml", home=at.home)
        assert "max_completion_tokens" in shown.stdout


@pytest.mark.parametrize("knows", NAMES)
def test_both_names_bound_whichever_of_them_a_model_knows(tmp_path, knows):
    with site(tmp_path, 'bound_name = "both"') as at:
        at.provider.knows = knows
        key = at.key("hard", "--budget", "5")
        for fields in ({"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_tokens": 7, "max_completion_tokens": 9}, {}):
            reply = at.ask(key, **fields)
            assert reply.status == 200, reply.body
            assert list(at.sent()) and len(set(at.sent().values())) == 1 and len(at.sent()) == 2, at.sent()
        assert at.spent(key) <= 5_000_000_000


def test_without_a_hard_budget_a_bound_stays_as_it_was_said(tmp_path):
    with site(tmp_path) as at:
        key = at.key("free")
        assert at.ask(key, max_completion_tokens=7).status == 200
        assert at.sent() == {"max_completion_tokens": 7}


def test_a_chat_that_names_no_bound_is_not_refused_by_a_small_context(tmp_path):
    with site(tmp_path) as at:
        reply = at.ask(at.key("hard", "--budget", "30"))
        assert reply.status == 200, reply.body
        assert 7000 < at.sent()["max_tokens"] <= 8192 - 512
        assert reply.headers["x-tradewind-max-tokens-applied"] == str(at.sent()["max_tokens"])
        long = at.ask(at.key("long", "--budget", "30"), messages=[{"role": "user", "content": "x" * 30_000}])
        assert long.status == 200 and at.sent()["max_tokens"] == 512, "a third of the bytes is more than most prompts have"


def test_a_refusal_of_a_bound_that_is_ours_says_so(tmp_path):
    with site(tmp_path) as at:
        key = at.key("hard", "--budget", "30")
        at.provider.refusal = "max_tokens is too large."
        said = at.ask(key).error()["message"]
        assert said.startswith("max_tokens is too large. As it names no max_tokens, 7") and "name one" in said
        assert at.ask(key, max_tokens=5).error()["message"] == "max_tokens is too large."
        assert "bound_name" in at.ask(key, max_completion_tokens=5).error()["message"]
        at.provider.refusal = "Unrecognized request argument supplied."
        assert "bound_name" in at.ask(key, max_completion_tokens=5).error()["message"], "whatever is said of a name that it does not know"
        at.provider.refusal = "Invalid image."
        assert at.ask(key).error()["message"] == "Invalid image.", "which has nothing to do with the bound"


def test_a_completion_that_names_no_bound_has_sixteen_tokens_as_it_has_without_a_budget(tmp_path):
    with site(tmp_path) as at:
        key = at.key("hard", "--budget", "3")
        reply = at.ask(key, "/v1/completions")
        assert reply.status == 200 and at.sent() == {"max_tokens": 16}
        assert at.spent(key) == 5 * NANO_IN + 16 * NANO_OUT
        assert at.ask(at.key("free"), "/v1/completions").status == 200
        assert at.sent() == {}


def test_an_injected_bound_leaves_room_for_the_thoughts_that_the_request_allows(tmp_path):
    with site(tmp_path) as at:
        for thoughts in ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, {"reasoning": {"max_tokens": 4000}}):
            key = at.key(f"hard-{len(at.provider.asked)}", "--budget", "2.3")
            assert at.ask(key, **thoughts).status == 200
            assert 4256 <= at.sent()["max_tokens"] < 7700
        poor = at.key("poor", "--budget", "1")
        assert at.ask(poor).status == 200 and at.sent()["max_tokens"] < 4000
        poor = at.key("poorer", "--budget", "1")
        refused = at.ask(poor, thinking={"type": "enabled", "budget_tokens": 4000})
        assert refused.status == 402 and "it is given 4256 at least" in refused.error()["message"]


def test_thoughts_beside_the_bound_are_held_for_as_many_as_the_request_allows(tmp_path):
    with site(tmp_path, of_model=", cap_slack = 1000") as at:
        key = at.key("hard", "--budget", "3")
        refused = at.ask(key, max_tokens=100, thinking_budget=32768)
        assert refused.status == 402 and at.spent(key) == 0, "$9.86 for thoughts and answer"
        reply = at.ask(key, max_tokens=100, thinking_budget=5000)
        assert reply.status == 200
        assert 5100 * NANO_OUT == at.spent(key) - 5 * NANO_IN <= int(reply.headers["x-tradewind-hold-nanousd"])
        few = at.ask(key, max_tokens=100, thinking_budget=10)
        assert int(few.headers["x-tradewind-hold-nanousd"]) > 1100 * NANO_OUT, "no less than the slack"


def test_of_a_cap_that_is_trusted_thoughts_change_nothing(tmp_path):
    with site(tmp_path) as at:
        held = [at.ask(at.key(f"k{n}", "--budget", "3"), max_tokens=100, **more).headers["x-tradewind-hold-nanousd"]
                for n, more in enumerate([{"thinking_budget": 10}, {"seed": 123456789012}])]
        assert abs(int(held[0]) - int(held[1])) < 20 * NANO_IN, "but for the bytes of the request"
