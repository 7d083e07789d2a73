"""Never surprised: alerts reach a webhook, a command and the console; once each, whatever is killed when."""

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

import harness
import market
from market import MODEL

PRICES = ("1000", "3000")  # $0.001 and $0.003 a token
SECRET = "a secret that both sides know"


class Hook:
    """A webhook's receiver that fails as often as it is told to."""

    def __init__(self, failures=0):
        self.failures, self.got, self.lock = failures, [], threading.Lock()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with hook.lock:
                    fails = hook.failures > 0
                    hook.failures -= 1
                    if not fails:
                        hook.got.append((dict(self.headers), body))
                self.send_response(503 if fails else 204)
                self.end_headers()

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def alerts(self):
        with self.lock:
            return [json.loads(body) for _, body in self.got]

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()


def alerts_config(hook=None, command=None, **fields):
    lines = ["[alerts]"]
    if hook:
        lines += [f'webhook = "{hook.url}"', "allow_private = true", 'webhook_secret_env = "HOOK_SECRET"']
    if command:
        lines.append(f"command = {json.dumps([str(word) for word in command])}")
    lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(lines) + "\n"


def test_a_route_without_a_price_keeps_no_key_from_the_model_on_this_device(tmp_path):
    if not harness.MODEL_FILE.exists():
        pytest.skip("the default model is not there")
    flags = ["--model", harness.MODEL_FILE, "--ctx", "2048"]
    with market.Market(tmp_path, "site-a", "site-b", prices=PRICES, models=harness.MODELS, flags=flags) as made:
        priced, other = made.config.read_text().split('name = "site-b"')
        made.config.write_text(priced + 'name = "site-b"' + re.sub(r'(in|out)put_usd_per_mtok = "[^"]*", ', "", other))
        made.server.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: "the config was read again" in made.server.log(), "the new config")
        plain = make_key(made.server.home, "plain", "--budget", "0.01")
        opted = make_key(made.server.home, "opted", "--budget", "0.01", "--on-exhausted", "local")
        refused = chat(made.server, plain["token"], max_tokens=5)
        assert refused.status == 402 and "the budget" in refused.json()["error"]["message"], refused.body
        reply = chat(made.server, opted["token"], max_tokens=5)
        assert reply.status == 200 and reply.headers["x-tradewind-degraded"] == "budget"


@contextlib.contextmanager
def site(tmp_path, **fields):
    start = lambda *words, env, **more: harness.Server(*words, env=env | {"HOOK_SECRET": SECRET}, **more)
    with market.Market(tmp_path, "site-a", prices=PRICES, extra=alerts_config(**fields), server=start) as made:
        yield made


def make_key(home, name, *words):
    made = harness.run_cli("keys", "create", "--name", name, "--json", *words, home=home)
    assert made.returncode == 0, made
    return json.loads(made.stdout)


def chat(server, token, **fields):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one two three"}]} | fields
    return server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {token}"})


def listed(home, *words):
    got = harness.run_cli("alerts", "ls", "--json", *words, home=home)
    assert got.returncode == 0, got
    return json.loads(got.stdout)["alerts"]


def test_shares_of_a_budget_reach_the_webhook_once_signed_and_after_failures(tmp_path):
    with Hook(failures=1) as hook, site(tmp_path, hook=hook, velocity_usd="0") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "told")
        scope = f"key:{key['id']}"
        cost = int(chat(server, key["token"], max_tokens=20).headers["x-tradewind-cost-nanousd"])
        usd = f"{cost * 4 / 1e9:.9f}"
        done = harness.run_cli("budget", "set", scope, "--usd", usd, "--mode", "soft", "--warn", "60,100", home=home)
        assert done.returncode == 0, done
        for _ in range(8):
            assert chat(server, key["token"], max_tokens=20).status == 200
        harness.wait_for(lambda: len(hook.alerts()) == 3, "both shares, and the first one at its second try")
        kinds = [alert["kind"] for alert in hook.alerts()]
        assert sorted(kinds) == ["budget", "budget", "new_sku"], kinds
        for headers, body in hook.got:
            expected = hmac.new(SECRET.encode(), headers["x-tradewind-timestamp"].encode() + b"." + body, hashlib.sha256)
            assert headers["x-tradewind-signature"] == "v1=" + expected.hexdigest()
            assert headers["x-tradewind-alert"] == str(json.loads(body)["id"])
        budget = sorted((alert for alert in hook.alerts() if alert["kind"] == "budget"), key=lambda alert: alert["id"])
        assert budget[0]["text"].startswith("60 %") and budget[1]["text"].startswith("100 %")
        assert all(f"{scope} ({key['name']})" in alert["text"] for alert in budget), "who that is, too"
        assert budget[0]["scope"] == scope and int(budget[0]["amount_nanousd"]) >= cost * 4 * 6 // 10
        tried = {alert["id"]: alert["deliveries"]["webhook"] for alert in listed(home)}
        assert all(one["state"] == "delivered" for one in tried.values()) and max(one["tries"] for one in tried.values()) == 2


