"""The command line: what scripts rely on."""

import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import time

import pytest

from harness import BINARY, MODEL, MODEL_FILE, PATIENCE_S, environment, run_cli, wait_for

VERBS = [
    *["serve", "run", "ls", "ps", "show", "bench", "doctor", "search", "providers", "prices", "keys", "login", "logout", "whoami"],
    *["config", "completion", "man", "version", "help"],
]
ANSI = re.compile(r"\x1b\[")


@pytest.fixture
def own_home(tmp_path):
    """A data folder whose private servers are gone afterwards."""
    home = tmp_path / "home"
    yield home
    for server in json.loads(run_cli("ps", "--json", home=home).stdout)["servers"]:
        os.kill(server["pid"], signal.SIGTERM)
    wait_for(lambda: json.loads(run_cli("ps", "--json", home=home).stdout)["servers"] == [], "private servers to end")


def data(done, schema):
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert answer["schema"] == f"tradewind.{schema}/v1"
    return answer


# --- Verbs that read


def test_version(home):
    assert re.fullmatch(r"tradewind \d+\.\d+\.\d+\n", run_cli("version", home=home).stdout)
    assert run_cli("--version", home=home).stdout == run_cli("version", home=home).stdout
    answer = data(run_cli("version", "--json", home=home), "version")
    assert "scalar" in answer["kernels"]


