"""A provider's usage API, asked for the bill: what the simulated provider billed, page by page, against what was recorded
here; and one that refuses, breaks off or lies.
"""

import datetime
import json
import time

import harness
import market
import pytest
from test_money import chat, make_key
from test_reconcile import alerts, bill_nano, today

ADMIN = "admin-key-that-must-not-leak"
FIELDS = {"usage_api": '"openai"', "usage_api_key_env": '"SITE_A_ADMIN"'}
# So dear that a request is beyond what is taken for rounding.
PRICES = {"input_nanousd_per_mtok": 10**12, "output_nanousd_per_mtok": 3 * 10**12}
DAY = datetime.timedelta(days=1)


def start(folder, api="openai", flags=(), **fields):
    def server(*words, env, **more):
        return harness.Server(*words, env=env | {"SITE_A_ADMIN": ADMIN}, **more)

    more = FIELDS | {"usage_api": f'"{api}"'} | fields
    sim_flags = ["--admin-key", ADMIN, "--price", "site-a=" + json.dumps(PRICES)]
    return market.Market(folder, "site-a", sim_flags=sim_flags, flags=flags, server=server, prices=("1000", "3000"), **more)


def fetch(site, *words, code=0, key=ADMIN):
    done = harness.run_cli("reconcile", "fetch", "site-a", *words, "--config", site.config, "--json", home=site.server.home,
                           **{"SITE_A_ADMIN": key, **market.keys(["site-a"])})
    assert done.returncode == code, done
    assert ADMIN not in done.stdout + done.stderr
    return json.loads(done.stdout)["providers"][0] if code == 0 else done.stderr


def days(site, before=0):
    """--from and --to around the day of the provider's last answer, and days before it of the same month."""
    day = datetime.date.fromisoformat(today(site))
    first = max(day - before * DAY, day.replace(day=1))
    return ["--from", str(first), "--to", str(day + DAY)]


def spend(site):
    key = make_key(site.server.home, "billed", "--budget", "100")
    for tokens in (10, 20, 30):
        assert chat(site.server, key["token"], max_tokens=tokens).status == 200
    assert bill_nano(site) > 0


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_the_bill_is_fetched_page_by_page_and_agrees_to_the_nano_dollar(tmp_path, api):
    with start(tmp_path, api) as site:
        spend(site)
        site.sim.fault(page_days=1)
        got = fetch(site, *days(site, before=3))
        assert got["billed_nanousd"] == got["recorded_nanousd"] == str(bill_nano(site))
        assert (got["unexplained"], got["suspense_nanousd"]) == (0, "0")
        assert {line["class"] for line in got["lines"]} == {"none"}
        tokens = [line for line in got["lines"] if line["model"] == "model-x"]
        assert len(tokens) == 1 and tokens[0]["billed"]["output_tokens"] == tokens[0]["recorded"]["output_tokens"] > 0
        asked = [entry for entry in site.sim.log() if "/organization" in entry["path"]]
        pages = len({entry["path"] for entry in asked})
        assert pages == len(asked) == 2 * len({line["from"] for line in got["lines"]}), "a page a day, each asked once"
        # The same again is the same; and what was used since is there.
        assert fetch(site, *days(site, before=3)) == got
        spend_again = chat(site.server, site.server.token, max_tokens=5)
        assert spend_again.status == 200
        more = fetch(site, *days(site))
        assert more["billed_nanousd"] == str(bill_nano(site)) and int(more["billed_nanousd"]) > int(got["billed_nanousd"])
        assert alerts(site.server.home) == []


def test_a_refusal_says_what_to_do_and_takes_nothing(tmp_path):
    with start(tmp_path) as site:
        spend(site)
        assert "admin key" in fetch(site, *days(site), key=market.KEY, code=4), "the key of requests may not ask"
        site.sim.fault(endpoint="usage", status=429, retry_after="3600")
        assert "ask again in 3600 s" in fetch(site, *days(site), code=6)
        site.sim.clear_faults()
        site.sim.fault(endpoint="costs", body="truncated")  # the first report is whole, the second never is
        assert "no whole answer" in fetch(site, *days(site), code=7)
        shown = harness.run_cli("reconcile", "status", today(site)[:7], "--json", home=site.server.home)
        assert json.loads(shown.stdout)["providers"] == [], "half of a bill is none"
        # What passes is waited for.
        site.sim.clear_faults()
        site.sim.fault(endpoint="costs", body="truncated", count=1)
        site.sim.fault(endpoint="usage", status=429, retry_after="1", count=1)
        site.sim.fault(endpoint="costs", status=503, count=1)
        assert fetch(site, *days(site))["billed_nanousd"] == str(bill_nano(site))


