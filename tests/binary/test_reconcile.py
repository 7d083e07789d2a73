"""Requests in doubt, and what their providers say of them. The judge is the simulated provider's own bill, at its own
prices, which are those of the config.
"""

import json
import os
import re
import time

import harness
import market
import simulator
from kills import kills
from test_money import chat, make_key, usage

KILLS = int(os.environ.get("TW_MONEY_KILLS", "20"))
QUICK = ["--billing-every", "200ms", "--billing-give-up", "3s"]


def bill_nano(site):
    return int(site.sim.bill()["total"]["cost_nanousd"])


def settle_all(site, home, key):
    """Waits until nothing is in doubt, and gives the usage."""
    site.sim.wait_for(lambda: site.sim.state()["streams"] == 0, "no stream left open")
    harness.wait_for(lambda: usage(home, key["id"])["requests"]["in_doubt"] == 0, "no request in doubt")
    return usage(home, key["id"])


def receipt(site, reply):
    got = harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=site.server.home)
    return json.loads(got.stdout)


def test_after_kills_under_load_both_books_agree_to_the_nano_dollar(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=QUICK) as site:
        home, sim = site.server.home, site.sim
        sim.fault(tokens_per_s=300, endpoint="chat")
        key = make_key(home, "killed", "--budget", "100")
        seen_doubt = 0
        for _ in kills(site, key["token"], KILLS, seed=7, flags=QUICK):
            seen_doubt += usage(home, key["id"])["requests"]["in_doubt"]
        assert seen_doubt > 0, "no kill left anything in doubt: this tests nothing"
        spent = settle_all(site, home, key)
        assert int(spent["cost_nanousd"]) == bill_nano(site) >= int(spent["charge_nanousd"]), "what nobody got is charged to nobody"
        assert int(spent["budget"]["spent_nanousd"]) == bill_nano(site)
        assert int(spent["held_nanousd"]) == int(spent["in_doubt_nanousd"]) == 0
        assert spent["requests"]["settled"] == sim.bill()["total"]["requests"]


def test_an_answer_without_a_usage_costs_what_the_provider_says_later(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=QUICK) as site:
        key = make_key(site.server.home, "asked", "--budget", "1")
        site.sim.fault(usage="missing", endpoint="chat")
        reply = chat(site.server, key["token"], max_tokens=20)
        assert reply.status == 200 and "x-tradewind-cost-nanousd" not in reply.headers
        spent = settle_all(site, site.server.home, key)
        assert int(spent["cost_nanousd"]) == bill_nano(site) > 0
        attempt = receipt(site, reply)["attempts"][0]
        assert attempt["usage_source"] == "billed" and attempt["upstream_id"] == reply.headers["inference-id"]
        asked = [entry for entry in site.sim.log() if entry["endpoint"] == "billing"]
        assert json.loads(asked[0]["body"]) == {"requestIds": [attempt["upstream_id"]]}
        # Nothing is asked about what is settled.
        before = len(asked)
        chat(site.server, key["token"], max_tokens=20)
        settle_all(site, site.server.home, key)
        later = [entry for entry in site.sim.log() if entry["endpoint"] == "billing"][before:]
        assert all(attempt["upstream_id"] not in entry["body"] for entry in later)


def test_a_failed_attempt_is_asked_about_by_our_own_id_and_void_when_nobody_knows_it(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=QUICK) as site:
        key = make_key(site.server.home, "failed", "--budget", "1")
        site.sim.fault(status=500, endpoint="chat")
        reply = chat(site.server, key["token"], max_tokens=20)
        assert reply.status >= 500
        first = usage(site.server.home, key["id"])
        assert first["requests"]["in_doubt"] >= 1
        spent = settle_all(site, site.server.home, key)
        assert int(spent["cost_nanousd"]) == bill_nano(site) == 0
        assert spent["requests"]["void"] == first["requests"]["in_doubt"]
        asked = [json.loads(entry["body"]) for entry in site.sim.log() if entry["endpoint"] == "billing"]
        sent = [dict(entry["headers"])["x-client-request-id"] for entry in site.sim.log() if entry["endpoint"] == "chat"]
        assert sent[0].endswith("-1") and set(sent) == {one for ids in asked for one in ids["requestIds"]}
        got = harness.run_cli("receipt", sent[0].split("-")[0], "--json", home=site.server.home)
        entry = json.loads(got.stdout)["attempts"][0]
        assert entry["state"] == "void" and "does not know it" in entry["reason"]