def test_ls(home):
    model = next(m for m in data(run_cli("ls", "--json", home=home), "models")["models"] if m["id"] == MODEL)
    assert (model["bytes"], model["architecture"], model["error"]) == (MODEL_FILE.stat().st_size, "llama", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", model["modified"])
    table = run_cli("ls", home=home).stdout
    assert table.startswith("NAME") and MODEL in table
    assert run_cli("ls", "--quiet", home=home).stdout.splitlines().count(MODEL) == 1
    assert run_cli("ls", "-q", home=home).stdout == run_cli("ls", "--quiet", home=home).stdout


def test_ls_of_an_empty_folder_says_what_to_do(home, tmp_path):
    done = run_cli("ls", home=home, models=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "GGUF" in done.stderr
    assert data(run_cli("ls", "--json", home=home, models=tmp_path), "models")["models"] == []


def test_show(home):
    model = data(run_cli("show", MODEL, "--json", home=home), "model")
    assert (model["layers"], model["heads"], model["kv_heads"], model["vocab_size"]) == (30, 9, 3, 49152)
    assert model["kv_bytes_per_token"] == {"f16": 23040, "q8_0": 12240, "f32": 46080}
    assert model["recommended_sampling"] is None or isinstance(model["recommended_sampling"], dict)
    text = run_cli("show", MODEL_FILE, home=home).stdout
    assert "llama" in text and "49152" in text
    assert run_cli("show", MODEL, "--template", home=home).stdout == model["chat_template"]


def test_doctor(home):
    answer = data(run_cli("doctor", "--json", "--port", "0", home=home), "doctor")
    assert answer["checks"] and all({"name", "verdict", "detail"} <= set(check) for check in answer["checks"])
    assert answer["cpus_allowed"] >= 1 and {"cgroup_cpus", "cgroup_memory_bytes"} <= set(answer)
    assert "measured" not in answer
    text = run_cli("doctor", home=home)
    assert text.returncode == 0
    assert answer["kernels"] in text.stdout and answer["cpu_features"] in text.stdout and "cgroup" in text.stdout


def test_doctor_measures_on_request(home):
    answer = data(run_cli("doctor", "--measure", "--threads", "1", "--json", "--port", "0", home=home), "doctor")
    assert answer["measured"]["threads"] == 1 and answer["measured"]["read_gb_per_s"] > 0
    assert set(answer["measured"]["peaks"]) == {"f32", "int16", "int8"}
    assert "GB/s" in run_cli("doctor", "--measure", "--port", "0", home=home).stdout


def test_config(home, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[server]\nport = 9999\n")
    flags = ("config", "get", "server.port", "--origin", "--config", config)
    assert run_cli(*flags, home=home).stdout == f"9999  ({config} line 2)\n"
    # flag > environment > file > built-in
    assert run_cli(*flags, home=home, TRADEWIND_PORT="7777").stdout == "7777  (TRADEWIND_PORT)\n"
    assert run_cli("config", "get", "server.port", home=home).stdout == "8737\n"
    values = data(run_cli("config", "get", "--json", home=home), "config")["values"]
    assert {"server.port", "local.context", "billing.issuer"} <= {value["key"] for value in values}
    config.write_text('[billing]\ntax_percent = 7.5\n')
    tax = run_cli("config", "get", "billing.tax_percent", "--origin", "--config", config, home=home)
    assert tax.stdout == f"7.5  ({config} line 2)\n", tax
    config.write_text("[server\n")
    broken = run_cli("config", "get", "--config", config, home=home)
    assert broken.returncode == 2 and f"{config}" in broken.stderr


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('tax_percent = "abc"', "`tax_percent` is a number"),
        ("tax_percent = 101", "0 to 100 percent"),
        ("tax_percent = 7.12345", "at most 4 places"),
        ('adjust_daily_usd = "x"', "`adjust_daily_usd` is an amount of USD"),
    ],
)
def test_serve_refuses_at_its_start_what_a_bill_could_not_be_made_with(tmp_path, setting, says):
    config = tmp_path / "config.toml"
    config.write_text(f"[billing]\n{setting}\n")
    done = run_cli("serve", "--port", "0", "--config", config, home=tmp_path / "home")
    assert done.returncode == 2 and says in done.stderr and f"{config} line 2" in done.stderr, done


def test_bench_tiny(home):
    flags = ("--prompt-tokens", "16", "--gen-tokens", "4", "--concurrency", "1,2", "--reps", "1")
    answer = data(run_cli("bench", MODEL, *flags, "--json", home=home), "bench")
    one, two = answer["results"]
    assert (one["concurrency"], two["concurrency"]) == (1, 2)
    for row in one, two:
        assert 0 < row["first_token_ms"] <= row["wall_ms"]
        assert row["prefill_tokens_per_s"] > 0 and row["decode_tokens_per_s"] > 0 and row["rss_bytes"] > 0
        # What was reached follows from the speeds; the limit beside it was measured.
        reached = answer["weight_bytes"] * row["decode_tokens_per_s"] / row["concurrency"] / 1e9
        assert row["decode_gb_per_s"] == pytest.approx(reached)
        assert row["read_gb_per_s"] > 0 and row["decode_of_read"] == pytest.approx(reached / row["read_gb_per_s"])
        if answer["peaks"]["int8"]:
            peak = answer["peaks"]["int8"]["gmac_per_s"]
            assert row["prefill_of_int8"] == pytest.approx(row["prefill_gmac_per_s"] / peak)
    text = run_cli("bench", MODEL, "--plan", "16x1x1,8x4x2", "--reps", "1", home=home).stdout
    assert "limit: " in text and "16" in text
    alone = data(run_cli("bench", MODEL, "--plan", "16x1x1", "--reps", "1", "--json", home=home), "bench")
    assert alone["results"][0]["decode_tokens_per_s"] is None  # one token is no speed


# --- Help, completion, manual


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(home, verb):
    done = run_cli(verb, "--help", home=home)
    assert done.returncode == 0 and f"tradewind {verb}" in done.stdout
    assert run_cli("help", verb, home=home).stdout == done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(home, shell, tmp_path):
    done = run_cli("completion", shell, home=home)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.stdout)
        parsed = subprocess.run([shell, "-n", script], capture_output=True, text=True)
        assert parsed.returncode == 0, parsed.stderr


