"""Run by test_catalog.py inside a network namespace of its own, in which there is loopback and nothing else: `without_network.py
FOLDER`."""

import pathlib
import socket
import sys

import harness
import router_host


def main():
    router_host.bring_loopback_up()
    try:
        socket.create_connection(("1.1.1.1", 443), timeout=5)
    except OSError as error:
        print("there is no network:", error)
    else:
        raise AssertionError("there is a network")
    home = pathlib.Path(sys.argv[1]) / "home"
    env = {"FIREWORKS_API_KEY": "k", "TOGETHER_API_KEY": "k"}  # providers that are on, and cannot be reached
    with harness.Server(home, env=env) as server:
        assert server.chat(max_tokens=4).status == 200
        listed = {model["id"]: model["providers"] for model in server.get("/v1/models").json()["data"]}
        assert harness.MODEL in listed and "openai/gpt-oss-120b" in listed
        found = harness.run_cli("search", "gpt-oss-120b", home=home)
        assert found.returncode == 0 and "together" in found.stdout
        made = harness.run_cli("keys", "create", "--name", "a", home=home)
        server.token = made.stdout.strip()
        refused = server.chat(model="openai/gpt-oss-120b")
        assert refused.status == 502 and refused.error()["code"] == "upstream_error"
        assert server.chat(max_tokens=4).status == 200
    print("works without a network")


if __name__ == "__main__":
    main()
