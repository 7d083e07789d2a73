"""Backups, restores, and what is lost or damaged of a data folder: nothing goes on as if it had never been there."""

import concurrent.futures
import json
import os
import shutil
import signal
import threading
import time

import harness
import market
from test_bill import HUGE, bill, chat, cli, make_key
from test_catalog import SAMPLES


def refuses_to_start(home, *words):
    done = harness.run_cli("serve", "--port", "0", home=home)
    assert done.returncode == 9 and all(word in done.stderr for word in words), done
    done = harness.run_cli("keys", "ls", home=home)
    assert done.returncode == 9 and all(word in done.stderr for word in words), done


def test_a_backup_of_a_running_server_restores_elsewhere(tmp_path):
    with market.Market(tmp_path, "site-a", prices=HUGE) as site:
        home = site.server.home
        key = make_key(home, "kept", "--budget", "50")
        stop = threading.Event()

        def load():
            while not stop.is_set():
                chat(site.server, key["token"], max_tokens=20)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load) for _ in range(4)]
            time.sleep(0.3)
            folders = [cli(home, "backup").strip()]
            stop.set()
            for one in loads:
                one.result()
        # At rest: both have the same.
        site.sim.wait_for(lambda: site.sim.state()["streams"] == 0, "no stream left open")
        time.sleep(1.1)  # a folder is named by its second
        folders.append(cli(home, "backup").strip())
        here = bill(home)
        budget = json.loads(cli(home, "budget", "ls", "--json"))["budgets"]
        elsewhere = tmp_path / "elsewhere"
        shutil.copytree(folders[1], elsewhere)
        assert bill(elsewhere)["hash"] == here["hash"]
        assert json.loads(cli(elsewhere, "bill", "verify", "--json"))["good"]
        assert json.loads(cli(elsewhere, "budget", "ls", "--json"))["budgets"] == budget
        under_load = tmp_path / "under-load"
        shutil.copytree(folders[0], under_load)
        verified = json.loads(cli(under_load, "bill", "verify", "--json"))
        assert verified["good"], "taken while requests ran"
        assert int(bill(under_load)["statement"]["charge_nanousd"]) <= int(here["statement"]["charge_nanousd"])
        with harness.Server(elsewhere, "--config", site.config, models=site.models, env=market.keys(site.sites)) as server:
            assert chat(server, key["token"], max_tokens=20).status in (200, 402), "keys are known there"
            while chat(server, key["token"], max_tokens=20).status == 200:
                pass
            (one,) = json.loads(cli(elsewhere, "budget", "ls", "--json"))["budgets"]
            assert int(one["spent_nanousd"]) + int(one["available_nanousd"]) == 50_000_000_000, "and so are budgets"


def test_a_backup_has_the_imported_prices(tmp_path):
    with market.Market(tmp_path, "site-a", prices=HUGE) as site:
        home = site.server.home
        cli(home, "prices", "import", SAMPLES / "portkey" / "together-ai.json")
        kept = (home / "prices.json").read_bytes()
        assert (home.parent / cli(home, "backup").strip() / "prices.json").read_bytes() == kept


def test_a_backup_that_fails_leaves_nothing(tmp_path):
    with market.Market(tmp_path, "site-a", prices=HUGE) as site:
        home = site.server.home
        backups = home / "backups"
        (home / "prices.json").mkdir()  # what is copied last
        failed = harness.run_cli("backup", home=home)
        assert failed.returncode != 0 and "prices.json" in failed.stderr, failed
        assert os.listdir(backups) == []
        (backups / "2026-01-01T000000Z.part").mkdir()  # of a process that was killed meanwhile
        theirs = [backups / "mine.part", backups / "mine.tar.part"]
        theirs[0].mkdir()
        theirs[1].write_text("of somebody else")
        (home / "prices.json").rmdir()
        done = cli(home, "backup").strip()
        assert sorted(map(str, backups.iterdir())) == sorted([done, *map(str, theirs)])


def test_damaged_prices_are_no_reason_to_go_on_with_others(tmp_path):
    with market.Market(tmp_path, "site-a", prices=HUGE) as site:
        home = site.server.home
        (home / "prices.json").write_text("{")
        site.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config stays as it was" in site.server.log(), "a word about it")
        assert chat(site.server, make_key(home, "one")["token"], max_tokens=5).status == 200
    done = harness.run_cli("serve", "--port", "0", home=home)
    assert done.returncode == 9 and "prices.json" in done.stderr and "import the price maps again" in done.stderr, done


def test_what_is_missing_beside_a_journal_is_not_made_anew(tmp_path):
    with market.Market(tmp_path, "site-a", prices=HUGE) as site:
        home = site.server.home
        key = make_key(home, "one", "--budget", "50")
        assert chat(site.server, key["token"], max_tokens=5).status == 200
    for name in ("invoices.db", "identity.db"):
        (home / name).rename(tmp_path / name)
        refuses_to_start(home, name, "restore it from the backup")
        (tmp_path / name).rename(home / name)
    # The operator may say that it is lost for good.
    (home / "invoices.db").unlink()
    (home / "invoices.db").touch(0o600)
    assert json.loads(cli(home, "bill", "verify", "--json"))["good"]


def test_what_an_operator_asks_of_a_folder_that_no_server_has_is_refused(tmp_path):
    home = tmp_path / "mistyped"
    for words in (["backup"], ["bill", "verify"], ["budget", "set", "org:default", "--usd", "1"], ["usage"], ["alerts", "ls"], ["requests"]):
        done = harness.run_cli(*words, home=home)
        assert done.returncode == 3 and f"no data folder at {home}" in done.stderr and "--home" in done.stderr, done
        assert not home.exists()
    make_key(home, "first")  # what one begins with
    assert json.loads(cli(home, "bill", "verify", "--json"))["good"]