def test_bash_completes_verbs_flags_models_and_paths(home, tmp_path):
    def complete(line):  # \0 stands for a space inside a word
        words = [word.replace("\0", " ") for word in line.split(" ")]
        line = line.replace("\0", " ")
        script = f"""
            source <({BINARY} completion bash)
            tradewind() {{ {BINARY} "$@"; }}
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
            COMP_LINE='{line}'; COMP_POINT={len(line)}
            $(complete -p tradewind | sed -E 's/.*-F ([^ ]+).*/\\1/')
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", script], env=environment(home), capture_output=True, text=True, timeout=PATIENCE_S)
        return [word.strip() for word in done.stdout.split("\n") if word.strip()]

    assert "serve" in complete("tradewind ser")
    assert "--slots" in complete("tradewind serve --sl")
    assert any(MODEL.endswith(word) or word == MODEL for word in complete("tradewind run Hugging"))
    assert complete("tradewind config p") == ["path"]
    # Into folders, and no files but models there.
    folder = tmp_path / "my models"
    (folder / "deep er").mkdir(parents=True)
    for name in ("a b.gguf", "notes.txt", "deep er/c.gguf"):
        (folder / name).write_text("")
    assert complete(f"tradewind run {tmp_path}/my") == [f"{folder}/"]
    assert sorted(complete(f"tradewind run {folder}/".replace("my models", "my\0models"))) == [f"{folder}/a b.gguf", f"{folder}/deep er/"]


def test_the_manual_page_renders(home):
    page = run_cli("man", home=home).stdout
    assert page.startswith(".TH") or "\n.TH " in page
    for verb in VERBS:
        assert f".SS tradewind {verb}" in page
    sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "MODEL REFERENCES", "VERBS", "COMMON FLAGS", "EXIT STATUS", "FILES", "ENVIRONMENT", "SEE ALSO"]
    assert re.findall(r"^\.SH (.*)$", page, re.MULTILINE) == sections
    for tool in (["man", "--warnings", "-l", "-"], ["groff", "-man", "-Tutf8", "-ww"]):
        if shutil.which(tool[0]):
            made = subprocess.run(tool, input=page, capture_output=True, text=True, env=os.environ | {"PAGER": "cat", "LC_ALL": "C.UTF-8"})
            assert made.returncode == 0 and "tradewind" in made.stdout.lower()
            assert made.stderr == ""
            return


# --- Exit codes


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["help"], 0),
        (["no-such-verb"], 2),
        (["serve", "--no-such-flag"], 2),
        (["serve", "--port", "seventy"], 2),
        (["serve", "--port", "70000"], 2),
        (["serve", "--slots", "0"], 2),
        (["run"], 2),
        (["run", MODEL, "--temp", "9", "Hi"], 2),
        (["run", MODEL], 2),  # no prompt, and stdin is no terminal
        (["completion", "tcsh"], 2),
        (["show", "nobody/nothing"], 3),
        (["show", "./none.gguf"], 3),
        (["bench", "nobody/nothing"], 3),
        (["run", "nobody/nothing", "Hi"], 3),
        (["run", MODEL, "--port", "1", "Hi"], 7),  # nobody listens there
        (["config", "get", "no.key"], 3),
        (["ls", "--config", "/no/such/file.toml"], 3),
    ],
)
def test_exit_codes(home, words, code):
    done = run_cli(*words, home=home)
    assert done.returncode == code, done
    if code:
        assert done.stderr.startswith("tradewind: ") and done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_misspelt_verb_gets_a_suggestion(home):
    assert "serve" in run_cli("sevre", home=home).stderr


# --- run


def test_run_uses_the_running_server(server):
    done = run_cli("run", MODEL, "Name the capital city of France.", "--temp", "0", "--max-tokens", "24", "--stats", home=server.home)
    assert done.returncode == 0, done
    assert done.stdout == "The capital city of France is Paris.\n"
    assert re.search(r"prompt \d+ tok .*output \d+ tok .*cost \$0\.00", done.stderr)
    assert "private" not in done.stderr
    answer = data(run_cli("run", MODEL, "Hi", "--max-tokens", "3", "--json", home=server.home), "run")
    assert (answer["model"], answer["output_tokens"], answer["cost_nanousd"]) == (MODEL, 3, "0")


def test_run_needs_no_models_folder_when_a_server_serves_the_model(server, tmp_path):
    done = run_cli("run", MODEL, "Hi", "--max-tokens", "2", home=server.home, models=tmp_path / "nowhere")
    assert done.returncode == 0, done
    assert "private" not in done.stderr


def test_run_reads_stdin(server):
    flags = ("--temp", "0", "--max-tokens", "24", "--json")
    from_stdin = data(run_cli("run", MODEL, *flags, home=server.home, stdin="Name the capital city of France."), "run")
    assert from_stdin["text"] == "The capital city of France is Paris."
    both = data(run_cli("run", MODEL, "Name the capital city", *flags, home=server.home, stdin="of France."), "run")
    assert both["prompt_tokens"] > 20


def test_run_raw_sends_the_prompt_as_it_is(server):
    flags = ("--raw", "--temp", "0", "--max-tokens", "1", "--json")
    done = data(run_cli("run", MODEL, *flags, "The capital of France is", home=server.home), "run")
    assert done["prompt_tokens"] == 5


def with_recommended_sampling(path, **values):
    """The default model's file with general.sampling.* keys, which are put in front of its others."""
    data = MODEL_FILE.read_bytes()
    string = lambda text: struct.pack("<Q", len(text)) + text.encode()  # noqa: E731
    keys = [string(f"general.sampling.{name}") + struct.pack("<If", 6, value) for name, value in values.items()]
    filler = string("f") + struct.pack("<I", 8)  # a string that keeps the tensors aligned
    room = -(sum(map(len, keys)) + len(filler) + 8) % 32
    keys.append(filler + string("." * room))
    count = struct.unpack("<Q", data[16:24])[0] + len(keys)
    path.write_bytes(data[:16] + struct.pack("<Q", count) + b"".join(keys) + data[24:])


