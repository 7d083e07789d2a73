// The `openai` package for JavaScript, as people use it. Run by tests/binary/test_openai_javascript.py, which starts the
// server and sets TRADEWIND_TEST_URL.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(new URL('../../build/node/package.json', import.meta.url));
const { OpenAI, BadRequestError, NotFoundError, APIUserAbortError } = require('openai');

const url = process.env.TRADEWIND_TEST_URL;
const model = process.env.TRADEWIND_TEST_MODEL;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: 'Name the capital city of France.' }];
const greedy = { model, messages, temperature: 0, max_tokens: 32 };

const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');

async function slotsUsed() {
  const { models } = await (await fetch(`${url}/tw/v1/engine`)).json();
  return models[0].slots_used;
}

async function waitFor(condition, what) {
  for (let tries = 0; tries < 3000; ++tries) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`waited for: ${what}`);
}

test('chat answers', async () => {
  const answer = await client.chat.completions.create(greedy);
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('a stream adds up to the whole answer', async () => {
  const whole = await client.chat.completions.create(greedy);
  const chunks = await collect(await client.chat.completions.create({ ...greedy, stream: true }));
  assert.equal(textOf(chunks), whole.choices[0].message.content);
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
});

test('a stream ends with usage when asked', async () => {
  const chunks = await collect(
    await client.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } }),
  );
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  assert.equal(chunks.at(-1).tradewind.cost_nanousd, '0');
});

test('the streaming helper assembles the message', async () => {
  const answer = await client.chat.completions.stream(greedy).finalChatCompletion();
  assert.match(answer.choices[0].message.content, /Paris/);
});

test('a stop string ends the answer and is not in it', async () => {
  const answer = await client.chat.completions.create({ ...greedy, stop: 'of France' });
  assert.equal(answer.choices[0].message.content, 'The capital city ');
  assert.equal(answer.choices[0].finish_reason, 'stop');
});

test('logprobs name each token and its alternatives', async () => {
  const answer = await client.chat.completions.create({ ...greedy, max_tokens: 4, logprobs: true, top_logprobs: 3 });
  const { content } = answer.choices[0].logprobs;
  assert.equal(content.length, 4);
  assert.equal(content.map((token) => token.token).join(''), answer.choices[0].message.content);
  for (const token of content) assert.equal(token.top_logprobs.length, 3);
});

test('n gives as many answers, and a seed repeats them', async () => {
  const ask = () => client.chat.completions.create({ ...greedy, temperature: 1.5, seed: 5, n: 3, max_tokens: 10 });
  const [first, second] = [await ask(), await ask()];
  assert.deepEqual(first.choices.map((choice) => choice.index), [0, 1, 2]);
  assert.deepEqual(
    first.choices.map((choice) => choice.message.content),
    second.choices.map((choice) => choice.message.content),
  );
  assert.ok(new Set(first.choices.map((choice) => choice.message.content)).size > 1);
});

test('an aborted stream frees its slot', async () => {
  const abort = new AbortController();
  const stream = await client.chat.completions.create(
    { ...greedy, stream: true, max_tokens: 4000, ignore_eos: true },
    { signal: abort.signal },
  );
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;
  }
  abort.abort();
  await waitFor(async () => (await slotsUsed()) === 0, 'the slot of the aborted stream');
});

test('an aborted request that does not stream frees its slot', async () => {
  const abort = new AbortController();
  const asked = client.chat.completions.create({ ...greedy, max_tokens: 4000, ignore_eos: true }, { signal: abort.signal });
  await waitFor(async () => (await slotsUsed()) === 1, 'the request to run');
  abort.abort();
  await assert.rejects(asked, APIUserAbortError);
  await waitFor(async () => (await slotsUsed()) === 0, 'the slot of the aborted request');
});

test('errors have their class and name the field', async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, top_p: 7 }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.param, 'top_p');
    assert.equal(error.code, 'invalid_value');
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...greedy, model: 'nobody/nothing' }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.code, 'model_not_supported');
    return true;
  });
  await assert.rejects(client.models.retrieve('nobody/nothing'), NotFoundError);
});

test('models and completions', async () => {
  const ids = (await collect(client.models.list())).map((entry) => entry.id);
  assert.ok(ids.includes(model));
  const made = await client.completions.create({ model, prompt: 'The capital of France is', max_tokens: 1, echo: true, logprobs: 1 });
  assert.equal(made.choices[0].logprobs.tokens.join(''), made.choices[0].text);
});
