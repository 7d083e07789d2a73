"""Providers that lie, or are wrong: about usage, ids, costs and bills. What they say decides money, so nothing that
they say may charge more than was held, end the server, or pass unseen by whoever compares bills.

`TW_LIES` is how many requests each lie is told (`make prove`: 20).
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import time

import harness
import market
import pytest
from test_money import chat, make_key, usage
from test_reconcile import bill_nano, leave_early, receipt, reconcile

LIES = int(os.environ.get("TW_LIES", "4"))
FLAGS = ["--billing-every", "200ms", "--billing-give-up", "2s"]


class World:
    def __init__(self, site, tmp_path):
        self.site, self.sim, self.server, self.home = site, site.sim, site.server, site.server.home
        self.folder, self.told = tmp_path, []
        self.key = make_key(self.home, "lied-to", "--budget", "100000")

    def ask(self, count=LIES, **fields):
        """Requests, streams and others in turn; their receipts."""
        replies = []
        for index in range(count):
            replies.append(chat(self.server, self.key["token"], stream=index % 2 == 0, max_tokens=30, **fields))
            assert replies[-1].status in (200, 502), replies[-1].body
        return replies

    def attempts(self, replies):
        return [one for reply in replies for one in receipt(self.site, reply)["attempts"]]

    def usage(self):
        return usage(self.home, self.key["id"])

    def until_nothing_is_in_doubt(self):
        harness.wait_for(lambda: self.usage()["requests"]["in_doubt"] == 0, "no request in doubt")
        return self.usage()

    def classes(self, percent=100, shift_days=0, prices=(100, 300)):
        """Imports the provider's bill of today, as it would send it; the classes of the differences."""
        total = self.sim.bill()["total"]
        date = time.strftime("%Y-%m-%d", time.gmtime(self.sim.log()[-1]["begin_ms"] / 1000 + shift_days * 86_400))
        tokens = total["prompt_tokens"], total["completion_tokens"]
        cost = -(-(tokens[0] * prices[0] + tokens[1] * prices[1]) * percent // 100)
        bill = self.folder / "bill.csv"
        row = f"{date},model-x,{tokens[0]},{tokens[1]},{cost}"
        bill.write_text(f"date,model,input_tokens,output_tokens,cost_nanousd\n{row}\n")
        return {line["class"] for line in reconcile(self.home, "import", bill, "--provider", "site-a")[0]["lines"]}


@pytest.fixture
def world(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=FLAGS) as site:
        made = World(site, tmp_path)
        yield made
        # Whatever it was told: nobody was charged more than was held, and the server answers.
        site.sim.clear_faults()
        for reply in made.told:
            for attempt in receipt(site, reply)["attempts"] if reply.status == 200 else []:
                assert int(attempt["charge_nanousd"]) <= int(attempt["held_nanousd"]), attempt
        assert chat(site.server, made.key["token"], max_tokens=5).status == 200


def tell(world, settings, count=LIES):
    world.sim.fault(**settings)
    world.told = world.ask(count)
    return world.told


@pytest.mark.parametrize("lie", ["missing", "negative", "text", "half", "padded_half", "early", "after_done", "delta"])
def test_no_usage_that_can_be_read_waits_for_the_bill(world, lie):
    """A negative number, words, what comes before the text or behind the end, and shares (each event says its own tokens) are no
    usage; half of one is none that settles."""
    told = tell(world, {"usage": lie, "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == int(spent["charge_nanousd"]) == bill_nano(world.site)
    streams = told[::2]
    assert {one["usage_source"] for one in world.attempts(streams)} == {"billed"}


@pytest.mark.parametrize("half", ["half", "padded_half"])
@pytest.mark.parametrize("stream", [False, True])
def test_half_a_usage_counts_where_nobody_can_be_asked(tmp_path, half, stream):
    with market.Market(tmp_path, "site-a") as site:
        key = make_key(site.server.home, "halved", "--budget", "100000")
        site.sim.fault(usage=half, endpoint="chat")
        reply = chat(site.server, key["token"], stream=stream, max_tokens=2000, stream_options={"include_usage": True} if stream else None)
        assert reply.status == 200 and b'"cost_nanousd":"' not in reply.body and "x-tradewind-cost-nanousd" not in reply.headers
        (attempt,), (entry,) = receipt(site, reply)["attempts"], site.sim.log()
        assert (attempt["state"], attempt["usage_source"]) == ("settled", "metered")
        assert attempt["input_tokens"] >= entry["billed"]["prompt_tokens"]
        assert int(entry["billed"]["cost_nanousd"]) <= int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
        if half == "padded_half":
            assert attempt["output_tokens"] == entry["billed"]["completion_tokens"] + 1000, "what it showed is much less"
            assert harness.wait_for(lambda: alerts_of(site.server.home, "usage"), "the alert")
        verified = harness.run_cli("bill", "verify", "--json", home=site.server.home)
        assert json.loads(verified.stdout)["good"]


def test_text_of_many_tokens_without_a_usage_stays_within_a_hard_budget(tmp_path):
    """Nobody lies: digits are a token each, and the provider says no usage. The user chooses the text."""
    budget = 3_000_000
    with market.Market(tmp_path, "site-a") as site:
        key = make_key(site.server.home, "digits", "--budget", "0.003")
        site.sim.fault(usage="missing", endpoint="chat", tokens=2000)
        answered = 0
        for _ in range(20):
            reply = chat(site.server, key["token"], text="1", stream=answered % 2 == 0, max_tokens=2000)
            if reply.status == 402:
                break
            assert reply.status == 200, reply.body
            answered += 1
        assert reply.status == 402 and answered >= 2
        assert bill_nano(site) <= budget


@pytest.mark.parametrize("lie", ["cumulative", "duplicate"])
def test_usage_that_is_told_often_counts_once(world, lie):
    tell(world, {"usage": lie, "endpoint": "chat"})
    assert int(world.usage()["cost_nanousd"]) == bill_nano(world.site)


def test_usage_of_zero_is_a_value_and_shows_when_the_bill_comes(world):
    tell(world, {"usage": "zero", "endpoint": "chat"})
    spent = world.usage()
    assert int(spent["cost_nanousd"]) == 0 and spent["requests"]["settled"] == LIES
    assert world.classes() == {"units"}


def acknowledge(home, kind):
    done = harness.run_cli("alerts", "ls", "--json", home=home)
    for alert in json.loads(done.stdout)["alerts"]:
        if alert["kind"] == kind:
            assert harness.run_cli("alerts", "ack", alert["id"], home=home).returncode == 0


def test_a_billion_tokens_charge_what_was_held_and_are_told(world):
    """And nobody asks that route again, kill or not, before somebody has acknowledged it."""
    world.sim.fault(usage="huge", endpoint="chat")

    def ask():
        return chat(world.server, world.key["token"], stream=len(world.told) % 2 == 0, max_tokens=30)

    def barred():
        reply = ask()
        world.told += [reply] if reply.status == 200 else []  # until the first one is recorded
        return reply if reply.status == 402 else None

    def allowed():
        acknowledge(world.home, "barred")
        reply = ask()
        return reply if reply.status == 200 else None

    while len(world.told) < LIES:
        message = harness.wait_for(barred, "a refusal").error()["message"]
        assert "site-a billed more than 1000 times" in message and "tradewind alerts ack" in message, message
        free = make_key(world.home, f"free-{len(world.told)}")
        assert chat(world.server, free["token"], max_tokens=5).status == 402, "with or without a budget"
        world.told.append(harness.wait_for(allowed, "what an operator allows again"))
    harness.wait_for(barred, "a refusal once more")
    harness.wait_for(lambda: "more than was held" in world.server.log(), "the overrun in the log", timeout=60)
    site = world.site
    world.server.process.kill()
    world.server.process.wait(harness.PATIENCE_S)
    world.server.process.stdout.close()
    flags = ["--config", site.config, "--port", str(world.server.port), *FLAGS]
    world.server = harness.Server(world.home, *flags, models=site.models, env=market.keys(site.sites))
    site.server.process = world.server.process  # the one that the end of the test stops
    assert ask().status == 402, "a start forgives nothing"
    world.sim.clear_faults()
    harness.wait_for(allowed, "the route")
    for one in world.attempts(world.told):
        assert int(one["cost_nanousd"]) > int(one["held_nanousd"]) == int(one["charge_nanousd"])
    assert world.classes() == {"units"}


def test_an_overrun_bars_a_route_for_those_alone_who_pay_by_the_same_key(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home = site.server.home
        own = make_key(home, "own", "--org", "evilcorp", "--budget", "5")
        good, other = (make_key(home, org, "--org", org, "--budget", "5") for org in ("goodcorp", "othercorp"))
        login = harness.run_cli("login", "--provider", "site-a", "--org", "evilcorp", "--stdin", home=home, stdin=market.KEY)
        assert login.returncode == 0, login

        def ask(key):
            return chat(site.server, key["token"], max_tokens=30)

        def overrun(key):
            site.sim.fault(tokens=60, reasoning_tokens=600, thinks_beyond_cap=True, endpoint="chat")
            assert ask(key).status == 200
            site.sim.clear_faults()
            assert ask(key).status == 402, "at once"

        overrun(own)
        (alert,) = alerts_of(home, "barred")
        assert alert["scope"].startswith("org:") and alert["org"] in alert["scope"]
        assert ask(good).status == ask(other).status == 200, "nobody but evilcorp pays by its own key"
        acknowledge(home, "barred")
        harness.wait_for(lambda: ask(own).status == 200, "the own key again")
        overrun(good)
        assert ask(other).status == 402, "the server's key pays for all"
        assert ask(make_key(home, "free")).status == 200, "without a hard budget nothing changes"
        assert ask(own).status == 200, "but for whoever pays by another"


def test_many_absurd_bills_are_one_alert_and_leave_the_books_usable(tmp_path):
    """All of those that run when the first one comes are billed so; those that come behind it are refused."""
    with market.Market(tmp_path, "site-a", prices=("100", "300000")) as site:
        home, server = site.server.home, site.server
        free, strict = make_key(home, "free"), make_key(home, "strict", "--budget", "100")
        site.sim.fault(usage="huge", first_byte_ms=1500, endpoint="chat")
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            replies = list(clients.map(lambda _: chat(server, free["token"], max_tokens=1), range(8)))
        assert {reply.status for reply in replies} == {200}
        assert {chat(server, key["token"], max_tokens=1).status for key in (free, strict)} == {402}
        (alert,) = alerts_of(home, "overrun")
        assert "So were 7 more since then" in alert["text"] and "are posted of it, and no more" in alert["text"], alert
        assert [one["scope"].startswith("all/provider:site-a/") for one in alerts_of(home, "barred")] == [True]
        costs = {int(one["cost_nanousd"]) for reply in replies for one in receipt(site, reply)["attempts"]}
        (cost,) = costs
        assert cost < int(alert["amount_nanousd"]) // 8
        site.sim.clear_faults()
        acknowledge(home, "barred")
        honest = harness.wait_for(lambda: (reply := chat(server, strict["token"], max_tokens=1)).status == 200 and reply, "the route again")
        (attempt,) = receipt(site, honest)["attempts"]
        assert attempt["state"] == "settled" and int(attempt["cost_nanousd"]) <= int(attempt["held_nanousd"])
        assert json.loads(harness.run_cli("bill", "verify", "--json", home=home).stdout)["good"]


def test_an_overrun_bars_at_once_also_where_no_table_can_say_so(tmp_path):
    """Neither while databases cannot be written nor behind a kill is there a request in between."""

    def start(*words, **more):
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            return harness.Server(*words, restore_signals=False, **more)
        finally:
            signal.signal(signal.SIGXFSZ, before)

    with market.Market(tmp_path, "site-a", server=start) as site:
        server, home = site.server, site.server.home
        keys = [make_key(home, f"key-{i}", "--budget", "5") for i in range(3)]

        def statuses():
            return {chat(server, key["token"], max_tokens=30).status for key in keys}

        def overrun():
            site.sim.fault(tokens=60, reasoning_tokens=600, thinks_beyond_cap=True, endpoint="chat")
            assert chat(server, keys[0]["token"], max_tokens=30).status == 200
            site.sim.clear_faults()

        limit = server.log_path.stat().st_size + (1 << 16)  # the log goes on, and no database does
        subprocess.run(["prlimit", "--pid", str(server.process.pid), f"--fsize={limit}:"], check=True)
        harness.wait_for(lambda: (statuses(), "detail" in server.get("/readyz").json())[1], "/readyz", 60)
        overrun()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert statuses() == {402}
        subprocess.run(["prlimit", "--pid", str(server.process.pid), "--fsize=unlimited:"], check=True)
        harness.wait_for(lambda: "\ntradewind_ledger_behind 0\n" in server.metrics(), "the database again")
        assert statuses() == {402} and len(alerts_of(home, "barred")) == 1
        acknowledge(home, "barred")
        harness.wait_for(lambda: statuses() == {200}, "the route again")
        overrun()
        server.process.kill()
        server.process.wait(harness.PATIENCE_S)
        server.process.stdout.close()
        again = harness.Server(home, "--config", site.config, models=site.models, env=market.keys(site.sites))
        server.process = again.process  # the one that the end of the test stops
        server = again
        assert statuses() == {402}, "from the first request on"


def test_a_model_that_thinks_beyond_its_cap_is_used_again_when_the_config_says_how_far(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home = site.server.home
        key = make_key(home, "thinker", "--budget", "100")
        site.sim.fault(tokens=60, reasoning_tokens=600, thinks_beyond_cap=True, endpoint="chat")

        def ask():
            return chat(site.server, key["token"], max_tokens=30)

        def cost_and_hold(reply):
            (attempt,) = receipt(site, reply)["attempts"]
            return int(attempt["cost_nanousd"]), int(attempt["held_nanousd"])

        cost, held = cost_and_hold(ask())
        assert cost == bill_nano(site) > held, "30 tokens were held for, and 630 billed"
        assert ask().status == 402
        site.config.write_text(site.config.read_text().replace("context = 8192", 'context = 8192, cap_factor = "2", cap_slack = 600'))
        site.server.process.send_signal(signal.SIGHUP)
        assert ask().status == 402, "until somebody has acknowledged it"
        acknowledge(home, "barred")
        reply = harness.wait_for(lambda: next((one for one in [ask()] if one.status == 200), None), "the route again")
        for reply in [reply] + [ask() for _ in range(LIES)]:
            assert reply.status == 200, "and it stays so"
            told, held = cost_and_hold(reply)
            assert told == cost <= held
        assert {json.loads(entry["body"])["max_tokens"] for entry in site.sim.log() if entry["endpoint"] == "chat"} == {30}


def test_a_fifth_more_tokens_are_not_seen_in_an_answer_but_on_the_bill(world):
    tell(world, {"usage": "inflated", "endpoint": "chat"})
    assert int(world.usage()["cost_nanousd"]) > bill_nano(world.site)
    assert world.classes() == {"units"}


def alerts_of(home, kind):
    alerts = json.loads(harness.run_cli("alerts", "--json", home=home).stdout)["alerts"]
    return [alert for alert in alerts if alert["kind"] == kind]


def test_more_tokens_than_an_answer_has_bytes_are_told(world):
    """Within every bound, so that nothing else would show it before the bill comes."""
    for stream in (True, False):
        assert chat(world.server, world.key["token"], stream=stream, max_tokens=2000).status == 200
    world.sim.fault(usage="padded", endpoint="chat")
    world.told = [chat(world.server, world.key["token"], stream=stream, max_tokens=2000) for stream in (True, False)]
    (alert,) = harness.wait_for(lambda: alerts_of(world.home, "usage"), "the alert")
    assert alert["scope"].startswith("provider:site-a/model:") and "the bytes of its answer" in alert["text"]
    metrics = world.server.metrics()
    assert "\ntradewind_usage_beyond_bounds 2\n" in metrics, "and of none that was honest"


@pytest.mark.parametrize("stream", [True, False])
def test_a_fifth_more_tokens_are_told_where_the_models_own_tokenizer_is_here(tmp_path, stream):
    if not harness.MODEL_FILE.exists():
        pytest.skip("the default model is not there")
    with market.Market(tmp_path, "site-a", model=harness.MODEL, models=harness.MODELS) as site:
        home, server = site.server.home, site.server
        key = make_key(home, "lied-to", "--budget", "100000")
        # Each of these words is a token of that model's, as it is of the provider's.
        words = [{"role": "user", "content": "the cat and the dog were in the house with the old man"}]

        def ask(count):
            for _ in range(count):
                reply = chat(server, key["token"], model=f"{harness.MODEL}:site-a", messages=words, stream=stream, max_tokens=200)
                assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-a", reply.body

        site.sim.fault(tokens=100, endpoint="chat")
        ask(220)
        time.sleep(1.5)
        assert alerts_of(home, "recount") == [], "who counts honestly"
        site.sim.clear_faults()
        site.sim.fault(tokens=100, usage="inflated", endpoint="chat")
        ask(150)
        (alert,) = harness.wait_for(lambda: alerts_of(home, "recount"), "the alert")
        assert alert["scope"] == f"provider:site-a/model:{harness.MODEL}"
        assert "site-a counts 1." in alert["text"] and "own tokenizer" in alert["text"]
        assert alerts_of(home, "usage") == [], "it is within every bound"


@pytest.mark.parametrize("lie", ["cached_over", "reasoning_over"])
def test_usage_that_contradicts_itself_is_not_free(tmp_path, lie):
    with market.Market(tmp_path, "site-a", billing=True, flags=FLAGS, also='cached_input_usd_per_mtok = "0.01"') as site:
        world = World(site, tmp_path)
        told = tell(world, {"usage": lie, "endpoint": "chat"})
        assert int(world.usage()["cost_nanousd"]) >= bill_nano(site) > 0
        for one in world.attempts(told):
            assert one["cached_tokens"] <= one["input_tokens"] and one["reasoning_tokens"] <= one["output_tokens"]
        for reply in told:
            if "x-tradewind-cost-nanousd" in reply.headers:
                assert reply.headers["x-tradewind-cost-nanousd"] == receipt(site, reply)["attempts"][0]["cost_nanousd"], "one figure"
        assert any("x-tradewind-cost-nanousd" in reply.headers for reply in told)


def test_thoughts_that_the_total_alone_tells_are_paid_for(world):
    told = tell(world, {"usage": "total_alone", "tokens": 30, "reasoning_tokens": 20, "endpoint": "chat"})
    assert int(world.usage()["cost_nanousd"]) == bill_nano(world.site) > 0
    for one in world.attempts(told):
        assert one["output_tokens"] > one["reasoning_tokens"] == 20


def test_without_an_id_it_is_asked_by_ours(world):
    told = tell(world, {"usage": "missing", "id": "missing", "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == bill_nano(world.site)
    assert {one["upstream_id"] for one in world.attempts(told)} == {""}


def test_an_id_that_is_used_again_settles_nothing(world):
    told = tell(world, {"usage": "missing", "id": "reused", "endpoint": "chat"})
    harness.wait_for(lambda: "names several requests by one id" in world.server.log(), "the warning")
    assert {one["state"] for one in world.attempts(told)} <= {"in_doubt", "settled"}
    assert world.usage()["requests"]["in_doubt"] >= LIES - 1, "the first may have been asked about alone"
    assert int(world.usage()["in_doubt_nanousd"]) > 0


def test_a_cancelled_request_that_is_billed_whole_costs_that(world):
    world.sim.fault(bill="whole", tokens=60, tokens_per_s=60, endpoint="chat")
    world.told = []
    for _ in range(2):
        leave_early(world.site, world.key)
    world.sim.wait_for(lambda: world.sim.state()["streams"] == 0, "no stream left open")
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == bill_nano(world.site) > 0
    assert int(spent["charge_nanousd"]) <= int(spent["cost_nanousd"])


def test_an_error_that_is_billed_costs_us_and_charges_nobody(world):
    tell(world, {"status": 500, "bill_refused": True, "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == bill_nano(world.site) > 0
    assert int(spent["charge_nanousd"]) == 0


def test_billing_that_forgets_makes_it_void_and_the_invoice_shows_it(world):
    world.sim.fault(costs="forget", endpoint="billing")
    tell(world, {"usage": "missing", "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == 0 and spent["requests"]["void"] >= LIES // 2
    assert world.classes() <= {"missing_local", "units"}


@pytest.mark.parametrize("lie", ["null", "negative", "text", "huge"])
def test_a_cost_that_is_none_is_asked_for_again(world, lie):
    world.sim.fault(costs=lie, endpoint="billing", count=3)
    tell(world, {"usage": "missing", "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == bill_nano(world.site) > 0


@pytest.mark.parametrize("lie", ["fraction", "stray", "twice"])
def test_costs_are_rounded_up_asked_for_and_taken_once(world, lie):
    world.sim.fault(costs=lie, endpoint="billing")
    tell(world, {"usage": "missing", "endpoint": "chat"})
    spent = world.until_nothing_is_in_doubt()
    assert int(spent["cost_nanousd"]) == bill_nano(world.site)


def test_a_cost_that_changes_is_settled_by_the_first_answer(world):
    world.sim.fault(costs="changing", endpoint="billing")
    told = tell(world, {"usage": "missing", "endpoint": "chat"})
    world.until_nothing_is_in_doubt()
    first = [one["cost_nanousd"] for one in world.attempts(told)]
    time.sleep(0.5)  # two more rounds
    assert [one["cost_nanousd"] for one in world.attempts(told)] == first


def test_an_invoice_of_three_percent_more_is_a_difference_of_price(dear):
    dear.told = dear.ask(LIES)
    assert dear.classes_at(100) == {"none"}
    assert dear.classes_at(103) == {"price"}


def test_a_silent_change_of_price_is_a_difference_of_price(dear):
    dear.told = dear.ask(LIES)
    assert dear.classes_at(150) == {"price"}


def test_a_clock_that_is_a_day_off_misses_on_both_sides(dear):
    dear.told = dear.ask(LIES)
    assert "missing_local" in dear.classes_at(100, shift_days=-1)


@pytest.fixture
def dear(tmp_path):
    """A cent is within every tolerance; these bills are of dollars: a cent and three a token."""
    with market.Market(tmp_path, "site-a", prices=("10000", "30000")) as site:
        made = World(site, tmp_path)
        made.classes_at = lambda percent, **more: made.classes(percent, prices=(10_000_000, 30_000_000), **more)
        yield made
        for entry in made.told:
            for attempt in receipt(site, entry)["attempts"]:
                assert int(attempt["charge_nanousd"]) <= int(attempt["held_nanousd"])
        assert chat(site.server, made.key["token"], max_tokens=5).status == 200
