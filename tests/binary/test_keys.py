"""Tokens and provider keys: who may do what, and what may never leak."""

import concurrent.futures
import datetime
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import threading

import pytest

import market
from harness import BINARY, MODEL, PATIENCE_S, ROOT, Server, environment, run_cli, wait_for

TOKEN = re.compile(r"hf_tw_[0-9A-Za-z]{43}")
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE keys; --",
    "\" OR 1=1 --",
    "x' UNION SELECT digest FROM keys --",
    "%", "_", "*", "../../admin-token", "{{7*7}}", "${jndi:ldap://x}", "\u202e", "a" * 20_000,
]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def create(home, name, *flags, **extra):
    done = run_cli("keys", "create", "--name", name, "--json", *flags, home=home, **extra)
    assert done.returncode == 0, done
    key = json.loads(done.stdout)
    assert key["schema"] == "tradewind.key/v1" and TOKEN.fullmatch(key["token"])
    return key


def admin_token(home):
    return (pathlib.Path(home) / "admin-token").read_text().strip()


def refuses(done, code, *words):
    assert done.returncode == code and done.stdout == "", done
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), done.stderr


# --- The verbs, with and without a server


def test_keys_without_a_server(home):
    key = create(home, "laptop", "--models", f"{MODEL},org/*", "--providers", "local", "--expires", "30d", "--rpm", "60")
    assert (key["models"], key["rpm"], key["state"], key["tpm"]) == ([MODEL, "org/*"], 60, "live", None)
    plain = run_cli("keys", "create", "--name", "plain", home=home)
    assert TOKEN.fullmatch(plain.stdout.strip()), "the token alone on stdout"
    keys = json.loads(run_cli("keys", "ls", "--json", home=home).stdout)
    assert [k["name"] for k in keys["keys"]] == ["admin", "laptop", "plain"] or len(keys["keys"]) == 3
    table = run_cli("keys", "ls", home=home)
    assert table.stdout.startswith("NAME") and "laptop" in table.stdout and not TOKEN.search(table.stdout)
    rotated = json.loads(run_cli("keys", "rotate", "laptop", "--grace", "1h", "--json", home=home).stdout)
    assert rotated["id"] == key["id"] and rotated["token"] != key["token"] and rotated["old_secret_expires"]
    assert run_cli("keys", "revoke", key["id"], home=home).returncode == 0
    with Server(home) as server:
        assert server.get("/v1/models", bearer(rotated["token"])).status == 401
        assert server.get("/v1/models", bearer(plain.stdout.strip())).status == 200
    for name in ("identity.db", "secret.key", "admin-token"):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_keys_with_a_server(home):
    with Server(home) as server:
        assert server.post("/v1/chat/completions", CHAT).status == 200, "open while there is no key"
        key = create(home, "a")
        assert server.post("/v1/chat/completions", CHAT).status == 401, "closed at once"
        assert server.post("/v1/chat/completions", CHAT, bearer(key["token"])).status == 200
        rotated = run_cli("keys", "rotate", "a", home=home).stdout.strip()
        assert server.get("/v1/models", bearer(key["token"])).status == 401
        assert server.get("/v1/models", bearer(rotated)).status == 200
        assert run_cli("keys", "revoke", "a", home=home).returncode == 0
        assert server.get("/v1/models", bearer(rotated)).status == 401
        assert server.get("/v1/models").status == 401, "closed for good"
        # The verbs of whoever owns the home go on working.
        assert json.loads(run_cli("ps", "--json", home=home).stdout)["servers"][0]["models"][0]["id"] == MODEL
        assert run_cli("run", MODEL, "Hi", "--max-tokens", "4", home=home).returncode == 0
        listed = json.loads(run_cli("keys", "ls", "--json", home=home).stdout)["keys"]
        used = next(k for k in listed if k["name"] == "a")
        assert used["state"] == "revoked" and used["last_used"]


def test_refusals_of_the_verbs(home):
    refuses(run_cli("keys", "create", "--name", "a", "--budget", "much", home=home), 2, "budget", "USD")
    refuses(run_cli("keys", "create", "--name", "a", "--period", "day", home=home), 2, "budget")
    refuses(run_cli("keys", "create", home=home), 2, "--name")
    refuses(run_cli("keys", "create", "--name", "admin", home=home), 2, "name")
    refuses(run_cli("keys", "create", "--name", "a", "--scopes", "all", home=home), 2, "inference")
    refuses(run_cli("keys", "create", "--name", "a", "--expires", "yesterday", home=home), 2, "30d")
    refuses(run_cli("keys", "create", "--name", "a", "--rpm", "0", home=home), 2, "rpm")
    refuses(run_cli("keys", "create", "x", "--name", "a", home=home), 2, "not expected")
    refuses(run_cli("keys", "rotate", home=home), 2, "NAME-or-id")
    refuses(run_cli("keys", "frob", home=home), 2, "create, ls, rotate, revoke")
    refuses(run_cli("keys", "revoke", "nobody", home=home), 3, "keys ls")
    refuses(run_cli("keys", "revoke", "admin", home=home), 2, "rotate")
    create(home, "a")
    refuses(run_cli("keys", "create", "--name", "a", home=home), 2, "taken", "keys rotate")
    refuses(run_cli("whoami", home=home), 7, "tradewind serve")
    refuses(run_cli("login", "--provider", "groq", home=home, stdin="k"), 2, "--stdin")
    refuses(run_cli("login", "--stdin", home=home, stdin="k"), 2, "--provider")
    refuses(run_cli("login", "--provider", "groq", "--stdin", home=home, stdin="\n"), 2, "no key")
    refuses(run_cli("logout", "--provider", "groq", home=home), 3, "login")


