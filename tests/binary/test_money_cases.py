"""What people suffered from other gateways' money, each as a test: README_money.md says which case is tested where."""

import concurrent.futures
import json

import pytest

import harness
import market
from market import MODEL

PRICES = ("1000", "3000")  # $0.001 and $0.003 a token


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with market.Market(tmp_path_factory.mktemp("cases"), "site-a", "site-b", prices=PRICES, extra='[route]\norder = ["site-a", "site-b"]\n') as running:
        yield running


@pytest.fixture(autouse=True)
def well(site):
    site.sim.reset()


def make_key(site, name, *words):
    made = harness.run_cli("keys", "create", "--name", name, "--json", *words, home=site.server.home)
    assert made.returncode == 0, made
    return json.loads(made.stdout)


def usage(site, key):
    return json.loads(harness.run_cli("usage", "--key", key["id"], "--json", home=site.server.home).stdout)


def chat(site, key, path="/v1/chat/completions", model=MODEL, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "one two three"}]} | fields
    return site.server.post(path, body, {"Authorization": f"Bearer {key['token']}"})


def test_t2_a_key_is_bound_from_its_very_first_requests_on(site):
    keys = [make_key(site, f"fresh-{number}", "--budget", "0.5") for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda number: chat(site, keys[number % 4], max_tokens=20).status, range(32)))
    assert set(replies) == {402}, "half a dollar holds no request of these prices"
    assert site.sim.bill()["total"]["requests"] == 0


def test_t9_a_price_that_was_mistyped_locks_nobody_out_for_good(site):
    key = make_key(site, "mistyped", "--budget", "5")
    while chat(site, key, max_tokens=300).status == 200:
        pass
    done = harness.run_cli("budget", "set", f"key:{key['id']}", "--usd", "50", home=site.server.home)
    assert done.returncode == 0, done
    assert chat(site, key, max_tokens=300).status == 200, "a raised limit counts at once, without a database's help"


def test_t10_a_providers_own_path_is_bound_by_the_budget_too(site):
    key = make_key(site, "own-path", "--budget", "0.01")
    reply = chat(site, key, path="/site-a/site-a/v1/chat/completions", model="model-x", max_tokens=5)
    assert reply.status == 402, reply.body
    assert site.sim.bill()["total"]["requests"] == 0
    dropped = site.server.post("/tw/v1/keys", {"name": "x", "budgett": "1"}, {"Authorization": f"Bearer {admin(site)}"})
    assert dropped.status == 400 and "budgett" in dropped.error()["message"], "a field is refused, never dropped"


def admin(site):
    return (site.server.home / "admin-token").read_text().strip()


def test_t11_a_budget_of_a_model_counts_whole_requests_however_the_model_is_written(site):
    key = make_key(site, "of-a-model")
    scope = f"key:{key['id']}/model:{MODEL}"
    assert harness.run_cli("budget", "set", scope, "--usd", "20", home=site.server.home).returncode == 0
    for written in (MODEL, f"{MODEL}:site-a", f"{MODEL}:site-b", f"{MODEL}:cheapest"):
        assert chat(site, key, model=written, max_tokens=10).status == 200, written
    listed = json.loads(harness.run_cli("budget", "ls", "--json", home=site.server.home).stdout)["budgets"]
    (budget,) = [one for one in listed if one["scope"] == scope]
    spent = int(budget["spent_nanousd"])
    assert spent == int(usage(site, key)["cost_nanousd"]) > 4_000_000, "each at its cost, not as one"


def test_t12_no_bound_is_asked_for_where_none_is_needed_and_a_refusal_says_whose(site):
    free = make_key(site, "unbounded")
    assert chat(site, free).status == 200
    key = make_key(site, "whose", "--budget", "0.01")
    message = chat(site, key, max_tokens=5).error()["message"]
    assert f"key:{key['id']}" in message and "$0.01" in message, message


def test_t14_calls_that_ask_no_model_cost_nothing(site):
    key = make_key(site, "looks", "--budget", "5")
    headers = {"Authorization": f"Bearer {key['token']}"}
    for path in ("/v1/models", "/api/models", f"/v1/models/{MODEL}", "/api/whoami-v2", "/tw/v1/usage", "/tw/v1/providers"):
        assert site.server.get(path, headers).status == 200, path
    after = usage(site, key)
    assert after["requests"] == {"settled": 0, "void": 0, "running": 0, "in_doubt": 0, "unpriced": 0}
    assert after["budget"]["available_nanousd"] == "5000000000"


def test_t29_a_request_that_failed_over_has_its_cost_attempt_by_attempt(site):
    key = make_key(site, "failed-over", "--budget", "100")
    site.sim.fault(provider="site-a", status=503, count=1)
    reply = chat(site, key, max_tokens=20)
    assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
    receipt = json.loads(harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=site.server.home).stdout)
    assert len(receipt["attempts"]) == 2
    assert receipt["cost_nanousd"] == reply.headers["x-tradewind-cost-nanousd"] == usage(site, key)["cost_nanousd"]


def test_t32_header_receipt_usage_budget_and_the_providers_bill_are_one_figure(site):
    key = make_key(site, "one-figure", "--budget", "1000")
    header = receipts = 0
    for number in range(12):
        reply = chat(site, key, max_tokens=5 + number, n=1 + number % 2)
        assert reply.status == 200
        header += int(reply.headers["x-tradewind-cost-nanousd"])
        receipt = json.loads(
            harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=site.server.home).stdout
        )
        receipts += int(receipt["cost_nanousd"])
    spent = usage(site, key)
    bill = site.sim.bill()["total"]
    billed = bill["prompt_tokens"] * 1_000_000 + bill["completion_tokens"] * 3_000_000
    assert header == receipts == int(spent["cost_nanousd"]) == int(spent["budget"]["spent_nanousd"]) == billed
