"""The same request under the same key: the SDK gets the same answer, and the vendor is asked once."""

import uuid

import openai
import pytest
from conftest import check_envelope, user


@pytest.fixture
def key():
    return {"Idempotency-Key": str(uuid.uuid4())}


def test_a_repeat_is_the_same_answer_and_asks_no_vendor(client, vendors, marker, model, key):
    answers = [
        client.chat.completions.create(model=model, messages=user(marker), extra_headers=key) for _ in range(3)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(vendors.seen(marker)) == 1


def test_a_stream_is_repeated_chunk_by_chunk(client, vendors, marker, model, key):
    streams = [
        list(client.chat.completions.create(model=model, messages=user(marker), stream=True, extra_headers=key))
        for _ in range(2)
    ]
    assert streams[0] == streams[1] and len(streams[0]) > 3
    assert len(vendors.seen(marker)) == 1


def test_a_stream_that_was_left_is_whole_when_the_caller_comes_back(client, vendors, marker, model, key):
    asked = {"model": model, "messages": user(f"{marker} [[events 20]] [[slow 10ms]]"), "extra_headers": key}
    with client.chat.completions.create(**asked, stream=True) as stream:
        next(iter(stream))
    # The SDK comes back by itself for as long as the first one runs.
    chunks = list(client.with_options(max_retries=10).chat.completions.create(**asked, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop" and len(chunks) >= 20
    assert [request["end"] for request in vendors.seen(marker)] == ["completed"]


def test_another_request_under_the_key_is_422(client, model, key):
    client.chat.completions.create(model=model, messages=user("one"), extra_headers=key)
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(model=model, messages=user("two"), extra_headers=key)
    check_envelope(raised.value, 422)
    assert raised.value.code == "idempotency_key_reused"


def test_a_refused_request_may_be_corrected_under_its_key(client, model, key):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no/such", messages=user("hi"), extra_headers=key)
    assert client.chat.completions.create(model=model, messages=user("hi"), extra_headers=key).choices
