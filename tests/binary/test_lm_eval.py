"""lm-evaluation-harness scores the model through /v1/completions, and the scores are the model's own."""

import json
import pathlib
import subprocess
import sys

import numpy
import pytest

from harness import MODEL, PATIENCE_S, Server, reference

TASKS = pathlib.Path(__file__).resolve().parent / "lm_eval"
NAMES = ["tradewind_capitals", "tradewind_counting"]


def by_command(model_args, batch, out):
    """As people run it. Slow to start: it reads every task that it knows."""
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", model_args, "--batch_size", batch,
        "--tasks", ",".join(NAMES), "--include_path", TASKS, "--output_path", out, "--log_samples",
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], cwd=TASKS, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    print(done.stdout[-4000:], done.stderr[-4000:])
    assert done.returncode == 0
    results = json.loads(next(out.rglob("results_*.json")).read_text())["results"]
    samples = {}
    for path in out.rglob("samples_*.jsonl"):
        name = path.name.removeprefix("samples_").rsplit("_", 1)[0]
        samples[name] = [json.loads(line) for line in path.read_text().splitlines()]
    return results, samples


def in_process(model_args, batch, out):
    import lm_eval
    from lm_eval.tasks import TaskManager

    made = lm_eval.simple_evaluate(
        model="local-completions",
        model_args=model_args,
        batch_size=batch,
        tasks=NAMES,
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        log_samples=True,
    )
    return made["results"], made["samples"]


def prompt_logprobs(server, ids):
    """(logprob, is_greedy) of each id after the first, from our own endpoint with nothing generated."""
    choice = server.complete(ids, max_tokens=0, echo=True, logprobs=1).json()["choices"][0]["logprobs"]
    pairs = zip(choice["token_logprobs"][1:], choice["top_logprobs"][1:], strict=True)
    return [(logprob, logprob == max(top.values())) for logprob, top in pairs]


def tokens(server, text):
    return server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()["tokens"]


@pytest.mark.parametrize(("evaluate", "requests", "batch"), [(by_command, True, 4), (in_process, False, 1)])
def test_the_harness_scores_both_tasks(server, tmp_path, monkeypatch, evaluate, requests, batch):
    # No hub is asked: the tasks and their data lie here, and the tokenizer is the server's.
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(TASKS)
    arguments = f"model={MODEL},base_url={server.url}/v1/completions,tokenizer_backend=remote,tokenized_requests={requests},num_concurrent=2"
    results, samples = evaluate(arguments, batch, tmp_path)
    assert results["tradewind_capitals"]["acc,none"] >= 0.5
    assert results["tradewind_counting"]["exact_match,none"] >= 0.5
    for sample in samples["tradewind_capitals"]:
        context = f"The capital city of {sample['doc']['country']} is"
        start = len(tokens(server, context))
        for choice, (response,) in zip(sample["doc"]["choices"], sample["resps"], strict=True):
            ours = prompt_logprobs(server, tokens(server, f"{context} {choice}"))[start - 1 :]
            # The batch may be cut differently, which may move the last bits.
            assert float(response[0]) == pytest.approx(sum(logprob for logprob, _ in ours), abs=0.02)
            assert response[1] in (all(greedy for _, greedy in ours), str(all(greedy for _, greedy in ours)))
    for sample in samples["tradewind_counting"]:
        prompt = f"1, 2, 3, 4, 5, 6\n11, 12, 13, 14, 15, 16\n{sample['doc']['start']}"
        ours = server.complete(prompt, max_tokens=24, temperature=0, stop=["\n"]).json()["choices"][0]["text"]
        assert sample["resps"][0][0] == ours


def differences_from_float32(server):
    """Of each token of the reference's first chunk, in nat."""
    golden = json.loads(reference("golden/smollm2/perplexity.json").read_text())["float32"]["token_nll"]
    ids = numpy.load(reference("golden/smollm2/text_ids.npy"))[:512].tolist()
    return numpy.array([-logprob for logprob, _ in prompt_logprobs(server, ids)]) - numpy.array(golden[0])


@pytest.mark.skipif(reference("golden/smollm2/perplexity.json") is None, reason="golden/smollm2 is not here")
def test_prompt_logprobs_equal_the_float_reference(home):
    # The bounds that the reference gives for float activations with an f16 KV cache.
    with Server(home, "--activations", "i16") as server:
        difference = differences_from_float32(server)
    assert numpy.abs(difference).max() < 0.05
    assert abs(difference.mean()) < 0.001


@pytest.mark.skipif(reference("golden/smollm2/perplexity.json") is None, reason="golden/smollm2 is not here")
def test_prompt_logprobs_are_near_the_float_reference_by_default(server):
    # Half of what the reference gives for 8-bit activations.
    assert (differences_from_float32(server) ** 2).mean() ** 0.5 < 0.05