def test_the_admin_token(home):
    with Server(home) as server:
        old = admin_token(home)
        assert server.get("/tw/v1/keys").status == 401
        assert server.get("/tw/v1/keys", bearer(old)).status == 200
        new = run_cli("keys", "rotate", "admin", home=home).stdout.strip()
        assert new == admin_token(home) != old
        assert server.get("/tw/v1/keys", bearer(old)).status == 401
        assert server.get("/tw/v1/keys", bearer(new)).status == 200
        assert server.post("/v1/chat/completions", CHAT).status == 200, "it is no key: the door stays open"
    with Server(home, ready=False) as server:
        assert server.get("/tw/v1/keys", bearer(new)).status == 200


def test_a_key_that_is_not_live_does_not_open_other_addresses(home):
    refuses(run_cli("serve", "--host", "0.0.0.0", "--port", "0", home=home), 4, "keys create")
    token = create(home, "a")["token"]
    with Server(home, "--host", "0.0.0.0", ready=False) as server:
        assert server.get("/v1/models").status == 401
        assert server.get("/v1/models", bearer(token)).status == 200
    run_cli("keys", "revoke", "a", home=home)
    refuses(run_cli("serve", "--host", "0.0.0.0", "--port", "0", home=home), 4, "keys create")


def test_whoami(home):
    with Server(home, ready=False) as server:
        assert server.get("/api/whoami-v2").status == 401
        key = create(home, "laptop", "--org", "acme", "--user", "ada", "--role", "admin")
        body = server.get("/api/whoami-v2", bearer(key["token"])).json()
        assert (body["type"], body["name"], body["orgs"][0]["roleInOrg"]) == ("user", "ada", "admin")
        assert body["auth"]["accessToken"]["fineGrained"]["global"][0] == "inference.serverless.write"
        told = json.loads(run_cli("whoami", "--json", home=home, TRADEWIND_TOKEN=key["token"]).stdout)
        assert (told["user"], told["key"], told["orgs"]) == ("ada", "laptop", [{"name": "acme", "role": "admin"}])
        assert json.loads(run_cli("whoami", "--json", home=home).stdout)["key"] == "admin"
        bad = run_cli("whoami", home=home, TRADEWIND_TOKEN="hf_tw_" + "a" * 43)
        refuses(bad, 4, "TRADEWIND_TOKEN")


# --- Providers' keys


def test_a_stored_key_reaches_its_provider_and_an_own_key_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        assert running.chat().error()["code"] == "model_not_supported", "without a key the provider is off"

        def login(secret, *flags):
            done = run_cli("login", "--provider", "site-a", "--stdin", *flags, home=home, stdin=secret)
            assert done.returncode == 0 and secret not in done.stdout + done.stderr, done

        login(market.KEY)
        assert running.chat().status == 200, "in force at once"
        login("a-key-that-the-provider-refuses", "--org", "default")
        assert running.chat().status == 502, "the organisation's own key comes first"
        assert run_cli("logout", "--provider", "site-a", "--org", "default", home=home).returncode == 0
        assert running.chat().status == 200
        listed = running.server.get("/tw/v1/provider-keys", bearer(admin_token(home)))
        assert [(k["provider"], k["owner"], k["set"]) for k in listed.json()["provider_keys"]] == [("site-a", "server", True)]
        assert market.KEY.encode() not in listed.body


def test_where_an_own_key_is_refused_the_servers_account_does_not_pay_unasked(tmp_path):
    order = '[route]\norder = ["site-a", "site-b"]\n'
    with market.Market(tmp_path, "site-a", "site-b", extra=order) as running:
        home = tmp_path / "home"

        def login(secret, provider="site-a"):
            words = ("login", "--provider", provider, "--org", "default", "--stdin")
            assert run_cli(*words, home=home, stdin=secret).returncode == 0

        login("a-key-that-the-provider-refuses")
        for _ in range(3):  # from the second on it is known, and rests
            reply = running.chat()
            message = reply.error()["message"]
            assert reply.status == 502 and "refused the key of your own" in message and "server's own account" in message, message
        assert {row["provider"] for row in running.sim.log()} == {"site-a"}
        named = running.chat(model=f"{market.MODEL}:site-b")
        assert named.status == 200, "it was asked for"
        login(market.KEY, "site-b")
        reply = running.chat()
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b", "that is an own key, too"
        login(market.KEY)
        assert running.chat().headers["x-inference-provider"] == "site-a"


