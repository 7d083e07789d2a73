"""What people suffered from other gateways' money, each as a test: README_money.md says which case is tested where."""

import collections
import concurrent.futures
import csv
import datetime
import io
import itertools
import json
import re
import signal
import unicodedata
import urllib.parse

import pytest

import harness
import market
from market import MODEL

# $0.001 and $0.003 a token; the simulated providers bill the same, by books of their own.
PRICES = {"site-a": ("1000", "3000"), "site-b": ("1200", "3600")}
BILLED = {
    site: json.dumps({"input_nanousd_per_mtok": int(usd[0]) * 10**9, "output_nanousd_per_mtok": int(usd[1]) * 10**9})
    for site, usd in PRICES.items()
}
OTHER, UNPRICED = "acme/other", "acme/unpriced"
OWN_PATH = "/site-a/site-a/v1/chat/completions"  # of the provider, for clients that name one
NAMES = (f"n{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    prices = [word for name, price in BILLED.items() for word in ("--price", f"{name}={price}")]
    models = ["--model", "site-a=model-y", "--model", "site-a=model-z"]
    more = {"site-a": [(OTHER, "model-y", "conversational")]}
    folder = tmp_path_factory.mktemp("cases")
    extra = '[route]\norder = ["site-a", "site-b"]\n'
    with market.Market(folder, *PRICES, prices=PRICES, sim_flags=[*models, *prices], more=more, models=harness.MODELS, extra=extra) as running:
        unpriced = f'models = [{{ id = "{UNPRICED}", provider_id = "model-z", context = 8192 }}, '
        reload(running, running.config.read_text().replace("models = [", unpriced, 1))
        yield running


@pytest.fixture(autouse=True)
def well(request):
    if "site" in request.fixturenames:
        request.getfixturevalue("site").sim.reset()


def reload(site, config):
    seen = site.server.log().count("the config was read again")
    site.config.write_text(config)
    site.server.process.send_signal(signal.SIGHUP)
    harness.wait_for(lambda: site.server.log().count("the config was read again") > seen, "the new config")


def cli(site, *words):
    done = harness.run_cli(*words, home=site.server.home)
    assert done.returncode == 0, done
    return done.stdout


def make_key(site, name, *words):
    return json.loads(cli(site, "keys", "create", "--name", name, "--json", *words))


def usage(site, key):
    return json.loads(cli(site, "usage", "--key", key["id"], "--json"))


def receipt(site, reply):
    return json.loads(cli(site, "receipt", reply.headers["x-tradewind-receipt"], "--json"))


def billed(site, provider=None):
    """What the simulated providers, or one of them, bill in nano-dollars."""
    return sum(int(row["cost_nanousd"]) for row in site.sim.bill()["rows"] if provider in (None, row["provider"]))


def billed_of(site, model):
    return sum(int(row["cost_nanousd"]) for row in site.sim.bill()["rows"] if row["model"] == model)


def dollars(nano):
    return f"{nano // 10**9}.{nano % 10**9:09}"


def chat(site, key, path="/v1/chat/completions", model=MODEL, text="one two three", **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}]} | fields
    return site.server.post(path, body, {"Authorization": f"Bearer {key['token']}"})


def admin(site):
    return {"Authorization": f"Bearer {(site.server.home / 'admin-token').read_text().strip()}"}


def budget(site, scope, nano=None):
    """Sets it to `nano`, or reads it."""
    path = f"/tw/v1/budgets/{urllib.parse.quote(scope, safe='/:')}"
    reply = site.server.get(path, admin(site)) if nano is None else site.server.request("PUT", path, {"budget": dollars(nano)}, admin(site))
    assert reply.status == 200, reply.body
    return reply.json()


def held_and_cost(site, **fields):
    """Of one such request, by a key that has room for it."""
    reply = chat(site, make_key(site, next(NAMES), "--budget", "1000"), **fields)
    (attempt,) = receipt(site, reply)["attempts"]
    site.sim.reset()
    return int(attempt["held_nanousd"]), int(attempt["cost_nanousd"])


