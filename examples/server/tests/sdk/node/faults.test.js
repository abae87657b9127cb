// Things that go wrong while an answer is on its way, and callers who do not wait for its end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { BOTH, GEMINI, apiKey, baseURL, client, drain, nowMs, seen, user } from './aihub.js';

const NOTICED_WITHIN_MS = 100;
const start = (model, text, options) =>
  client.chat.completions.create({ model, messages: user(text), stream: true }, options);

for (const model of BOTH) {
  for (const status of [429, 503]) {
    test(`sdk retries ${status} until the upstream recovers: ${model}`, async () => {
      const marker = crypto.randomUUID();
      // More than all that the gateway tries itself, over both upstreams.
      const text = `[[status ${status} times 7 id ${marker}]]`;
      const patient = new OpenAI({ baseURL, apiKey, maxRetries: 7 });
      await patient.chat.completions.create({ model, messages: user(text) });
      const statuses = (await seen(marker)).map((request) => request.status);
      assert.deepEqual(statuses, [...Array(7).fill(status), 200]);
    });
  }

  for (const fault of ['error-event', 'cut', 'end']) {
    test(`${fault} inside a stream raises after the content: ${model}`, async () => {
      const { text, error } = await drain(await start(model, `[[events 9]] [[${fault} after 4]]`));
      assert.deepEqual(text.trim().split(/\s+/), ['w1', 'w2', 'w3', 'w4']);
      assert.ok(error instanceof OpenAI.APIError, `${error}`);
      assert.ok(error.error.message && error.error.request_id);
    });
  }

  test(`broken event never reaches the parser of the sdk: ${model}`, async () => {
    const { text, error } = await drain(await start(model, '[[events 9]] [[malformed after 3]]'));
    assert.deepEqual(text.trim().split(/\s+/).slice(0, 3), ['w1', 'w2', 'w3']);
    // To leave it out and to end with an error are both right; a SyntaxError is not.
    assert.ok(error === undefined || error instanceof OpenAI.APIError, `${error}`);
  });

  test(`error before any content is a status: ${model}`, async () => {
    await assert.rejects(start(model, '[[first-event-error]]'), OpenAI.InternalServerError);
  });

  test(`timeout of the caller reaches the upstream: ${model}`, async () => {
    const marker = crypto.randomUUID();
    await assert.rejects(start(model, `[[hang]] ${marker}`, { timeout: 500 }), OpenAI.APIConnectionTimeoutError);
    await seen(marker, { end: 'client-left' });
  });

  test(`abort inside a stream reaches the upstream at once: ${model}`, async () => {
    const marker = crypto.randomUUID();
    const stream = await start(model, `[[slow 20ms]] [[events 1000]] ${marker}`);
    let chunks = 0;
    let left;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks < 5) continue;
      left = await nowMs();
      stream.controller.abort();
      break;
    }
    const [request] = await seen(marker, { end: 'client-left' });
    assert.ok(request.end_ms - left <= NOTICED_WITHIN_MS, `${request.end_ms - left} ms`);
    assert.ok(request.events < 1000);
  });
}

test('bare json error of gemini is not a clean end', async () => {
  const { error } = await drain(await start(GEMINI, '[[events 9]] [[error-event after 4 raw]]'));
  assert.ok(error instanceof OpenAI.APIError, `${error}`);
});

test('fifty calls at once get their own answers', async () => {
  const ask = async (position) => {
    const secret = crypto.randomUUID();
    const asked = { model: BOTH[position % 2], messages: user(`[[delay 20ms]] [[say ${secret}]]`) };
    if (position % 4 < 2) {
      const answer = await client.chat.completions.create(asked);
      return [secret, answer.choices[0].message.content];
    }
    const { text } = await drain(await client.chat.completions.create({ ...asked, stream: true }));
    return [secret, text];
  };
  for (const [asked, answered] of await Promise.all([...Array(50).keys()].map(ask))) assert.equal(answered, asked);
});