def test_run_samples_as_the_model_recommends_and_says_so(own_home, tmp_path):
    file = tmp_path / "model.gguf"
    with_recommended_sampling(file, temp=0.0, top_p=0.75, min_p=7.0)  # no server would take that min_p
    ask = ("run", file, "Name the capital city of France.", "--max-tokens", "24")
    done = run_cli(*ask, home=own_home)
    assert (done.returncode, done.stdout) == (0, "The capital city of France is Paris.\n"), done
    assert "sampling as the model recommends: temperature 0, top_p 0.75\n" in done.stderr
    done = run_cli(*ask, "--temp", "0.5", "--top-p", "1", home=own_home)
    assert done.returncode == 0 and "recommends" not in done.stderr
    # Another context is another server, not one that ignores what was asked for.
    small = run_cli(*ask, "--ctx", "128", "--keep", "1h", home=own_home)
    assert small.returncode == 0 and "started a private server" in small.stderr
    assert {model["context"] for server in data(run_cli("ps", "--json", home=own_home), "ps")["servers"] for model in server["models"]} == {128, 8192}
    again = run_cli(*ask, "--ctx", "128", "--keep", "2h", home=own_home)
    assert again.returncode == 0 and "was started with --keep 1h" in again.stderr and "started a private" not in again.stderr


def test_a_damaged_copy_is_no_reason_when_a_server_has_the_model(server, tmp_path):
    copy = tmp_path / MODEL_FILE.name
    copy.write_bytes(MODEL_FILE.read_bytes()[:1_000_000])
    done = run_cli("run", MODEL, "Hi", "--max-tokens", "2", home=server.home, models=tmp_path)
    assert done.returncode == 0, done


def test_run_repeats_with_a_seed(server):
    ask = lambda: run_cli("run", MODEL, "Tell me a joke.", "--temp", "1.3", "--seed", "4", "--max-tokens", "20", home=server.home).stdout  # noqa: E731
    assert ask() == ask()