def test_t2_a_key_is_bound_from_its_very_first_requests_on(site):
    keys = [make_key(site, f"fresh-{number}", "--budget", "0.5") for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda number: chat(site, keys[number % 4], max_tokens=20).status, range(32)))
    assert set(replies) == {402}, "half a dollar holds no request of these prices"
    assert site.sim.bill()["total"]["requests"] == 0


@pytest.mark.parametrize("room", [1, 3, 6])
def test_t2_of_a_new_keys_first_requests_as_many_pass_as_there_is_room_for(site, room):
    fields = {"text": "sim:tokens=2000 one", "max_tokens": 2000}
    held, cost = held_and_cost(site, **fields)
    assert room * (held - cost) < held, "what they give back makes no room for one more, in whatever order they end"
    key = make_key(site, f"room-for-{room}", "--budget", dollars(room * held))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: chat(site, key, **fields).status, range(24)))
    assert sorted(replies) == [200] * room + [402] * (24 - room)
    spent = usage(site, key)
    assert site.sim.bill()["total"]["requests"] == spent["requests"]["settled"] == room
    assert int(spent["budget"]["spent_nanousd"]) == billed(site) == room * cost


def test_t2_room_is_counted_to_the_nano_dollar(site):
    held, cost = held_and_cost(site, max_tokens=10)
    for missing in (0, 1):
        site.sim.reset()
        key = make_key(site, f"missing-{missing}", "--budget", dollars(2 * cost + held - missing))
        replies = [chat(site, key, max_tokens=10).status for _ in range(4)]
        assert replies == [200] * (3 - missing) + [402] * (1 + missing)
        assert site.sim.bill()["total"]["requests"] == 3 - missing
        assert int(usage(site, key)["budget"]["spent_nanousd"]) == billed(site) == (3 - missing) * cost


@pytest.mark.parametrize("rest", ["", f"/model:{MODEL}", "/provider:site-a"])
@pytest.mark.parametrize("kind", ["key", "user", "project", "org"])
def test_t3_a_budget_of_every_scope_refuses_what_does_not_fit_and_then_no_other_counts_it(site, kind, rest):
    fields = {"model": f"{MODEL}:site-a", "max_tokens": 10}
    held, cost = held_and_cost(site, **fields)
    owner = next(NAMES)
    key, sister = (make_key(site, next(NAMES), "--org", owner, "--project", owner, "--user", owner) for _ in range(2))
    names = {one: key["id"] if one == "key" else owner for one in ("key", "user", "project", "org")}
    scope = f"{kind}:{names[kind]}{rest}"
    budget(site, scope, cost + held - 1)
    wide = [f"{one}:{name}" for one, name in names.items() if (one, "") != (kind, rest)]
    for one in wide:
        budget(site, one, 10**12)
    assert chat(site, key, **fields).status == 200
    own = [key] if kind == "key" else [key, sister]
    refused = [chat(site, one, **fields) for one in own for _ in range(2)]
    assert {reply.status for reply in refused} == {402}, "it lacks one nano-dollar"
    assert budget(site, scope)["scope"] in refused[0].error()["message"], "whose it is"
    assert site.sim.bill()["total"]["requests"] == 1
    for one in [scope, *wide]:
        got = budget(site, one)
        assert (int(got["spent_nanousd"]), int(got["held_nanousd"])) == (billed(site), 0), one
    # What does not fall into it goes on.
    caller = key if rest else make_key(site, next(NAMES))
    changed = {"": {}, f"/model:{MODEL}": {"model": f"{OTHER}:site-a"}, "/provider:site-a": {"model": f"{MODEL}:site-b"}}[rest]
    assert chat(site, caller, **fields | changed).status == 200
    assert int(budget(site, scope)["spent_nanousd"]) == cost
    if rest:
        assert {int(budget(site, one)["spent_nanousd"]) for one in wide} == {billed(site)}


def test_t4_without_a_price_a_hard_budget_lets_nothing_through_however_many_ask_at_once(site):
    key = make_key(site, "unpriced-hard", "--budget", "5")

    def ask(number):
        how = {"path": OWN_PATH, "model": "model-z"} if number % 3 == 0 else {"model": UNPRICED}
        reply = chat(site, key, **how, max_tokens=5, stream=number % 2 == 0)
        return reply.status, reply.error()["message"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, range(48)))
    assert {status for status, _ in replies} == {402} and all("has no price" in message for _, message in replies)
    assert site.sim.log() == [] and billed(site) == 0
    after = usage(site, key)
    assert after["budget"]["available_nanousd"] == "5000000000" and not any(after["requests"].values())


