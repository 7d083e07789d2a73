"""An upgrade in place: a new process takes the socket and the data folder, the old one ends what it has begun."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import sys
import threading

import pytest

import market as simulated
from harness import BINARY, PATIENCE_S, Server, read_head, read_to_end_of_stream, run_cli, wait_for
from market import Market
from test_money import PRICES, make_key, nano, usage

LONG = "a sim:tokens=120 sim:tokens_per_s=20"


def runs(pid):
    """Neither gone nor a zombie that nobody has waited for."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Upgradable(Server):
    """A server whose process may have been replaced: the one that serves is in server.json."""

    def __init__(self, home, *flags, **options):
        # A name of its own, so that a test can put another program behind it.
        self.binary = pathlib.Path(home).parent / "bin" / "tradewind"
        self.binary.parent.mkdir(exist_ok=True)
        self.binary.symlink_to(BINARY)
        super().__init__(home, *flags, binary=self.binary, **options)

    def install(self, script=None):
        """Another program under the same name, as a package manager would: by a rename. None: the real one."""
        fresh = self.binary.with_suffix(".new")
        if script is None:
            fresh.symlink_to(BINARY)
        else:
            fresh.write_text(script)
            fresh.chmod(0o755)
        fresh.rename(self.binary)

    def record(self):
        return json.loads((self.home / "server.json").read_text())

    def pid(self):
        return self.record()["pid"]

    def upgrade(self):
        return run_cli("upgrade", "--json", home=self.home, timeout=2 * PATIENCE_S)

    def __exit__(self, failed, *rest):
        with contextlib.suppress(FileNotFoundError):
            pid = self.pid()
            if pid != self.process.pid and runs(pid):
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not runs(pid), "the last process to end")
        super().__exit__(failed, *rest)


def market(tmp_path, **options):
    return Market(tmp_path, "site-a", server=Upgradable, **options)


def chat_body(content):
    return {"model": f"{simulated.MODEL}:site-a", "messages": [{"role": "user", "content": content}]}


def may_ask_again(reply):
    """On a new connection: what costs money is refused by the process that has given its books away."""
    return reply.status == 503 and reply.will_close and int(reply.headers["Retry-After"]) >= 1


class Load:
    """Clients that never stop asking, on new connections and on kept ones. What is neither a 200 nor an invitation to ask
    again is noted."""

    def __init__(self, server, fresh=3, kept=3):
        self.server, self.answers, self.failures, self.asked_again = server, 0, [], 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(i < kept,)) for i in range(fresh + kept)]

    def _ask(self, keep):
        connection = None
        while not self._stop.is_set():
            try:
                connection = connection or http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE_S)
                headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
                headers |= {} if keep else {"Connection": "close"}
                connection.request("POST", "/v1/chat/completions", json.dumps(chat_body("a sim:tokens=3")), headers)
                reply = connection.getresponse()
                body = reply.read()
                with self._lock:
                    self.answers += 1
                    if keep and may_ask_again(reply):
                        self.answers -= 1
                        self.asked_again += 1
                    elif reply.status != 200:
                        self.failures.append((reply.status, body))
                if reply.will_close:
                    connection.close()
                    connection = None
            except Exception as failure:  # refused, reset, cut: all the same here
                self.failures.append(repr(failure))
                connection = None

    def wait_for_more(self, count):
        end = self.answers + count
        wait_for(lambda: self.answers >= end or self.failures, f"{count} more answers")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.asked_again <= 2 * len(self._threads), "a kept connection is told once for each upgrade"


def whole(stream):
    """The text of a stream that came to its proper end."""
    body = b"".join(read_to_end_of_stream(stream))
    assert b"data: [DONE]" in body, body[-300:]
    return body


