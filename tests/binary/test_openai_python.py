"""The `openai` package for Python, as people use it."""

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import MODEL, wait_for

QUESTION = [{"role": "user", "content": "Name the capital city of France."}]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def gauge(server, name):
    families = text_string_to_metric_families(server.get("/metrics").body.decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_chat_answers(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=32)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint


def test_a_stream_adds_up_to_the_whole_answer(client):
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=32)
    chunks = list(client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=32, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_usage_when_asked(client):
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-1].tradewind["cost_nanousd"] == "0"
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_second_message_is_charged_with_its_new_tokens_only(client, server):
    def ask(messages):
        return client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=12)

    question = [{"role": "user", "content": "Which river flows through Vienna? Say why it matters to the people there."}]
    first = ask(question)
    evaluated = server.engine()["prompt_tokens_total"]
    answer = {"role": "assistant", "content": first.choices[0].message.content}
    second = ask(question + [answer, {"role": "user", "content": "And through Paris?"}])
    cached = second.usage.prompt_tokens_details.cached_tokens
    # All of the first prompt but the line break that ends it may be cut differently; the answer too.
    assert cached >= first.usage.prompt_tokens + first.usage.completion_tokens - 3
    assert server.engine()["prompt_tokens_total"] - evaluated == second.usage.prompt_tokens - cached
    assert gauge(server, "tradewind_cached_tokens_total") >= cached
    assert gauge(server, "tradewind_engine_kv_idle_bytes") > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_answer_and_is_not_in_it(client, stream):
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=32, stop=["of France"], stream=stream
    )
    if stream:
        chunks = list(answer)
        text = "".join(c.choices[0].delta.content or "" for c in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert text == "The capital city "
    assert reason == "stop"


def test_max_tokens_ends_the_answer_with_length(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_logprobs_name_each_token_and_its_alternatives(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=6, logprobs=True, top_logprobs=4
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == 6
    assert b"".join(bytes(token.bytes) for token in content).decode() == answer.choices[0].message.content
    for token in content:
        assert len(token.top_logprobs) == 4
        logprobs = [alternative.logprob for alternative in token.top_logprobs]
        assert logprobs == sorted(logprobs, reverse=True)
        # Greedy: the chosen token is the likeliest.
        assert (token.token, token.logprob) == (token.top_logprobs[0].token, logprobs[0])
        assert token.logprob <= 0


def test_streamed_logprobs_equal_those_of_the_whole_answer(client):
    fields = dict(model=MODEL, messages=QUESTION, temperature=0, max_tokens=6, logprobs=True, top_logprobs=2)
    whole = client.chat.completions.create(**fields).choices[0].logprobs.content
    streamed = []
    for chunk in client.chat.completions.create(**fields, stream=True):
        streamed += (chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or []
    assert [token.token for token in streamed] == [token.token for token in whole]
    assert [token.logprob for token in streamed] == pytest.approx([token.logprob for token in whole], abs=2e-3)


def test_n_gives_as_many_different_answers(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1.5, seed=7, max_tokens=12, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_n_streams_interleave_by_index(client):
    texts = {}
    for chunk in client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=1.5, seed=7, max_tokens=12, n=3, stream=True
    ):
        choice = chunk.choices[0]
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert sorted(texts) == [0, 1, 2]
    assert all(texts.values())


def test_a_seed_repeats_the_answer(client):
    def ask(seed):
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1.2, seed=seed, max_tokens=24)
        return answer.choices[0].message.content

    assert ask(11) == ask(11)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_logit_bias_forbids_a_token(client, server):
    first = client.completions.create(model=MODEL, prompt="The capital of France is", temperature=0, max_tokens=1, logprobs=1)
    ids = server.post("/tokenize", {"prompt": first.choices[0].text}).json()["tokens"]
    biased = client.completions.create(
        model=MODEL, prompt="The capital of France is", temperature=0, max_tokens=1, logit_bias={str(ids[0]): -100}
    )
    assert biased.choices[0].text != first.choices[0].text


def test_a_client_that_leaves_frees_its_slot(client, server):
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, max_tokens=4000, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert gauge(server, "tradewind_engine_slots_used") == 1
    stream.close()
    wait_for(lambda: gauge(server, "tradewind_engine_slots_used") == 0, "the slot of the client that left")


def test_errors_have_their_class_and_name_the_field(client):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9)
    assert (wrong.value.param, wrong.value.code, wrong.value.type) == ("temperature", "invalid_value", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model="nobody/nothing", messages=QUESTION)
    assert unknown.value.code == "model_not_supported"
    with pytest.raises(openai.BadRequestError) as tools:
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
        )
    assert (tools.value.param, tools.value.code) == ("tools", "unsupported_value")
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("nobody/nothing")
    assert missing.value.code == "model_not_found"


def test_models_are_listed_and_found(client):
    models = client.models.list().data
    assert MODEL in [model.id for model in models]
    one = client.models.retrieve(MODEL)
    assert (one.id, one.object, one.owned_by) == (MODEL, "model", "HuggingFaceTB")


def test_completions_take_strings_ids_and_batches_of_both(client, server):
    text = "The capital of France is"
    ids = server.post("/tokenize", {"prompt": text}).json()["tokens"]
    answers = {}
    for name, prompt in {"text": text, "ids": ids, "texts": [text, text], "id lists": [ids, ids]}.items():
        made = client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=5)
        assert [choice.index for choice in made.choices] == list(range(len(made.choices)))
        assert made.usage.prompt_tokens == len(ids) * len(made.choices)
        answers[name] = [choice.text for choice in made.choices]
    assert len(answers["text"]) == len(answers["ids"]) == 1
    assert len(answers["texts"]) == len(answers["id lists"]) == 2
    assert {answer for several in answers.values() for answer in several} == {answers["text"][0]}


def test_a_mixed_batch_is_answered_in_order(client):
    made = client.completions.create(
        model=MODEL, prompt=["One, two, three,", "Monday, Tuesday,"], temperature=0, max_tokens=4, n=2, echo=True
    )
    starts = ["One,", "One,", "Monday,", "Monday,"]
    assert [choice.text.split(" ")[0] for choice in made.choices] == starts


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_scores_the_prompt(client, max_tokens):
    text = "The quick brown fox jumps over the lazy dog"
    made = client.completions.create(model=MODEL, prompt=text, temperature=0, max_tokens=max_tokens, echo=True, logprobs=2)
    choice = made.choices[0]
    logprobs = choice.logprobs
    assert choice.text.startswith(text)
    assert "".join(logprobs.tokens) == choice.text
    assert len(logprobs.tokens) == made.usage.prompt_tokens + max_tokens == len(logprobs.token_logprobs)
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    for token, logprob, top, offset in list(
        zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset, strict=True)
    )[1:]:
        assert choice.text[offset:].startswith(token)
        assert top[token] == logprob <= 0
        assert 2 <= len(top) <= 3
        assert max(top.values()) >= logprob


def test_completions_stream(client):
    chunks = list(client.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=6, stream=True))
    whole = client.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=6)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
