// The client with a provider's name: it asks the Hub for the mapping and then the provider's own path. Run by
// tests/binary/test_own_paths.py. The hosts are written into the client, so fetch leads them here.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(new URL('../../build/node/package.json', import.meta.url));
const { InferenceClient } = require('@huggingface/inference');

const { TRADEWIND_TEST_URL: url, TRADEWIND_TEST_TOKEN: token } = process.env;
const [model, texts, vectors] = process.env.TRADEWIND_TEST_MODELS.split(',');
const sites = process.env.TRADEWIND_TEST_SITES.split(',');

const wide = globalThis.fetch;
const hosts = /^https:\/\/(router\.)?huggingface\.co/;
globalThis.fetch = (target, init) => {
  assert.match(String(target), hosts);
  return wide(String(target).replace(hosts, url), init);
};
const client = new InferenceClient(token, { fetch: globalThis.fetch, retry_on_error: false });
const messages = [{ role: 'user', content: 'one two three' }];

for (const provider of sites) {
  test(`${provider}: chat and stream say the same`, async () => {
    const whole = await client.chatCompletion({ provider, model, messages });
    let text = '';
    for await (const chunk of client.chatCompletionStream({ provider, model, messages })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    assert.ok(text);
    assert.equal(text, whole.choices[0].message.content);
  });
}

test('together: texts and vectors', async () => {
  const written = await client.textGeneration({ provider: 'together', model: texts, inputs: 'one two three' });
  assert.ok(written.generated_text);
  const vector = await client.featureExtraction({ provider: 'together', model: vectors, inputs: 'one two' });
  assert.ok(vector.length > 0);
});