def test_no_request_is_refused_and_no_stream_cut_while_processes_change(tmp_path):
    with market(tmp_path) as place:
        server = place.server
        long = server.open_stream(**chat_body(LONG))
        assert " 200 " in read_head(long)[0]
        with Load(server) as load:
            done = server.upgrade()
            assert done.returncode == 0, done
            answer = json.loads(done.stdout)
            assert answer["schema"] == "tradewind.upgrade/v1"
            assert answer["old_pid"] == server.process.pid and answer["pid"] == server.pid() != server.process.pid
            assert answer["address"] == server.url
            load.wait_for_more(50)
            # The first process still streams, and is the only one that does.
            assert runs(server.process.pid)
            whole(long)
            assert server.wait() == 0
            load.wait_for_more(20)
        assert load.failures == []
        # The data folder is the new one's: it reads, writes and lists what the old one made.
        made = run_cli("keys", "create", "--name", "afterwards", home=server.home)
        assert made.returncode == 0, made
        names = {key["name"] for key in json.loads(run_cli("keys", "ls", "--json", home=server.home).stdout)["keys"]}
        assert {"market", "afterwards"} <= names
        server.token = made.stdout.strip()
        assert server.post("/v1/chat/completions", chat_body("a")).status == 200


def books(server, key):
    """What is settled of a key and what of it is in doubt, in nano-USD."""
    spent = usage(server.home, key["id"])
    return int(spent["cost_nanousd"]), int(spent["in_doubt_nanousd"])


def test_what_runs_over_an_upgrade_is_on_the_bill_to_the_nano_dollar(tmp_path):
    with market(tmp_path, prices=PRICES) as place:
        server = place.server
        key = make_key(server.home, "over", "--budget", "1000")
        server.token = key["token"]
        place.sim.fault(tokens_per_s=20, tokens=100, endpoint="chat")
        stream = server.open_stream(**chat_body("one two three"), max_tokens=200)
        assert " 200 " in read_head(stream)[0]
        before = place.sim.state()["requests"]
        whole_answer = server.open_stream(**chat_body("one two three"), max_tokens=200, stream=False)
        place.sim.wait_for(lambda: place.sim.state()["requests"] > before, "the second one")
        assert server.upgrade().returncode == 0
        settled, doubtful = books(server, key)
        assert settled == 0 and doubtful > nano(place.sim.bill()["total"]), "all of it is held until it is known"
        whole(stream)
        assert read_head(whole_answer)[0].split()[1] == "200"
        assert server.wait() == 0
        wait_for(lambda: books(server, key)[1] == 0, "the ends of both")
        assert books(server, key)[0] == nano(place.sim.bill()["total"]) > 0
        verified = run_cli("bill", "verify", "--json", home=server.home)
        assert json.loads(verified.stdout)["good"], verified
        wait_for(lambda: not list((server.home / "journal").glob("handover-*")), "the file of the ends to go")


def test_an_answer_under_an_idempotency_key_is_given_again_by_the_new_process(tmp_path):
    with market(tmp_path, prices=PRICES) as place:
        server = place.server
        key = make_key(server.home, "once", "--budget", "1000")
        headers = {"Authorization": f"Bearer {key['token']}", "Idempotency-Key": "order-7"}
        body = chat_body("one two three") | {"max_tokens": 50}

        def ask():
            return server.post("/v1/chat/completions", body, headers)

        place.sim.fault(tokens_per_s=20, tokens=40, endpoint="chat")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask)
            place.sim.wait_for(lambda: place.sim.state()["requests"] == 1, "the request")
            assert server.upgrade().returncode == 0
            meanwhile = ask()
            assert meanwhile.status == 409 and meanwhile.headers["Retry-After"] == "1"
            assert meanwhile.error()["code"] == "idempotency_in_progress"
            assert first.result().status == 200
        again = ask()
        assert again.status == 200 and again.headers["Idempotent-Replayed"] == "true"
        assert again.body == first.result().body
        assert server.wait() == 0
        assert place.sim.bill()["total"]["requests"] == 1
        assert not list((server.home / "replies-handover").iterdir())


def test_an_old_process_that_is_killed_leaves_all_that_it_held_in_doubt(tmp_path):
    with market(tmp_path, prices=PRICES) as place:
        server = place.server
        key = make_key(server.home, "over", "--budget", "1000")
        server.token = key["token"]
        stream = server.open_stream(**chat_body(LONG), max_tokens=200)
        assert " 200 " in read_head(stream)[0]
        assert server.upgrade().returncode == 0
        held = books(server, key)[1]
        server.kill()
        place.sim.wait_for(lambda: place.sim.state()["streams"] == 0, "no stream left open")
        settled, doubtful = books(server, key)
        assert settled == 0 and doubtful == held >= nano(place.sim.bill()["total"])