def test_a_stored_key_is_known_wherever_keys_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"

        def cli(*words):
            return run_cli(*words, "--config", running.config, home=home)

        def login(secret):
            done = run_cli("login", "--provider", "site-a", "--stdin", home=home, stdin=secret)
            assert done.returncode == 0, done

        def key_of_site_a():
            listed = json.loads(cli("providers", "--json").stdout)["providers"]
            return next(p["key_from"] for p in listed if p["name"] == "site-a")

        assert key_of_site_a() is None
        early = run_cli("login", "--provider", "site-aa", "--stdin", home=home, stdin="a-key")
        assert early.returncode == 0 and 'warning: There is no provider "site-aa". The nearest: site-a.' in early.stderr, early
        assert early.stdout == "" and "stored the key of site-aa" in early.stderr
        login("a-key-that-the-provider-refuses")
        assert key_of_site_a() == "login"
        assert running.server.get("/readyz").status == 200
        assert running.chat().status == 502
        probed = cli("providers", "check", "site-a", "--probe")
        assert probed.returncode == 6 and "not well" in probed.stdout, probed
        assert "refuses our key" in cli("route", "explain", market.MODEL).stdout
        login(market.KEY)
        told = cli("route", "explain", market.MODEL).stdout
        assert "refuses our key" not in told and "CHOSEN" in told, "a new key is trusted again"
        assert running.chat().status == 200
        probed = cli("providers", "check", "site-a", "--probe")
        assert probed.returncode == 0 and "not well" not in probed.stdout, probed
    assert key_of_site_a() == "login", "without a server too"