def test_a_kill_repeats_no_alert_and_loses_none(tmp_path):
    with Hook() as hook, site(tmp_path, hook=hook, velocity_usd="0") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "killed", "--budget", "20")
        flags = ["--config", made.config, "--port", str(server.port)]
        env = market.keys(made.sites) | {"HOOK_SECRET": SECRET}
        for _ in range(5):
            while True:
                reply = chat(server, key["token"], max_tokens=200)
                if reply.status == 402 or int(reply.headers["x-tradewind-cost-nanousd"]) > 0:
                    break
            server.process.kill()  # right behind the answer: nobody can have looked yet
            server.process.wait(harness.PATIENCE_S)
            server.process.stdout.close()
            server = harness.Server(home, *flags, models=made.models, env=env)
        while chat(server, key["token"], max_tokens=200).status == 200:
            pass
        spent = json.loads(harness.run_cli("usage", "--key", "killed", "--json", home=home).stdout)["budget"]
        share = int(spent["spent_nanousd"]) * 100 // 20_000_000_000
        due = [percent for percent in (50, 80, 100) if percent <= share]
        assert due, spent
        harness.wait_for(
            lambda: any(alert["text"].startswith(f"{due[-1]} %") for alert in hook.alerts()), f"the alert of {due[-1]} %"
        )
        # What was sent and not noted when the process was killed may come again, under its own number.
        numbers = {}
        for alert in hook.alerts():
            numbers.setdefault(alert["text"], set()).add(alert["id"])
        assert all(len(ids) == 1 for ids in numbers.values()), numbers
        assert sum("for the first time" in text for text in numbers) == 1
        made.server.process = server.process
        made.server.token = server.token = None


def test_a_command_gets_the_message_on_its_stdin_without_a_shell(tmp_path):
    mail = tmp_path / "mail box; $(id)"
    with site(tmp_path, command=["/usr/bin/tee", "-a", mail], velocity_usd="0") as made:
        key = make_key(made.server.home, "mailed")
        assert chat(made.server, key["token"], max_tokens=5).status == 200
        harness.wait_for(lambda: mail.exists() and "ack" in mail.read_text(), "the mail")
        head, text = mail.read_text().split("\n\n", 1)
        assert head.startswith(f"Subject: Tradewind: {MODEL} is paid for at site-a for the first time by price version 1.")
        assert "kind    new_sku" in text
        harness.wait_for(
            lambda: listed(made.server.home)[0]["deliveries"]["command"]["state"] == "delivered", "that it is noted"
        )


def test_a_command_that_hangs_keeps_no_webhook_waiting(tmp_path):
    pids = tmp_path / "pids"
    with Hook() as hook, site(tmp_path, hook=hook, command=["/bin/sh", "-c", f"echo $$ >> {pids}; sleep 1000; true"], velocity_usd="0") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "one")
        assert chat(server, key["token"], max_tokens=5).status == 200
        harness.wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"), "the command for the first alert")
        done = harness.run_cli("budget", "set", f"key:{key['id']}", "--usd", "0.000001", "--mode", "soft", "--warn", "50", home=home)
        assert done.returncode == 0, done
        assert chat(server, key["token"], max_tokens=5).status == 200
        harness.wait_for(lambda: {alert["kind"] for alert in hook.alerts()} == {"new_sku", "budget"}, "both by the webhook")
        assert os.path.exists("/proc/" + pids.read_text().split()[0]), "the command for the first one still hangs"


