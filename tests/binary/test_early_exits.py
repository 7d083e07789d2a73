"""The table of early exits in src/gateway/chat.cc, row by row: what the client sees, what becomes of the hold, and the outcome
in the log. What a provider billed is nowhere void: its own books are compared.

Rows that only an engine by script can show are tested beside the code; the names of their tests begin with Row.
"""

import json
import re
import socket

import pytest

import harness
import market
from market import KEY, MODEL

BESIDE_THE_CODE = {
    "refused here": ["RowRefused", "RowRefusedBecauseTheModelDoesNotLoad"],
    "failed here after it": ["RowFailedAfterFirstByte"],
    "client left": ["RowClientLeft"],
    "slow reader": ["RowSlowReader", "RowSlowReaderOfAProvider"],
    "shutdown": ["RowShutdown"],
}
# Rows that a test of another file here shows.
ELSEWHERE = {
    "no room, but the key asks for this device": ("test_alerts.py", "test_when_a_budget_is_exhausted_a_key_may_go_on"),
    "nothing can be recorded": ("test_alerts.py", "test_a_disk_that_is_nearly_full"),
    "error with 200": ("test_answers.py", "test_a_rate_limit_is_one_whatever_its_status_is"),
    "answer in another form": ("test_answers.py", "test_a_stream_instead_of_a_whole_answer_is_settled"),
    "another process has taken over": ("test_upgrade.py", "test_nothing_is_bought_that_is_on_no_bill"),
}
TESTED = set()
# What is in doubt ends in a moment, as it would in a day: the providers keep our ids, by which receipts are found here, and say nothing
# of what a request cost.
SOON = ["--billing-every", "50ms", "--billing-deadline", "300ms"]
# What the config says that it costs.
PRICE = ["--price", 'together={"input_nanousd_per_mtok": 100000000, "output_nanousd_per_mtok": 300000000}']
SILENT = {"endpoint": "billing", "status": 503}
# Of an answer that never came: it is on the provider's bill all the same.
BILLED = "sim:site-a:bill_refused=true"
# What may become of the hold of an attempt that was made, by the table's word for it.
ENDS = {
    "none": set(),
    "-": {"settle"},
    "void": {"void"},
    "settle": {"settle", "doubt, metered", "doubt, held"},
    "in doubt": {"doubt, metered", "doubt, held"},
    "void or in doubt": {"void", "doubt, void"},
}


def row(name):
    TESTED.add(name)
    return lambda test: test


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    flags = ["--stall", "300ms", "--deadline", "20s", *SOON]
    extra = '[route]\norder = ["site-a", "together"]\n'
    with market.Market(tmp_path_factory.mktemp("exits"), "site-a", "together", flags=flags, extra=extra, billing=True, sim_flags=PRICE) as it:
        yield it


@pytest.fixture(autouse=True)
def well(request):
    if "running" in request.fixturenames:
        sim = request.getfixturevalue("running").sim
        sim.reset()
        sim.fault(**SILENT)


def outcome(running, reply):
    """Of the request's line in the log; every request has one."""
    id = reply.headers["x-request-id"]
    line = harness.wait_for(lambda: [e for e in running.server.access_log() if e.get("request_id") == id], "its line")[0]
    assert line["status"] == reply.status
    return line["outcome"]


def token(running, name, *flags):
    made = harness.run_cli("keys", "create", "--name", name, *flags, home=running.server.home)
    assert made.returncode == 0, made
    return {"Authorization": f"Bearer {made.stdout.strip()}"}


def refused(running, reply, status, code, logged):
    assert reply.status == status, reply.body
    error = reply.error()
    assert error["code"] == code
    assert outcome(running, reply) == logged
    return error


def broken(reply):
    """The error that ends a stream which is not complete."""
    assert reply.status == 200
    blocks = harness.sse_blocks(reply.body)
    assert b"data: [DONE]" not in blocks
    return json.loads(blocks[-1].removeprefix(b"data: "))["error"]


def requests(running):
    """How all attempts so far have ended."""
    got = harness.run_cli("usage", "--json", home=running.server.home)
    assert got.returncode == 0, got
    return json.loads(got.stdout)["requests"]


def settled_requests(running):
    def none_is_open():
        now = requests(running)
        return now if now["in_doubt"] == now["running"] == 0 else None

    return harness.wait_for(none_is_open, "the end of all doubts")