def test_what_the_config_does_not_say_is_named(tmp_path):
    with start(tmp_path) as site:
        assert "--from" in fetch(site, "--from", "2026-01-02", "--to", "2026-01-01", code=2)
        assert "--to is a day" in fetch(site, "--to", "2026-01-01T05:00:00Z", code=2)
        assert "SITE_A_ADMIN is not set" in fetch(site, key="", code=4)
        text = site.config.read_text()
        site.config.write_text("".join(line for line in text.splitlines(True) if "usage_api" not in line))
        assert "usage_api_key_env" in fetch(site, code=3)
        done = harness.run_cli("reconcile", "fetch", "nobody", "--config", site.config, home=site.server.home)
        assert done.returncode == 3 and "[[providers]]" in done.stderr


@pytest.mark.parametrize("lie", ["negative", "loop", "lost", "twice"])
def test_a_provider_that_contradicts_itself_is_not_believed(tmp_path, lie):
    with start(tmp_path) as site:
        spend(site)
        site.sim.fault(page_days=1, report=lie)
        day = datetime.date.fromisoformat(today(site))
        refused = fetch(site, "--from", day - DAY, "--to", day + DAY, code=6)
        assert "nothing of it was taken" in refused


def is_near_midnight():
    minute = int(time.time()) // 60 % 1440
    return minute < 7 or minute > 1430


@pytest.mark.skipif(is_near_midnight(), reason="what is near the ends of a day may stand in its neighbour")
def test_a_provider_that_lies_is_found_out(tmp_path):
    with start(tmp_path, "anthropic") as site:
        spend(site)
        for report, kind in [("inflated", "units"), ("empty", "missing_remote"), ("stray", "missing_local")]:
            site.sim.clear_faults()
            site.sim.fault(report=report)
            got = fetch(site, *days(site))
            assert kind in {line["class"] for line in got["lines"]}, (report, got)
        assert {word for alert in alerts(site.server.home) for word in ("units", "missing_remote", "missing_local")
                if f"({word})" in alert["text"]} == {"units", "missing_remote", "missing_local"}
        # The truth replaces all of it.
        site.sim.clear_faults()
        got = fetch(site, *days(site))
        assert got["unexplained"] == 0 and got["suspense_nanousd"] == "0"


def test_the_server_looks_by_itself_and_tells(tmp_path):
    with start(tmp_path, "anthropic", flags=["--billing-every", "200ms"], usage_api_every='"1s"') as site:
        harness.wait_for(lambda: [entry for entry in site.sim.log() if "cost_report" in entry["path"]], "a look")
        assert alerts(site.server.home) == []
        site.sim.fault(report="stray")
        told = harness.wait_for(lambda: alerts(site.server.home), "an alert")
        assert "missing_local" in told[0]["text"] and "$1.0" in told[0]["text"]
        assert ADMIN not in site.server.log()
        seen = len([entry for entry in site.sim.log() if "cost_report" in entry["path"]])
        harness.wait_for(lambda: len([e for e in site.sim.log() if "cost_report" in e["path"]]) > seen + 1, "two more looks")
        assert len(alerts(site.server.home)) == len(told), "the same is told once"


def test_without_a_time_the_server_never_looks(tmp_path):
    with start(tmp_path, flags=["--billing-every", "100ms"]) as site:
        spend(site)
        for _ in range(3):  # rounds of the reconciler, as far as anybody can see them
            assert chat(site.server, site.server.token, max_tokens=5).status == 200
        assert [entry for entry in site.sim.log() if "/organization" in entry["path"]] == []