def test_an_operator_lists_and_acknowledges_alerts(tmp_path):
    with site(tmp_path, velocity_usd="0") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "looked-at")
        other = make_key(home, "other", "--org", "acme", "--role", "admin", "--scopes", "inference,read,manage")
        assert chat(server, key["token"], max_tokens=5).status == 200
        alerts = harness.wait_for(lambda: listed(home), "the first alert")
        assert [alert["kind"] for alert in alerts] == ["new_sku"] and alerts[0]["acknowledged_at"] is None
        headers = {"Authorization": f"Bearer {other['token']}"}
        assert server.get("/tw/v1/alerts", headers).json()["alerts"] == [], "of another organisation"
        assert server.post(f"/tw/v1/alerts/{alerts[0]['id']}/acknowledge", {}, headers).status == 404
        assert server.get("/tw/v1/alerts", {"Authorization": f"Bearer {key['token']}"}).status == 403
        table = harness.run_cli("alerts", home=home)
        assert table.returncode == 0 and "for the first time" in table.stdout and "open" in table.stdout
        done = harness.run_cli("alerts", "ack", alerts[0]["id"], home=home)
        assert done.returncode == 0 and "seen by admin" in done.stdout, done
        assert listed(home) == [] and len(listed(home, "--all")) == 1
        assert harness.run_cli("alerts", "ack", "77", home=home).returncode == 3
        assert harness.run_cli("alerts", "forecast", home=home).returncode == 0


def test_who_spends_too_fast_is_slowed_down_where_that_is_wanted(tmp_path):
    with site(tmp_path, throttle=True, velocity_usd="0.05") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "fast")
        refused = harness.wait_for(lambda: (reply := chat(server, key["token"], max_tokens=20)).status == 429 and reply, "a refusal")
        assert "unusually fast" in refused.error()["message"] and refused.headers["Retry-After"] == "60"
        for alert in listed(home):
            assert harness.run_cli("alerts", "ack", alert["id"], home=home).returncode == 0
        harness.wait_for(lambda: chat(server, key["token"], max_tokens=5).status == 200, "its end, once it is known")


def acknowledge(server, key, alert):
    return server.post(f"/tw/v1/alerts/{alert['id']}/acknowledge", {}, {"Authorization": f"Bearer {key['token']}"})


def test_an_organisation_silences_no_alert_of_the_operator(tmp_path):
    with site(tmp_path, velocity_usd="0") as made:
        home, server = made.server.home, made.server
        boss = make_key(home, "boss", "--org", "acme", "--role", "admin", "--scopes", "inference,read,manage")
        assert chat(server, boss["token"], max_tokens=5).status == 200
        (alert,) = harness.wait_for(lambda: listed(home), "what is new")
        done = acknowledge(server, boss, alert)
        assert done.status == 200 and done.json()["acknowledged_by"] == "boss", done.body
        theirs = server.get("/tw/v1/alerts?open=true", {"Authorization": f"Bearer {boss['token']}"})
        assert theirs.json()["alerts"] == []
        (still,) = listed(home)
        assert still["acknowledged_by"] is None and still["org_acknowledged_by"] == "boss"
        assert "open (its org: seen by boss)" in harness.run_cli("alerts", home=home).stdout
        assert harness.run_cli("alerts", "ack", alert["id"], home=home).returncode == 0
        assert listed(home) == []


