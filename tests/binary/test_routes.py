"""Routes as people see them: explained, probed, measured; and what `private` keeps to itself. Against simulated providers."""

import json
import signal

import harness
from market import KEY, MODEL, Market, keys


def cli(market, *words, home="home"):
    return harness.run_cli(*words, "--config", market.config, models=market.models, home=market.folder / home, **keys(market.sites))


def state(market):
    answer = market.server.get("/tw/v1/providers").json()
    return {p["name"]: p["models"][0] for p in answer["providers"] if p["models"]}


def test_explain_names_the_chosen_route_and_why_each_other_one_is_not(tmp_path):
    with Market(tmp_path, "site-a", "together") as market:
        text = market.config.read_text().replace('context = 8192 }]', 'context = 8192, tools = false }]', 1)
        market.config.write_text(text)
        market.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config was read again" in market.server.log(), "the new config")
        told = cli(market, "route", "explain", f"{MODEL}@cheapest", "--need", "tools")
        assert told.returncode == 0, told.stderr
        head, *rows = told.stdout.splitlines()
        assert head.split() == ["PLACE", "STATUS", "IN/OUT", "$/M", "TTFT", "TOK/S", "CTX", "QUANT", "TOOLS", "DECISION"]
        assert rows[0].startswith("together ") and "CHOSEN: cheapest for this request" in rows[0]
        assert rows[1].startswith("site-a ") and "excluded: " in rows[1]
        told = cli(market, "route", "explain", f"{MODEL}:cheapest", "--max-price", "0.20", "--json")
        answer = json.loads(told.stdout)
        assert answer["schema"] == "tradewind.route_explain/v1" and answer["chosen"] is None
        assert {route["code"] for route in answer["routes"]} == {"too_expensive"}
        assert cli(market, "route", "explain", "acme/nobody").returncode == 3
        assert cli(market, "route", "explain", MODEL, "--need", "wings").returncode == 2
        assert not market.sim.log(), "to explain is not to ask"


def test_explain_works_without_a_server_and_says_what_it_cannot_know(tmp_path):
    with Market(tmp_path, "site-a") as market:
        told = cli(market, "route", "explain", MODEL, home="another-home")
        assert told.returncode == 0, told.stderr
        assert "CHOSEN" in told.stdout and "no server runs" in told.stderr


def test_traffic_is_measured_and_shown(tmp_path):
    with Market(tmp_path, "site-a", "together") as market:
        assert "first_token_latency_ms" not in market.server.get("/v1/models").json()["data"][0]["providers"][0]
        market.chat("a sim:tokens=30 sim:tokens_per_s=300", model=f"{MODEL}:site-a", stream=True, stream_options={"include_usage": True})
        entry = market.server.get("/v1/models").json()["data"][0]["providers"][0]
        assert entry["provider"] == "site-a" and entry["status"] == "live"
        assert entry["first_token_latency_ms"] > 0 and entry["throughput"] > 0
        metrics = market.server.metrics()
        assert 'tradewind_route_ttft_seconds{provider="site-a"' in metrics
        assert 'tradewind_route_circuit{provider="site-a"' in metrics
        told = json.loads(cli(market, "route", "explain", f"{MODEL}:fastest", "--json").stdout)
        assert told["chosen"]["provider"] == "site-a", "the one that is measured"


def test_a_free_mapping_is_probed_unasked_at_once(tmp_path):
    with Market(tmp_path, "site-a", prices=("0", "0")) as market:
        harness.wait_for(lambda: state(market)["site-a"]["probe"], "the first probe")
        assert state(market)["site-a"]["probe"]["end"] == "well"
        assert len(market.sim.log()) == 3


def test_a_paid_mapping_is_probed_when_somebody_asks(tmp_path):
    with Market(tmp_path, "site-a", "together") as market:
        assert cli(market, "providers", "check").returncode == 0
        assert not market.sim.log(), "they cost money, and nobody asked"
        told = cli(market, "providers", "check", "site-a", "--probe")
        assert told.returncode == 0, told.stderr
        assert " well, " in told.stdout and "not well" not in told.stdout, told.stdout
        assert {entry["provider"] for entry in market.sim.log()} == {"site-a"}
        assert len(market.sim.log()) == 3, "a stream, a tool, a schema"
        found = state(market)
        assert found["site-a"]["probe"]["end"] == "well" and found["together"]["probe"] is None
        checks = {check["name"]: check["passed"] for check in found["site-a"]["probe"]["checks"]}
        assert checks == {"reachable": True, "format": True, "ttft": True, "tools": True, "structured_output": True}
        entry = market.server.get("/v1/models").json()["data"][0]["providers"][0]
        assert entry["supports_tools"] is True and entry["supports_structured_output"] is True
        assert cli(market, "providers", "check", "nobody").returncode == 3
        assert KEY not in told.stdout + told.stderr


