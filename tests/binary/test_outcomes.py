"""What goes wrong in real life: each thing has one documented, clear outcome."""

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import aiohttp
import pytest

from harness import (
    BINARY, MODEL, MODEL_FILE, PATIENCE_S, Server, environment, read_head, read_to_end, run_cli, sse_json, wait_for,
)  # fmt: skip


def one_line(text):
    """An error that people read: one line, from us, no trace."""
    assert text.startswith("tradewind: ") and text.count("\n") == 1, text
    return text


# --- Clients


CLIENT = """
import socket, sys, json
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
body = json.dumps({"model": sys.argv[2], "prompt": "Once", "stream": True, "max_tokens": 4000, "ignore_eos": True}).encode()
s.sendall(b"POST /v1/completions HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
s.recv(1); print("streaming", flush=True)
while s.recv(65536): pass
"""


def test_a_killed_client_frees_its_slot_and_others_go_on(home):
    with Server(home) as server:
        other = server.open_stream(max_tokens=60)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, str(server.port), MODEL], stdout=subprocess.PIPE)
        assert client.stdout.readline() == b"streaming\n"
        assert server.engine()["slots_used"] >= 1
        client.kill()
        client.wait()
        client.stdout.close()
        assert b"data: [DONE]" in b"".join(read_to_end_of_stream(other))
        other.close()
        server.wait_idle()
        line = wait_for(lambda: [e for e in server.access_log() if e.get("outcome") == "cancelled"], "the log of the killed one")[0]
        assert 0 < line["output_tokens"] < 4000


def read_to_end_of_stream(client):
    """The raw bytes of a chunked answer up to its last chunk."""
    tail = b""
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv(65536)
        assert piece, "the stream was cut"
        tail = (tail + piece)[-16:]
        yield piece


def test_a_slow_reader_blocks_nobody_and_memory_stays_bounded(home):
    with Server(home, "--slots", "2") as server:
        server.chat(max_tokens=4)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((server.host, server.port))
        # Twenty alternatives per token: some 2 kB each, 12 MB in all.
        body = json.dumps(
            {"model": MODEL, "prompt": "Once", "stream": True, "max_tokens": 6000, "ignore_eos": True, "logprobs": 20}
        )
        slow.sendall(
            f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert slow.recv(1) == b"H"

        def output_tokens():
            return server.engine()["output_tokens_total"]

        # Paused: what the sockets and the queue hold is full, and nothing more is generated.
        def paused():
            before = output_tokens()
            slow.recv(1)
            time.sleep(1)
            return output_tokens() == before

        wait_for(paused, "the engine to pause the slow stream")
        before = server.rss_bytes()
        for _ in range(3):
            assert "Paris" in server.chat(max_tokens=16).json()["choices"][0]["message"]["content"]
            slow.recv(1)
        assert output_tokens() < 6000
        assert server.rss_bytes() - before < 32 << 20
        slow.close()
        server.wait_idle()


def test_500_parallel_requests_are_each_answered_or_told_to_come_back(home):
    async def ask(session, server, i):
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"Count to {i}."}], "max_tokens": 2, "stream": i % 2 == 0}
        async with session.post(f"{server.url}/v1/chat/completions", json=body) as reply:
            text = await reply.text()
            if reply.status == 429:
                assert int(reply.headers["Retry-After"]) >= 1
                assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"
            else:
                assert reply.status == 200, text
                assert text.endswith("data: [DONE]\n\n") if i % 2 == 0 else json.loads(text)["usage"]["completion_tokens"] > 0
            return reply.status

    async def flood(server):
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=2 * PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            return await asyncio.gather(*(ask(session, server, i) for i in range(500)))

    with Server(home, "--slots", "4", "--queue", "16") as server:
        answered = asyncio.run(flood(server))
        assert len(answered) == 500
        assert answered.count(200) >= 20 and answered.count(429) > 0
        server.wait_idle()
        assert "Paris" in server.chat(max_tokens=16).json()["choices"][0]["message"]["content"]
        wait_for(lambda: len(chats(server)) == 501, "a log line for each request")
        assert [entry["status"] for entry in chats(server)].count(200) == answered.count(200) + 1


def chats(server):
    return [entry for entry in server.access_log() if entry["path"] == "/v1/chat/completions"]


