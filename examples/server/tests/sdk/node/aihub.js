// The official OpenAI SDK against a running AI Hub whose upstreams are the scripted vendors. What it needs is said in
// ../python/conftest.py; missing environment fails the suite, since a suite that cannot run is red.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

export const baseURL = needed('AIHUB_BASE_URL');
export const apiKey = needed('AIHUB_API_KEY');
export const freeKey = needed('AIHUB_FREE_KEY');
const vendorsURL = needed('AIHUB_VENDORS_URL');

export const ROUTER = 'openai/gpt-5.4-mini';
export const GEMINI = 'google/gemini-2.5-flash';
export const GEMINI_3 = 'google/gemini-3.1-pro-preview';
/** A model of each vendor. */
export const BOTH = [ROUTER, GEMINI];
export const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'The weather of a city',
      parameters: {
        type: 'object',
        properties: { city: { type: 'string' } },
        required: ['city'],
        additionalProperties: false,
      },
    },
  },
];

export const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
export const user = (text) => [{ role: 'user', content: text }];

/** All requests whose body holds the marker, as soon as one matches; at least one must. */
export async function seen(marker, filters = {}) {
  const query = new URLSearchParams({ contains: marker, wait_ms: '3000', ...filters });
  const response = await fetch(`${vendorsURL}/_vendors/seen?${query}`);
  const { requests } = await response.json();
  assert.ok(requests.length > 0, `no upstream saw ${marker} ${JSON.stringify(filters)}`);
  return requests;
}

/** The vendors' clock. */
export async function nowMs() {
  const response = await fetch(`${vendorsURL}/_vendors/seen?contains=${crypto.randomUUID()}`);
  return (await response.json()).now_ms;
}

/** The text of a stream, with what it ended in. */
export async function drain(stream) {
  const chunks = [];
  let text = '';
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      for (const choice of chunk.choices) text += choice.delta.content ?? '';
    }
  } catch (error) {
    return { chunks, text, error };
  }
  return { chunks, text };
}

/** Awaits a refusal and checks that it says the same five things as every other, under the header's id. */
export async function refusal(promise, kind, status) {
  const error = await promise.then(
    () => assert.fail(`answered instead of ${kind.name}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.message}`);
  if (status) assert.equal(error.status, status);
  for (const field of ['message', 'type', 'code', 'param', 'request_id']) assert.ok(field in error.error, field);
  assert.ok(error.error.message && error.error.type && error.error.code);
  assert.equal(error.error.request_id, error.requestID);
  assert.equal(error.headers.get('x-request-id'), error.requestID);
  return error;
}