TEXTS = {"model": "acme/vectors", "input": "word " * 500}


@pytest.fixture
def mistyped(tmp_path):
    """A provider that bills $0.10 and $0.30 a million tokens, and a config that says a thousand times as much."""
    price = {"input_nanousd_per_mtok": 100_000_000, "output_nanousd_per_mtok": 300_000_000}
    more = {"site-a": [("acme/vectors", "embed-x", "feature-extraction")]}
    with market.Market(tmp_path, "site-a", prices=("100", "300"), more=more, sim_flags=["--price", f"site-a={json.dumps(price)}"]) as running:
        yield running


def imported_bill(site, folder):
    """The provider's bill, imported, a line for each model and month: one may end during a test. What is made of it in each month."""
    lines = collections.defaultdict(collections.Counter)
    for entry in site.sim.log():
        day = datetime.datetime.fromtimestamp(entry["begin_ms"] / 1000, datetime.UTC).date().replace(day=1)
        lines[day, entry["model"]].update({name: int(value) for name, value in entry["billed"].items()})
    bill = folder / "bill.csv"
    with bill.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["start", "end", "model", "input_tokens", "output_tokens", "cost_nanousd"])
        for (day, model), of_month in lines.items():
            next_month = (day + datetime.timedelta(days=31)).replace(day=1)
            rows.writerow([day, next_month, model, *(of_month[name] for name in ("prompt_tokens", "completion_tokens", "cost_nanousd"))])
    cli(site, "reconcile", "import", bill, "--provider", "site-a")
    months = sorted({f"{day:%Y-%m}" for day, _ in lines})
    return [json.loads(cli(site, "reconcile", "status", month, "--json"))["providers"][0] for month in months]


def suspense(months):
    return sum(int(month["suspense_nanousd"]) for month in months)


