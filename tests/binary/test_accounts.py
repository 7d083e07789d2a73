"""Who pays for whom, who sees what, and what a name or an id means: keys of several organisations, with the real binary."""

import json

import market
from harness import run_cli
from test_keys import bearer, create


def names(home, *words):
    done = run_cli(*words, "--json", home=home)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_a_customers_key_spends_no_other_customers_money(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        a = bearer(create(home, "customer-a", "--org", "acme")["token"])  # of `owner`, as the other one is
        create(home, "customer-b", "--org", "globex")
        assert running.chat(headers=a, max_tokens=5).status == 200
        refused = running.chat(headers=a | {"X-HF-Bill-To": "globex"}, max_tokens=5)
        assert refused.status == 403 and "own organisation" in refused.headers["X-Error-Message"]
        assert "globex" not in running.server.get("/api/whoami-v2", a).body.decode()
        assert len(running.sim.log()) == 1
        assert run_cli("orgs", "add", "globex", "--user", "owner", home=home).returncode == 0
        assert running.chat(headers=a | {"X-HF-Bill-To": "globex"}, max_tokens=5).status == 200
        assert "globex" in running.server.get("/api/whoami-v2", a).body.decode()


def test_who_had_a_user_first_neither_spends_nor_reads_where_he_comes_later(tmp_path, monkeypatch):
    monkeypatch.setattr(market, "keys", lambda sites: {})
    with market.Market(tmp_path, "site-a") as running:
        home, server = tmp_path / "home", running.server
        login = run_cli("login", "--provider", "site-a", "--stdin", home=home, stdin=market.KEY)
        assert login.returncode == 0, login
        boss = bearer(create(home, "boss", "--org", "initech", "--user", "ann", "--role", "admin", "--scopes", "manage")["token"])
        early = server.post("/tw/v1/keys", {"name": "early", "org": "initech", "user": "bob"}, boss)
        planted = server.request("PUT", "/tw/v1/provider-keys/site-a/user/bob", {"key": "initechs-own"}, boss)
        assert (early.status, planted.status) == (201, 200)
        late = bearer(create(home, "late", "--org", "globex", "--user", "bob")["token"])
        early = bearer(early.json()["token"])
        assert running.chat(headers=early | {"X-HF-Bill-To": "globex"}, max_tokens=5).status == 403
        assert running.chat(headers=early, max_tokens=5).status == 502, "the simulator refuses what initech stored"
        assert running.chat(headers=late, max_tokens=5).status == 200, "the operator's key, not initech's"


def test_an_organisation_named_by_its_id_is_that_one_with_its_budget(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000")) as running:
        home = tmp_path / "home"
        acme = create(home, "first", "--org", "acme")["org_id"]
        assert run_cli("budget", "set", f"org:{acme}", "--usd", "0.000001", home=home).returncode == 0
        second = create(home, "second", "--org", acme)
        assert (second["org"], second["org_id"]) == ("acme", acme)
        assert running.chat(headers=bearer(second["token"]), max_tokens=5).status == 402
        assert run_cli("orgs", "set", acme, "--rpm", "5", home=home).returncode == 0
        orgs = {org["name"]: org for org in names(home, "orgs", "ls")["orgs"]}
        assert set(orgs) == {"default", "acme"} and orgs["acme"]["rpm"] == 5
        for flag, name in (("--org", "org_nobody"), ("--project", "prj_nobody"), ("--user", "usr_nobody")):
            refused = run_cli("keys", "create", "--name", "third", flag, name, home=home)
            assert refused.returncode == 2 and f"`{flag[2:]}`" in refused.stderr, refused


def test_a_projects_budget_is_named_with_its_organisation_or_the_id_that_keys_show(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home = tmp_path / "home"
        create(home, "a", "--org", "acme", "--project", "site")
        create(home, "g", "--org", "globex", "--project", "site")
        key = next(key for key in names(home, "keys", "ls")["keys"] if key["name"] == "g")
        assert key["org_id"].startswith("org_") and key["user_id"] == "usr_owner"
        ambiguous = run_cli("budget", "set", "project:site", "--usd", "5", home=home)
        assert ambiguous.returncode == 2 and "ORG/site" in ambiguous.stderr, ambiguous
        for scope in ("project:globex/site", f"project:{key['project_id']}"):
            assert names(home, "budget", "set", scope, "--usd", "5")["scope"] == f"project:{key['project_id']}"


def test_the_servers_totals_and_files_are_not_shown_to_customers(tmp_path):
    with market.Market(tmp_path, "site-a") as running:
        home, server = tmp_path / "home", running.server
        flags = ("--user", "ann", "--role", "admin", "--scopes", "inference,read,manage")
        tenant = bearer(create(home, "tenant", "--org", "acme", *flags)["token"])
        assert running.chat(headers=tenant, max_tokens=5).status == 200
        refused = server.get("/metrics", tenant)
        assert refused.status == 403 and b"tradewind_" not in refused.body
        assert server.get("/metrics").status == 403, "a key that only asks and reads"
        scrapes = bearer(create(home, "prometheus", "--scopes", "manage")["token"])
        for text in (server.get("/metrics", scrapes).body.decode(), server.metrics()):
            assert "\ntradewind_settled_nanousd " in text
        seen = server.get("/tw/v1/prices", tenant)
        assert seen.json()["versions"][0]["source"] is None and str(tmp_path) not in seen.body.decode()
        assert str(tmp_path) in names(home, "prices", "history", market.MODEL)["versions"][0]["source"]