def test_ps_shows_the_server(server):
    listed = data(run_cli("ps", "--json", home=server.home), "ps")["servers"]
    assert [(entry["pid"], entry["address"]) for entry in listed] == [(server.process.pid, server.url)]
    assert listed[0]["models"][0]["id"] == MODEL
    header, row = run_cli("ps", home=server.home).stdout.splitlines()
    assert header.split() == ["MODEL", "PLACE", "STATE", "MEMORY", "CTX", "SLOTS", "TOK/S", "KEEP", "SERVER"]
    assert MODEL in row and " -  " in row  # it stays until somebody ends it
    assert listed[0]["exits_in_ms"] is None
    assert run_cli("ps", "-q", home=server.home).stdout == f"{MODEL}\n"


def test_progress_can_be_read_by_programs(server, own_home):
    tiny = ("--prompt-tokens", "4,5", "--gen-tokens", "1", "--concurrency", "1", "--reps", "4")
    done = run_cli("bench", MODEL, *tiny, "--json", "--progress", "json", home=own_home)
    data(done, "bench")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line["schema"] == "tradewind.progress/v1" for line in lines)
    assert lines[0] | {"elapsed_ms": 0} == {
        "schema": "tradewind.progress/v1", "phase": "loading the model", "elapsed_ms": 0, "done": None, "total": None,
    }  # fmt: skip
    counted = [line["done"] for line in lines[1:]]
    assert counted == sorted(counted) and {line["total"] for line in lines[1:]} == {10}
    # Without a terminal: a line for what begins, then for each tenth.
    plain = run_cli("bench", MODEL, *tiny, home=own_home).stderr.splitlines()
    assert plain[0] == "loading the model" and 2 <= len(plain) <= 12
    assert run_cli("bench", MODEL, *tiny, "--json", home=own_home).stderr == ""
    assert run_cli("bench", MODEL, *tiny, "--progress", "none", home=own_home).stderr == ""
    phases = run_cli("run", MODEL, "Hi", "--max-tokens", "2", "--progress", "json", home=server.home).stderr.splitlines()
    assert "reading the prompt" in [json.loads(line)["phase"] for line in phases if line.startswith("{")]


def test_run_finds_a_server_by_the_environment(server, home):
    done = run_cli("run", MODEL, "Hi", "--max-tokens", "2", home=home, TRADEWIND_HOST=server.host, TRADEWIND_PORT=server.port)
    assert done.returncode == 0, done
    assert not (home / "private").exists()


def test_run_starts_a_private_server_that_leaves_when_idle(own_home):
    first = run_cli("run", MODEL_FILE, "Hi", "--max-tokens", "2", "--keep", "2s", home=own_home)
    assert first.returncode == 0, first
    assert "started a private server" in first.stderr
    assert not (own_home / "server.json").exists()  # it stands in nobody's way
    wait_for(lambda: data(run_cli("ps", "--json", home=own_home), "ps")["servers"] == [], "the idle server to leave")


def test_a_second_run_uses_the_private_server_of_the_first(own_home):
    assert run_cli("run", MODEL, "Hi", "--max-tokens", "2", home=own_home).returncode == 0
    pids = [entry["pid"] for entry in data(run_cli("ps", "--json", home=own_home), "ps")["servers"]]
    second = run_cli("run", MODEL, "Hi", "--max-tokens", "2", home=own_home)
    assert second.returncode == 0 and "started" not in second.stderr
    listed = data(run_cli("ps", "--json", home=own_home), "ps")["servers"]
    assert [entry["pid"] for entry in listed] == pids
    assert 0 < listed[0]["exits_in_ms"] <= 30 * 60_000
    assert re.search(r"  exits in (29|30)m  ", run_cli("ps", home=own_home).stdout)


