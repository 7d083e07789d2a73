"""One bill that cannot surprise you: budgets under attack, kills under load, receipts. The judge is the simulated
provider's own bill.

`TW_MONEY_CLIENTS`, `TW_MONEY_ROUNDS` and `TW_MONEY_KILLS` set the size; `make prove` runs them at full size.
"""

import concurrent.futures
import contextlib
import functools
import http.server
import json
import os
import re
import signal
import subprocess
import threading

import attack
import harness
import market
import pytest
from kills import kills
from market import MODEL

CLIENTS = int(os.environ.get("TW_MONEY_CLIENTS", "300"))
ROUNDS = int(os.environ.get("TW_MONEY_ROUNDS", "3"))
KILLS = int(os.environ.get("TW_MONEY_KILLS", "20"))

# USD per million tokens, so dear that a budget of dollars is spent in a test: $0.001 and $0.003 a token.
PRICES = ("1000", "3000")
NANO_IN, NANO_OUT = 1_000_000, 3_000_000  # a token


def nano(bill):
    """What the provider bills, at the prices of the config."""
    return bill["prompt_tokens"] * NANO_IN + bill["completion_tokens"] * NANO_OUT


def make_key(home, name, *words):
    made = harness.run_cli("keys", "create", "--name", name, "--json", *words, home=home)
    assert made.returncode == 0, made
    return json.loads(made.stdout)


def usage(home, key):
    got = harness.run_cli("usage", "--key", key, "--json", home=home)
    assert got.returncode == 0, got
    return json.loads(got.stdout)


def chat(server, token, text="one two three", **fields):
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]} | fields
    return server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize(
    "fault, stream",
    [({"content_type": "application/xml"}, True)] + [({"body": body}, stream) for body in ("garbage", "empty") for stream in (False, True)],
    ids=str,
)
def test_answers_that_nobody_can_read_are_billed_and_use_up_the_budget(tmp_path, fault, stream):
    flags = ["--billing-every", "50ms", "--billing-deadline", "1s"]
    with market.Market(tmp_path, "site-a", prices=("100", "300"), flags=flags) as site:
        key = make_key(site.server.home, "poor", "--budget", "1")
        site.sim.fault(endpoint="chat", bill="whole", bill_refused=True, **fault)
        replies = [chat(site.server, key["token"], max_tokens=30, stream=stream).status for _ in range(20)]
        assert set(replies) == {502, 402}, replies
        harness.wait_for(lambda: usage(site.server.home, key["id"])["requests"]["in_doubt"] == 0, "the end of all doubts")
        spent = usage(site.server.home, key["id"])
        bill = site.sim.bill()["total"]
        billed = bill["prompt_tokens"] * 100_000 + bill["completion_tokens"] * 300_000
        assert 0 < billed <= int(spent["cost_nanousd"]) <= 1_000_000_000
        assert int(spent["charge_nanousd"]) == 0, "nobody has got anything"
        assert chat(site.server, key["token"], max_tokens=30).status == 402


class Flood(http.server.BaseHTTPRequestHandler):
    """Answers each request with 100 MB of a text, and its end."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"id":"')
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"x" * 1_000_000)
            self.wfile.write(b'","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}')

    def log_message(self, *words):
        pass


def test_an_answer_that_is_larger_than_it_can_be_is_cut_off_and_in_doubt(tmp_path):
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flood)
    provider.seen = 0
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    config = tmp_path / "config.toml"
    config.write_text(
        f"""[[providers]]
        name = "site-f"
        kind = "openai"
        base_url = "http://127.0.0.1:{provider.server_port}/v1"
        allow_private = true
        models = [{{ id = "{MODEL}", input_usd_per_mtok = "1", output_usd_per_mtok = "1", context = 8192 }}]
        """
    )
    home = tmp_path / "home"
    with harness.Server(home, "--config", config) as server:
        key = make_key(home, "flooded", "--budget", "5")
        before = server.rss_bytes()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda _: chat(server, key["token"], max_tokens=10), range(4)))
        for reply in replies:
            message = reply.error()["message"]
            assert reply.status in (429, 502), reply.body
            assert reply.status == 429 or "site-f: the upstream's answer is larger than 16777856 bytes" in message, message
        assert any(reply.status == 502 for reply in replies)
        assert server.rss_bytes() - before < 200 << 20, "and not 100 MB of each"
        spent = usage(home, "flooded")
        assert spent["requests"]["in_doubt"] == provider.seen > 0 and int(spent["in_doubt_nanousd"]) > 0, spent
    provider.shutdown()


def started_on(folder, boot):
    """The program, as if this machine had been started at another time: /proc says so to it alone."""
    boot_id, program = folder / f"boot-{boot}", folder / f"tradewind-{boot}"
    boot_id.write_text(f"{boot}{'0' * 7}-0000-4000-8000-{'0' * 12}\n")
    program.write_text(f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec "$0" "$@"' {harness.BINARY} "$@"
""")
    program.chmod(0o755)
    return functools.partial(harness.Server, binary=program)


