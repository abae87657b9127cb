"""Embeddings, and the list of models."""

import math

import pytest
from conftest import GEMINI, GEMINI_3, ROUTER

EMBEDDERS = ["openai/text-embedding-3-small", "google/gemini-embedding-001"]
SIZES = {"openai/text-embedding-3-small": 1536, "google/gemini-embedding-001": 3072}


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_embeddings_in_the_sdks_own_encoding(client, embedder):
    answer = client.embeddings.create(model=embedder, input=["one", "two"])
    assert [len(item.embedding) for item in answer.data] == [SIZES[embedder]] * 2
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.data[0].embedding != answer.data[1].embedding
    assert all(math.isclose(math.hypot(*item.embedding), 1, rel_tol=1e-3) for item in answer.data)
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_embeddings_as_floats_are_the_same_numbers(client, embedder):
    packed = client.embeddings.create(model=embedder, input="one").data[0].embedding
    floats = client.embeddings.create(model=embedder, input="one", encoding_format="float").data[0].embedding
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(packed, floats, strict=True))


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_dimensions_shorten_the_vector(client, embedder):
    answer = client.embeddings.create(model=embedder, input="one", dimensions=256)
    assert len(answer.data[0].embedding) == 256


def test_models_are_listed(client):
    models = list(client.models.list())
    assert {ROUTER, GEMINI, GEMINI_3, *EMBEDDERS} <= {model.id for model in models}
    assert {model.object for model in models} == {"model"}


@pytest.mark.parametrize("name", [ROUTER, GEMINI, EMBEDDERS[0]])
def test_a_model_with_a_slash_is_retrieved(client, name):
    model = client.models.retrieve(name)
    assert (model.id, model.object) == (name, "model") and model.owned_by