def test_a_200k_token_prompt_is_refused_and_never_cut(home):
    with Server(home) as server:
        before = server.engine()["prompt_tokens_total"]
        reply = server.complete("hello " * 200_000, max_tokens=1)
        error = reply.error()
        assert (reply.status, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")
        context = server.engine()["context"]
        assert str(context) in error["message"] and "200" in error["message"]
        as_chat = server.chat("hello " * 200_000)
        assert (as_chat.status, as_chat.error()["code"], as_chat.error()["param"]) == (400, "context_length_exceeded", "messages")
        as_ids = server.complete([1] * 200_000, max_tokens=1)
        assert (as_ids.status, as_ids.error()["code"]) == (400, "context_length_exceeded")
        # A prompt that fits, with an answer that does not.
        assert server.chat("hi", max_tokens=context).error()["code"] == "context_length_exceeded"
        # Nothing of them was evaluated.
        assert server.engine()["prompt_tokens_total"] == before
        assert server.chat(max_tokens=2).status == 200


def test_large_bodies_together_are_bounded_and_small_requests_pass(home):
    with Server(home) as server:
        uploads = []
        for _ in range(8):  # 8 x 31 MiB are 8 MiB below the bound
            upload = server.connect()
            upload.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {32 << 20}\r\n\r\n".encode())
            upload.sendall(b" " * (31 << 20))
            uploads.append(upload)

        def refused():
            reply = server.request("POST", "/v1/completions", b" " * (16 << 20), {"Content-Type": "application/json"})
            return reply if reply.status == 503 else None

        reply = wait_for(refused, "the uploads to arrive")
        assert int(reply.headers["Retry-After"]) >= 1 and reply.error()["code"] == "service_unavailable"
        assert server.chat(max_tokens=2).status == 200
        for upload in uploads:
            upload.close()
        text = "hello " * (1 << 20)
        wait_for(lambda: server.complete(text).status == 400, "room for 6 MiB again: refused by the context alone")
        assert server.chat(max_tokens=2).status == 200


def test_more_logprobs_than_memory_should_hold_are_refused_before_any_work(home):
    with Server(home) as server:
        prompts = [[300 + i] * 4000 for i in range(128)]
        before = server.engine()["prompt_tokens_total"]
        reply = server.complete(prompts, echo=True, logprobs=20, max_tokens=0)
        error = reply.error()
        assert (reply.status, error["code"], error["param"]) == (400, "invalid_value", "logprobs")
        assert str(128 * 4000 * 21) in error["message"] and "fewer prompts" in error["message"]
        assert server.engine()["prompt_tokens_total"] == before
        scored = server.complete(prompts[0][:50], echo=True, logprobs=20, max_tokens=0).json()
        assert len(scored["choices"][0]["logprobs"]["token_logprobs"]) == 50


def test_a_prompt_that_fills_the_context_is_taken_whole(home):
    with Server(home, "--ctx", "256") as server:
        context = server.engine()["context"]
        fits = server.complete([1] * (context - 4), max_tokens=4, ignore_eos=True)
        assert fits.json()["usage"] | {"prompt_tokens_details": None} == {
            "prompt_tokens": context - 4, "completion_tokens": 4, "total_tokens": context, "prompt_tokens_details": None,
        }  # fmt: skip
        assert server.complete([1] * (context - 3), max_tokens=4).status == 400
        # Without max_tokens an answer of a chat ends where the context does.
        ended = server.chat("word " * (context // 2), ignore_eos=True).json()
        assert ended["choices"][0]["finish_reason"] == "length"
        assert ended["usage"]["total_tokens"] == context


def test_an_unknown_model_is_model_not_supported_with_the_next_step(home):
    with Server(home) as server:
        for model in ("gpt-4o", f"{MODEL}-2", "nobody/nothing:fastest"):
            reply = server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}]})
            assert (reply.status, reply.error()["code"]) == (400, "model_not_supported")
        for model in (f"{MODEL}:local", f"{MODEL}:preferred"):
            assert server.complete("x", model=model, max_tokens=1).status == 200


# --- The server's own life


def test_a_killed_server_leaves_nothing_that_hinders_the_next(home):
    with Server(home) as first:
        assert json.loads((home / "server.json").read_text())["port"] == first.port
        stream = first.open_stream(max_tokens=1000)
        read_head(stream)
        first.kill()
        stream.close()
    assert (home / "server.json").exists()  # stale
    listed = run_cli("ps", "--json", home=home)
    assert json.loads(listed.stdout)["servers"] == []
    with Server(home) as second:
        assert json.loads((home / "server.json").read_text())["pid"] == second.process.pid
        assert second.chat(max_tokens=2).status == 200
    assert not (home / "server.json").exists()