def end_of(attempt):
    """What became of its hold."""
    if attempt["state"] == "void":
        return "doubt, void" if "in doubt" in attempt["reason"] else "void"
    assert attempt["state"] == "settled", attempt
    if attempt["finish"] != "in doubt for too long":
        return "settle"
    is_whole = attempt["cost_nanousd"] == attempt["held_nanousd"] and attempt["charge_nanousd"] == "0"
    return "doubt, held" if is_whole else "doubt, metered"


def asked(running):
    """What the simulated providers saw of requests."""
    return [entry for entry in running.sim.log() if entry["endpoint"] == "chat"]


def became(running, name, *ends, site="site-a"):
    """The holds of attempts at `site` since the simulator was reset ended so, the others' are settled, the table says the same, and no
    provider billed more than we count, or anything that is void."""
    assert set(ends) <= ENDS[holds_of_the_table()[name]], (name, ends)
    settled_requests(running)
    admin = {"Authorization": f"Bearer {(running.server.home / 'admin-token').read_text().strip()}"}
    seen = set()
    running.sim.wait_for(lambda: all(entry["outcome"] != "running" for entry in asked(running)), "the end of what it was asked")
    for entry in asked(running):
        receipt, number = dict(entry["headers"])["x-client-request-id"].rsplit("-", 1)
        attempts = running.server.get(f"/v1/receipts/{receipt}", admin).json()["attempts"]
        (attempt,) = [one for one in attempts if one["attempt"] == int(number)]
        billed, cost = int(entry["billed"]["cost_nanousd"]), int(attempt["cost_nanousd"] or 0)
        end = end_of(attempt)
        assert attempt["provider"] == entry["provider"]
        if entry["provider"] == site:
            assert end in ends, (end, attempt)
            seen.add(end)
        else:
            assert end == "settle", attempt
        assert billed <= cost <= int(attempt["held_nanousd"]), (entry, attempt)
        assert end != "settle" or cost == billed, "to the nano-dollar"
        assert billed == 0 or "void" not in end, (entry, attempt)
    assert seen == set(ends), (seen, ends)


@pytest.fixture
def nothing_held(running):
    """No attempt is recorded while the test runs."""
    before = settled_requests(running)
    yield
    assert requests(running) == before


def pinned(running, text="one two three", **fields):
    return running.chat(text, model=f"{MODEL}:site-a", **fields)


def holds_of_the_table():
    """Names of rows, and of each its column "hold"; what takes several lines goes on below, a name one column further in."""
    source = (harness.ROOT / "src" / "gateway" / "chat.cc").read_text()
    lines = source[source.index("//   row  ") : source.index("#include")].splitlines()
    at, end = lines[0].index("hold"), lines[0].index("outcome")
    rows = []
    for line in lines[2:]:
        name, hold = line[5:29], line[at:end].strip()
        if name.strip() and not name.startswith(" "):
            rows.append([name.strip(), hold])
        elif line.strip("/ "):
            rows[-1][0] = f"{rows[-1][0]} {name.strip()}".strip()
            rows[-1][1] = f"{rows[-1][1]} {hold}".strip()
    return dict(rows)


def test_every_row_of_the_table_is_tested():
    rows = holds_of_the_table()
    assert set(rows.values()) == set(ENDS), "the table's words for what becomes of a hold"
    tested = TESTED | set(BESIDE_THE_CODE) | set(ELSEWHERE)
    assert len(rows) > 15 and set(rows) == tested, set(rows) ^ tested
    for file, test in ELSEWHERE.values():
        assert test in (harness.ROOT / "tests" / "binary" / file).read_text(), test
    beside = "".join(path.read_text() for path in (harness.ROOT / "src" / "gateway").glob("*_test.cc"))
    for tests in BESIDE_THE_CODE.values():
        for test in tests:
            assert re.search(rf"TEST(?:_F)?\(\w+, {test}\)", beside), test


@row("no good token")
def test_no_good_token(running, nothing_held):
    nobody = running.chat(headers={"Authorization": "Bearer hf_tw_nobody"})
    refused(running, nobody, 401, "invalid_api_key", "unauthenticated")
    assert nobody.headers["X-Error-Message"] and nobody.headers["WWW-Authenticate"]
    looks = running.chat(headers=token(running, "looks", "--scopes", "read"))
    assert "inference" in refused(running, looks, 403, "permission_denied", "permission_denied")["message"]
    assert asked(running) == []