def test_nothing_is_bought_that_is_on_no_bill(tmp_path):
    with market(tmp_path, prices=PRICES) as place:
        server = place.server
        key = make_key(server.home, "unbound")
        headers = {"Authorization": f"Bearer {key['token']}", "Content-Type": "application/json"}
        body = json.dumps(chat_body("one two three") | {"max_tokens": 5})
        stream = server.open_stream(**chat_body(LONG))  # keeps the old process
        read_head(stream)
        kept = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE_S)
        kept.request("POST", "/v1/chat/completions", body, headers)
        assert (first := kept.getresponse()).status == 200 and first.read()
        assert server.upgrade().returncode == 0
        kept.request("POST", "/v1/chat/completions", body, headers)
        reply = kept.getresponse()
        assert may_ask_again(reply) and "new connection" in json.loads(reply.read())["error"]["message"]
        assert server.post("/v1/chat/completions", json.loads(body), headers).status == 200
        whole(stream)
        assert server.wait() == 0
        billed = place.sim.bill()["total"]["requests"]
        wait_for(lambda: usage(server.home, "market")["requests"]["settled"] == 1, "the stream's end")
        assert usage(server.home, "unbound")["requests"]["settled"] + 1 == billed == 3


def test_two_upgrades_in_a_row_leave_three_processes_until_their_streams_end(tmp_path):
    with market(tmp_path) as place:
        server = place.server
        streams, pids = [], []
        for _ in range(2):
            streams.append(server.open_stream(**chat_body(LONG)))
            read_head(streams[-1])
            pids.append(server.pid())
            assert server.upgrade().returncode == 0
        assert len({*pids, server.pid()}) == 3
        assert all(runs(pid) for pid in pids)
        for stream in streams:
            whole(stream)
        wait_for(lambda: not any(runs(pid) for pid in pids), "the old processes to end")
        assert server.post("/v1/chat/completions", chat_body("a")).status == 200


CONTROL = """#!{python}
import os, signal, socket, sys
number = int(os.environ["TRADEWIND_HAND_OVER"].split(":")[2])
control = socket.socket(fileno=number)
"""
GIVES_UP_LATE = CONTROL + """
control.send(b"loaded")
assert control.recv(100) == b"home"
sys.exit(3)
"""
TALKS_NONSENSE = CONTROL + """
control.send(b"good morning")
control.recv(100)
"""
KILLS_AT_HOME = CONTROL + """
control.send(b"loaded")
assert control.recv(100) == b"home"
os.kill(os.getppid(), signal.SIGKILL)
control.detach()
os.execv("{binary}", sys.argv)
"""


def script(text):
    return text.replace("{python}", sys.executable).replace("{binary}", str(BINARY))


