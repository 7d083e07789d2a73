#!/usr/bin/env python3
"""Writes behind each pin of a lock file the sha256 digests of its files, as the package index has them.

Usage: tools/lock_hashes.py [LOCK...]     all of LOCKS without a name; needs `uv` (pip install uv) and the index that it knows

Change or add a pin as a bare `name==version`, run this, and install: pip takes nothing whose digest is another one
(tools/setup_test_tools.sh, tools/setup_bench_tools.sh). Comments and the order of the pins stay.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# With the oldest Python that installs them.
LOCKS = {
    "tests/requirements.lock": "3.11",
    "tests/node.lock": "3.11",
    "tests/focus-validator.lock": "3.12",
    "bench/requirements.lock": "3.11",
    "bench/litellm.lock": "3.11",
}
PIN = re.compile(r"([A-Za-z0-9._-]+(?:\[[a-z,]+\])?==[^ ;\\]+)")


def pins_of(text):
    """Comments and pins, line by line, without digests."""
    lines = [line.rstrip("\\ ") for line in text.splitlines()]
    return [line for line in lines if line and not line.lstrip().startswith("--hash=")]


def digests_of(pins, python):
    """name==version, as the index spells it -> its digests."""
    words = ["uv", "pip", "compile", "--quiet", "--no-deps", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
    words += ["--python-version", python, "-"]
    found = subprocess.run(words, input="\n".join(pins), capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(found.stderr)
    digests = {}
    for line in found.stdout.splitlines():
        if pin := PIN.match(line):
            current = digests.setdefault(key_of(pin[1]), [])
        current += re.findall(r"--hash=(sha256:[0-9a-f]{64})", line)
    return digests


def key_of(pin):
    return re.sub(r"[-_.]+", "-", pin.split("==")[0].split("[")[0]).lower() + "==" + pin.split("==")[1]


def main():
    for name in sys.argv[1:] or LOCKS:
        path = ROOT / name
        lines = pins_of(path.read_text())
        digests = digests_of([line for line in lines if not line.startswith("#")], LOCKS[name])
        out = []
        for line in lines:
            found = [] if line.startswith("#") else sorted(digests[key_of(PIN.match(line)[1])])
            if not line.startswith("#") and not found:
                sys.exit(f"{name}: the index has no file of {line}")
            out.append(" \\\n".join([line, *(f"    --hash={digest}" for digest in found)]))
        path.write_text("\n".join(out) + "\n")
        print(f"{name}: {sum(len(digests[key]) for key in digests)} digests of {len(digests)} packages")


main()