@row("not on the allow-list")
def test_not_on_the_allow_list(running, nothing_held):
    reply = running.chat(headers=token(running, "elsewhere", "--providers", "local"))
    assert refused(running, reply, 403, "permission_denied", "permission_denied")["param"] == "model"
    reply = running.chat(headers=token(running, "another", "--models", "org/other"))
    assert refused(running, reply, 403, "permission_denied", "permission_denied")["param"] == "model"
    assert asked(running) == []


@row("asked before under an Idempotency-Key")
def test_asked_before(running):
    before, caller = settled_requests(running), token(running, "asked-before")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one"}], "max_tokens": 5}
    key = caller | {"Idempotency-Key": "asked"}
    assert outcome(running, running.server.post("/v1/chat/completions", body, key)) != "replayed"
    assert outcome(running, running.server.post("/v1/chat/completions", body, key)) == "replayed"
    other = running.server.post("/v1/chat/completions", body | {"max_tokens": 6}, key)
    refused(running, other, 422, "idempotency_key_reused", "idempotency_refused")
    assert running.sim.bill()["total"]["requests"] == settled_requests(running)["settled"] - before["settled"] == 1


@row("bad request")
def test_bad_request(running, nothing_held):
    error = refused(running, running.chat(stream="yes"), 400, "invalid_value", "invalid_argument")
    assert error["param"] == "stream"
    assert asked(running) == []


@row("over a limit of the key or its organisation")
def test_over_a_limit(running):
    before = settled_requests(running)
    once = token(running, "once", "--rpm", "1")
    assert running.chat(headers=once).status == 200
    reply = running.chat(headers=once)
    assert "key once" in refused(running, reply, 429, "rate_limit_exceeded", "too_many_requests")["message"]
    assert int(reply.headers["Retry-After"]) > 0
    assert harness.run_cli("orgs", "set", "slow", "--rpm", "1", home=running.server.home).returncode == 0
    member = token(running, "member", "--org", "slow", "--user", "sam")
    assert running.chat(headers=member).status == 200
    reply = running.chat(headers=member)
    assert "org slow" in refused(running, reply, 429, "rate_limit_exceeded", "too_many_requests")["message"]
    assert int(reply.headers["Retry-After"]) > 0
    assert settled_requests(running) == before | {"settled": before["settled"] + 2}, "what was refused is nowhere"


@row("no room in a budget")
def test_no_room_in_a_budget(running, nothing_held):
    poor = token(running, "poor", "--budget", "0.000001")
    reply = running.chat(headers=poor, max_tokens=5)
    message = refused(running, reply, 402, "insufficient_quota", "payment_required")["message"]
    assert "budget" in message and "$0.000001" in message and reply.headers["X-Error-Message"]
    assert asked(running) == [], "nothing was sent to either route"


@row("no candidate")
def test_no_candidate(running, nothing_held):
    reply = running.chat(provider={"only": ["groq"]})
    error = refused(running, reply, 400, "model_not_supported", "model_not_supported")
    assert "site-a" in error["message"] and "together" in error["message"], "who was considered"


@row("provider's own path: no such, or no such pair")
def test_a_providers_own_path(running, nothing_held):
    body = {"model": "someone/else", "messages": [{"role": "user", "content": "a"}]}
    reply = running.server.post("/together/v1/files", body)
    assert "v1/chat/completions" in refused(running, reply, 404, "not_found", "not_found")["message"]
    reply = running.server.post("/together/v1/chat/completions", body)
    refused(running, reply, 400, "model_not_supported", "model_not_supported")
    assert asked(running) == []


@row("refused by the provider")
@pytest.mark.parametrize("status", [400, 422, 401, 402])
def test_refused_by_the_provider(running, status):
    reply = pinned(running, f"sim:status={status}")
    assert reply.status == (502 if status in (401, 402) else status)
    assert reply.json()["error"]["message"] and KEY.encode() not in reply.body
    assert outcome(running, reply) == "upstream_failed"
    became(running, "refused by the provider", "void")


