"""The windows of budgets: as they were opened, whatever the tz database says after a start, and as they are set."""

import datetime
import functools
import json
import pathlib
import shutil
import subprocess

import harness
import market
import pytest
from test_money import chat, make_key, usage

ZONES = pathlib.Path("/usr/share/zoneinfo")
ZONE = ZONES / "Africa/Monrovia"


def with_zone(folder, name, of):
    """The program, as if this machine's tz database had the rules of another zone under this one's name."""
    rules, program = folder / f"rules-{name}", folder / f"tradewind-{name}"
    shutil.copyfile(ZONES / of, rules)
    program.write_text(f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind {rules} {ZONE.resolve()} && exec "$0" "$@"' {harness.BINARY} "$@"
""")
    program.chmod(0o755)
    return functools.partial(harness.Server, binary=program)


def zone_behind(hours):
    """The zone whose clocks are so many hours behind UTC. Beyond twelve it is one ahead, where the same hour is of the next day."""
    return f"Etc/GMT+{hours}" if hours <= 12 else f"Etc/GMT-{24 - hours}"


def may_mount():
    """Root in most containers may not."""
    try:
        return ZONE.exists() and subprocess.run(["unshare", "-m", "mount", "--bind", "/dev/null", ZONE.resolve()], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_mount(), reason="it takes root to give a program another tz database")
def test_an_update_of_the_tz_database_gives_no_budget_its_limit_again(tmp_path):
    # By its old rules the day began two hours before, or so; by its new ones another day began at another hour.
    hour = datetime.datetime.now(datetime.timezone.utc).hour
    before, after = zone_behind(max(0, hour - 3)), zone_behind(max(0, hour - 3) + 1)
    with market.Market(tmp_path, "site-a", prices=("100", "300"), server=with_zone(tmp_path, "before", before)) as site:
        home = site.server.home
        key = make_key(home, "one", "--budget", "1", "--period", "day", "--zone", "Africa/Monrovia")
        assert chat(site.server, key["token"], max_tokens=30).status == 200
        first = usage(home, "one")["budget"]
        assert int(first["spent_nanousd"]) > 0
        site.server.kill()
        site.server = with_zone(tmp_path, "after", after)(home, "--config", site.config, models=site.models, env=market.keys(site.sites))
        site._stack.enter_context(site.server)
        assert usage(home, "one")["budget"] == first
        other = make_key(home, "two", "--budget", "1", "--period", "day", "--zone", "Africa/Monrovia")
        assert usage(home, other["id"])["budget"]["resets_at"] != first["resets_at"], "its rules are others now"


def cli(home, *words):
    ran = harness.run_cli(*words, home=home)
    assert ran.returncode == 0, ran
    return ran.stdout


def test_a_rolling_budget_refuses_after_a_kill_what_the_span_before_has_used(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300")) as site:
        home = site.server.home
        key = make_key(home, "one", "--budget", "1", "--period", "rolling:24h")
        assert "nothing used" in (listed := cli(home, "budget", "ls")) and "never" not in listed
        while chat(site.server, key["token"], max_tokens=1000).status == 200:
            pass
        before = usage(home, "one")["budget"]
        assert before["period"] == "rolling:24h" and 0 < int(before["spent_nanousd"]) <= 1_000_000_000
        resets = datetime.datetime.fromisoformat(before["resets_at"].rstrip("Z")) - datetime.datetime.utcnow()
        assert datetime.timedelta(hours=23) < resets <= datetime.timedelta(hours=24, minutes=24)
        site.server.kill()
        site.server = harness.Server(home, "--config", site.config, models=site.models, env=market.keys(site.sites))
        site._stack.enter_context(site.server)
        assert chat(site.server, key["token"], max_tokens=1000).status == 402
        after = usage(home, "one")["budget"]
        assert after["spent_nanousd"] == before["spent_nanousd"]
        assert json.loads(cli(home, "bill", "verify", "--json"))


def test_weeks_months_and_charges_are_set_and_shown(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300")) as site:
        home = site.server.home
        make_key(home, "one", "--budget", "1", "--period", "week", "--week-start", "sunday", "--of", "charge")
        resets = datetime.datetime.fromisoformat(usage(home, "one")["budget"]["resets_at"].rstrip("Z"))
        assert resets.isoweekday() == 7
        month = json.loads(cli(home, "budget", "set", "all", "--usd", "5", "--period", "month", "--cycle-day", "15", "--json"))
        assert month["resets_at"][8:] == "15T00:00:00Z"
        listed = cli(home, "budget", "ls")
        assert "week from sunday" in listed and "month from 15" in listed and "charge" in listed
        moved = harness.run_cli("budget", "set", "all", "--cycle-day", "16", home=home)
        assert moved.returncode != 0 and "remove it first" in moved.stderr
        credit = json.loads(cli(home, "credit", "grant", "default", "5", "--priority", "3", "--json"))
        assert credit["priority"] == 3 and credit["models"] is None
        few = json.loads(cli(home, "credit", "grant", "default", "5", "--models", "acme/model", "--providers", "site-a", "--json"))
        assert few["models"] == ["acme/model"] and few["providers"] == ["site-a"]
