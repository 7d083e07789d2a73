"""What the tests and benches install: pinned, and nothing that runs by itself (T45)."""

import json
import re

import harness

# Releases that stole keys.
STOLEN = {("litellm", "1.82.7"), ("litellm", "1.82.8"), ("litellm", "1.107.0")}
# What Python itself, or setuptools, puts there: it imports a module of its own.
KNOWN_PTH = {"distutils-precedence.pth"}
LOCKS = ("tests/requirements.lock", "tests/node.lock", "tests/focus-validator.lock", "bench/requirements.lock", "bench/litellm.lock")
PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([0-9][A-Za-z0-9.+!]*)((?: --hash=sha256:[0-9a-f]{64})+)")


def test_every_python_package_has_one_version_that_is_not_known_to_steal_and_digests():
    for lock in LOCKS:
        text = (harness.ROOT / lock).read_text()
        lines = [line for line in re.sub(r" \\\n +", " ", text).splitlines() if line and not line.startswith("#")]
        pins = [PIN.fullmatch(line) for line in lines]
        assert pins and all(pins), (lock, [line for line, pin in zip(lines, pins) if not pin])
        assert not STOLEN & {(pin[1].lower(), pin[2]) for pin in pins}, lock


def test_pip_takes_nothing_without_its_digest():
    scripts = "\n".join(path.read_text() for path in (harness.ROOT / "tools").glob("setup_*.sh"))
    calls = re.findall(r"pip\"? (?:install|download) (?:.*\\\n)*.*", scripts)
    assert len(calls) >= 4 and all("--require-hashes" in call and "--no-deps" in call for call in calls), calls


def test_every_javascript_package_has_a_digest():
    locks = [path for path in harness.ROOT.glob("*/**/package-lock.json") if "node_modules" not in path.parts and "build" not in path.parts]
    assert locks
    for lock in locks:
        packages = {name: one for name, one in json.loads(lock.read_text())["packages"].items() if name and not one.get("link")}
        assert packages and all(one.get("integrity", "").startswith("sha512-") for one in packages.values()), lock


def test_no_package_runs_a_script_of_its_own_when_it_is_installed():
    lines = [line for path in (harness.ROOT / "tools").glob("*.sh") for line in path.read_text().splitlines()]
    installs = [line for line in lines if re.search(r'(npm|\[@\]}") ci\b', line)]
    assert installs and all("--ignore-scripts" in line for line in installs), installs


def test_nothing_in_the_environments_of_tests_runs_at_every_start_of_python():
    for folder in (harness.ROOT / "build" / name for name in ("venv", "venv-focus", "peers")):
        for path in folder.glob("**/site-packages/*.pth"):
            lines = [line for line in path.read_text().splitlines() if line.startswith(("import ", "import\t"))]
            assert path.name in KNOWN_PTH or not lines, f"{path} runs {lines}"