def test_t9_a_price_that_was_mistyped_is_corrected_by_a_reload_and_what_it_cost_is_told(mistyped, tmp_path):
    site, text = mistyped, "word " * 400
    key = make_key(site, "mistyped", "--budget", "5")
    headers = {"Authorization": f"Bearer {key['token']}"}
    before = []
    while (reply := chat(site, key, text=text, max_tokens=300)).status == 200:
        before.append(reply)
        assert site.server.post("/v1/embeddings", TEXTS, headers).status == 200
    assert reply.status == 402 and len(before) > 3, "locked out by a price that nobody billed"
    wrong = billed(site)
    assert int(usage(site, key)["budget"]["spent_nanousd"]) == 1000 * wrong

    # The provider's bill tells it: what was recorded too much, model by model, and the price where one line is enough.
    months = imported_bill(site, tmp_path)
    lines = [line for month in months for line in month["lines"]]
    assert {line["class"] for line in lines} == {"price"}
    for row in site.sim.bill()["rows"]:
        of_model = [line for line in lines if line["model"] == row["model"]]
        assert sum(int(line["recorded"]["cost_nanousd"]) for line in of_model) == 1000 * int(row["cost_nanousd"])
        assert sum(int(line["difference_nanousd"]) for line in of_model) == -999 * int(row["cost_nanousd"])
    assert suspense(months) == -999 * wrong
    proposed = {one["model"]: one for month in months for one in month["prices"]}
    vectors = proposed["embed-x"]
    assert (vectors["input_usd_per_mtok"], vectors["output_usd_per_mtok"], vectors["exact"]) == ("0.1", None, True)
    assert 'input_usd_per_mtok = "0.1"' in vectors["config"]
    assert "do not tell the prices apart" in proposed["model-x"]["none_because"]

    # Corrected and read again, the next request fits, at once and at the right price.
    config = site.config.read_text()
    for wrong_usd, right_usd in (("100", "0.1"), ("300", "0.3")):
        config = config.replace(f'_usd_per_mtok = "{wrong_usd}"', f'_usd_per_mtok = "{right_usd}"')
    reload(site, config)
    after = [chat(site, key, text=text, max_tokens=300, stream=stream) for stream in (False, True)]
    assert [reply.status for reply in after] == [200, 200]
    assert site.server.post("/v1/embeddings", TEXTS, headers).status == 200
    spent = usage(site, key)["budget"]
    assert int(spent["spent_nanousd"]) == 1000 * wrong + billed(site) - wrong, "exact from here on"

    # Old receipts keep the price that they were settled at, in words that recompute.
    versions = json.loads(cli(site, "prices", "history", MODEL, "--json"))["versions"]
    assert [one["input_usd_per_mtok"] for one in versions] == ["100", "0.1"]
    assert versions[0]["valid_to"] == versions[1]["valid_from"]
    told = [{receipt(site, reply)["attempts"][0]["price_version"] for reply in replies} for replies in (before, after)]
    assert told == [{one["version"]} for one in versions]
    assert json.loads(cli(site, "bill", "verify", "--json"))["good"]
    taken = -suspense(imported_bill(site, tmp_path))
    assert taken == 999 * wrong, "and no nano-dollar more"

    # What the typing error took from the budget is given back, to the nano-dollar: one request by hand, the others by the right price.
    first = before[0].headers["x-tradewind-receipt"]
    (wrongly,) = receipt(site, before[0])["attempts"]
    assert int(wrongly["cost_nanousd"]) % 1000 == 0
    right = int(wrongly["cost_nanousd"]) // 1000
    adjusted = json.loads(cli(site, "receipt", "adjust", f"{first}-1", "--cost", dollars(right), "--reason", "a mistyped price", "--json"))
    (made,) = adjusted["attempts"][0]["corrections"]
    assert (made["cost_before_nanousd"], made["cost_nanousd"], made["reason"]) == (wrongly["cost_nanousd"], str(right), "a mistyped price")
    assert "a mistyped price" in cli(site, "receipt", first)
    for model in (MODEL, TEXTS["model"]):
        rerate = ["prices", "rerate", model, "--provider", "site-a", "--json"]
        told = json.loads(cli(site, *rerate))
        assert not told["applied"] and sum(org["attempts"] for org in told["organisations"]) == len(before) - (model == MODEL)
        assert json.loads(cli(site, *rerate, "--apply", "--reason", "a mistyped price"))["organisations"] == told["organisations"]
        assert json.loads(cli(site, *rerate))["organisations"] == [], "once is enough"
    assert int(usage(site, key)["cost_nanousd"]) == billed(site)
    assert int(usage(site, key)["budget"]["available_nanousd"]) == 5 * 10**9 - billed(site)
    assert json.loads(cli(site, "bill", "verify", "--json"))["good"]
    assert suspense(imported_bill(site, tmp_path)) == 0, "the provider's bill is what is recorded"
    right = billed(site)
    site.server.kill()
    with harness.Server(site.server.home, "--config", site.config, models=site.models, env=market.keys(site.sites)):
        assert int(usage(site, key)["budget"]["available_nanousd"]) == 5 * 10**9 - right
        assert int(usage(site, key)["cost_nanousd"]) == right
        assert json.loads(cli(site, "bill", "verify", "--json"))["good"]


def test_t9_a_budget_that_is_crossed_again_after_a_correction_is_told_of_again(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES["site-a"]) as site:
        held, _ = held_and_cost(site, max_tokens=10)
        for period in ("total", "rolling:24h"):
            key = make_key(site, period, "--budget", dollars(held), "--period", period)
            cli(site, "budget", "set", f"key:{key['id']}", "--warn", "1")

            def told():
                texts = json.loads(cli(site, "alerts", "--json"))["alerts"]
                return sum(key["id"] in one["text"] and one["text"].startswith("1 %") for one in texts)

            first = chat(site, key, max_tokens=10).headers["x-tradewind-receipt"]
            harness.wait_for(lambda: told() == 1, "the first alert")
            cli(site, "receipt", "adjust", first, "--cost", "0", "--reason", "a rebate")
            assert chat(site, key, max_tokens=10).status == 200
            harness.wait_for(lambda: told() == 2, "what is crossed again")
        site.server.kill()
        with harness.Server(site.server.home, "--config", site.config, models=site.models, env=market.keys(site.sites)) as server:
            harness.wait_for(lambda: server.get("/readyz").status == 200, "the server")
            assert told() == 2, "and a start tells nothing again"