def test_sigterm_lets_a_running_stream_finish(home):
    with Server(home) as server:
        # Both stand before the stream in the queue of connections, so its answer says they were taken.
        idle = server.connect()  # never asks
        late = server.connect()  # asks when no new connection is taken any more
        stream = server.open_stream(max_tokens=150, stream_options={"include_usage": True})
        head, rest = read_head(stream)
        assert head.startswith("HTTP/1.1 200 ")
        server.terminate()

        def refused():
            try:
                server.connect(timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for(refused, "new connections to be refused")
        # Whether the last request or the end of its connection comes first is the network's to say:
        # it is answered as the last one, or not at all.
        answer = b""
        with contextlib.suppress(OSError):
            late.sendall(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b"".join(read_to_end(late))
        assert answer == b"" or b"\r\nconnection: close\r\n" in answer.lower(), answer
        assert idle.recv(1) == b""
        body = rest + b"".join(read_to_end(stream))
        events = [json.loads(line[6:]) for line in body.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: {")]
        assert events[-1]["usage"]["completion_tokens"] == 150
        assert b"data: [DONE]" in body
        assert server.wait() == 0
    assert not (home / "server.json").exists()


def test_a_second_sigterm_cuts_what_runs(home):
    server = Server(home)
    stream = server.open_stream(max_tokens=7000)
    read_head(stream)
    server.terminate()
    wait_for(lambda: server.process.poll() is not None or "drain" in server.log() or not can_connect(server), "draining to begin")
    server.terminate()
    code = server.wait()
    server.process.stdout.close()
    assert code in (0, 143), server.log()
    assert b"[DONE]" not in b"".join(read_to_end(stream))


def can_connect(server):
    try:
        server.connect(timeout=5).close()
        return True
    except OSError:
        return False


def test_a_port_in_use_is_one_clear_line(home, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_cli("serve", "--port", port, home=home)
    assert done.returncode == 1
    assert str(port) in one_line(done.stderr) and "--port" in done.stderr
    assert done.stdout == ""


def test_a_second_server_for_one_home_is_refused_and_the_first_goes_on(home):
    with Server(home) as first:
        done = run_cli("serve", "--port", "0", home=home)
        assert done.returncode == 1
        assert str(first.process.pid) in one_line(done.stderr)
        assert json.loads((home / "server.json").read_text())["pid"] == first.process.pid
        assert first.get("/readyz").status == 200


def test_an_address_that_is_not_ours_is_one_clear_line(home):
    for host in ("203.0.113.1", "no such host"):
        done = run_cli("serve", "--host", host, "--port", "0", home=home)
        assert done.returncode in (1, 2, 4)
        one_line(done.stderr)


def test_a_listener_beyond_loopback_needs_a_token(home):
    done = run_cli("serve", "--host", "0.0.0.0", "--port", "0", home=home)
    assert done.returncode == 4
    one_line(done.stderr)


# --- Files and disks


def cut(target, size):
    with open(MODEL_FILE, "rb") as source, open(target, "wb") as out:
        shutil.copyfileobj(Limited(source, size), out, 1 << 20)
    return target


class Limited:
    def __init__(self, source, size):
        self.source, self.left = source, size

    def read(self, n):
        data = self.source.read(min(n, self.left))
        self.left -= len(data)
        return data


SIZES = [0, 3, 4, 24, 25, 1000, 100_000, 1_700_000, 50_000_000, MODEL_FILE.stat().st_size - 1 if MODEL_FILE.exists() else 0]


@pytest.mark.parametrize("size", SIZES)
def test_a_truncated_model_file_is_damaged_not_a_crash(home, tmp_path, size):
    model = cut(tmp_path / "cut.gguf", size)
    done = run_cli("show", model, home=home)
    assert done.returncode == 9, done
    assert "cut.gguf" in one_line(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("size", [1000, 50_000_000])
def test_serve_and_run_refuse_a_truncated_model_file(home, tmp_path, size):
    model = cut(tmp_path / "cut.gguf", size)
    for verb in (["serve", "--port", "0", "--model", model], ["run", model, "Hi"]):
        done = run_cli(*verb, home=home)
        assert done.returncode == 9, (verb, done)
        one_line(done.stderr)


def test_a_model_file_shortened_while_it_serves_ends_the_server_with_one_line(home, tmp_path):
    model = cut(tmp_path / "in-use.gguf", MODEL_FILE.stat().st_size)
    with Server(home, "--model", model) as server:
        stream = server.open_stream(model="in-use", max_tokens=7000)
        read_head(stream)
        os.truncate(model, 4096)
        assert b"[DONE]" not in b"".join(read_to_end(stream))
        server.expected_exit = 9
        assert server.wait() == 9
        said = [line for line in server.log().splitlines() if line.startswith("tradewind: ")]
        assert len(said) == 1 and "model file" in said[0] and "mv" in said[0], server.log()
    # The next start sees what is wrong, and that all is well again.
    damaged = run_cli("serve", "--port", "0", "--model", model, home=home)
    assert damaged.returncode == 9 and "in-use.gguf" in one_line(damaged.stderr)
    shutil.copy(MODEL_FILE, tmp_path / "new")
    os.replace(tmp_path / "new", model)
    with Server(home, "--model", model) as server:
        assert server.chat(model="in-use", max_tokens=2).status == 200


def test_a_model_file_replaced_by_a_rename_disturbs_nobody(home, tmp_path):
    model = cut(tmp_path / "in-use.gguf", MODEL_FILE.stat().st_size)
    with Server(home, "--model", model) as server:
        before = server.chat(model="in-use", max_tokens=16).json()["choices"]
        os.replace(cut(tmp_path / "shorter", 4096), model)
        assert server.chat(model="in-use", max_tokens=16).json()["choices"] == before


def test_a_damaged_file_beside_a_good_one_does_not_hinder_it(home, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (models / MODEL_FILE.name).symlink_to(MODEL_FILE)
    cut(models / "a-cut.gguf", 5000)
    (models / "b-text.gguf").write_text("this is no model")
    listed = json.loads(run_cli("ls", "--json", home=home, models=models).stdout)["models"]
    assert sorted(model["error"] is None for model in listed) == [False, False, True]
    with Server(home, models=models) as server:
        assert server.chat(max_tokens=2).status == 200
        # Whether a file's contents hold is known when it is loaded.
        for model in ("a-cut", "b-text"):
            damaged = server.chat(model=model)
            assert (damaged.status, damaged.error()["code"]) == (500, "corrupt_model_file")
        assert server.chat(max_tokens=2).status == 200


def test_a_missing_model_is_not_found(home, tmp_path):
    for verb in (["serve", "--port", "0", "--model", tmp_path / "none.gguf"], ["run", "nobody/nothing", "Hi"], ["show", "nobody/nothing"]):
        done = run_cli(*verb, home=home)
        assert done.returncode == 3, (verb, done)
        one_line(done.stderr)


@contextlib.contextmanager
def full_disk(folder):
    """A file system with room for a data folder (its journal takes 16 MiB), all used."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip() or 'not root'}")
    try:
        with open(folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_at_the_start_is_one_clear_line(tmp_path):
    with full_disk(tmp_path / "disk") as disk:
        for home in (disk, disk / "below"):
            done = run_cli("serve", "--port", "0", home=home)
            assert done.returncode == 8, done
            assert "space" in one_line(done.stderr)
        # With room again it starts.
        (disk / "filler").unlink()
        with Server(disk / "below", stderr=tmp_path / "log") as server:
            assert server.get("/readyz").status == 200


def test_a_log_that_cannot_be_written_stops_no_answer(home):
    with Server(home, stderr="/dev/full") as server:
        for _ in range(3):
            assert server.chat(max_tokens=2).status == 200


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_cli("serve", "--port", "0", home=tmp_path / "file" / "home")
    assert done.returncode == 1
    one_line(done.stderr)


def test_output_into_a_closed_pipe_or_a_full_disk_is_no_crash(home):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "help"], stdout=full, stderr=subprocess.PIPE, env=environment(home), text=True)
    assert done.returncode == 8 or done.returncode == 1
    one_line(done.stderr)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([BINARY, "help"], stdout=writer, stderr=subprocess.PIPE, env=environment(home))
    os.close(writer)
    assert done.returncode in (0, 1, -signal.SIGPIPE)


def test_many_model_loads_and_stops_leave_no_process(home):
    for _ in range(3):
        with Server(home, ready=False):
            pass  # stopped while it loads
    assert not [p for p in pathlib.Path("/proc").glob("[0-9]*") if names_home(p, home)]


def names_home(process, home):
    with contextlib.suppress(OSError):
        return f"TRADEWIND_HOME={home}".encode() in (process / "environ").read_bytes() and (process / "exe").resolve() == BINARY
    return False