def test_only_the_operator_ends_a_throttle_and_who_goes_on_is_throttled_anew(tmp_path):
    with site(tmp_path, throttle=True, velocity_usd="0.5") as made:
        home, server = made.server.home, made.server
        key = make_key(home, "stolen", "--org", "acme")
        boss = make_key(home, "boss", "--org", "acme", "--role", "admin", "--scopes", "inference,read,manage")

        def spend_until_refused():
            harness.wait_for(lambda: chat(server, key["token"], max_tokens=20).status == 429, "a refusal")
            return [alert for alert in listed(home) if alert["kind"] == "velocity"]

        first = spend_until_refused()
        assert [alert["scope"].split(":")[0] for alert in first] == ["org", "key"], "both are new"
        for alert in first:
            refused = acknowledge(server, boss, alert)
            message = refused.error()["message"]
            assert refused.status == 403 and f"tradewind alerts ack {alert['id']}" in message, message
            assert refused.headers["X-Error-Message"] == message
        assert [alert for alert in listed(home) if alert["kind"] == "velocity"] == first
        time.sleep(1.5)  # longer than what is decided takes to count
        assert chat(server, key["token"], max_tokens=5).status == 429
        for alert in first:
            assert harness.run_cli("alerts", "ack", alert["id"], home=home).returncode == 0
        harness.wait_for(lambda: chat(server, key["token"], max_tokens=5).status == 200, "its end, once it is known")
        again = spend_until_refused()
        assert len(again) == 2 and {alert["id"] for alert in again}.isdisjoint(alert["id"] for alert in first)
        assert all(int(alert["amount_nanousd"]) >= 500_000_000 for alert in again)