def test_t9_what_many_credits_paid_is_named_by_a_rerating_and_lowered_in_steps(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES["site-a"]) as site:
        key = make_key(site, "many", "--budget", "100")
        for number in range(24):
            cli(site, "credit", "grant", "default", "0.000001", "--id", f"small-{number}")
        first = chat(site, key, max_tokens=10).headers["x-tradewind-receipt"]
        assert chat(site, key, max_tokens=10).status == 200
        rerate = ["prices", "rerate", MODEL, "--provider", "site-a", "--input-usd-per-mtok", "0", "--output-usd-per-mtok", "0"]
        for words in ([], ["--apply", "--reason", "a present"]):
            told = json.loads(cli(site, *rerate, *words, "--json"))
            assert told["too_many_accounts"] == [f"{first}-1"] and sum(org["attempts"] for org in told["organisations"]) == 1
        assert f"{first}-1 stays too" in cli(site, *rerate)
        refused = harness.run_cli("receipt", "adjust", first, "--cost", "0", "--reason", "a present", home=site.server.home)
        assert refused.returncode != 0 and "in steps" in refused.stderr
        for words in (["--charge", "0.000012"], ["--cost", "0"]):
            cli(site, "receipt", "adjust", first, *words, "--reason", "a present")
        assert [usage(site, key)[name] for name in ("cost_nanousd", "charge_nanousd")] == ["0", "0"]
        assert json.loads(cli(site, "bill", "verify", "--json"))["good"]


def test_t9_corrections_are_the_admins_and_end_where_a_day_does(tmp_path):
    extra = '[billing]\nadjust_daily_usd = "0.01"\n'
    with market.Market(tmp_path, "site-a", prices=PRICES["site-a"], extra=extra) as site:
        key = make_key(site, "corrected")
        receipts = [chat(site, key, max_tokens=10).headers["x-tradewind-receipt"] for _ in range(2)]
        (attempt,) = json.loads(cli(site, "receipt", receipts[0], "--json"))["attempts"]
        cost = int(attempt["cost_nanousd"])
        assert cost > 10**7
        body = {"receipt": receipts[0], "cost": dollars(cost - 10**7), "reason": "a rebate"}
        for token, status in ((key["token"], 403), ((site.server.home / "admin-token").read_text().strip(), 200)):
            reply = site.server.post("/tw/v1/corrections", body, {"Authorization": f"Bearer {token}"})
            assert reply.status == status, reply.body
        assert reply.json()["cost_nanousd"] == str(cost - 10**7)
        again = harness.run_cli("receipt", "adjust", receipts[0], "--cost", dollars(cost - 10**7), "--reason", "a rebate", home=site.server.home)
        assert again.returncode == 0, "the same again changes nothing"
        beyond = harness.run_cli("receipt", "adjust", receipts[1], "--cost", "0", "--reason", "a rebate", home=site.server.home)
        assert beyond.returncode != 0 and "adjust_daily_usd" in beyond.stderr
        raised = harness.run_cli("receipt", "adjust", receipts[1], "--charge", dollars(cost + 1), "--reason", "x", home=site.server.home)
        assert raised.returncode != 0 and "never rises" in raised.stderr
        assert int(usage(site, key)["cost_nanousd"]) == 2 * cost - 10**7
        lines = json.loads(cli(site, "bill", "show", "--json"))["statement"]["lines"]
        assert [line["cost_nanousd"] for line in lines if line["meter"] == "corrections"] == [str(-(10**7))]
        rows = list(csv.DictReader(io.StringIO(cli(site, "bill", "export"))))
        assert [row["BilledCost"] for row in rows if row["ChargeClass"] == "Correction"] == ["-0.01"]