@row("provider not reached")
def test_provider_not_reached(tmp_path):
    with socket.socket() as taken:  # a port at which nobody answers
        taken.bind(("127.0.0.1", 0))
        with market.Market(tmp_path, "site-a", "site-b", extra='[route]\norder = ["site-a", "site-b"]\n', billing=True) as it:
            text = it.config.read_text().replace(it.sim.base_url("site-a"), f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
            it.config.write_text(text)
            it.server.process.send_signal(1)
            harness.wait_for(lambda: "the config was read again" in it.server.log(), "the new address")
            assert it.chat().headers["x-inference-provider"] == "site-b"
            reply = it.chat(model=f"{MODEL}:site-a")
            refused(it, reply, 502, "upstream_error", "upstream_failed")
            ended = settled_requests(it)
            assert (ended["settled"], ended["void"] >= 2) == (1, True) == (it.sim.bill()["total"]["requests"], True)
            became(it, "provider not reached")


def fails_before_the_first_byte(running, name, end, fault, status, logged, streams=(False, True)):
    """Of a whole answer and of a stream: the next route answers; without one, the client gets `status`, and the hold ends so."""
    for stream in streams:
        reply = running.chat(f"a sim:site-a:{fault}", stream=stream)
        assert reply.headers["x-inference-provider"] == "together", (stream, reply.body)
        reply = pinned(running, f"a sim:site-a:{fault}", stream=stream)
        assert reply.status == status and reply.json()["error"]["message"], (stream, reply.body)
        assert outcome(running, reply) == logged
    became(running, name, end)


@row("provider answers 5xx or 429")
@pytest.mark.parametrize("given, status, end", [(500, 502, "doubt, void"), (502, 502, "doubt, void"), (503, 429, "void"), (429, 429, "void")])
def test_a_provider_answers_with_an_error(running, given, status, end):
    fails_before_the_first_byte(running, "provider answers 5xx or 429", end, f"status={given}", status, "upstream_failed")


@row("cut before the 1st byte")
@pytest.mark.parametrize("fault", ["cut_after=0 sim:site-a:bill=whole", "cut_after=0 sim:site-a:cut=fin", f"close=rst {BILLED}", "close=fin"])
def test_cut_before_the_first_byte(running, fault):
    fails_before_the_first_byte(running, "cut before the 1st byte", "doubt, held", fault, 502, "upstream_failed")


@row("empty 200")
@pytest.mark.parametrize("billed", ["", BILLED])
def test_an_empty_200(running, billed):
    fails_before_the_first_byte(running, "empty 200", "doubt, held", f"body=empty {billed}", 502, "upstream_failed")


@row("stream of a wrong type")
def test_a_stream_of_a_wrong_type(running):
    fault = "content_type=application/xml"
    fails_before_the_first_byte(running, "stream of a wrong type", "doubt, held", fault, 502, "upstream_failed", [True])
    assert all(int(entry["billed"]["cost_nanousd"]) > 0 for entry in asked(running)), "it was a whole answer"


@row("garbage instead of an answer")
@pytest.mark.parametrize("body", ["garbage", f"garbage {BILLED}", f"html {BILLED}"])
def test_garbage_instead_of_an_answer(running, body):
    fails_before_the_first_byte(running, "garbage instead of an answer", "doubt, held", f"body={body}", 502, "upstream_failed")


@row("web page with 200")
def test_a_web_page_instead_of_an_answer(running):
    fails_before_the_first_byte(running, "web page with 200", "doubt, void", "body=html sim:site-a:id=missing", 502, "upstream_failed")


@row("stall before the 1st byte")
@pytest.mark.parametrize("fault", ["first_byte_ms=100000", "stall_after=0"])
def test_a_stall_before_the_first_byte(tmp_path, fault):
    flags = ["--first-byte", "1500ms", "--whole-answer", "1500ms", "--stall", "1500ms", "--deadline", "3s", *SOON]
    with market.Market(tmp_path, "site-a", "together", flags=flags, extra='[route]\norder = ["site-a", "together"]\n', billing=True, sim_flags=PRICE) as it:
        it.sim.fault(**SILENT)
        fails_before_the_first_byte(it, "stall before the 1st byte", "doubt, held", fault, 504, "deadline_exceeded")


@row("broken line in a stream")
def test_a_broken_line(running):
    reply = pinned(running, "a b sim:broken_line_after=2", stream=True)
    assert harness.sse_blocks(reply.body)[-1] == b"data: [DONE]"
    assert outcome(running, reply) == "stop"
    became(running, "broken line in a stream", "settle")


def breaks_after_the_first_byte(running, name, fault, code, logged):
    reply = pinned(running, f"a b sim:{fault}", stream=True)
    error = broken(reply)
    assert error["message"] and error["code"] == code
    ends = [choice["finish_reason"] for event in harness.sse_json(reply.body) for choice in event.get("choices", [])]
    assert ends and not any(ends), "what did not end has no finish reason"
    assert outcome(running, reply) == logged
    became(running, name, "doubt, metered")
    return error


@row("stall after the 1st byte")
def test_a_stall_after_the_first_byte(running):
    breaks_after_the_first_byte(running, "stall after the 1st byte", "stall_after=3", "timeout", "deadline_exceeded")


@row("cut after the 1st byte")
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_after_the_first_byte(running, how):
    breaks_after_the_first_byte(running, "cut after the 1st byte", f"cut_after=3 sim:cut={how}", "upstream_error", "upstream_failed")


def test_a_stream_that_lacks_a_choice(running):
    """Where nothing says that it is done: between two choices it looks as complete as after the last."""
    error = broken(pinned(running, "a b sim:choices=1 sim:done=none", stream=True, n=2))
    assert error["code"] == "upstream_error"
    assert pinned(running, "a b sim:done=none", stream=True, n=2).body.endswith(b"data: [DONE]\n\n")


def test_speech_is_something_to_see(running):
    reply = pinned(running, "a b sim:spoken=true sim:cut_after=3", stream=True, modalities=["text", "audio"])
    broken(reply)
    assert any("audio" in choice["delta"] for event in harness.sse_json(reply.body) for choice in event.get("choices", []))


@row("malformed event")
def test_a_malformed_event(running):
    breaks_after_the_first_byte(running, "malformed event", "malformed_after=3", "upstream_error", "upstream_failed")


@row("error event")
def test_an_error_event(running):
    breaks_after_the_first_byte(running, "error event", "error_after=3", "upstream_error", "upstream_failed")


@row("slow to begin")
def test_slow_to_begin(running):
    reply = running.chat("a sim:site-a:first_byte_ms=100000", provider={"hedge": 30})
    assert reply.status == 200 and reply.headers["x-inference-provider"] == "together"
    assert outcome(running, reply) == "stop"
    became(running, "slow to begin", "doubt, held")


@row("deadline")
def test_the_deadline(tmp_path):
    with market.Market(tmp_path, "site-a", flags=["--deadline", "700ms", *SOON], billing=True) as it:
        it.sim.fault(**SILENT)
        reply = it.chat("a sim:first_byte_ms=100000")
        refused(it, reply, 504, "timeout", "deadline_exceeded")
        reply = it.chat("a sim:stall_after=3", stream=True)
        assert broken(reply)["code"] == "timeout"
        assert outcome(it, reply) == "deadline_exceeded"
        became(it, "deadline", "doubt, held", "doubt, metered")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_client_leaves_before_the_first_byte_of_a_stream_that_is_read_on(tmp_path, version):
    """The provider bills the whole answer, so it is read to its end; there is nobody to write it to."""
    with market.Market(tmp_path, "site-a", flags=SOON, billing=True, bills_on="true") as it:
        it.sim.fault(**SILENT)
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "a sim:first_byte_ms=200"}], "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer {it.server.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((it.server.host, it.server.port)) as client:
            client.sendall(head.encode() + body)
            it.sim.wait_for(lambda: asked(it), "the request")
        settled_requests(it)
        (entry,) = asked(it)
        receipt = dict(entry["headers"])["x-client-request-id"].rsplit("-", 1)[0]
        admin = {"Authorization": f"Bearer {(it.server.home / 'admin-token').read_text().strip()}"}
        (attempt,) = it.server.get(f"/v1/receipts/{receipt}", admin).json()["attempts"]
        it.sim.wait_for(lambda: asked(it)[0]["outcome"] != "running", "its end")
        assert int(attempt["cost_nanousd"]) == int(asked(it)[0]["billed"]["cost_nanousd"]) > 0
        assert it.chat().status == 200, "the server lives"