def test_ctrl_c_stops_the_answer(server):
    process = subprocess.Popen(
        [BINARY, "run", MODEL, "Tell me a very long story about the sea.", "--max-tokens", "4000", "--temp", "1.9"],
        env=environment(server.home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(PATIENCE_S) in (130, 0)  # 0: the answer had just ended
    process.stdout.close()
    server.wait_idle()


# --- On a terminal


class Terminal:
    def __init__(self, words, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(BINARY, [str(BINARY), *words], env | {"TERM": "xterm"})
        self.seen = ""

    def read_until(self, text, start=0):
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen[start:]:
            assert time.monotonic() < end, f"waited for {text!r}, saw {self.seen!r}"
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert text in self.seen[start:], f"ended before {text!r}: {self.seen!r}"
        return self.seen[start:]

    def say(self, line):
        """Types a line; returns all that appears up to the next prompt."""
        start = len(self.seen)
        os.write(self.fd, line.encode() + b"\n")
        return self.read_until(">>> ", start)

    def end(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"it does not end: {self.seen!r}")


def test_a_chat_on_a_terminal(server):
    terminal = Terminal(["run", MODEL, "--temp", "0", "--max-tokens", "24", "--stats"], environment(server.home))
    terminal.read_until(">>> ")

    def tokens(answer):
        return [int(count) for count in re.search(r"prompt (\d+) tok.* output (\d+) tok", answer).groups()]

    answer = terminal.say("Name the capital city of France.")
    assert "Paris" in answer
    prompt, output = tokens(answer)
    longer, _ = tokens(terminal.say("And that of Italy?"))
    assert longer > prompt + output - 2  # the first question and its answer are part of the second
    terminal.say("/clear")
    assert tokens(terminal.say("And that of Italy?"))[0] < longer - output
    assert "/bye" in terminal.say("/help")
    assert "no command" in terminal.say("/frobnicate")
    terminal.say("/clear")
    os.write(terminal.fd, b'"""Name the capital city\n')
    os.write(terminal.fd, b'of France."""\n')
    terminal.read_until("... ")
    terminal.read_until(">>> ", len(terminal.seen))
    os.write(terminal.fd, b"/bye\n")
    assert terminal.end() == 0


def test_a_server_on_a_terminal_says_what_to_do_next(home):
    terminal = Terminal(["serve", "--port", "0", "--threads", "1"], environment(home))
    terminal.read_until("admin token: ")
    terminal.read_until("admin-token")
    url = re.search(r"listening on (http://127\.0\.0\.1:\d+)\s", terminal.seen)[1]
    assert f"{MODEL} is ready after" in terminal.seen
    curl = re.search(r"try: (curl .*)\\\r\n(.*)\r\n", terminal.seen)
    assert curl[1].startswith(f"curl {url}/v1/chat/completions ")
    answer = subprocess.run(curl[1] + curl[2], shell=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert json.loads(answer.stdout)["model"] == MODEL
    assert f"admin token: {home}/admin-token" in terminal.seen
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 0


def test_the_end_of_input_leaves_the_chat(server):
    terminal = Terminal(["run", MODEL], environment(server.home))
    terminal.read_until(">>> ")
    os.write(terminal.fd, b"\x04")
    assert terminal.end() == 0


def test_ctrl_c_on_a_terminal_stops_the_answer_not_the_chat(server):
    terminal = Terminal(["run", MODEL, "--temp", "1.9", "--max-tokens", "4000"], environment(server.home))
    terminal.read_until(">>> ")
    start = len(terminal.seen)
    os.write(terminal.fd, b"Tell me a long story.\n")
    wait_for(lambda: server.engine()["slots_used"] == 1, "the answer to begin")
    os.write(terminal.fd, b"\x03")
    terminal.read_until(">>> ", start)
    os.write(terminal.fd, b"/bye\n")
    assert terminal.end() == 0
    server.wait_idle()


def test_colour_only_on_a_terminal_that_wants_it(home):
    assert not ANSI.search(run_cli("ls", home=home).stdout)
    coloured = Terminal(["ls"], environment(home))
    coloured.end()
    assert ANSI.search(coloured.seen)
    plain = Terminal(["ls"], environment(home, NO_COLOR="1"))
    plain.end()
    assert MODEL in plain.seen and not ANSI.search(plain.seen)