def test_t10_a_providers_own_path_is_bound_by_the_budget_too(site):
    path = {"path": OWN_PATH, "model": "model-x"}
    key = make_key(site, "own-path", "--budget", "0.01")
    reply = chat(site, key, **path, max_tokens=5)
    assert reply.status == 402, reply.body
    assert site.sim.bill()["total"]["requests"] == 0
    dropped = site.server.post("/tw/v1/keys", {"name": "x", "budgett": "1"}, admin(site))
    assert dropped.status == 400 and "budgett" in dropped.error()["message"], "a field is refused, never dropped"


def test_t10_what_fits_on_an_own_path_is_spent_as_the_provider_bills_it(site):
    path = {"path": OWN_PATH, "model": "model-x"}
    key = make_key(site, "own-path-fits", "--budget", "20")
    for number in range(6):
        assert chat(site, key, **path, max_tokens=5 + number, stream=number % 2 == 0).status == 200
    budget_of = f"key:{key['id']}"
    assert int(budget(site, budget_of)["spent_nanousd"]) == int(usage(site, key)["cost_nanousd"]) == billed(site) > 0
    # And to its very end.
    while (reply := chat(site, key, **path, max_tokens=300)).status == 200:
        pass
    assert reply.status == 402
    assert int(budget(site, budget_of)["spent_nanousd"]) == billed(site) <= 20 * 10**9


def test_t11_a_budget_of_a_model_counts_whole_requests_however_the_model_is_written(site):
    key = make_key(site, "of-a-model")
    scope = f"key:{key['id']}/model:{MODEL}"
    budget(site, scope, 20 * 10**9)
    for written in (MODEL, f"{MODEL}:site-a", f"{MODEL}:site-b", f"{MODEL}:cheapest"):
        assert chat(site, key, model=written, max_tokens=10).status == 200, written
    assert billed(site, "site-b") > 0
    spent = int(budget(site, scope)["spent_nanousd"])
    assert spent == int(usage(site, key)["cost_nanousd"]) == billed(site) > 4_000_000, "each at its cost, not as one"


def test_t12_no_bound_is_asked_for_where_none_is_needed_and_a_refusal_says_whose(site):
    free = make_key(site, "unbounded")
    assert chat(site, free).status == 200
    key = make_key(site, "whose", "--budget", "0.01")
    message = chat(site, key, max_tokens=5).error()["message"]
    assert f"key:{key['id']}" in message and "$0.01" in message, message


def test_t14_calls_that_ask_no_model_cost_nothing(site):
    key = make_key(site, "looks", "--budget", "5")
    headers = {"Authorization": f"Bearer {key['token']}"}
    for path in ("/v1/models", "/api/models", f"/v1/models/{MODEL}", "/api/whoami-v2", "/tw/v1/usage", "/tw/v1/providers", f"/tw/v1/route?model={MODEL}"):
        assert site.server.get(path, headers).status == 200, path
    tokenized = site.server.post("/tokenize", {"model": harness.MODEL, "prompt": "one two three"}, headers)
    assert tokenized.status == 200 and tokenized.json()["count"] >= 3, tokenized.body
    asked = {"model": "model-x", "messages": [{"role": "user", "content": "one"}]}
    for path in ("/site-a/site-a/v1/files", "/site-a/site-a/v1/chat", "/v1/files", "/nobody/v1/chat/completions"):
        assert site.server.post(path, asked, headers).status == 404, path
    assert chat(site, key, path=OWN_PATH, model="nobody-s").status == 400
    after = usage(site, key)
    assert after["requests"] == {"settled": 0, "void": 0, "running": 0, "in_doubt": 0, "unpriced": 0}
    assert after["budget"]["available_nanousd"] == "5000000000"
    assert site.sim.log() == [] and site.sim.bill()["rows"] == []


def test_t29_a_request_that_failed_over_has_its_cost_attempt_by_attempt(site):
    key = make_key(site, "failed-over", "--budget", "100")
    site.sim.fault(provider="site-a", status=503, count=1)
    reply = chat(site, key, max_tokens=20)
    assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
    first, second = (got := receipt(site, reply))["attempts"]
    assert (first["state"], second["state"]) == ("void", "settled")
    assert got["cost_nanousd"] == reply.headers["x-tradewind-cost-nanousd"] == usage(site, key)["cost_nanousd"]
    assert int(got["cost_nanousd"]) == int(second["cost_nanousd"]) == billed(site, "site-b") == billed(site)


