// Answers: whole, streamed, with tools, shaped, and with everything a caller may add.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { BOTH, GEMINI, GEMINI_3, ROUTER, TOOLS, client, drain, seen, user } from './aihub.js';

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
const completions = client.chat.completions;

for (const model of BOTH) {
  test(`plain answer with usage: ${model}`, async () => {
    const answer = await completions.create({ model, messages: user('hello there') });
    const [choice] = answer.choices;
    assert.ok(choice.message.content.endsWith('You said: hello there'));
    assert.deepEqual([answer.object, answer.model, choice.finish_reason], ['chat.completion', model, 'stop']);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.ok(answer.usage.total_tokens > 0 && answer._request_id);
  });

  test(`stream adds up to the text and finishes once: ${model}`, async () => {
    const { chunks, text } = await drain(await completions.create({ model, messages: user('hello there'), stream: true }));
    assert.ok(text.endsWith('You said: hello there') && chunks.length > 5);
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    const finishes = chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.finish_reason);
    assert.deepEqual(finishes.filter(Boolean), ['stop']);
  });

  test(`usage comes once in a chunk without choices: ${model}`, async () => {
    const asked = { model, messages: user('hello'), stream: true, stream_options: { include_usage: true } };
    const { chunks } = await drain(await completions.create(asked));
    const bearing = chunks.filter((chunk) => chunk.usage);
    assert.deepEqual(bearing, [chunks.at(-1)]);
    assert.deepEqual(bearing[0].choices, []);
    assert.ok(bearing[0].usage.total_tokens > 0);
  });

  test(`usage stays out of a stream that did not ask: ${model}`, async () => {
    const { chunks } = await drain(await completions.create({ model, messages: user('hello'), stream: true }));
    assert.ok(chunks.every((chunk) => !chunk.usage && chunk.choices.length > 0));
  });

  test(`raw stream ends with done: ${model}`, async () => {
    const response = await completions.create({ model, messages: user('hello'), stream: true }).asResponse();
    assert.match(response.headers.get('content-type'), /^text\/event-stream/);
    assert.ok(response.headers.get('x-request-id'));
    assert.ok((await response.text()).endsWith('data: [DONE]\n\n'));
  });

  test(`required tool choice forces a call: ${model}`, async () => {
    const answer = await completions.create({ model, messages: user('hi'), tools: TOOLS, tool_choice: 'required' });
    assert.equal(answer.choices[0].message.tool_calls[0].function.name, 'get_weather');
  });

  test(`parse gives a value of the zod schema: ${model}`, async () => {
    const City = z.object({ name: z.string(), population: z.number().int(), twin: z.string().nullable() });
    const response_format = zodResponseFormat(City, 'city');
    const answer = await completions.parse({ model, messages: user('a city'), response_format });
    assert.deepEqual(City.parse(answer.choices[0].message.parsed), answer.choices[0].message.parsed);
  });

  test(`image in a data url arrives: ${model}`, async () => {
    const url = `data:image/png;base64,${PIXEL}`;
    const content = [{ type: 'text', text: 'what is it?' }, { type: 'image_url', image_url: { url } }];
    const answer = await completions.create({ model, messages: [{ role: 'user', content }] });
    const size = Buffer.from(PIXEL, 'base64').length;
    assert.ok(answer.choices[0].message.content.includes(`I see image/png of ${size} bytes.`));
  });

  test(`developer role is heard: ${model}`, async () => {
    const messages = [{ role: 'developer', content: 'be brief' }, ...user('hello')];
    const answer = await completions.create({ model, messages });
    assert.ok(answer.choices[0].message.content.includes('I was told: be brief'));
  });

  test(`reasoning effort leads to reasoning: ${model}`, async () => {
    const answer = await completions.create({ model, messages: user('hello'), reasoning_effort: 'low' });
    assert.ok(answer.usage.completion_tokens_details.reasoning_tokens > 0);
  });

  test(`two choices when two are asked for: ${model}`, async () => {
    const answer = await completions.create({ model, messages: user('hello'), n: 2 });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
  });

  test(`stop ends the answer: ${model}`, async () => {
    const answer = await completions.create({ model, messages: user('[[say one two HALT three]]'), stop: 'HALT' });
    assert.equal(answer.choices[0].message.content.trim(), 'one two');
  });
}

for (const model of [ROUTER, GEMINI, GEMINI_3]) {
  for (const streamed of [false, true]) {
    test(`parallel tools over two turns, ${streamed ? 'streamed' : 'whole'}: ${model}`, async () => {
      const ask = async (messages) => {
        const asked = { model, messages, tools: TOOLS };
        const answer = streamed ? await completions.stream(asked).finalChatCompletion() : await completions.create(asked);
        return answer.choices[0];
      };
      const question = user('How is the weather in Paris and Rome?');
      const first = await ask(question);
      const calls = first.message.tool_calls;
      assert.equal(first.finish_reason, 'tool_calls');
      const cities = calls.map((call) => JSON.parse(call.function.arguments).city);
      assert.deepEqual(cities, ['Paris', 'Rome']);
      assert.equal(new Set(calls.map((call) => call.id)).size, 2);
      const results = calls.map((call, at) => ({ role: 'tool', tool_call_id: call.id, content: `18 in ${cities[at]}` }));
      const final = await ask([...question, first.message, ...results]);
      assert.equal(final.finish_reason, 'stop');
      for (const city of cities) assert.ok(final.message.content.includes(`18 in ${city}`));
    });
  }
}

test('logprobs pass through', async () => {
  const answer = await completions.create({ model: ROUTER, messages: user('hello'), logprobs: true, top_logprobs: 1 });
  const { logprobs, message } = answer.choices[0];
  assert.equal(logprobs.content.map((token) => token.token).join(''), message.content);
});

test('fields nobody here knows reach openrouter', async () => {
  const marker = crypto.randomUUID();
  await completions.create({ model: ROUTER, messages: user(marker), x_unknown: { deep: [1, null] } });
  const [request] = await seen(marker);
  assert.deepEqual(request.body.x_unknown, { deep: [1, null] });
  assert.ok(!JSON.stringify(request).includes(client.apiKey));
});
