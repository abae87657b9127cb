// Embeddings, and the list of models.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOTH, client } from './aihub.js';

const SIZES = { 'openai/text-embedding-3-small': 1536, 'google/gemini-embedding-001': 3072 };

for (const [model, size] of Object.entries(SIZES)) {
  test(`embeddings in the sdk's own encoding: ${model}`, async () => {
    const answer = await client.embeddings.create({ model, input: ['one', 'two'] });
    assert.deepEqual(answer.data.map((item) => item.embedding.length), [size, size]);
    assert.ok(Math.abs(Math.hypot(...answer.data[0].embedding) - 1) < 1e-3);
    assert.notDeepEqual(answer.data[0].embedding, answer.data[1].embedding);
  });

  test(`embeddings as floats are the same numbers: ${model}`, async () => {
    const packed = await client.embeddings.create({ model, input: 'one', dimensions: 256 });
    const floats = await client.embeddings.create({ model, input: 'one', dimensions: 256, encoding_format: 'float' });
    assert.equal(floats.data[0].embedding.length, 256);
    floats.data[0].embedding.forEach((value, at) => assert.ok(Math.abs(value - packed.data[0].embedding[at]) < 1e-6));
  });
}

test('models are listed', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  for (const id of [...BOTH, ...Object.keys(SIZES)]) assert.ok(ids.includes(id), id);
});

for (const id of BOTH) {
  test(`a model with a slash is retrieved: ${id}`, async () => {
    const model = await client.models.retrieve(id);
    assert.deepEqual([model.id, model.object], [id, 'model']);
  });
}
