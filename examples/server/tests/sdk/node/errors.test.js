// Refusals: each is the exception that the SDK has for it, in one envelope.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import OpenAI from 'openai';
import { BOTH, GEMINI, ROUTER, apiKey, baseURL, client, freeKey, refusal, user } from './aihub.js';

const chat = (body, options) => client.chat.completions.create({ model: GEMINI, messages: user('hi'), ...body }, options);
const withKey = (key) => new OpenAI({ baseURL, apiKey: key, maxRetries: 0 }).chat.completions;

for (const model of BOTH) {
  test(`empty messages are a bad request: ${model}`, () => refusal(chat({ model, messages: [] }), OpenAI.BadRequestError, 400));

  test(`tool result without its call is a bad request: ${model}`, () => {
    const messages = [...user('hi'), { role: 'tool', tool_call_id: 'call_none', content: '1' }];
    return refusal(chat({ model, messages }), OpenAI.BadRequestError, 400);
  });

  test(`data url that is not base64 is a bad request: ${model}`, () => {
    const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,***' } }];
    return refusal(chat({ model, messages: [{ role: 'user', content }] }), OpenAI.BadRequestError, 400);
  });

  for (const stream of [false, true]) {
    test(`rate limit of the upstream is a rate limit error, stream ${stream}: ${model}`, () =>
      refusal(chat({ model, messages: user('[[status 429]]'), stream }), OpenAI.RateLimitError, 429));

    for (const code of [500, 502, 503]) {
      test(`failure ${code} of the upstream is an internal server error, stream ${stream}: ${model}`, () =>
        refusal(chat({ model, messages: user(`[[status ${code}]]`), stream }), OpenAI.InternalServerError));
    }
  }

  for (const code of [401, 402, 403]) {
    test(`account trouble ${code} with the upstream is not the caller's: ${model}`, () =>
      refusal(chat({ model, messages: user(`[[status ${code}]]`) }), OpenAI.InternalServerError));
  }

  test(`html of an edge never reaches the caller: ${model}`, async () => {
    const error = await refusal(chat({ model, messages: user('[[html 524]]') }), OpenAI.InternalServerError);
    assert.ok(!error.message.includes('<'));
  });
}

test('wrong key is an authentication error', () =>
  refusal(withKey('ahub_live_garbled').create({ model: GEMINI, messages: user('hi') }), OpenAI.AuthenticationError, 401));

test('model outside the free plan is a permission error', () =>
  refusal(withKey(freeKey).create({ model: ROUTER, messages: user('hi') }), OpenAI.PermissionDeniedError, 403));

test('unknown model is not found', async () => {
  const error = await refusal(chat({ model: 'nobody/nothing' }), OpenAI.NotFoundError, 404);
  assert.equal(error.code, 'model_not_found');
});

test('unknown path is not found', () => refusal(client.post('/nowhere', { body: {} }), OpenAI.NotFoundError, 404));

test('body above the limit is 413', () =>
  refusal(chat({ messages: user('x'.repeat(34 << 20)) }), OpenAI.APIError, 413));

test('malformed json is a bad request in the envelope', async () => {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
  const response = await fetch(`${baseURL}/chat/completions`, { method: 'POST', headers, body: '{"model": ' });
  const { error } = await response.json();
  assert.deepEqual([response.status, error.type], [400, 'invalid_request_error']);
  assert.equal(error.request_id, response.headers.get('x-request-id'));
});

test('other content type is 415', async () => {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'text/plain' };
  const response = await fetch(`${baseURL}/chat/completions`, { method: 'POST', headers, body: 'hi' });
  assert.equal(response.status, 415);
  assert.equal((await response.json()).error.code, 'unsupported_media_type');
});

test('nobody listening is a connection error', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address();
  await new Promise((resolve) => taken.close(resolve));
  const elsewhere = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey, maxRetries: 0 });
  const asked = elsewhere.chat.completions.create({ model: GEMINI, messages: user('hi') });
  await assert.rejects(asked, OpenAI.APIConnectionError);
});