# Billed by the first, and no answer: an error that was billed, an answer that was cut before its first word, one too late.
BILLED_AND_FAILED = [{"status": 500, "bill_refused": True}, {"cut_after": 0, "bill": "whole"}, {"close": "rst", "bill_refused": True}]


@pytest.mark.parametrize("fault", BILLED_AND_FAILED)
def test_t29_an_attempt_that_was_billed_and_failed_over_is_on_both_bills(tmp_path, fault):
    prices = [word for name, price in BILLED.items() for word in ("--price", f"{name}={price}")]
    flags = ["--billing-every", "100ms", "--billing-give-up", "30s"]
    extra = '[route]\norder = ["site-a", "site-b"]\n'
    with market.Market(tmp_path, *PRICES, prices=PRICES, sim_flags=prices, billing=True, flags=flags, extra=extra) as both:
        key = make_key(both, "twice", "--budget", "100")
        replies = []
        for stream in (False, True):
            both.sim.fault(provider="site-a", endpoint="chat", count=1, **fault)
            replies.append(chat(both, key, max_tokens=20, stream=stream))
            assert replies[-1].status == 200 and replies[-1].headers["x-inference-provider"] == "site-b"
        harness.wait_for(lambda: usage(both, key)["requests"]["in_doubt"] == 0, "no request in doubt")
        costs = {"site-a": 0, "site-b": 0}
        for reply in replies:
            attempts = (got := receipt(both, reply))["attempts"]
            assert [(one["provider"], one["state"]) for one in attempts] == [("site-a", "settled"), ("site-b", "settled")]
            assert [one["usage_source"] for one in attempts] == ["billed", "provider"]
            assert int(got["cost_nanousd"]) == sum(int(one["cost_nanousd"]) for one in attempts)
            for one in attempts:
                costs[one["provider"]] += int(one["cost_nanousd"])
        assert costs == {name: billed(both, name) for name in costs} and all(costs.values())
        spent = usage(both, key)
        assert int(spent["cost_nanousd"]) == int(spent["budget"]["spent_nanousd"]) == billed(both)
        assert spent["requests"]["settled"] == both.sim.bill()["total"]["requests"] == 4
        assert int(spent["charge_nanousd"]) == billed(both, "site-b"), "charged is what somebody got"


def test_t31_what_has_no_price_is_counted_and_shown_as_unpriced_and_never_as_nothing(site):
    org = next(NAMES)
    key = make_key(site, next(NAMES), "--org", org)
    replies = [chat(site, key, model=UNPRICED, max_tokens=5, stream=number % 2 == 0) for number in range(5)]
    replies.append(chat(site, key, path=OWN_PATH, model="model-z", max_tokens=5))
    for reply in replies:
        assert reply.status == 200 and "x-tradewind-cost-nanousd" not in reply.headers
        assert "text/event-stream" not in reply.headers["Content-Type"] or b'"cost_nanousd":null' in reply.body
    priced = chat(site, key, max_tokens=5)
    cost = int(priced.headers["x-tradewind-cost-nanousd"])
    assert cost == billed(site) - billed_of(site, "model-z") > 0 < billed_of(site, "model-z")
    spent = usage(site, key)
    assert (spent["requests"]["unpriced"], spent["requests"]["settled"], spent["cost_nanousd"]) == (6, 7, str(cost))
    (used,) = [row for row in site.sim.bill()["rows"] if row["model"] == "model-z"]

    statement = json.loads(cli(site, "bill", "--org", org, "--json"))["statement"]
    lines = {line["meter"]: line for line in statement["lines"] if line["model"] == UNPRICED}
    quantities = {"requests": 6, "input_tokens": used["prompt_tokens"], "output_tokens": used["completion_tokens"]}
    assert {meter: line["quantity"] for meter, line in lines.items()} == quantities
    assert {(line["price_version"], line["usd_per_mtok"]) for line in lines.values()} == {(0, None)}
    assert statement["cost_nanousd"] == str(cost)
    table = cli(site, "bill", "--org", org)
    rows = [line.split() for line in table.splitlines() if UNPRICED in line]
    assert {tuple(row[-3:]) for row in rows} == {("unpriced", "-", "-")} and len(rows) == 3
    assert "unpriced: 6 requests" in table and "unpriced  6 requests" in cli(site, "usage", "--key", key["id"])

    exported = [row for row in csv.DictReader(io.StringIO(cli(site, "bill", "export", "--org", org))) if row["ResourceName"] == UNPRICED]
    assert len(exported) == 3
    for row in exported:
        assert json.loads(row["SkuPriceDetails"])["x_Unpriced"] is True and "without a price" in row["ChargeDescription"]
        assert row["ListUnitPrice"] == row["x_ProviderCost"] == "", "not known"

    month = ["--org", org, "--period", statement["period"], "--draft"]
    invoice = json.loads(cli(site, "bill", "invoice", *month, "--json"))
    assert invoice["net_nanousd"] == str(cost)
    assert {(line["price_version"], line["usd_per_mtok"]) for line in invoice["lines"] if line["model"] == UNPRICED} == {(0, "")}
    page = [line for line in cli(site, "bill", "invoice", *month, "--format", "html").splitlines() if UNPRICED in line]
    assert len(page) == 3 and all("unpriced" in line and "$" not in line for line in page)

    # What a correction says it did cost is known, and counted so.
    for number, reply in enumerate(replies):
        cli(site, "receipt", "adjust", reply.headers["x-tradewind-receipt"], "--cost", "0.001", "--reason", "the provider's bill")
        spent, table = usage(site, key), cli(site, "bill", "--org", org)
        assert (spent["requests"]["unpriced"], spent["cost_nanousd"]) == (5 - number, str(cost + 10**6 * (number + 1)))
        assert (f"unpriced: {5 - number} requests" in table) == (" unpriced " in table) == (number < 5)
    assert json.loads(cli(site, "bill", "verify", "--json"))["good"]