def test_a_provider_that_fails_is_asked_again_and_nothing_is_forgotten(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=QUICK) as site:
        key = make_key(site.server.home, "again", "--budget", "1")
        for rule in [{"status": 500, "count": 2}, {"body": "garbage", "count": 1}, {"close": "rst", "count": 1}]:
            site.sim.fault(endpoint="billing", **rule)
        site.sim.fault(usage="missing", endpoint="chat", count=1)
        assert chat(site.server, key["token"], max_tokens=20).status == 200
        spent = settle_all(site, site.server.home, key)
        assert int(spent["cost_nanousd"]) == bill_nano(site) > 0
        assert "cannot be asked" in site.server.log()
        assert market.KEY not in site.server.log()


def test_what_nobody_can_say_is_settled_as_metered_at_the_deadline(tmp_path):
    with market.Market(tmp_path, "site-a", flags=["--billing-every", "200ms", "--billing-deadline", "1s"]) as site:
        key = make_key(site.server.home, "late", "--budget", "1")
        site.sim.fault(cut_after=8, endpoint="chat")
        reply = chat(site.server, key["token"], max_tokens=400, stream=True)
        assert reply.status == 200
        spent = settle_all(site, site.server.home, key)
        attempt = receipt(site, reply)["attempts"][0]
        assert attempt["usage_source"] == "metered" and attempt["finish"] == "in doubt for too long"
        assert attempt["input_tokens"] > 0 and attempt["output_tokens"] > 0, "on bills they stand beside the cost"
        assert json.loads(harness.run_cli("bill", "verify", "--json", home=site.server.home).stdout)["good"]
        assert int(spent["cost_nanousd"]) == int(attempt["cost_nanousd"]) >= bill_nano(site)
        assert int(spent["cost_nanousd"]) <= int(attempt["held_nanousd"])
        # The provider's bill tells the tokens that nobody had said, and is no riddle.
        (billed,) = [entry["billed"] for entry in site.sim.log() if entry["endpoint"] == "chat"]
        bill = tmp_path / "bill.csv"
        bill.write_text("date,cost_nanousd,input_tokens,output_tokens\n"
                        f"{today(site)},{billed['cost_nanousd']},{billed['prompt_tokens']},{billed['completion_tokens']}\n")
        (line,) = reconcile(site.server.home, "import", bill, "--provider", "site-a")[0]["lines"]
        assert (line["class"], line["explained"], line["recorded"]["estimated"]) == ("estimated", True, 1)