@pytest.mark.parametrize(
    "program, why",
    [
        ("#!/bin/sh\nexit 7\n", "it ended with 7"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal 11"),
        ("no program at all", "cannot start"),
        (script(GIVES_UP_LATE), "it ended with 3"),
        (script(TALKS_NONSENSE), "does not speak"),
    ],
    ids=["ends", "crashes", "is none", "gives up with the data folder", "another protocol"],
)
def test_a_new_program_that_fails_changes_nothing(tmp_path, program, why):
    with market(tmp_path) as place:
        server = place.server
        server.install(program)
        stream = server.open_stream(**chat_body("a sim:tokens=40 sim:tokens_per_s=20"))
        read_head(stream)
        with Load(server) as load:
            refused = server.upgrade()
            assert refused.returncode != 0 and why in refused.stderr, refused
            assert refused.stderr.count("\n") == 1
            load.wait_for_more(20)
        assert load.failures == []
        whole(stream)
        assert server.pid() == server.process.pid
        # Its data folder is its own again, and a better program may follow.
        assert run_cli("keys", "create", "--name", "afterwards", home=server.home).returncode == 0
        server.install()
        assert server.upgrade().returncode == 0
        assert server.pid() != server.process.pid
        assert server.wait() == 0


def test_a_config_that_is_wrong_by_now_changes_nothing(tmp_path):
    with market(tmp_path) as place:
        good = place.config.read_text()
        place.config.write_text("[[providers]]\nname = 7\n")
        refused = place.server.upgrade()
        assert refused.returncode != 0 and "config.toml" in refused.stderr, refused
        assert place.chat(model=f"{simulated.MODEL}:site-a").status == 200
        place.config.write_text(good.replace(f'"{simulated.MODEL}"', '"acme/renamed"'))
        assert place.server.upgrade().returncode == 0
        assert place.server.wait() == 0
        assert place.chat(model="acme/renamed:site-a").status == 200


@pytest.mark.parametrize(
    "program",
    [f'#!/bin/sh\nkill -9 $PPID\nexec {BINARY} "$@"\n', script(KILLS_AT_HOME)],
    ids=["before it has loaded", "when it has the data folder"],
)
def test_a_successor_goes_on_when_the_old_process_is_killed(tmp_path, program):
    with market(tmp_path) as place:
        server = place.server
        server.install(program)
        done = server.upgrade()
        assert done.returncode == 0, done
        assert server.wait() == -signal.SIGKILL
        server.expected_exit = -signal.SIGKILL
        assert server.post("/v1/chat/completions", chat_body("a")).status == 200
        assert run_cli("keys", "create", "--name", "afterwards", home=server.home).returncode == 0


def test_sigterm_during_an_upgrade_ends_both_processes(tmp_path):
    with market(tmp_path) as place:
        server = place.server
        note = tmp_path / "pid"
        server.install(f"#!/bin/sh\necho $$ >{note}.part\nmv {note}.part {note}\nexec sleep 1000\n")
        server.process.send_signal(signal.SIGUSR2)
        wait_for(note.exists, "the new process to begin")
        server.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: "under way already" in server.log(), "a word about the second signal")
        assert server.post("/v1/chat/completions", chat_body("a")).status == 200
        server.terminate()
        assert server.wait() == 0
        assert not runs(int(note.read_text()))
        assert not (server.home / "server.json").exists()


def test_the_model_on_this_device_is_loaded_before_anything_changes_hands(home):
    with Upgradable(home) as server:
        stream = server.open_stream(max_tokens=60)
        assert " 200 " in read_head(stream)[0]
        ready, stop = [], threading.Event()

        def watch():
            while not stop.is_set():
                ready.append(server.get("/readyz").status)

        watcher = threading.Thread(target=watch)
        watcher.start()
        done = server.upgrade()
        assert done.returncode == 0, done
        assert server.chat(max_tokens=4).status == 200
        stop.set()
        watcher.join()
        assert set(ready) == {200}
        text = whole(stream)
        chunks = [json.loads(line[6:]) for line in text.split(b"\n") if line.startswith(b"data: {")]
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert server.wait() == 0


def test_there_is_a_clear_word_when_no_server_runs(home):
    refused = run_cli("upgrade", home=home)
    assert refused.returncode != 0 and "no server runs" in refused.stderr
    assert refused.stderr.count("\n") == 1


# --- Service managers

ACTIVATE = """#!{python}
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv("{binary}", ["{binary}", *sys.argv[1:]])
"""


def test_a_service_manager_may_pass_the_socket_and_hears_who_serves(tmp_path):
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(PATIENCE_S)
    (tmp_path / "none").mkdir()
    activate = tmp_path / "activate"
    activate.write_text(script(ACTIVATE))
    activate.chmod(0o755)
    home = tmp_path / "home"
    with Server(
        home, "--port", "1", models=tmp_path / "none", ready=False, env={"NOTIFY_SOCKET": tmp_path / "notify"}, binary=activate
    ) as server:
        assert server.port > 1 and server.get("/healthz").status == 200
        assert told.recv(200).decode().split("\n") == ["READY=1", f"MAINPID={server.process.pid}"]
        done = run_cli("upgrade", "--json", home=home)
        assert done.returncode == 0, done
        pid = json.loads(done.stdout)["pid"]
        assert told.recv(200).decode().split("\n") == ["READY=1", f"MAINPID={pid}"]
        assert server.wait() == 0
        assert server.get("/healthz").status == 200
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not runs(pid), "the last process to end")