def test_t32_header_receipt_usage_budget_and_the_providers_bill_are_one_figure(site):
    key = make_key(site, "one-figure", "--budget", "1000")
    header = receipts = 0
    for number in range(12):
        reply = chat(site, key, max_tokens=5 + number, n=1 + number % 2)
        assert reply.status == 200
        header += int(reply.headers["x-tradewind-cost-nanousd"])
        receipts += int(receipt(site, reply)["cost_nanousd"])
    spent = usage(site, key)
    assert header == receipts == int(spent["cost_nanousd"]) == int(spent["budget"]["spent_nanousd"]) == billed(site)


def test_the_bound_of_a_prompt_knows_of_all_that_grows_when_it_is_normalised():
    """Against Unicode's own data: no code point's canonical decomposition is longer than the table of src/dialects/normalised.cc has it."""
    text = (harness.ROOT / "src" / "dialects" / "normalised.cc").read_text()
    ranges = [(int(first, 16), int(last, 16), int(more)) for first, last, more in re.findall(r"\{0x(\w+), 0x(\w+), (\d+)\}", text)]
    assert len(ranges) > 50 and ranges == sorted(ranges)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ranges)), "in order, and none in another"
    table = {code: more for first, last, more in ranges for code in range(first, last + 1)}
    for code in (*range(0x80, 0xAC00), *range(0xD7A4, 0xD800), *range(0xE000, 0x110000)):
        char = chr(code)
        growth = len(unicodedata.normalize("NFD", char).encode()) - len(char.encode())
        assert growth <= table.get(code, 0), hex(code)
    # Hangul's syllables are composed again, whatever follows.
    for mark in ("\u0301", "\u094d", "\u3099", "\u1161", "\u11a8"):
        for code in range(0xAC00, 0xD7A4, 7):
            assert len(unicodedata.normalize("NFC", chr(code) + mark).encode()) <= len((chr(code) + mark).encode())


def test_a_prompt_that_grows_when_it_is_normalised_is_held_for_as_it_will_be(site):
    def held(text):
        reply = site.chat(text, max_tokens=1)
        assert reply.status == 200, reply.body
        return int(reply.headers["x-tradewind-hold-nanousd"])

    plain, grows = held("\u4e2d" * 300), held("\u0ccb" * 300)
    assert grows > plain, "as many bytes of JSON, and half as many again when they are taken apart"
