// What providers really answered, read by the JavaScript clients directly and through the server: equal objects. Run by
// tests/binary/test_recordings.py, which replays the recordings and sets TRADEWIND_TEST_URL, TRADEWIND_TEST_TOKEN,
// TRADEWIND_TEST_REPLAY and TRADEWIND_TEST_RECORDINGS (a file: what was asked, at which number and slug).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(new URL('../../build/node/package.json', import.meta.url));
const { OpenAI } = require('openai');
const { InferenceClient } = require('@huggingface/inference');

const { TRADEWIND_TEST_URL: url, TRADEWIND_TEST_TOKEN: token, TRADEWIND_TEST_REPLAY: replay } = process.env;
const recordings = JSON.parse(readFileSync(process.env.TRADEWIND_TEST_RECORDINGS, 'utf8'));

async function collect(answer) {
  const chunks = [];
  for await (const chunk of await answer) chunks.push(chunk);
  return chunks;
}

// Each makes a list of plain objects of an answer, or throws.
const clients = {
  openai: async (base, key, model, { request, stream }) => {
    const { chat } = new OpenAI({ baseURL: base, apiKey: key, maxRetries: 0 });
    return stream
      ? collect(chat.completions.create({ ...request, model, stream: true }))
      : [await chat.completions.create({ ...request, model })];
  },
  huggingface: async (base, key, model, { request, stream }) => {
    const client = new InferenceClient(key, { endpointUrl: base });
    return stream
      ? collect(client.chatCompletionStream({ ...request, model }, { retry_on_error: false }))
      : [await client.chatCompletion({ ...request, model }, { retry_on_error: false })];
  },
};

const isUsageAlone = (chunk) => Boolean(chunk.usage) && !chunk.choices?.length;

// Direct objects as docs/formats/upstreams.md says they pass.
function asDocumented(chunks, { stream, askedForUsage }) {
  const kept = chunks.filter((chunk) => askedForUsage || !stream || !isUsageAlone(chunk));
  for (const chunk of kept) {
    for (const choice of chunk.choices ?? []) {
      if (['eos', 'eos_token', 'stop_sequence'].includes(choice.finish_reason)) choice.finish_reason = 'stop';
    }
    if (chunk.error === null) delete chunk.error;
    if (!stream && chunk.usage === undefined) chunk.usage = null;
  }
  return kept;
}

// What is no field of the wire: the SDK adds it.
const plain = (chunks) => chunks.map(({ _request_id, ...chunk }) => JSON.parse(JSON.stringify(chunk)));

for (const [name, read] of Object.entries(clients)) {
  for (const recording of recordings) {
    test(`${name} ${recording.name}`, async () => {
      let direct;
      let refusal;
      try {
        direct = plain(await read(`${replay}/${recording.number}`, 'k', 'recorded', recording));
      } catch (error) {
        refusal = error;
      }
      const through = read(`${url}/v1`, token, recording.model, recording);
      if (refusal && !/usage/.test(refusal.message)) {
        await assert.rejects(through, { name: refusal.name });
        return;
      }
      const chunks = plain(await through);
      assert.ok(chunks.length > 0);
      assert.equal(chunks.filter((chunk) => chunk.tradewind).length, recording.stream && recording.askedForUsage ? 1 : 0);
      for (const chunk of chunks) delete chunk.tradewind;
      // A strict client refuses an answer without `usage`; through the server it has one, null.
      if (!refusal) assert.deepEqual(chunks, asDocumented(direct, recording));
    });
  }
}
