// One program over several providers, switched by the model string alone. Run by tests/binary/test_swap.py, which starts the
// server and sets TRADEWIND_TEST_URL, TRADEWIND_TEST_MODELS (model strings, comma-separated) and TRADEWIND_TEST_TOKEN.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(new URL('../../build/node/package.json', import.meta.url));
const { OpenAI, BadRequestError } = require('openai');
const { InferenceClient } = require('@huggingface/inference');

const { TRADEWIND_TEST_URL: url, TRADEWIND_TEST_TOKEN: token } = process.env;
const models = process.env.TRADEWIND_TEST_MODELS.split(',');

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: token, maxRetries: 0 });
// Validates the fields of whole answers and the content types, so each answer it returns is one in good form.
const huggingFace = new InferenceClient(token, { endpointUrl: `${url}/v1` });
const clients = {
  openai: {
    whole: (request) => openai.chat.completions.create(request),
    stream: (request) => openai.chat.completions.create({ ...request, stream: true }),
  },
  huggingface: {
    whole: (request) => huggingFace.chatCompletion(request, { retry_on_error: false }),
    stream: async (request) => huggingFace.chatCompletionStream(request, { retry_on_error: false }),
  },
};

const lookup = {
  type: 'function',
  function: { name: 'lookup', parameters: { type: 'object', properties: { q: { type: 'string' } }, required: ['q'] } },
};
const schema = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] };
const format = { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } };
const say = (content) => [{ role: 'user', content }];

async function collect(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return chunks;
}

for (const [name, client] of Object.entries(clients)) {
  for (const model of models) {
    const isLocal = model.endsWith(':local');

    test(`${name} ${model}: chat and stream say the same`, async () => {
      const request = { model, messages: say('one two three'), max_tokens: 12, temperature: 0 };
      const whole = await client.whole(request);
      assert.ok(whole.choices[0].message.content);
      assert.ok(whole.usage.completion_tokens > 0);
      const chunks = await collect(client.stream(request));
      const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
      assert.equal(text, whole.choices[0].message.content);
      assert.equal(chunks.at(-1).choices[0].finish_reason, whole.choices[0].finish_reason);
    });

    test(`${name} ${model}: tools`, async () => {
      const request = { model, messages: say('call lookup'), tools: [lookup], tool_choice: 'auto' };
      if (isLocal) return assert.rejects(client.whole(request));
      const whole = await client.whole(request);
      const [call] = whole.choices[0].message.tool_calls;
      assert.equal(call.function.name, 'lookup');
      assert.equal(typeof JSON.parse(call.function.arguments).q, 'string');
      assert.equal(whole.choices[0].finish_reason, 'tool_calls');
      const pieces = (await collect(client.stream(request))).flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
      assert.equal(pieces.map((piece) => piece.function.arguments ?? '').join(''), call.function.arguments);
    });

    test(`${name} ${model}: structured output`, async () => {
      const request = { model, messages: say('one two three'), response_format: format };
      if (isLocal) return assert.rejects(client.whole(request));
      const whole = await client.whole(request);
      assert.equal(typeof JSON.parse(whole.choices[0].message.content).a, 'string');
    });
  }
}

test('what the local model cannot do is a refusal with its reason', async () => {
  const model = models.find((each) => each.endsWith(':local'));
  await assert.rejects(openai.chat.completions.create({ model, messages: say('call lookup'), tools: [lookup] }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.ok(error.code && error.message);
    return true;
  });
});
