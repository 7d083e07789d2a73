"""Wakes the mutants one after the other and runs the tests of the money core: a mutant that no test fails for has survived.

usage: run.py BINARY [--sample N [--seed S]]   (without --sample: all; fails when fewer than 85 of 87 are caught)
Of a sample each day has its own, so that all have their turn; its seed is printed.
"""

import argparse
import datetime
import os
import random
import subprocess
import sys
import time

from mutants import MUTANTS, NEEDED

HANGS_S = 120  # a mutant that runs for so long is caught: the tests never end


def run(binary, number):
    """Whether a test failed, and which. A crash is a failure: production asserts what must hold."""
    env = os.environ | {"TW_MUTANT": str(number), "TW_LEDGER_SEEDS": "40", "TW_POWER_CUTS": "100", "TW_DATABASE_CUTS": "10", "TW_DISK_FAULT_STEP": "17"}
    try:
        done = subprocess.run(
            [binary, "--gtest_fail_fast", "--gtest_brief=1"], env=env, capture_output=True, text=True, errors="replace", timeout=HANGS_S
        )
    except subprocess.TimeoutExpired:
        return "it hangs"
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith("[  FAILED  ]")]
    return failed[0].split("]", 1)[1].split(" (")[0].strip() if failed else f"exit {done.returncode}: {done.stderr.strip()[-100:]}"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--sample", type=int)
    arguments.add_argument("--seed", type=int, default=datetime.date.today().toordinal())
    options = arguments.parse_args()
    binary = os.path.abspath(options.binary)
    awake_nobody = run(binary, 0)
    if awake_nobody:
        sys.exit(f"without a mutant a test fails: {awake_nobody}")
    numbers = list(range(1, len(MUTANTS) + 1))
    if options.sample:
        print(f"--sample {options.sample} --seed {options.seed}")
        numbers = sorted(random.Random(options.seed).sample(numbers, options.sample))
    survivors = []
    for number in numbers:
        mutant, begun = MUTANTS[number - 1], time.monotonic()
        caught = run(binary, number)
        print(f"{number:3} {mutant.file}: {mutant.what}: {caught or 'SURVIVED'} ({time.monotonic() - begun:.1f} s)", flush=True)
        if not caught:
            survivors.append(number)
    print(f"{len(numbers) - len(survivors)} of {len(numbers)} caught; survivors: {survivors or 'none'}")
    allowed = 0 if options.sample else len(MUTANTS) - NEEDED
    return 1 if len(survivors) > allowed else 0


if __name__ == "__main__":
    sys.exit(main())
