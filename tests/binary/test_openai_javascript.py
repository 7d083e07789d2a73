"""The `openai` package for JavaScript: tests/js, run by node's own test runner against one server."""

import os
import subprocess

from harness import MODEL, PATIENCE_S, ROOT


def test_the_javascript_client(server):
    node = ROOT / "build" / "node" / "bin" / "node"
    tests = [ROOT / "tests" / "js" / "openai.test.mjs"]
    env = os.environ | {"TRADEWIND_TEST_URL": server.url, "TRADEWIND_TEST_MODEL": MODEL}
    done = subprocess.run([node, "--test", *tests], env=env, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "# pass 0" not in done.stdout and "ℹ pass 0" not in done.stdout