def test_a_webhook_in_a_private_network_has_to_be_allowed(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[alerts]\nwebhook = "https://127.0.0.1:9/x"\nwebhook_secret_env = "HOOK_SECRET"\n')
    with market.Market(
        tmp_path,
        "site-a",
        prices=PRICES,
        extra=config.read_text(),
        server=lambda *words, env, **more: harness.Server(*words, env=env | {"HOOK_SECRET": SECRET}, **more),
    ) as made:
        key = make_key(made.server.home, "private")
        assert chat(made.server, key["token"], max_tokens=5).status == 200
        alert = harness.wait_for(lambda: (found := listed(made.server.home)) and found[0]["trouble"] and found[0], "a failure")
        assert "allow_private" in alert["trouble"], alert


def test_when_a_budget_is_exhausted_a_key_may_go_on_with_the_model_on_this_device(tmp_path):
    if not harness.MODEL_FILE.exists():
        pytest.skip("the default model is not there")
    flags = ["--model", harness.MODEL_FILE, "--ctx", "2048"]
    with market.Market(tmp_path, "site-a", prices=PRICES, models=harness.MODELS, flags=flags) as made:
        home, server = made.server.home, made.server
        plain = make_key(home, "plain", "--budget", "0.01")
        opted = make_key(home, "opted", "--budget", "0.01", "--on-exhausted", "local")
        assert opted["on_exhausted"] == "local" and plain["on_exhausted"] == "refuse"
        assert chat(server, plain["token"], max_tokens=5).status == 402
        for stream in (False, True):
            reply = chat(server, opted["token"], max_tokens=5, stream=stream)
            assert reply.status == 200, reply.body
            assert reply.headers["x-tradewind-degraded"] == "budget"
            assert reply.headers["x-inference-provider"] == "local"
        assert harness.MODEL in reply.body.decode()
        receipt = json.loads(harness.run_cli("receipt", reply.headers["x-tradewind-receipt"], "--json", home=home).stdout)
        (attempt,) = receipt["attempts"]
        assert attempt["provider"] == "local" and attempt["reason"] == "degraded: budget" and attempt["state"] == "settled"
        line = harness.wait_for(lambda: next((one for one in server.access_log() if one.get("degraded")), None), "the log")
        assert line["degraded"] == "budget" and line["provider"] == "local"
        assert made.sim.bill()["total"]["requests"] == 0
        long = chat(server, opted["token"], max_tokens=5, messages=[{"role": "user", "content": "word " * 5000}])
        assert long.status == 402 and "x-tradewind-degraded" not in long.headers, "the device's context is too short"
        asked = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
        tools = chat(server, opted["token"], max_tokens=5, tools=asked)
        assert tools.status in (200, 402)
        boxed = make_key(home, "boxed", "--budget", "0.01", "--on-exhausted", "local", "--providers", "site-a")
        assert chat(server, boxed["token"], max_tokens=5).status == 402, "its allow-list has no local"
        wrong = harness.run_cli("keys", "create", "--name", "x", "--on-exhausted", "beg", home=home)
        assert wrong.returncode == 2


def test_records_that_cannot_be_written_are_told_by_every_way_that_is_left(tmp_path):
    def start(*words, env, **more):
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            return harness.Server(*words, env=env | {"HOOK_SECRET": SECRET}, restore_signals=False, **more)
        finally:
            signal.signal(signal.SIGXFSZ, before)

    with Hook() as hook, market.Market(tmp_path, "site-a", prices=PRICES, extra=alerts_config(hook=hook), server=start) as made:
        home, server = made.server.home, made.server
        token = make_key(home, "paid", "--budget", "5")["token"]
        assert chat(server, token, max_tokens=5).status == 200
        assert "detail" not in server.get("/readyz").json()
        well = {check["name"]: check for check in json.loads(harness.run_cli("doctor", "--json", "--port", "0", home=home).stdout)["checks"]}
        assert well["ledger"]["verdict"] == "ok"
        pid, large = server.process.pid, server.log_path.stat().st_size + (1 << 16)  # the log goes on, and no database does
        subprocess.run(["prlimit", "--pid", str(pid), f"--fsize={large}:"], check=True)
        harness.wait_for(lambda: (chat(server, token, max_tokens=5), "detail" in server.get("/readyz").json())[1], "/readyz", 60)
        ready = server.get("/readyz")
        assert ready.status == 200 and "paid requests" in ready.json()["detail"]
        assert "\ntradewind_ledger_behind 1\n" in server.metrics()
        told = harness.wait_for(lambda: [one for one in hook.alerts() if one["kind"] == "ledger"], "the webhook")
        assert told[0]["scope"] in ("ledger:behind", "ledger:stopped") and told[0]["id"] == 0, told
        assert "error" in server.log() and "ledger" in server.log()
        sick = {check["name"]: check for check in json.loads(harness.run_cli("doctor", "--json", "--port", "0", home=home).stdout)["checks"]}
        assert sick["ledger"]["verdict"] == "fail" and "paid requests" in sick["ledger"]["detail"]
        subprocess.run(["prlimit", "--pid", str(pid), "--fsize=unlimited:"], check=True)
        harness.wait_for(lambda: "\ntradewind_ledger_behind 0\n" in server.metrics(), "the database again")
        assert len([one for one in hook.alerts() if one["kind"] == "ledger"]) == len({one["scope"] for one in told})


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip() or 'not root'}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_nearly_full_stops_what_costs_money_and_nothing_else(tmp_path):
    if not harness.MODEL_FILE.exists():
        pytest.skip("the default model is not there")
    flags = ["--model", harness.MODEL_FILE, "--ctx", "2048"]
    models = {"models": harness.MODELS, "flags": flags}
    with small_disk(tmp_path / "disk") as disk, market.Market(disk, "site-a", **models) as made:
        home, server = made.server.home, made.server
        token = make_key(home, "paid", "--budget", "5")["token"]
        assert chat(server, token, max_tokens=5).status == 200
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as out:  # a 32nd of 64 MiB is kept: leave half of that
            room = os.statvfs(disk)
            for _ in range((room.f_bavail * room.f_frsize - (1 << 20)) >> 16):
                out.write(bytes(1 << 16))
        refused = harness.wait_for(lambda: (reply := chat(server, token, max_tokens=5)).status == 507 and reply, "a refusal")
        message = refused.error()["message"]
        assert str(home / "journal") in message and "free some space" in message, message
        assert int(refused.headers["Retry-After"]) >= 1
        ready = server.get("/readyz")
        assert ready.status == 200 and "nearly full" in ready.json()["detail"]
        assert "\ntradewind_disk_low 1\n" in server.metrics()
        sick = harness.run_cli("doctor", "--json", "--port", "0", home=home)
        checks = {check["name"]: check for check in json.loads(sick.stdout)["checks"]}
        assert checks["disk"]["verdict"] == "fail" and "paid requests are refused" in checks["disk"]["detail"]
        here = chat(server, token, max_tokens=2, model=harness.MODEL)
        assert here.status == 200 and here.headers["x-inference-provider"] == "local"
        harness.wait_for(
            lambda: [alert["scope"] for alert in listed(home) if alert["kind"] == "disk"] == [f"disk:{home / 'journal'}"], "the alert"
        )
        filler.unlink()
        harness.wait_for(lambda: chat(server, token, max_tokens=5).status == 200, "room again")