def test_what_probes_cost_is_in_the_usage_and_within_their_budget(tmp_path):
    with Market(tmp_path, "site-a") as market:
        assert cli(market, "budget", "set", "probes", "--usd", "1").returncode == 0
        assert cli(market, "providers", "check", "site-a", "--probe").returncode == 0
        bill = market.sim.bill()["total"]
        billed = bill["prompt_tokens"] * 100 + bill["completion_tokens"] * 300  # nano-dollars a token
        assert billed > 0

        def used():
            return json.loads(cli(market, "budget", "ls", "--json").stdout)["budgets"][0]

        harness.wait_for(lambda: int(used()["spent_nanousd"]) == billed, "what the provider billed")
        told = json.loads(cli(market, "usage", "--json").stdout)
        assert int(told["cost_nanousd"]) == billed and int(told["charge_nanousd"]) == 0
        assert cli(market, "budget", "set", "probes", "--usd", "0.000001").returncode == 0
        asked = len(market.sim.log())
        told = cli(market, "providers", "check", "site-a", "--probe")
        assert len(market.sim.log()) == asked, told.stdout


def test_a_probe_that_fails_takes_the_mapping_out_until_one_succeeds(tmp_path):
    with Market(tmp_path, "site-a", "together", extra='[route]\norder = ["site-a", "together"]\n') as market:
        market.sim.fault(provider="site-a", body="html")
        told = cli(market, "providers", "check", "site-a", "--probe")
        assert told.returncode == 6 and "not well" in told.stdout, told.stdout
        assert state(market)["site-a"]["status"] == "error"
        listed = {p["provider"]: p["status"] for p in market.server.get("/v1/models").json()["data"][0]["providers"]}
        assert listed == {"site-a": "error", "together": "live"}
        assert market.chat().headers["x-inference-provider"] == "together"
        market.sim.clear_faults()
        assert cli(market, "providers", "check", "site-a", "--probe").returncode == 0
        assert state(market)["site-a"]["status"] == "live"
        assert market.chat().headers["x-inference-provider"] == "site-a"


def test_private_never_reaches_a_provider_that_does_not_promise_to_keep_nothing(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with Market(first, "site-a", "together") as market:
        refused = market.chat(model=f"{MODEL}:private")
        assert refused.status == 400 and refused.error()["code"] == "model_not_supported"
        assert not market.sim.log(), "not even to be refused there"
    with Market(second, "site-a", "together", data_policy='"no-retention"') as market:
        text = market.config.read_text()
        market.config.write_text(text.replace('data_policy = "no-retention"', 'data_policy = "retention"', 1))
        market.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config was read again" in market.server.log(), "the new config")
        market.sim.fault(provider="together", status=503)
        for stream in (False, True):
            for _ in range(3):
                assert market.chat(model=f"{MODEL}:private", stream=stream).status != 200
        market.sim.clear_faults()
        assert {entry["provider"] for entry in market.sim.log()} == {"together"}, "no failover out of privacy"


def test_the_configs_data_policy_holds_whatever_the_model_string_says(tmp_path):
    with Market(tmp_path, "site-a", "together", extra='[route]\ndata_policy = "no-retention"\n') as market:
        for suffix in ("", ":cheapest", ":fastest", ":site-a", ":together"):
            refused = market.chat(model=MODEL + suffix)
            assert refused.status == 400, suffix
        assert not market.sim.log()


def test_a_keys_limits_hold_and_say_whose_which_and_when(tmp_path):
    with Market(tmp_path, "site-a") as market:
        made = cli(market, "keys", "create", "--name", "ci", "--rpm", "2")
        assert made.returncode == 0, made.stderr
        mine = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert [market.chat(headers=mine).status for _ in range(2)] == [200, 200]
        refused = market.chat(headers=mine)
        assert refused.status == 429 and refused.error()["message"].startswith("key ci: its 2 requests per minute are used up")
        assert 1 <= int(refused.headers["Retry-After"]) <= 62
        assert market.chat().status == 200, "another key is not touched"
        assert len(market.sim.log()) == 3, "what is refused here reaches nobody"


def test_web_pages_of_origins_that_the_config_gains_are_let_in_at_sighup(tmp_path):
    with Market(tmp_path, "site-a") as market:
        page = {"Origin": "https://app.example"}
        assert "Access-Control-Allow-Origin" not in market.server.get("/healthz", page).headers
        market.config.write_text('[server]\ncors_origins = ["https://app.example"]\n' + market.config.read_text())
        market.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config was read again" in market.server.log(), "the new config")
        assert market.server.get("/healthz", page).headers["Access-Control-Allow-Origin"] == "https://app.example"


def test_fallback_off_is_one_try_and_same_model_no_other_model(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with Market(first, "site-a", "together", extra='[route]\norder = ["site-a"]\nfallback = "off"\n') as market:
        market.sim.fault(provider="site-a", status=503)
        assert market.chat().status != 200
        assert [entry["provider"] for entry in market.sim.log()] == ["site-a"], "no second try, here or elsewhere"
    with Market(second, "site-a", "together", extra='[route]\norder = ["site-a"]\n') as market:
        market.sim.fault(provider="site-a", status=503)
        assert market.chat().headers["x-inference-provider"] == "together"
