"""Who serves which model at what price: search, providers, prices, config, and the lists over HTTP."""

import decimal
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from harness import MODEL, PATIENCE_S, ROOT, Server, run_cli

SAMPLES = ROOT / "tests" / "data" / "prices"
CONFIG = """
[route]
default = "cheapest"
[[providers]]
name = "site-a"
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
allow_private = true
data_policy = "no-retention"
models = [
  { id = "acme/name", provider_id = "model-x", input_usd_per_mtok = "0.10", output_usd_per_mtok = "0.30", context = 8192, tools = true },
  { id = "acme/dear", input_usd_per_mtok = "5", output_usd_per_mtok = "9" },
  { id = "acme/unpriced" },
]
[[providers]]
name = "site-b"
kind = "openai"
base_url = "https://b.example/v1"
api_key_env = "SITE_B_KEY"
models = [{ id = "acme/name", input_usd_per_mtok = "0.05", output_usd_per_mtok = "0.20" }]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def data(done, schema):
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["schema"] == f"tradewind.{schema}/v1"
    return answer


def search(home, *words, **extra):
    return data(run_cli("search", *words, "--json", home=home, **extra), "search")["results"]


def test_search_knows_the_starter_catalogue_without_a_network(home):
    rows = search(home, "GPT-OSS-120B")
    places = [row["place"] for row in rows]
    assert {"fireworks-ai", "together", "cerebras", "groq"} <= set(places)
    cerebras = rows[places.index("cerebras")]
    assert (cerebras["id"], cerebras["provider_id"]) == ("openai/gpt-oss-120b", "gpt-oss-120b")
    assert (cerebras["input_usd_per_mtok"], cerebras["output_usd_per_mtok"]) == ("0.35", "0.75")
    assert cerebras["prices_as_of"] == "2026-08-21" and cerebras["status"] == "off"
    table = run_cli("search", "gpt-oss-120b", home=home).stdout
    assert table.startswith("MODEL") and "0.35/0.75" in table
    assert [row["place"] for row in search(home, MODEL)] == ["local"]


def test_starts_searches_and_answers_without_a_network(tmp_path):
    words = ["unshare", "--map-root-user", "--net", sys.executable, "-B"]
    try:
        tried = subprocess.run([*words[:3], "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if tried.returncode != 0:
        pytest.skip(f"no network namespace here: {tried.stderr.strip()}")
    script = pathlib.Path(__file__).with_name("without_network.py")
    done = subprocess.run([*words, script, tmp_path], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and "works without a network" in done.stdout, (done.stdout, done.stderr)


def test_the_next_page_is_where_the_client_sees_the_server(home):
    token = run_cli("keys", "create", "--name", "a", home=home).stdout.strip()
    with Server(home, ready=False, env={"TOGETHER_API_KEY": "k"}) as server:
        server.token = token

        def link(**headers):
            return server.get("/api/models?limit=1", {name.replace("_", "-"): value for name, value in headers.items()}).headers["Link"]

        assert link().startswith(f"<http://127.0.0.1:{server.port}/api/models?")
        assert link(X_Forwarded_Proto="https").startswith(f"<https://127.0.0.1:{server.port}/api/models?")
        assert link(Forwarded="for=10.0.0.1;Proto=https").startswith("<https://")
        assert link(X_Forwarded_Proto="gopher").startswith("<http://")


def test_search_filters_let_nothing_unknown_pass(home, config):
    flags = ["--config", config]
    ids = lambda *words: [(row["id"], row["place"]) for row in search(home, *words, *flags)]
    assert ids("acme/name", "--tools") == [("acme/name", "site-a")]
    assert ids("acme/", "--max-price", "0.30") == [("acme/name", "site-a"), ("acme/name", "site-b")]
    assert ids("acme/", "--max-price", "0.29") == [("acme/name", "site-b")]
    assert ids("acme/", "--min-ctx", "8192") == [("acme/name", "site-a")]
    assert ids("acme/", "--place", "site-b") == [("acme/name", "site-b")]
    assert [i for i, _ in ids("acme/", "--sort", "price")] == ["acme/name", "acme/name", "acme/dear", "acme/unpriced"]
    assert all(row["license"] == "apache-2.0" for row in search(home, "--license", "Apache-2.0", *flags))
    unknown = run_cli("search", "--place", "nobody", *flags, home=home)
    assert unknown.returncode == 3 and "tradewind providers" in unknown.stderr
    assert run_cli("search", "--max-price", "cheap", *flags, home=home).returncode == 2


def test_providers_say_where_keys_come_from_and_never_what_they_are(home, config):
    done = run_cli("providers", "--json", "--config", config, home=home, GROQ_API_KEY="gsk-secret-1")
    rows = {row["name"]: row for row in data(done, "providers")["providers"]}
    assert list(rows)[:3] == ["local", "site-a", "site-b"]
    assert (rows["groq"]["state"], rows["groq"]["key_from"]) == ("on", "environment GROQ_API_KEY")
    assert (rows["site-a"]["state"], rows["site-a"]["needs_key"], rows["site-a"]["models"]) == ("on", False, 3)
    assert rows["site-b"]["state"] == "off" and "SITE_B_KEY" in rows["site-b"]["off_because"]
    assert "site-b is off" in done.stderr
    text = run_cli("providers", "--config", config, home=home, GROQ_API_KEY="gsk-secret-1")
    assert "environment GROQ_API_KEY" in text.stdout
    assert "gsk-secret" not in done.stdout + done.stderr + text.stdout + text.stderr


def test_prices_import_names_every_row_that_it_cannot_price(home):
    map_file = SAMPLES / "portkey" / "together-ai.json"
    done = run_cli("prices", "import", map_file, "--json", home=home)
    report = data(done, "prices_import")["files"][0]
    assert report["format"] == "portkey" and report["rows"] == report["priced"] + len(report["unpriced"])
    assert all(note["reason"] for note in report["unpriced"])
    text = run_cli("prices", "import", map_file, home=home)
    assert f"{report['priced']} of {report['rows']} rows priced" in text.stdout
    for note in report["unpriced"]:
        assert note["key"] in text.stderr
    kept = (home / "prices.json").read_text()
    assert '"input":"0.9500000000000001"' in kept, "to the last digit"
    litellm = data(run_cli("prices", "import", SAMPLES / "litellm.json", "--json", home=home), "prices_import")
    assert litellm["files"][0]["format"] == "litellm" and litellm["kept"] == report["priced"] + litellm["files"][0]["priced"]


def shifted(text, places):
    """A decimal times 10**places, digit by digit, as the catalogue writes it."""
    return format((decimal.Decimal(text).scaleb(places)).normalize(), "f")


def test_the_price_map_of_the_package_litellm_is_imported_row_by_row(home):
    map_file = ROOT / "build" / "prices" / "litellm.json"
    if not map_file.exists():
        pytest.skip("tools/setup_test_tools.sh could not have the package litellm")
    told = json.loads(map_file.read_text(), parse_float=str, parse_int=str)
    report = data(run_cli("prices", "import", map_file, "--json", home=home), "prices_import")["files"][0]
    assert report["format"] == "litellm" and report["rows"] in (len(told), len(told) - 1), "but for its sample_spec"
    reasons = {note["key"]: note["reason"] for note in report["unpriced"]}
    assert report["priced"] + len(reasons) == report["rows"] and report["priced"] > report["rows"] // 2
    assert all(reasons.values()) and set(reasons) <= set(told)
    kept = {(row["provider"], row["model"]): row for row in json.loads((home / "prices.json").read_text())["rows"]}
    seen = 0
    for key, row in told.items():
        provider, _, model = key.partition("/")
        slug = {"together_ai": "together", "fireworks_ai": "fireworks-ai"}.get(provider, provider)
        if key in reasons or row.get("litellm_provider") not in ("together_ai", "groq", "fireworks_ai", "cerebras") or (slug, model) not in kept:
            continue
        price = kept[slug, model]
        assert price["input"] == shifted(row["input_cost_per_token"], 6), (key, row, price)
        assert price["output"] == shifted(row.get("output_cost_per_token", "0"), 6), (key, row, price)
        seen += 1
    assert seen > 50, "most rows of known providers keep their names"
    loud = run_cli("prices", "import", map_file, home=home).stderr
    assert all(key in loud for key in reasons), "each row that has no price is named"


def test_imported_prices_replace_those_of_the_starter_catalogue(home, tmp_path):
    row = lambda price: {"pricing_config": {"pay_as_you_go": {"request_token": {"price": price}, "response_token": {"price": price}}}}
    (tmp_path / "groq.json").write_text(json.dumps({"openai/gpt-oss-20b": row(0.0001), "new-org/new": row(0.0002)}))
    assert run_cli("prices", "import", tmp_path / "groq.json", home=home).returncode == 0
    found = {row["place"]: row for row in search(home, "gpt-oss-20b")}
    assert found["groq"]["output_usd_per_mtok"] == "1" and found["groq"]["prices_from"] == "portkey groq.json"
    assert found["together"]["output_usd_per_mtok"] == "0.2"
    assert search(home, "new-org/new") == [], "reachable by its provider's name only"


def test_a_wrong_map_leaves_the_home_as_it_was(home, tmp_path):
    good = shutil.copy(SAMPLES / "litellm.json", tmp_path / "good.json")
    bad = tmp_path / "bad.json"
    bad.write_text('{"a":{"litellm_provider":"x"')
    done = run_cli("prices", "import", good, bad, home=home)
    assert done.returncode == 9 and "bad.json" in done.stderr and "nothing was imported" in done.stderr
    assert not (home / "prices.json").exists()
    assert run_cli("prices", "import", tmp_path / "none.json", home=home).returncode == 3
    assert run_cli("prices", "export", good, home=home).returncode == 2


def test_config_get_says_where_routes_and_providers_come_from(home, config):
    answer = data(run_cli("config", "get", "--json", "--config", config, home=home), "config")
    values = {entry["key"]: entry for entry in answer["values"]}
    assert values["route.default"]["value"] == "cheapest" and values["route.default"]["origin"] == f"{config} line 3"
    assert values["route.fallback"] == {"key": "route.fallback", "value": "list", "origin": "built-in"}
    assert values["server.cors_origins"]["value"] is None
    assert values["providers.site-a.base_url"]["value"] == "http://127.0.0.1:9/v1"
    text = run_cli("config", "get", "route.default", "--origin", "--config", config, home=home).stdout
    assert text == f"cheapest  ({config} line 3)\n"


def test_a_wrong_provider_stops_the_start_with_file_line_and_field(home, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[[providers]]\nname = "local"\n')
    done = run_cli("serve", "--port", "0", "--config", path, home=home)
    assert done.returncode == 2
    assert f"{path} line 2: providers[0].name must not be local" in done.stderr


def test_a_server_lists_who_serves_what(tmp_path, config):
    with Server(tmp_path / "home", "--config", config) as server:
        models = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
        assert list(models)[0] == MODEL or MODEL in models
        assert models[MODEL]["providers"][0]["provider"] == "local"
        assert [p["provider"] for p in models["acme/name"]["providers"]] == ["site-a"], "site-b has no key"
        body = server.get("/v1/models/acme/name").body
        assert '"pricing":{"input":0.1,"output":0.3}' in (body if isinstance(body, str) else body.decode())
        assert "pricing" not in models["acme/unpriced"]["providers"][0]
        assert server.get("/v1/models/openai/gpt-oss-120b").status == 404
        assert server.get("/api/models?inference_provider=all").json() == []
        assert "site-b is off" in server.log()