def may_say_when_it_was_started():
    """Root in most containers may not."""
    try:
        mount = ["unshare", "-m", "mount", "--bind", "/dev/null", "/proc/sys/kernel/random/boot_id"]
        return subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_say_when_it_was_started(), reason="it takes root to say to a program when the machine was started")
def test_what_was_leased_counts_as_used_after_the_machine_was_started_anew_and_not_after_a_kill(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300"), server=started_on(tmp_path, 1)) as site:
        home = site.server.home
        make_key(home, "one", "--budget", "1")

        def begin(boot):
            site.server.kill()
            site.server = started_on(tmp_path, boot)(home, "--config", site.config, models=site.models, env=market.keys(site.sites))
            site._stack.enter_context(site.server)
            return usage(home, "one")["budget"]

        key = make_key(home, "two", "--budget", "1")
        assert chat(site.server, key["token"], max_tokens=30).status == 200
        first = usage(home, "two")["budget"]
        assert first["unaccounted_nanousd"] == "0"
        assert begin(1)["unaccounted_nanousd"] == "0"
        after_kill = usage(home, "two")["budget"]
        assert after_kill["available_nanousd"] == first["available_nanousd"], "a kill takes nothing"

        assert begin(2)["unaccounted_nanousd"] == "0", "nothing was asked with its budget"
        budget = usage(home, "two")["budget"]
        lost = int(budget["unaccounted_nanousd"])
        assert 0 < lost < 500_000_000
        assert int(budget["available_nanousd"]) == int(first["available_nanousd"]) - lost

        def told():
            alerts = json.loads(harness.run_cli("alerts", "ls", "--json", home=home).stdout)["alerts"]
            return [alert for alert in alerts if alert["kind"] == "power_cut"]

        harness.wait_for(told, "an alert")
        assert [alert["scope"] for alert in told()] == [f"key:{key['id']}"]
        assert "tradewind budget release" in harness.run_cli("budget", "ls", home=home).stdout
        released = harness.run_cli("budget", "release", "key:two", home=home)
        assert released.returncode == 0, released
        assert usage(home, "two")["budget"]["available_nanousd"] == first["available_nanousd"]
        assert harness.run_cli("budget", "release", "key:two", home=home).returncode != 0, "there is nothing more"


def test_who_is_strict_has_each_request_on_the_disk_before_it_goes_out(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300")) as site:
        home = site.server.home
        key = make_key(home, "one", "--budget", "1")
        on = harness.run_cli("orgs", "set", "default", "--strict", "on", "--json", home=home)
        assert json.loads(on.stdout)["strict"] is True, on
        for _ in range(20):
            assert chat(site.server, key["token"], max_tokens=30).status == 200
        assert chat(site.server, key["token"], max_tokens=30, stream=True).status == 200
        off = harness.run_cli("orgs", "set", "default", "--strict", "off", "--json", home=home)
        assert json.loads(off.stdout)["strict"] is False, off


def test_strict_is_spelt_as_any_switch_and_a_wrong_word_changes_nothing(tmp_path):
    home = tmp_path / "home"
    for word, means in [("on", True), ("yes", True), ("off", False), ("true", True), ("maybe", None), ("1", True)]:
        done = harness.run_cli("orgs", "set", "default", "--strict", word, "--json", home=home)
        if means is None:
            assert done.returncode == 2 and "--strict" in done.stderr and word in done.stderr, done
        else:
            assert json.loads(done.stdout)["strict"] is means, word
    listed = harness.run_cli("orgs", "ls", "--json", home=home)
    assert json.loads(listed.stdout)["orgs"][0]["strict"] is True
    harness.run_cli("orgs", "set", "default", "--strict", "off", home=home)
    by_variable = harness.run_cli("orgs", "set", "default", "--json", home=home, TRADEWIND_ORG_STRICT="1")
    assert json.loads(by_variable.stdout)["strict"] is True, by_variable


ROOM = re.compile(r"may cost up to \$([0-9.]+), and the budget .* of \$1.00 has \$([0-9.]+) left")


def hold_usd(output_tokens):
    """What a request of the attack is held at, with so many tokens of answer: 256 are the fewest where it sets no bound."""
    body = json.dumps(attack.ask_body(MODEL, stream=False, max_tokens=40))
    return ((len(body) + 1024) * attack.NANO_IN + output_tokens * attack.NANO_OUT) / 1e9


def test_clients_all_at_once_never_exceed_a_hard_budget(tmp_path):
    attack.allow_many_files()
    with market.Market(tmp_path, "site-a", prices=attack.PRICES) as site:
        home = site.server.home
        for number in range(ROUNDS):
            some_leave = number % 2 == 1
            site.sim.reset()
            key = make_key(home, f"attack-{number}", "--budget", "1")
            at = site.server.host, site.server.port, key["token"], MODEL
            answers, _ = attack.attack(*at, CLIENTS, some_leave)
            assert {status for status, _ in answers} <= {200, 402}, {status for status, _ in answers}
            for status, text in answers:
                if status == 402:
                    message = json.loads(text)["error"]["message"]
                    assert ROOM.search(message), message
                    asked, left = map(float, ROOM.search(message).groups())
                    assert left < asked <= hold_usd(256), "refused though a shorter answer had room"
            # Until nothing fits any more: what is left is less than one smallest hold.
            (status, _), _ = attack.ask_until_refused(*at)
            assert status == 402
            billed = attack.billed_nano(site.sim)
            spent = usage(home, key["id"])
            settled, doubtful = int(spent["cost_nanousd"]), int(spent["in_doubt_nanousd"])
            assert 0 < billed <= attack.BUDGET_NANO
            assert int(spent["held_nanousd"]) == 0
            assert settled <= billed <= settled + doubtful
            if not some_leave:
                assert settled == billed and doubtful == 0, "both books agree to the nano-dollar"
            budget = spent["budget"]
            assert int(budget["spent_nanousd"]) + doubtful + int(budget["available_nanousd"]) == attack.BUDGET_NANO
            assert int(budget["available_nanousd"]) < hold_usd(40) * 1e9, "refused though there was room"


def test_kills_under_load_overspend_nothing_and_lose_nothing(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        home, sim, server = site.server.home, site.sim, site.server
        sim.fault(tokens_per_s=300)
        key = make_key(home, "killed", "--budget", "100000")
        starts_s = []
        for start_s in kills(site, key["token"], KILLS, seed=5):
            starts_s.append(start_s)
            # The provider ends what it was saying to a dead process; then its bill is final.
            sim.wait_for(lambda: sim.state()["streams"] == 0, "no stream left open")
            spent = usage(home, key["id"])
            bill = sim.bill()["total"]
            settled, doubtful = int(spent["cost_nanousd"]), int(spent["in_doubt_nanousd"])
            requests = spent["requests"]
            assert settled <= nano(bill), "charged twice"
            assert nano(bill) <= settled + doubtful, "lost"
            assert bill["requests"] <= requests["settled"] + requests["in_doubt"], (bill, requests)
            assert requests["running"] == 0 and int(spent["held_nanousd"]) == 0, "a hold that nobody has"
            assert chat(server, key["token"], max_tokens=5).status == 200
        slow_s = sorted(starts_s)[-max(1, KILLS // 100)]  # 99 of 100 are no slower
        print(f"{KILLS} kills; 99 % of the starts, recovery included, took {slow_s:.2f} s at most, the longest {max(starts_s):.2f} s")
        assert KILLS < 1000 or slow_s <= 2, "`make prove` alone bounds it: elsewhere the machine has other things to do"


# The provider bills the whole answer, whoever stops reading it.
def test_stops_that_wait_no_longer_lose_nothing(tmp_path):
    words = ["--drain", "50ms", "--billing-every", "100ms", "--billing-deadline", "300ms"]
    with market.Market(tmp_path, "site-a", prices=PRICES, flags=words, bills_on="true") as site:
        home, sim = site.server.home, site.sim
        sim.fault(tokens_per_s=100, bill="whole")
        key = make_key(home, "stopped", "--budget", "1000000")
        for _ in kills(site, key["token"], max(3, KILLS // 4), seed=7, flags=words, by=signal.SIGTERM):
            sim.wait_for(lambda: sim.state()["streams"] == 0, "no stream left open")
            spent = harness.wait_for(
                lambda: (now := usage(home, key["id"]))["requests"]["in_doubt"] == 0 and now["requests"]["running"] == 0 and now,
                "the end of all doubts",
            )
            bill = sim.bill()["total"]
            assert 0 < nano(bill) <= int(spent["cost_nanousd"]), "lost"
            assert bill["requests"] <= spent["requests"]["settled"], (bill, spent["requests"])
            assert int(spent["charge_nanousd"]) <= int(spent["cost_nanousd"])


def test_a_receipt_says_what_a_request_cost_attempt_by_attempt(tmp_path):
    with market.Market(tmp_path, "site-a", "site-b", prices=PRICES, extra='[route]\norder = ["site-a", "site-b"]\n') as site:
        home = site.server.home
        key = make_key(home, "receipts", "--budget", "1000")
        site.sim.fault(provider="site-a", status=500, count=1)
        reply = chat(site.server, key["token"], max_tokens=20)
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b"
        got = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=home)
        receipt = json.loads(got.stdout)
        first, second = receipt["attempts"]
        assert (first["provider"], first["state"]) == ("site-a", "in_doubt"), "a 500 may have been billed"
        assert (second["provider"], second["state"]) == ("site-b", "settled")
        assert second["cost_nanousd"] == receipt["cost_nanousd"] and int(second["cost_nanousd"]) > 0
        assert "x-tradewind-cost-nanousd" not in reply.headers, "nobody knows yet what the request costs"
        assert second["output_tokens"] == reply.json()["usage"]["completion_tokens"]
        table = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], home=home)
        assert "site-b" in table.stdout and "in_doubt" in table.stdout
        assert harness.run_cli("receipt", "0" * 32, home=home).returncode == 3


def test_a_request_without_max_tokens_gets_the_largest_that_the_budget_affords(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        key = make_key(site.server.home, "unset", "--budget", "5")
        reply = chat(site.server, key["token"])
        applied = int(reply.headers["x-tradewind-max-tokens-applied"])
        assert reply.status == 200 and 256 <= applied < 8192
        assert json.loads(site.sim.log()[-1]["body"])["max_tokens"] == applied
        # 0 is no bound to some providers.
        for fields, sent in [({"max_tokens": 0}, {"max_tokens": 1}), ({"max_tokens": 0, "max_completion_tokens": 50}, {"max_tokens": 50, "max_completion_tokens": 50})]:
            assert chat(site.server, key["token"], **fields).status == 200
            body = json.loads(site.sim.log()[-1]["body"])
            assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == sent
        free = make_key(site.server.home, "free")
        reply = chat(site.server, free["token"])
        assert "x-tradewind-max-tokens-applied" not in reply.headers, "without a budget nothing is changed"
        assert "max_tokens" not in json.loads(site.sim.log()[-1]["body"])


def test_a_bound_by_the_name_of_another_server_is_held_as_it_is_obeyed(tmp_path):
    with market.Market(tmp_path, "site-l", prices=PRICES) as site:
        site.sim.fault(tokens=3000)
        other = {"n_predict", "max_length", "max_new_tokens", "num_predict", "auto_max_new_tokens"}
        for number, (fields, sent) in enumerate([
            ({"max_tokens": 5, "n_predict": 500}, {"max_tokens": 5, "n_predict": 500}),
            ({"n_predict": 500}, {"max_tokens": 500, "n_predict": 500}),
            ({"max_length": 600}, {"max_tokens": 600, "max_length": 600}),
            ({"max_new_tokens": 600}, {"max_tokens": 600, "max_new_tokens": 600}),
            ({"max_tokens": 5, "n_predict": -1, "num_predict": -1}, {"max_tokens": 5}),
            ({"max_tokens": 5, "n_predict": "500", "auto_max_new_tokens": True}, {"max_tokens": 5}),
            ({"n_predict": -2}, None),
            ({"max_tokens": 0, "n_predict": 500}, None),
        ]):
            key = make_key(site.server.home, f"other-{number}", "--budget", "3.1")
            reply = chat(site.server, key["token"], **fields)
            assert reply.status == 200, reply.body
            body = json.loads(site.sim.log()[-1]["body"])
            assert sent is None or {name: body[name] for name in body.keys() & (other | {"max_tokens"})} == sent
            budget = usage(site.server.home, key["id"])["budget"]
            assert int(budget["spent_nanousd"]) <= int(reply.headers["x-tradewind-hold-nanousd"]), fields
        refused = make_key(site.server.home, "refused", "--budget", "3.1")
        assert chat(site.server, refused["token"], max_tokens=5, n_predict=2000).status == 402


def test_how_long_an_unbounded_answer_may_be_is_the_keys_or_the_organisations_to_say(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES, context=32768) as site:
        home, server = site.server.home, site.server
        short = make_key(home, "short", "--budget", "100", "--max-output", "500", "--org", "acme", "--user", "ada")
        long = make_key(home, "long", "--budget", "100", "--max-output", "10000", "--org", "acme", "--user", "ada")
        assert short["max_output"] == 500

        def applied(key):
            reply = chat(server, key["token"])
            assert reply.status == 200
            most = int(reply.headers["x-tradewind-max-tokens-applied"])
            assert json.loads(site.sim.log()[-1]["body"])["max_tokens"] == most
            return most

        assert [applied(short), applied(long)] == [500, 10_000]
        for most, both in [("700", [500, 700]), ("300", [300, 300]), ("0", [500, 10_000])]:
            assert harness.run_cli("orgs", "set", "acme", "--max-output", most, home=home).returncode == 0
            assert [applied(short), applied(long)] == both, most
        named = chat(server, short["token"], max_tokens=600)
        assert named.status == 200 and "x-tradewind-max-tokens-applied" not in named.headers


def test_what_is_held_is_told_and_who_names_no_bound_is_told_what_would_fit(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        server = site.server
        reply = chat(server, make_key(server.home, "rich", "--budget", "5")["token"], max_tokens=20)
        held, cost = (int(reply.headers[f"x-tradewind-{name}-nanousd"]) for name in ("hold", "cost"))
        assert held > cost > 0
        metrics = server.metrics()
        assert f"\ntradewind_settled_held_nanousd {held}\n" in metrics and f"\ntradewind_settled_nanousd {cost}\n" in metrics
        poor = make_key(server.home, "poor", "--budget", "1.3")["token"]
        refused = chat(server, poor)
        assert refused.status == 402, "256 tokens of answer do not fit"
        message = refused.error()["message"]
        assert "has $1.30 left; as it names no max_tokens, it is given 256 at least; max_tokens " in message, message
        fits = int(re.search(r"max_tokens (\d+) would fit", message)[1])
        assert 0 < fits < 256
        assert chat(server, poor, max_tokens=fits + 20).status == 402
        assert chat(server, poor, max_tokens=fits).status == 200


@pytest.mark.parametrize("scope", ["provider:site-a", f"model:{MODEL}", "all"])
def test_organisations_together_never_exceed_a_budget_of_the_server(tmp_path, scope):
    attack.allow_many_files()
    with market.Market(tmp_path, "site-a", prices=attack.PRICES) as site:
        home = site.server.home
        made = harness.run_cli("budget", "set", scope, "--usd", "1", "--period", "month", home=home)
        assert made.returncode == 0, made.stderr
        keys = [make_key(home, org, "--org", org, "--user", org, "--budget", "2") for org in ("acme", "globex")]
        ways = [(site.server.host, site.server.port, key["token"], MODEL) for key in keys]
        assert [chat(site.server, key["token"], max_tokens=40).status for key in keys] == [200, 200]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = [one for got, _ in pool.map(lambda way: attack.attack(*way, 60), ways) for one in got]
        assert {status for status, _ in answers} == {200, 402}
        for way in ways:
            (status, text), _ = attack.ask_until_refused(*way)
        message = json.loads(text)["error"]["message"]
        assert status == 402 and f'the server\'s own budget "{scope}" has no room for it' in message, message
        assert "$1.00" not in message, "that is the operator's"
        billed = attack.billed_nano(site.sim)
        spent = [int(usage(home, key["id"])["cost_nanousd"]) for key in keys]
        assert all(spent) and sum(spent) == billed <= attack.BUDGET_NANO, (spent, billed)
        assert billed > attack.BUDGET_NANO - hold_usd(40) * 1e9, "refused though there was room"
        budget = json.loads(harness.run_cli("budget", "ls", "--json", home=home).stdout)["budgets"]
        assert [int(one["spent_nanousd"]) for one in budget if one["scope"] == scope] == [billed]
        manager = make_key(home, "boss", "--org", "acme", "--user", "boss", "--role", "admin", "--scopes", "manage,read")["token"]
        hidden = site.server.get(f"/tw/v1/budgets/{scope}", {"Authorization": f"Bearer {manager}"})
        assert hidden.status == 404 and scope not in site.server.get("/tw/v1/budgets", {"Authorization": f"Bearer {manager}"}).body.decode()
        assert harness.run_cli("budget", "rm", scope, home=home).returncode == 0
        assert attack.ask_until_refused(*ways[0], most=200)[1] > 0, "its own budget has room"


def test_many_prompts_in_one_request_are_held_as_many(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        # A context of 8,192 tokens is for each of them: $8.19 would do for one prompt, however long.
        key = make_key(site.server.home, "prompts", "--budget", "9")
        few, many = ({"model": MODEL, "prompt": ["one two three four five " * 4] * count, "max_tokens": 1} for count in (1, 100))
        headers = {"Authorization": f"Bearer {key['token']}"}
        assert site.server.post("/v1/completions", few, headers).status == 200
        refused = site.server.post("/v1/completions", many, headers)
        assert refused.status == 402, refused.body


def test_no_budget_is_kept_with_a_route_without_a_price(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        text = site.config.read_text()
        site.config.write_text(text.replace('input_usd_per_mtok = "0.10", output_usd_per_mtok = "0.30", ', ""))
        site.server.process.send_signal(1)  # SIGHUP
        free = make_key(site.server.home, "free")
        harness.wait_for(
            lambda: "x-tradewind-cost-nanousd" not in chat(site.server, free["token"], max_tokens=5).headers, "the new config"
        )
        key = make_key(site.server.home, "bound", "--budget", "5")
        reply = chat(site.server, key["token"], max_tokens=5)
        assert reply.status == 402 and "has no price" in reply.json()["error"]["message"]
        assert usage(site.server.home, "free")["requests"]["unpriced"] >= 1


def test_budgets_of_any_scope_are_set_listed_and_removed(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        home = site.server.home
        key = make_key(home, "scoped")
        scope = f"key:{key['id']}/provider:site-a"
        done = harness.run_cli("budget", "set", scope, "--usd", "0.01", "--period", "month", "--zone", "Europe/Berlin", home=home)
        assert done.returncode == 0 and "month" in done.stdout, done
        assert chat(site.server, key["token"], max_tokens=5).status == 402
        listed = json.loads(harness.run_cli("budget", "ls", "--json", home=home).stdout)["budgets"]
        assert [(one["scope"], one["zone"]) for one in listed] == [(scope, "Europe/Berlin")]
        done = harness.run_cli("budget", "set", scope, "--mode", "soft", "--json", home=home)
        budget = json.loads(done.stdout)
        assert (budget["mode"], budget["period"], budget["zone"]) == ("soft", "month", "Europe/Berlin"), "what is not named stays"
        nothing = harness.run_cli("budget", "set", scope, home=home)
        assert nothing.returncode == 2 and "--usd" in nothing.stderr
        assert "scoped" in harness.run_cli("budget", "ls", home=home).stdout, "the name is beside the id"
        removed = harness.run_cli("budget", "rm", scope, home=home)
        assert (removed.returncode, removed.stdout) == (0, f"removed: {scope} (scoped)\n"), removed
        again = harness.run_cli("budget", "rm", scope, home=home)
        assert again.returncode == 3 and "has no budget" in again.stderr, again
        assert chat(site.server, key["token"], max_tokens=5).status == 200
        wrong = harness.run_cli("budget", "set", scope, "--usd", "much", home=home)
        assert wrong.returncode == 2 and "budget" in wrong.stderr
        unlimited = harness.run_cli("budget", "set", scope, "--mode", "soft", home=home)
        assert unlimited.returncode == 2 and "--usd" in unlimited.stderr, "a new one needs a limit"


def test_a_budget_binds_in_whatever_case_it_was_set_and_one_of_nothing_is_refused(tmp_path):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        home = site.server.home
        key = make_key(home, "cased")
        for of, spelled in ((f"model:{MODEL.upper()}", f"model:{MODEL}"), ("provider:Site-A", "provider:site-a")):
            done = harness.run_cli("budget", "set", f"key:cased/{of}", "--usd", "0.000001", "--json", home=home)
            assert json.loads(done.stdout)["scope"] == f"key:{key['id']}/{spelled}"
            refused = chat(site.server, key["token"], max_tokens=5)
            assert refused.status == 402 and f"/{spelled}" in refused.error()["message"], refused.body
            assert harness.run_cli("budget", "rm", f"key:cased/{of}", home=home).returncode == 0
            assert chat(site.server, key["token"], max_tokens=5).status == 200
        for scope in ("model:nobodys/model", "key:cased/provider:site-x"):
            wrong = harness.run_cli("budget", "set", scope, "--usd", "1", home=home)
            assert wrong.returncode != 0 and "lists those that there are" in wrong.stderr, wrong
        wrong = harness.run_cli("credit", "grant", "default", "5", "--models", "nobodys/model", home=home)
        assert wrong.returncode != 0 and "lists those that there are" in wrong.stderr, wrong
        granted = harness.run_cli("credit", "grant", "default", "5", "--models", MODEL.upper(), home=home)
        assert granted.returncode == 0, granted
        assert harness.run_cli("credit", "prepaid", "default", home=home).returncode == 0
        assert chat(site.server, key["token"], max_tokens=5).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_what_failed_is_told_when_no_room_is_left_to_try_again(tmp_path, stream):
    with market.Market(tmp_path, "site-a", prices=PRICES) as site:
        key = make_key(site.server.home, "once", "--budget", "2")
        site.sim.fault(provider="site-a", status=500, count=1)
        reply = chat(site.server, key["token"], max_tokens=100, stream=stream)
        error = reply.error()
        assert reply.status == 502 and "status 500" in error["message"], reply.body
        assert "It was not tried again: This request may cost up to" in error["message"], reply.body
        assert len(site.sim.log()) == 1, "it went out once"


def test_a_spent_budget_takes_no_second_tries_from_others(tmp_path):
    order = '[route]\norder = ["site-a", "site-b", "site-c", "site-d", "site-e"]\n'
    sites = [f"site-{letter}" for letter in "abcde"]
    with market.Market(tmp_path, *sites, prices=PRICES, extra=order) as many:
        home = many.server.home
        spent = make_key(home, "spent", "--budget", "0.01")
        other = make_key(home, "other", "--budget", "100")
        for _ in range(100):
            assert chat(many.server, spent["token"], max_tokens=5).status == 402
        assert not many.sim.log(), "none of them was sent"
        many.sim.fault(provider="site-a", status=500)
        for _ in range(5):
            reply = chat(many.server, other["token"], max_tokens=5)
            assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-b", reply.body
        # Four routes have no room, the fifth has: however many second tries there are.
        for site in sites[:4]:
            scope = f"key:{other['id']}/provider:{site}"
            assert harness.run_cli("budget", "set", scope, "--usd", "0.001", home=home).returncode == 0
        reply = chat(many.server, other["token"], max_tokens=5)
        assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-e", reply.body


def test_budgets_and_usage_work_without_a_server_and_survive_it(tmp_path):
    home = tmp_path / "home"
    key = make_key(home, "offline", "--budget", "1.50", "--period", "day")
    assert usage(home, "offline")["budget"]["budget_nanousd"] == "1500000000"
    assert usage(home, key["id"])["requests"]["settled"] == 0
    assert harness.run_cli("usage", "--key", "nobody", home=home).returncode == 3
    refused = harness.run_cli("keys", "create", "--name", "x", "--budget", "1", "--zone", "Mars/Base", home=home)
    assert refused.returncode == 2 and "zone" in refused.stderr