def test_an_operator_ends_a_doubt_that_nobody_can_be_asked_about(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home, key = site.server.home, make_key(site.server.home, "told", "--budget", "1")
        site.sim.fault(cut_after=8, endpoint="chat")
        reply = chat(site.server, key["token"], max_tokens=400, stream=True)
        name = reply.headers["x-tradewind-receipt"]
        harness.wait_for(lambda: usage(home, key["id"])["requests"]["in_doubt"] == 1, "a request in doubt")
        refused = harness.run_cli("reconcile", "resolve", name, "--void", home=home)
        assert refused.returncode != 0 and "--reason" in refused.stderr
        got = harness.run_cli("reconcile", "resolve", name, "--void", "--reason", "not on their bill", home=home)
        assert got.returncode == 0 and "void" in got.stdout and "not on their bill" in got.stdout, got.stderr
        spent = usage(home, key["id"])
        assert spent["requests"]["in_doubt"] == 0 and spent["budget"]["available_nanousd"] == "1000000000"
        assert receipt(site, reply)["attempts"][0]["reason"] == "the operator: not on their bill"


def leave_early(site, key, stream=True, **more):
    """Sends a request, reads a little of the answer (of a stream) and leaves."""
    message = {"role": "user", "content": "one two three"}
    body = json.dumps({"model": market.MODEL, "messages": [message], "max_tokens": 60, "stream": stream, **more})
    seen = site.sim.state()["requests"]
    with site.server.connect() as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key['token']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        if stream:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        else:
            site.sim.wait_for(lambda: site.sim.state()["requests"] > seen, "the request")
            time.sleep(0.1)


def test_a_client_that_leaves_ends_a_provider_that_stops_billing_and_is_asked_about(tmp_path):
    with market.Market(tmp_path, "site-a", billing=True, flags=QUICK) as site:
        key = make_key(site.server.home, "left", "--budget", "1")
        site.sim.fault(tokens_per_s=30, tokens=60, endpoint="chat")
        leave_early(site, key)
        spent = settle_all(site, site.server.home, key)
        entry = [one for one in site.sim.log() if one["endpoint"] == "chat"][-1]
        assert entry["client_closed"] and entry["tokens_sent"] < 60
        assert int(spent["cost_nanousd"]) == bill_nano(site) > 0


def test_a_provider_that_bills_on_is_read_to_its_end_without_a_reader(tmp_path):
    with market.Market(tmp_path, "site-a", bills_on="true") as site:
        key = make_key(site.server.home, "left", "--budget", "1")
        site.sim.fault(tokens_per_s=60, tokens=60, endpoint="chat")
        for stream in (True, False):
            before = int(usage(site.server.home, key["id"])["charge_nanousd"])
            leave_early(site, key, stream)
            site.sim.wait_for(lambda: site.sim.state()["streams"] == 0, "no stream left open")
            harness.wait_for(lambda: usage(site.server.home, key["id"])["requests"]["running"] == 0, "its end")
            spent = usage(site.server.home, key["id"])
            entry = [one for one in site.sim.log() if one["endpoint"] == "chat"][-1]
            assert entry["outcome"] == "ok" and entry["tokens_sent"] == 60
            assert int(spent["cost_nanousd"]) == bill_nano(site), "known without asking"
            assert spent["requests"]["in_doubt"] == 0
            assert int(spent["charge_nanousd"]) - before <= int(entry["billed"]["cost_nanousd"])


def test_who_stops_a_stream_is_charged_for_none_of_what_was_still_on_its_way(tmp_path):
    words = ["--billing-deadline", "300ms", "--billing-every", "100ms"]
    for bills_on in ("false", "true"):
        (tmp_path / bills_on).mkdir()
        with market.Market(tmp_path / bills_on, "site-a", prices=("1000", "3000"), bills_on=bills_on, flags=words) as site:
            key = make_key(site.server.home, "left", "--budget", "100")
            site.sim.fault(tokens_per_s=20, tokens=40, endpoint="chat")
            leave_early(site, key)
            harness.wait_for(lambda: usage(site.server.home, key["id"])["requests"]["settled"] == 1, "its end")
            spent = usage(site.server.home, key["id"])
            assert 0 < int(spent["charge_nanousd"]) <= int(spent["cost_nanousd"])
            answer = int(spent["charge_nanousd"]) - spent["input_tokens"] * 1_000_000
            assert answer <= 20 * 3_000_000, "he got a few words"


def test_so_is_the_winner_of_a_hedge(tmp_path):
    with market.Market(tmp_path, "site-a", "site-b", bills_on="true") as site:
        key = make_key(site.server.home, "left", "--budget", "1")
        site.sim.fault(tokens_per_s=60, tokens=60, endpoint="chat")
        leave_early(site, key, provider={"hedge": 60_000})
        site.sim.wait_for(lambda: site.sim.state()["streams"] == 0, "no stream left open")
        harness.wait_for(lambda: usage(site.server.home, key["id"])["requests"]["running"] == 0, "its end")
        spent = usage(site.server.home, key["id"])
        assert [one["tokens_sent"] for one in site.sim.log() if one["endpoint"] == "chat"] == [60]
        assert spent["requests"]["in_doubt"] == 0 and int(spent["cost_nanousd"]) == bill_nano(site)


def test_the_simulator_bills_by_its_own_ids_and_by_ours():
    with simulator.Simulator("site-a:openai") as sim:
        body = {"model": "model-x", "messages": [{"role": "user", "content": "one"}]}
        headers = {"Authorization": "Bearer k", "X-Client-Request-Id": "ours-1"}
        reply = sim.request("POST", "/site-a/v1/chat/completions", body, headers)
        ids = ["ours-1", reply.headers["inference-id"], "nobody's"]
        answer = sim.request("POST", "/site-a/billing", {"requestIds": ids}, headers).json()["requests"]
        cost = int(sim.bill()["total"]["cost_nanousd"])
        assert answer == [{"requestId": one, "costNanoUsd": cost} for one in ids[:2]]


def reconcile(home, *words, code=0):
    done = harness.run_cli("reconcile", *words, "--json", home=home)
    assert done.returncode == code, done
    return json.loads(done.stdout)["providers"] if code == 0 else done.stderr


def alerts(home, kind="bill"):
    done = harness.run_cli("alerts", "ls", "--json", home=home)
    assert done.returncode == 0, done
    return [alert for alert in json.loads(done.stdout)["alerts"] if alert["kind"] == kind]


def today(site):
    """The UTC date of the provider's last request: midnight may pass during a test."""
    return time.strftime("%Y-%m-%d", time.gmtime(site.sim.log()[-1]["begin_ms"] / 1000))


def test_a_bill_is_imported_compared_and_its_month_closed_once(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home = site.server.home
        key = make_key(home, "billed", "--budget", "100")
        for _ in range(3):
            assert chat(site.server, key["token"], max_tokens=20).status == 200
        cost, date = bill_nano(site), today(site)
        month, bill = date[:7], tmp_path / "bill.csv"

        def imported(nano, *flags, model="model-x"):
            bill.write_text(f"date,model,cost_nanousd\n{date},{model},{nano}\n")
            return reconcile(home, "import", bill, "--provider", "site-a", *flags)[0]

        same = imported(cost)
        assert (same["billed_nanousd"], same["recorded_nanousd"], same["unexplained"]) == (str(cost), str(cost), 0)
        assert same["suspense_nanousd"] == "0"
        dear = imported(cost + 2_000_000_000)
        assert dear["lines"][0]["class"] == "price" and dear["suspense_nanousd"] == "2000000000"
        # It is told, once; no price follows from a bill without tokens, or from one line with two kinds.
        imported(cost + 2_000_000_000)
        told = alerts(home)
        assert len(told) == 1 and "(price)" in told[0]["text"] and told[0]["amount_nanousd"] == "2000000000", told
        assert "do not tell their input and output tokens" in dear["prices"][0]["none_because"]
        recorded = dear["lines"][0]["recorded"]
        bill.write_text("date,model,cost_nanousd,input_tokens,output_tokens\n"
                        f"{date},model-x,{cost + 2_000_000_000},{recorded['input_tokens']},{recorded['output_tokens']}\n")
        assert "by day or hour" in reconcile(home, "import", bill, "--provider", "site-a")[0]["prices"][0]["none_because"]
        refused = reconcile(home, "close", month, "--provider", "site-a", code=2)
        assert "nothing explains" in refused and "--accept" in refused
        # What belongs to nobody here; and the same cell again is the same cell.
        stranger = imported(1_000_000_000, model="model-of-somebody-else")
        classes = {line["model"]: line["class"] for line in stranger["lines"]}
        assert classes == {"model-x": "price", "model-of-somebody-else": "missing_local"}
        assert stranger["suspense_nanousd"] == "3000000000"
        invoiced = imported(cost, "--invoice", model="")
        assert [line["class"] for line in invoiced["lines"]] == ["none"], "an invoice counts before usage"
        assert invoiced["suspense_nanousd"] == "0"
        # Neither users nor budgets notice any of it.
        assert int(usage(home, key["id"])["cost_nanousd"]) == int(usage(home, key["id"])["charge_nanousd"]) == cost
        over = imported(cost + 70_000_000_000, "--invoice", model="")
        assert over["suspense_nanousd"] == "70000000000"
        closed = reconcile(home, "close", month, "--provider", "site-a", "--accept", "a fee")[0]
        assert closed["closed"] and closed["suspense_nanousd"] == "0"
        assert "is closed" in reconcile(home, "close", month, "--provider", "site-a", code=2)
        assert "is closed" in reconcile(home, "import", bill, "--provider", "site-a", code=2)
        shown = harness.run_cli("reconcile", "status", month, home=home)
        assert "site-a" in shown.stdout and "closed" in shown.stdout and "price" in shown.stdout
        # An operator's affair.
        reply = site.server.get("/tw/v1/reconcile", {"Authorization": f"Bearer {key['token']}"})
        assert reply.status == 403
    # It is all in the folder: without a server, the same.
    offline = reconcile(home, "status", month)[0]
    assert offline["closed"] and offline["suspense_nanousd"] == "0"


def test_a_month_with_requests_in_doubt_is_not_closed(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        key = make_key(site.server.home, "doubt", "--budget", "100")
        site.sim.fault(cut_after=5, endpoint="chat", count=1)
        assert chat(site.server, key["token"], max_tokens=20, stream=True).status == 200
        date = today(site)
        bill = tmp_path / "bill.csv"
        bill.write_text(f"date,cost_usd\n{date},0\n")
        got = reconcile(site.server.home, "import", bill, "--provider", "site-a")[0]
        assert got["in_doubt"] == 1
        refused = reconcile(site.server.home, "close", date[:7], "--provider", "site-a", "--accept", "x", code=2)
        assert "in doubt" in refused


def hours_beside(date):
    """Hours of that day that are no neighbours of now, as a bill writes them."""
    hours = range(0, 8) if time.gmtime().tm_hour >= 12 else range(14, 22)
    return [f"{date}T{hour:02}:00:00Z" for hour in hours]


def test_a_close_counts_the_requests_that_no_line_is_of_and_is_taken_back_for_the_invoice(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000")) as site:
        home, bill = site.server.home, tmp_path / "bill.csv"
        key = make_key(home, "late", "--budget", "100")
        assert chat(site.server, key["token"], max_tokens=20).status == 200
        cost, date = int(usage(home, key["id"])["cost_nanousd"]), today(site)
        month = date[:7]
        bill.write_text(f"start,cost_usd\n{hours_beside(date)[0]},0.02\n")
        part = reconcile(home, "import", bill, "--provider", "site-a")[0]
        assert [line["class"] for line in part["lines"]] == ["missing_local"]
        refused = reconcile(home, "close", month, "--provider", "site-a", code=2)
        assert "has 2 differences" in refused and f"1 requests (${cost / 1e9:g}) of times that no line is of" in refused
        site.sim.fault(cut_after=5, endpoint="chat", count=1)
        doubtful = chat(site.server, key["token"], max_tokens=20, stream=True).headers["x-tradewind-receipt"]
        harness.wait_for(lambda: usage(home, key["id"])["requests"]["in_doubt"] == 1, "a request in doubt")
        assert reconcile(home, "status", month)[0]["in_doubt"] == 1, "wherever its bill has a line"
        refused = reconcile(home, "close", month, "--provider", "site-a", "--accept", "x", code=2)
        assert "1 requests" in refused and "in doubt" in refused and "reconcile resolve" in refused
        assert harness.run_cli("reconcile", "resolve", doubtful, "--void", "--reason", "cut", home=home).returncode == 0
        assert reconcile(home, "close", month, "--provider", "site-a", "--accept", "too early")[0]["closed"]
        # The invoice comes, and is told what to do.
        year, number = int(month[:4]), int(month[5:])
        until = f"{year + number // 12}-{number % 12 + 1:02}-01"
        bill.write_text(f"start,end,cost_nanousd\n{month}-01,{until},{cost}\n")
        assert f"reconcile reopen {month} --provider site-a" in reconcile(home, "import", bill, "--provider", "site-a", "--invoice", code=2)
        assert "reason" in reconcile(home, "reopen", month, "--provider", "site-a", code=2)
        opened = reconcile(home, "reopen", month, "--provider", "site-a", "--reason", "their invoice came")[0]
        assert not opened["closed"]
    # It is all in the folder.
    invoiced = reconcile(home, "import", bill, "--provider", "site-a", "--invoice")[0]
    assert (invoiced["unexplained"], invoiced["suspense_nanousd"], invoiced["billed_nanousd"]) == (0, "0", str(cost))
    assert reconcile(home, "close", month, "--provider", "site-a", "--accept", "not over")[0]["closed"]
    assert json.loads(harness.run_cli("bill", "verify", "--json", home=home).stdout)["good"]


def test_a_bill_whose_lines_are_all_tolerated_and_whose_sum_is_not_is_told_once(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home, bill = site.server.home, tmp_path / "bill.csv"
        key = make_key(home, "sums", "--budget", "100")
        assert chat(site.server, key["token"], max_tokens=20).status == 200
        hours = hours_beside(today(site))
        bill.write_text("start,cost_usd\n" + "".join(f"{hour},0.005\n" for hour in hours))
        for _ in range(2):
            got = reconcile(home, "import", bill, "--provider", "site-a")[0]
            assert (got["unexplained"], got["sum_explained"], got["tolerated_nanousd"]) == (0, False, "40000000")
            (told,) = alerts(home)
            assert "(sum)" in told["text"] and told["amount_nanousd"] == "40000000" and told["scope"] == "provider:site-a"
        bill.write_text("start,cost_usd\n" + "".join(f"{hour},0.004\n" for hour in hours))
        reconcile(home, "import", bill, "--provider", "site-a")
        assert len(alerts(home)) == 2, "another bill"


def test_users_ask_what_their_requests_cost_by_receipt(tmp_path):
    with market.Market(tmp_path, "site-a") as site:
        home = site.server.home
        key = make_key(home, "asks", "--budget", "1")
        assert harness.run_cli("orgs", "set", "other", home=home).returncode == 0
        foreign = make_key(home, "foreign", "--org", "other")

        def ask(token, ids):
            return site.server.post("/v1/billing/requests", {"requestIds": ids}, {"Authorization": f"Bearer {token}"})

        replies = [chat(site.server, key["token"], max_tokens=10 + index) for index in range(3)]
        costs = {one.headers["x-tradewind-receipt"]: int(one.headers["x-tradewind-cost-nanousd"]) for one in replies}
        site.sim.fault(cut_after=4, endpoint="chat", count=1)
        doubtful = chat(site.server, key["token"], max_tokens=20, stream=True).headers["x-tradewind-receipt"]
        shown = harness.run_cli("receipt", doubtful, home=home).stdout.splitlines()[-1]
        assert re.fullmatch(r"at least \$0\.00; up to \$0\.0\d+ more is in doubt", shown), "no sum of what is not known"
        assert harness.run_cli("receipt", next(iter(costs)), home=home).stdout.endswith(" together\n")
        ids = [*costs, doubtful, "0" * 32, "no id", *costs]
        answer = ask(key["token"], ids)
        assert answer.status == 200
        assert answer.json() == {"requests": [{"requestId": one, "costNanoUsd": cost} for one, cost in costs.items()]}
        assert ask(key["token"], ids).body == answer.body, "the same question, the same answer"
        assert ask(foreign["token"], ids).json() == {"requests": []}, "of other organisations nothing is known"
        assert len(ask(key["token"], ["0" * 32] * 10_000).json()["requests"]) == 0
        settled = {org: json.loads(harness.run_cli("usage", "--org", org, "--json", home=home).stdout)["requests"]["settled"] for org in ("default", "other")}
        assert settled == {"default": 3, "other": 0}
        unknown = harness.run_cli("usage", "--org", "nobody", home=home)
        assert unknown.returncode != 0 and "nobody" in unknown.stderr
        for wrong in ({"requestIds": ["0"] * 10_001}, {"requestIds": "x"}, {"requestIds": [1]}, {}):
            refused = site.server.post("/v1/billing/requests", wrong, {"Authorization": f"Bearer {key['token']}"})
            assert refused.status == 400 and refused.error()["param"] == "requestIds"
        # Of what nobody was shown nobody is charged, so what was answered in its place is not kept back.
        site.sim.fault(cut_after=0, endpoint="chat", count=1)
        again = chat(site.server, key["token"], max_tokens=20)
        states = {one["state"]: one["charge_nanousd"] for one in receipt(site, again)["attempts"]}
        assert again.status == 200 and states["in_doubt"] == "0" and int(states["settled"]) > 0
        told = {"requestId": again.headers["x-tradewind-receipt"], "costNanoUsd": int(states["settled"])}
        assert ask(key["token"], [told["requestId"]]).json() == {"requests": [told]}