def test_a_viewer_does_not_spend_an_organisations_key(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        create(home, "boss", "--org", "acme", "--user", "boss")
        added = run_cli("orgs", "add", "acme", "--user", "eve", "--role", "viewer", home=home)
        assert added.returncode == 0, added
        own = create(home, "own", "--org", "elsewhere", "--user", "eve")["token"]
        refuses(run_cli("login", "--provider", "site-aa", "--stdin", "--org", "acme", home=home, stdin=market.KEY), 3, "site-aa", "site-a")
        done = run_cli("login", "--provider", "site-a", "--stdin", "--org", "acme", home=home, stdin=market.KEY)
        assert done.returncode == 0, done
        refused = running.chat(headers={**bearer(own), "X-HF-Bill-To": "acme"})
        assert refused.status == 403 and "viewer" in refused.headers["X-Error-Message"]
        assert not running.sim.log()


def test_the_organisation_that_is_named_pays_out_of_its_budget(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        own = create(home, "own", "--org", "mine", "--user", "ada")
        for words in (["set", "acme", "--rpm", "100"], ["add", "acme", "--user", "ada", "--role", "admin"]):
            assert run_cli("orgs", *words, home=home).returncode == 0
        ids = {org["name"]: org["id"] for org in json.loads(run_cli("orgs", "ls", "--json", home=home).stdout)["orgs"]}
        acme, mine = f"org:{ids['acme']}", f"org:{ids['mine']}"
        for scope in (acme, mine):
            assert run_cli("budget", "set", scope, "--usd", "5", home=home).returncode == 0
        cost = 0
        for _ in range(2):
            reply = running.chat(headers=bearer(own["token"]) | {"X-HF-Bill-To": "acme"}, max_tokens=5)
            assert reply.status == 200, reply.body
            cost += int(reply.headers["x-tradewind-cost-nanousd"])
        budgets = json.loads(run_cli("budget", "ls", "--json", home=home).stdout)["budgets"]
        assert {one["scope"]: int(one["spent_nanousd"]) for one in budgets} == {acme: cost, mine: 0} and cost > 0


def test_the_organisation_that_is_named_pays_with_its_key_and_its_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        own = create(home, "own", "--org", "mine", "--user", "ada")
        for words in (["orgs", "set", "acme", "--rpm", "2"], ["orgs", "add", "acme", "--user", "ada", "--role", "admin"]):
            done = run_cli(*words, home=home)
            assert done.returncode == 0, (words, done)
        # Only acme has a key for the provider: whoever is answered was answered with it.
        done = run_cli("login", "--provider", "site-a", "--stdin", "--org", "acme", home=home, stdin=market.KEY)
        assert done.returncode == 0, done
        assert running.chat(headers=bearer(own["token"]), max_tokens=5).status in (400, 401), "mine has no key"
        billed = bearer(own["token"]) | {"X-HF-Bill-To": "acme"}
        replies = [running.chat(headers=billed, max_tokens=5) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429], [reply.body for reply in replies]
        assert "acme" in replies[2].error()["message"], "its limit"
        assert len(running.sim.log()) == 2


def test_a_users_own_key_is_taken_before_all_others(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        ada = create(home, "ada", "--user", "ada")["token"]
        bob = create(home, "bob", "--user", "bob")["token"]
        for secret, flags in ((market.KEY, ("--user", "ada")), ("a-key-that-the-provider-refuses", ())):
            assert run_cli("login", "--provider", "site-a", "--stdin", *flags, home=home, stdin=secret).returncode == 0
        assert running.chat(headers=bearer(ada)).status == 200
        assert running.chat(headers=bearer(bob)).status == 502, "the operator's"


def test_lists_of_a_key_hold_for_providers(tmp_path):
    with market.Market(tmp_path, "site-a", "together") as running:
        home = tmp_path / "home"
        here = create(home, "here", "--providers", "local")["token"]
        there = create(home, "there", "--providers", "together", "--models", "acme/*")["token"]
        other = create(home, "other", "--models", "other/*")["token"]
        assert running.chat(headers=bearer(here)).status == 403
        assert running.chat(headers=bearer(other)).status == 403
        reply = running.chat(headers=bearer(there))
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "together"
        assert running.chat(model=f"{market.MODEL}:site-a", headers=bearer(there)).status == 403
        assert running.chat(headers=bearer(admin_token(home))).status == 403, "the admin token calls no paid route"


# --- T40: what looks like SQL or a template is text, before and after authentication


def test_injections_as_tokens_are_unknown_tokens(home):
    token = create(home, "a")["token"]
    with Server(home, ready=False) as server:
        for text in INJECTIONS:
            try:
                text.encode("latin-1")
            except UnicodeEncodeError:
                continue
            for headers in (bearer(text), {"x-api-key": text}, bearer("hf_tw_" + text[:43].ljust(43, "a"))):
                reply = server.get("/v1/models", headers)
                assert reply.status == 401, text
                assert reply.error()["message"] in ("Invalid username or password.",)
        assert server.get("/v1/models", bearer(token)).status == 200, "the table is still there"


def test_injections_as_names_are_names(home):
    with Server(home, ready=False) as server:
        admin = bearer(admin_token(home))
        names = [text for text in INJECTIONS if len(text.encode()) <= 100]
        for name in names:
            made = server.post("/tw/v1/keys", {"name": name, "models": [name], "scopes": ["read"]}, admin)
            assert made.status == 201, (name, made.body)
            assert made.json()["name"] == name
            assert server.get("/v1/models", bearer(made.json()["token"])).status == 200
        listed = [key["name"] for key in server.get("/tw/v1/keys", admin).json()["keys"]]
        assert sorted(listed) == sorted(["admin", *names])
        for field in ("org", "project", "user", "role"):
            reply = server.post("/tw/v1/keys", {"name": "b", field: "'; DROP TABLE orgs; --"}, admin)
            assert (reply.status, reply.error()["param"]) == (400, field)
        assert server.request("DELETE", "/tw/v1/keys/%27%20OR%201=1", headers=admin).status == 404
        for name in names:
            assert run_cli("keys", "revoke", name, home=home).returncode == 0, name


# --- T41, T42: no open mode once there is a key, nothing to manage without one


def routes_of_the_router():
    """(method, path) of every route in the source: a new one cannot be forgotten here."""
    source = (ROOT / "src" / "gateway" / "router.cc").read_text()
    table = source[source.index("kRoutes = {") : source.index("return kRoutes")]
    routes = re.findall(r'\{"([A-Z]+)", "([^"]+)", "[^"]+", Access::k(\w+)', table)
    assert len(routes) == table.count("&Gateway::") > 30
    closed = [(method, path.replace("*", "groq")) for method, path, access in routes if access != "Open"]
    assert [path for _, path, access in routes if access == "Open"] == ["/healthz", "/readyz"]
    return [*closed, ("POST", "/together/v1/chat/completions")]


def test_every_route_but_the_probes_needs_a_token(home):
    create(home, "a")
    with Server(home, ready=False) as server:
        for method, path in routes_of_the_router():
            reply = server.request(method, path, {} if method in ("POST", "PUT") else None)
            assert reply.status == 401, (method, path)
            assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        for path in ("/healthz", "/readyz"):
            assert server.get(path).status in (200, 503)


def test_a_token_ends_when_it_expires(home):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
    short = create(home, "short", "--expires", soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    with Server(home, ready=False) as server:
        statuses = [server.get("/v1/models", bearer(short["token"])).status]
        wait_for(lambda: statuses.append(server.get("/v1/models", bearer(short["token"])).status) or statuses[-1] == 401, "the end")
        assert set(statuses) <= {200, 401} and server.post("/v1/chat/completions", CHAT, bearer(short["token"])).status == 401


def test_managing_needs_a_token_even_while_the_door_is_open(home):
    with Server(home, ready=False) as server:
        for method, path in [("GET", "/tw/v1/keys"), ("POST", "/tw/v1/keys"), ("PUT", "/tw/v1/provider-keys/groq")]:
            assert server.request(method, path, {"name": "a", "key": "k"} if method != "GET" else None).status == 401
        assert server.get("/v1/models").status == 200


def test_a_key_of_one_organisation_manages_no_other(home):
    boss = create(home, "boss", "--org", "acme", "--user", "ada", "--role", "admin", "--scopes", "manage")
    create(home, "theirs", "--org", "other", "--user", "bob")
    with Server(home, ready=False) as server:
        headers = bearer(boss["token"])
        assert [k["name"] for k in server.get("/tw/v1/keys", headers).json()["keys"]] == ["boss"]
        assert server.request("DELETE", "/tw/v1/keys/theirs", headers=headers).status == 404
        assert server.post("/tw/v1/keys/admin/rotate", {}, headers).status == 404
        assert server.post("/tw/v1/keys", {"name": "x", "org": "other"}, headers).status == 403
        assert server.request("PUT", "/tw/v1/provider-keys/groq", {"key": "k"}, headers).status == 403
        assert server.get("/v1/models", headers).status == 403, "it has no scope read"


# --- T46: no secret in a log, an error, a metric, a database or a command line


def all_bytes(folder):
    return b"".join(p.read_bytes() for p in pathlib.Path(folder).rglob("*") if p.is_file() and p.name != "admin-token")


def test_secrets_are_found_nowhere(home):
    provider_key = "gsk_planted_0123456789abcdefghij"
    own_key = "sk-planted-own-key-9876543210"
    done = run_cli("login", "--provider", "groq", "--stdin", home=home, stdin=provider_key + "\n")
    assert done.returncode == 0
    outputs = [done.stdout + done.stderr]
    with Server(home, env={"TRADEWIND_LOG": "trace"}) as server:
        live = create(home, "live")["token"]
        old = create(home, "old")["token"]
        rotated = run_cli("keys", "rotate", "old", home=home).stdout.strip()
        gone = create(home, "gone")["token"]
        outputs.append(run_cli("keys", "revoke", "gone", home=home).stderr)
        login = subprocess.Popen(
            [BINARY, "login", "--provider", "together", "--org", "default", "--stdin"],
            env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        command_lines = pathlib.Path(f"/proc/{login.pid}/cmdline").read_bytes()
        outputs.append(login.communicate(own_key, timeout=PATIENCE_S)[0])
        assert login.returncode == 0
        command_lines += pathlib.Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        unknown = "hf_tw_" + "Zz9" * 14 + "Z"
        secrets = [live, old, rotated, gone, unknown, provider_key, own_key, admin_token(home)]
        replies = []
        for token in (live, old, rotated, gone, unknown, admin_token(home)):
            headers = bearer(token)
            replies.append(server.post("/v1/chat/completions", CHAT, headers))
            replies.append(server.post("/v1/chat/completions", CHAT | {"model": "no/such"}, headers))
            replies.append(server.post("/v1/chat/completions", CHAT | {"temperature": "hot"}, headers))
            replies.append(server.request("POST", "/v1/chat/completions", "{not json", headers | {"Content-Type": "application/json"}))
            replies.append(server.get("/nowhere", headers))
            replies.append(server.get("/v1/models", headers))
            replies.append(server.get("/metrics", headers))
            replies.append(server.get("/api/whoami-v2", headers))
            replies.append(server.get("/tw/v1/keys", headers))
            replies.append(server.get("/tw/v1/provider-keys", headers))
            replies.append(server.request("PUT", "/tw/v1/provider-keys/Bad", {"key": provider_key}, headers))
            replies.append(server.request("PUT", "/tw/v1/provider-keys/groq", {"kye": provider_key}, headers))
            replies.append(server.get("/v1/models", {"x-api-key": token}))
            replies.append(server.get("/v1/models", {"X-HF-Bill-To": token} | headers))
        assert {reply.status for reply in replies} >= {200, 400, 401, 403, 404}
        for name, text in [("answers", b"".join(bytes(str(r.headers), "utf8") + r.body for r in replies)),
                           ("files", all_bytes(home)), ("command lines", command_lines)]:
            for secret in secrets:
                assert secret.encode() not in text, f"a secret is in the {name}"
    log = server.log()
    assert "key_" in log, "the access log names keys by id"
    text = log.encode() + all_bytes(home) + "".join(outputs).encode()
    for secret in secrets:
        assert secret.encode() not in text
        assert secret[:24].encode() not in text and secret[-12:].encode() not in text, "not even a part"


class KeyedProvider(http.server.BaseHTTPRequestHandler):
    """Wants its key in x-api-key, and when it is out of sorts repeats it in a refusal."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        key = self.headers.get("x-api-key", "")
        refused = {"error": {"message": f"x-api-key: {key} is not valid", "code": "invalid_api_key"}}
        choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = json.dumps(refused if self.server.refuses else {"choices": [choice], "usage": usage}).encode()
        self.send_response(401 if self.server.refuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def test_a_key_in_a_header_of_its_own_is_found_nowhere_either(home, tmp_path):
    secret = "sk-planted-in-a-header-0123456789"
    config = tmp_path / "config.toml"
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeyedProvider)
    provider.seen, provider.refuses = [], False
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    config.write_text(
        f"""[[providers]]
        name = "site-k"
        kind = "openai"
        base_url = "http://127.0.0.1:{provider.server_port}/v1"
        api_key_env = "SITE_K_KEY"
        api_key_header = "x-api-key"
        allow_private = true
        models = [{{ id = "org/keyed", input_usd_per_mtok = "1", output_usd_per_mtok = "1" }}]
        """
    )
    env = {"SITE_K_KEY": secret, "TRADEWIND_LOG": "trace"}
    with Server(home, "--config", config, env=env) as server:
        headers = bearer(create(home, "caller")["token"])
        ask = CHAT | {"model": "org/keyed"}
        replies = [server.post("/v1/chat/completions", ask, headers)]
        assert replies[0].status == 200, replies[0].body
        provider.refuses = True
        checked = run_cli("providers", "check", "site-k", "--probe", home=home)
        assert checked.returncode == 6, checked
        replies += [server.post("/v1/chat/completions", ask, headers), server.get("/metrics", bearer(admin_token(home)))]
        assert replies[1].status == 502, replies[1].body
        shown = run_cli("config", "get", "--origin", "--config", config, home=home)
        assert "x-api-key" in shown.stdout
        said = b"".join(bytes(str(reply.headers), "utf8") + reply.body for reply in replies)
        said += "".join(one.stdout + one.stderr for one in (checked, shown)).encode()
    provider.shutdown()
    provider.server_close()
    assert len(provider.seen) >= 3 and all(one["x-api-key"] == secret and "authorization" not in one for one in provider.seen)
    assert secret.encode() not in said + server.log().encode() + all_bytes(home)


# --- T47: a refusal tells a stranger nothing


def test_refusals_disclose_nothing(home):
    token = create(home, "a")["token"]
    run_cli("keys", "create", "--name", "b", "--scopes", "read", home=home)
    with Server(home, ready=False) as server:
        for headers in ({}, bearer("x"), bearer("hf_tw_" + "a" * 43), bearer(token + "a"), {"Authorization": "Basic eA=="}):
            for path in ("/v1/models", "/tw/v1/keys", "/api/whoami-v2"):
                reply = server.get(path, headers)
                assert reply.status == 401
                told = (str(reply.headers) + reply.body.decode()).lower().replace("hf_tw_", "")
                told = told.replace(reply.headers["x-request-id"].lower(), "")  # any letters may follow one another in it
                for word in ("tradewind", "sqlite", "sql", "blake", "sha", "hash", "key_", "expired", "revoked", "table", "identity"):
                    assert word not in told, (word, told)
                assert not re.search(r"[0-9a-f]{32}", reply.body.decode())


def test_refusals_of_a_known_key_disclose_no_more_than_its_own(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        once, poor, other = (create(home, name, *flags)["token"] for name, flags in [
            ("once", ("--rpm", "1")), ("poor", ("--budget", "0.000001")), ("other", ("--models", "org/other"))])
        assert running.chat(headers=bearer(once)).status == 200
        for token, status in ((once, 429), (poor, 402), (other, 403)):
            reply = running.chat(headers=bearer(token), max_tokens=5)
            assert reply.status == status, reply.body
            body = reply.body.decode()
            told = (str(reply.headers) + body).lower()
            for word in ("sqlite", "blake", "sha256", "hash", "journal", "identity.db", "/home", market.KEY):
                assert word not in told, (status, word, told)
            assert not re.search(r"[0-9a-f]{32}", body)
            for secret in (once, poor, other, running.server.token):
                assert secret[6:18] not in told + body and secret[-12:] not in told + body


def test_the_operators_key_is_in_no_file_log_answer_or_metric(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        once = create(home, "once", "--rpm", "1", "--budget", "1")["token"]
        poor = create(home, "poor", "--budget", "0.000001")["token"]
        replies = [running.chat(headers=bearer(token), max_tokens=5) for token in (once, once, poor)]
        assert [reply.status for reply in replies] == [200, 429, 402]
        replies += [running.chat(f"a sim:status={status}") for status in (400, 401, 429, 500)]
        replies += [running.server.get("/metrics", bearer(admin_token(home))), run_cli("usage", "--json", home=home)]
        wait_for(lambda: len(running.server.access_log()) >= 8, "a line for each")
        shown = b"".join(str(vars(reply)).encode() for reply in replies) + running.server.log().encode() + all_bytes(home)
        for secret in (market.KEY, once, poor, running.server.token):
            assert secret.encode() not in shown


# --- Races, kills, full disks


def test_rotating_under_load_loses_no_request_in_its_grace(home):
    token = create(home, "a")["token"]
    with Server(home, ready=False) as server:
        stop = []

        def knock():
            statuses = []
            while not stop:
                statuses.append(server.get("/v1/models", bearer(token)).status)
            return statuses

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            callers = [pool.submit(knock) for _ in range(3)]
            newest = run_cli("keys", "rotate", "a", "--grace", "1h", home=home).stdout.strip()
            for i in range(4):
                create(home, f"other-{i}")
            stop.append(True)
            statuses = [status for caller in callers for status in caller.result(PATIENCE_S)]
        assert set(statuses) == {200} and len(statuses) > 3
        assert server.get("/v1/models", bearer(newest)).status == 200


def test_keys_made_at_the_same_time_are_all_there(home):
    names = [f"k{i}" for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        tokens = list(pool.map(lambda name: create(home, name)["token"], names))
    with Server(home, ready=False) as server:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            tokens += list(pool.map(lambda name: create(home, name + "-served")["token"], names))
        assert [server.get("/v1/models", bearer(token)).status for token in tokens] == [200] * 12


def test_a_server_killed_while_it_makes_keys_has_all_that_it_showed(home):
    shown = []
    server = Server(home, ready=False)
    with server:
        admin = bearer(admin_token(home))
        for i in range(5):
            shown.append(server.post("/tw/v1/keys", {"name": f"k{i}"}, admin).json()["token"])
        # One more is on its way when the process ends: its answer is never read.
        body = b'{"name":"lost"}'
        with server.connect() as client:
            client.sendall(
                b"POST /tw/v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + f"Authorization: {admin['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(lambda: (home / "identity.db-wal").stat().st_size > 0, "a write")
            server.kill()
    with Server(home, ready=False) as server:
        assert [server.get("/v1/models", bearer(token)).status for token in shown] == [200] * 5
        assert server.get("/v1/models").status == 401
        made = run_cli("keys", "create", "--name", "lost", home=home)
        if made.returncode != 0:  # it was made before the kill; its secret was never shown
            assert "keys rotate" in made.stderr
            made = run_cli("keys", "rotate", "lost", home=home)
        assert server.get("/v1/models", bearer(made.stdout.strip())).status == 200


def test_a_damaged_or_foreign_store_is_one_clear_line(home, tmp_path):
    create(home, "a")
    key = (home / "secret.key").read_text()
    (home / "secret.key").unlink()
    refuses(run_cli("serve", "--port", "0", home=home), 9, "secret.key", "restore")
    assert not (home / "secret.key").exists()
    (home / "secret.key").write_text(key)
    (home / "secret.key").chmod(0o604)
    refuses(run_cli("keys", "ls", home=home), 4, "chmod 600")
    (home / "secret.key").chmod(0o600)
    assert run_cli("keys", "ls", home=home).returncode == 0
    (home / "identity.db").write_bytes(b"x" * 5000)
    refuses(run_cli("serve", "--port", "0", home=home), 9, "identity.db")
    elsewhere = tmp_path / "key"
    refuses(run_cli("keys", "ls", "--secret-key-file", elsewhere, home=tmp_path / "other"), 3, str(elsewhere))


def test_the_servers_key_may_stand_in_the_environment(home):
    where = {"TRADEWIND_SECRET_KEY_FILE": "env:VAULT_KEY"}
    refuses(run_cli("keys", "ls", home=home, **where), 3, "env:VAULT_KEY")
    refuses(run_cli("keys", "ls", home=home, **where, VAULT_KEY="not hex"), 9, "64 hex digits")
    token = create(home, "a", **where, VAULT_KEY="7" * 64)["token"]
    assert not (home / "secret.key").exists()
    with Server(home, ready=False, env=where | {"VAULT_KEY": "7" * 64}) as server:
        assert server.get("/v1/models", bearer(token)).status == 200
    refuses(run_cli("keys", "ls", home=home, **where, VAULT_KEY="8" * 64), 9, "env:VAULT_KEY")


def test_a_full_disk_makes_no_key(home):
    small = pathlib.Path("/dev/full")
    if os.geteuid() != 0 or not small.exists():
        pytest.skip("needs root to mount a small disk")
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "none", home], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        made = []
        for i in range(200):
            done = run_cli("keys", "create", "--name", f"k{i}", "--models", ",".join(["m" * 500] * 60), home=home)
            if done.returncode != 0:
                break
            made.append(done.stdout.strip())
        refuses(done, 8, "full")
        (home / "filler").unlink(missing_ok=True)
        keys = run_cli("keys", "ls", "--json", home=home)
        assert keys.returncode in (0, 8)
        if keys.returncode == 0:
            assert len(json.loads(keys.stdout)["keys"]) == len(made) + 1
    finally:
        subprocess.run(["umount", home], check=True)


def test_sdks_see_the_sentence(home):
    """huggingface_hub reads X-Error-Message; the JavaScript client and openai read error.message."""
    create(home, "a")
    with Server(home, ready=False) as server:
        reply = server.post("/v1/chat/completions", CHAT, bearer("hf_wrong"))
        assert reply.headers["X-Error-Message"] == reply.error()["message"] == "Invalid username or password."
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="Authentication required", charset="UTF-8"'
        assert (reply.error()["type"], reply.error()["code"]) == ("authentication_error", "invalid_api_key")


def test_an_organisation_has_limits_and_members(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        assert run_cli("orgs", "set", "acme", "--rpm", "2", home=home).returncode == 0
        assert run_cli("orgs", "add", "acme", "--user", "ada", "--role", "admin", home=home).returncode == 0
        tokens = [run_cli("keys", "create", "--name", n, "--org", "acme", "--user", "ada", home=home).stdout.strip() for n in "ab"]
        replies = [running.chat(headers=bearer(tokens[n % 2])) for n in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert "acme" in replies[2].error()["message"] and replies[2].headers["Retry-After"]
        assert running.chat().status == 200, "another organisation has limits of its own"
        listed = json.loads(run_cli("orgs", "ls", "--json", home=home).stdout)["orgs"]
        acme = next(org for org in listed if org["name"] == "acme")
        assert acme["rpm"] == 2
        assert [(one["user"], one["role"], one["added"]) for one in acme["members"]] == [("ada", "admin", True)]
        assert run_cli("orgs", "set", "acme", "--rpm", "0", home=home).returncode == 0
        assert running.chat(headers=bearer(tokens[0])).status == 200
        removed = run_cli("orgs", "remove", "acme", "--user", "ada", home=home)
        assert removed.returncode == 0 and "ada" not in removed.stdout
        assert running.chat(headers=bearer(tokens[0])).status == 403
        nobody = run_cli("orgs", "remove", "acme", "--user", "ada", home=home)
        assert nobody.returncode != 0 and nobody.stderr.startswith("tradewind: ")


def test_variables_that_say_where_serve_listens_do_not_keep_the_operator_from_his_own_server(tmp_path):
    home = tmp_path / "home"
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("0.0.0.0", 0))  # nobody else gets the port, and nobody listens
        port = taken.getsockname()[1]
        there = {"TRADEWIND_HOST": "0.0.0.0", "TRADEWIND_PORT": port}
        flags = ("--host", "127.0.0.1", "--port", port)
        # Such a server wants a key before it starts.
        assert run_cli("keys", "create", "--name", "first", home=home, **there).returncode == 0
        named = run_cli("keys", "ls", *flags, home=home)
        assert named.returncode == 7 and str(port) in named.stderr, "a server that is named by flags is meant"
        asked = run_cli("providers", "check", home=home, **there)
        assert asked.returncode == 0 and "no server runs" in asked.stderr, asked
    with Server(home, "--host", "0.0.0.0", "--port", port):
        for words in (["keys", "ls"], ["alerts"], ["backup"], ["run", MODEL, "Hi", "--max-tokens", "2"]):
            done = run_cli(*words, home=home, **there)
            assert done.returncode == 0, (words, done)
        assert "first" in run_cli("keys", "ls", *flags, home=home).stdout
        for variables in (there, there | {"TRADEWIND_TOKEN": "hf_tw_" + "a" * 43}):
            stranger = run_cli("keys", "create", "--name", "b", home=tmp_path / "other", **variables)
            assert stranger.returncode == 4 and "--home" in stranger.stderr, stranger
        assert not (tmp_path / "other").exists(), "the server that answers there is meant, not a folder"


def test_of_two_servers_on_this_device_the_one_that_is_named_is_meant(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    with Server(one, "--host", "127.0.0.1") as first, Server(two, "--host", "127.0.0.2", "--port", first.port):
        create(one, "of-one"), create(two, "of-two")
        there = ("--host", "127.0.0.2", "--port", first.port)
        refused = run_cli("keys", "ls", *there, home=one)
        assert refused.returncode == 4 and "127.0.0.2" in refused.stderr, refused
        token = (two / "admin-token").read_text().strip()
        listed = run_cli("keys", "ls", *there, home=one, TRADEWIND_TOKEN=token)
        assert listed.returncode == 0 and "of-two" in listed.stdout and "of-one" not in listed.stdout, listed
        assert "of-one" in run_cli("keys", "ls", "--host", "localhost", "--port", first.port, home=one).stdout
        assert "of-one" in run_cli("keys", "ls", home=one, TRADEWIND_PORT="0").stdout


def test_run_says_how_a_provider_is_asked_when_the_operators_token_may_not(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        words = ("run", f"{market.MODEL}:site-a", "Hi", "--max-tokens", "3")
        refused = run_cli(*words, home=home)
        assert refused.returncode == 4 and "admin token" in refused.stderr and "TRADEWIND_TOKEN" in refused.stderr, refused
        token = create(home, "me")["token"]
        assert run_cli(*words, home=home, TRADEWIND_TOKEN=token).returncode == 0
        local = create(home, "here", "--providers", "local")["token"]
        other = run_cli(*words, home=home, TRADEWIND_TOKEN=local)
        assert other.returncode == 4 and "admin token" not in other.stderr, other
        assert running.sim.log(), "it was asked"
