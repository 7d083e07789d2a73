"""`make run` after its build: tools/run_demo.sh."""

import json
import os
import re
import signal
import socket
import subprocess

import simulator
from harness import BINARY, MODEL, MODEL_FILE, MODELS, PATIENCE_S, ROOT, Server, environment, run_cli, wait_for

DEMO = ROOT / "tools" / "run_demo.sh"


def test_the_demo_answers_says_what_it_cost_and_serves_until_ctrl_c(home):
    demo = subprocess.Popen(
        [DEMO, BINARY], env=environment(home, TRADEWIND_PORT="0"), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    said = ""
    while "Serving until Ctrl-C" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    assert "> What is the capital of France?\n" in said
    assert re.search(r"prompt \d+ tok .*output \d+ tok .*cost \$0\.00", said)
    # The curl line that it prints works as it is.
    curl = said[said.index("  curl ") :].split("\nor chat")[0]
    answer = subprocess.run(["bash", "-c", f"{curl} -s"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert json.loads(answer.stdout)["usage"]["total_tokens"] > 0
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
    assert demo.wait(PATIENCE_S) == 0
    demo.stdout.close()
    assert json.loads(run_cli("ps", "--json", home=home).stdout)["servers"] == []


def test_the_documents_recipe_for_a_provider_without_an_account(tmp_path):
    page = (ROOT / "docs" / "operating" / "providers.md").read_text()
    [flags] = re.findall(r"build/provider_sim --port 9001 (.+?) &\n", page)
    config = re.search(r"```toml\n(\[\[providers\]\].+?)```", page, re.S)[1]
    names, *others = flags.removeprefix("--providers ").split()
    with simulator.Simulator(names, flags=others) as sim:
        assert 'base_url = "http://127.0.0.1:9001/v1"' in config
        (tmp_path / "config.toml").write_text(config.replace("127.0.0.1:9001", f"127.0.0.1:{sim.port}"))
        env = {"SITE_A_KEY": "any-key"}
        with Server(tmp_path / "home", "--config", tmp_path / "config.toml", env=env) as server:
            server.token = run_cli("keys", "create", "--name", "a", home=server.home).stdout.strip()
            reply = server.chat(model="org/name:site-a")
            assert reply.status == 200 and reply.headers["x-inference-provider"] == "site-a", reply.body


def test_the_demo_asks_the_default_model_also_when_others_come_first(home, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("A-model.gguf", MODEL_FILE.name):
        (models / name).symlink_to(MODEL_FILE)
    assert asked_model(home, models) == MODEL
    (models / MODEL_FILE.name).unlink()
    assert asked_model(home, models) == "A-model"


def test_the_demo_runs_again_once_there_is_a_key(home):
    assert run_cli("keys", "create", "--name", "me", home=home).returncode == 0
    said = what_the_demo_says(home)
    assert f"{MODEL}, on this device:" in said and re.search(r"output \d+ tok", said), said
    assert "-H 'Authorization: Bearer TOKEN'" in said


def asked_model(home, models):
    return re.search(r"^(\S+), on this device:$", what_the_demo_says(home, models), re.MULTILINE)[1]


def what_the_demo_says(home, models=MODELS):
    demo = subprocess.Popen(
        [DEMO, BINARY], env=environment(home, models, TRADEWIND_PORT="0"), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    said = ""
    while "Serving until Ctrl-C" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
    assert demo.wait(PATIENCE_S) == 0
    demo.stdout.close()
    return said


def test_the_demo_says_when_its_port_is_taken(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([DEMO, BINARY], env=environment(home, TRADEWIND_PORT=port), capture_output=True, text=True)
    assert done.returncode == 1
    assert str(port) in done.stderr and "TRADEWIND_PORT" in done.stderr


def test_the_demo_says_when_there_is_no_model(home, tmp_path):
    (tmp_path / "models").mkdir()
    env = environment(home, tmp_path / "models", TRADEWIND_PORT="0")
    done = subprocess.run([DEMO, BINARY], env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "no_model" in done.stderr
    wait_for(lambda: json.loads(run_cli("ps", "--json", home=home).stdout)["servers"] == [], "its server to end")
