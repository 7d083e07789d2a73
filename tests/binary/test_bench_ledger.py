"""The benches of money, once and tiny, so that they fit the tables and the program as they are: pages over many rows, what money
costs, a budget asked for by everybody at once."""

import json
import math
import os
import pathlib
import re
import subprocess
import sys

import harness
import simulator

sys.path.append(str(harness.ROOT / "bench"))
import ledger_cost  # noqa: E402

BUILD = harness.ROOT / "build"
LOAD = pathlib.Path(os.environ.get("LEDGER_LOAD_BINARY") or BUILD / "ledger_load").resolve()
HTTP_LOAD = pathlib.Path(os.environ.get("GATEWAY_LOAD_BINARY") or BUILD / "gateway_load").resolve()
HEADER = r"\d CPUs, Linux \S+\. Commit .*, \d{4}-\d\d-\d\d\. .*`bench/"


def run(script, *words):
    env = os.environ | {"TRADEWIND_BINARY": str(harness.BINARY), "PROVIDER_SIM_BINARY": str(simulator.BINARY)}
    command = [sys.executable, "-B", f"bench/{script}", *map(str, words)]
    return subprocess.run(command, cwd=harness.ROOT, env=env, capture_output=True, text=True, timeout=600)


def test_every_page_over_many_rows_is_measured(tmp_path):
    done = run("usage.py", "--rows", 2000, "--tries", 2, "--limit-ms", 1e6, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "usage.md").read_text()
    assert re.search(HEADER, text) and "2,000 attempts" in text and "missed" not in text
    assert len(re.findall(r"^\| [a-z, ]+ \| [0-9.]+ \| [0-9.]+ \|$", text, re.M)) == 7, text


def test_a_page_that_takes_too_long_is_named_and_fails(tmp_path):
    done = run("usage.py", "--rows", 200, "--tries", 1, "--limit-ms", 0, "--out", tmp_path)
    assert done.returncode == 1 and "one provider (" in done.stderr, done.stderr
    assert (tmp_path / "usage.md").read_text().count("**missed**") == 7


def test_what_money_costs_is_measured_and_a_missed_target_is_named(tmp_path):
    done = run("ledger_cost.py", "--rounds", 1, "--requests", 300, "--seconds", 1, "--binary", harness.BINARY, "--sim", simulator.BINARY,
               "--load", LOAD, "--http-load", HTTP_LOAD, "--out", tmp_path)
    result = json.loads((tmp_path / "ledger.json").read_text())
    text = (tmp_path / "ledger.md").read_text()
    assert re.search(HEADER, text)
    # What is added is a difference of two measurements: beside other tests, and with so few requests, it may come out below nothing.
    assert all(result[key] > 0 for key in ledger_cost.TARGETS if key not in ledger_cost.DIFFERENCES)
    assert all(math.isfinite(result[key]) for key in ledger_cost.DIFFERENCES)
    # For the same reason it may miss any of them.
    late = ledger_cost.missed(result)
    assert done.returncode == (1 if late else 0), done.stderr
    assert text.count("**missed**") == len(late) and all(ledger_cost.TARGETS[key][0] in done.stderr for key in late)


def test_a_target_is_missed_on_its_own_side_only():
    met = {key: target for key, (_, _, target, _) in ledger_cost.TARGETS.items()}
    assert ledger_cost.missed(met) == []
    for key, (_, _, target, is_floor) in ledger_cost.TARGETS.items():
        assert ledger_cost.missed(met | {key: target * (0.99 if is_floor else 1.01)}) == [key]
        assert ledger_cost.missed(met | {key: target * (1.01 if is_floor else 0.99)}) == []


def test_a_budget_asked_for_by_everybody_at_once_is_kept_and_told(tmp_path):
    done = run("compare_attack.py", "--clients", 120, "--tokens-per-s", 1000, "--without-peers", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "attack.json").read_text())["rows"]
    assert len(rows) == 2 and all(row["answered"] > 0 and row["refused"] > 0 and row["other"] == 0 for row in rows), rows
    text = (tmp_path / "attack.md").read_text()
    assert re.search(HEADER, text) and text.count("| Tradewind, budget of a key |") == 2
    assert all(f"| ${row['billed_nanousd'] / 1e9:.6f} | $0 |" in text for row in rows)
