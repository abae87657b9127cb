"""Things that go wrong while an answer is on its way, and callers who do not wait for its end."""

import asyncio
import contextlib
import os
import uuid

import openai
import pytest
from conftest import GEMINI, ROUTER, user

NOTICED_WITHIN_MS = 100


def content_until_error(stream):
    """The text before the error, and the error."""
    texts = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in stream:
            texts += [choice.delta.content or "" for choice in chunk.choices]
    return "".join(texts), raised.value


@pytest.mark.parametrize("status", [429, 503])
def test_sdk_retries_until_the_upstream_recovers(client, vendors, marker, model, status):
    # The gateway tries each upstream more than once itself, and a model of Gemini has two; this is more than all that.
    failures = 7
    text = f"[[status {status} times {failures} id {marker}]]"
    patient = client.with_options(max_retries=7)
    response = patient.chat.completions.with_raw_response.create(model=model, messages=user(text))
    assert response.retries_taken >= 1
    statuses = [request["status"] for request in vendors.seen(marker)]
    assert statuses == [status] * failures + [200]


def test_a_passing_fault_is_hidden_by_the_gateway(client, vendors, marker, model):
    answer = client.chat.completions.create(model=model, messages=user(f"[[status 503 times 1 id {marker}]] hello"))
    assert answer.choices[0].message.content.endswith("hello")
    assert [request["status"] for request in vendors.seen(marker)] == [503, 200]


def test_gemini_down_is_served_by_openrouter(client, vendors, marker):
    answer = client.chat.completions.create(model=GEMINI, messages=user(f"[[status 503 on gemini]] {marker}"))
    assert marker in answer.choices[0].message.content
    assert vendors.seen(marker)[-1]["vendor"] == "openrouter"


def test_gemini_failing_before_its_first_event_is_served_by_openrouter(client, vendors, marker):
    text = f"[[first-event-error on gemini]] {marker}"
    chunks = list(client.chat.completions.create(model=GEMINI, messages=user(text), stream=True))
    assert marker in "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert vendors.seen(marker)[-1]["vendor"] == "openrouter"


def test_error_before_any_content_is_a_status_not_an_event(client, model):
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=model, messages=user("[[first-event-error]]"), stream=True)
    assert raised.value.status_code >= 500


@pytest.mark.parametrize("fault", ["error-event", "cut", "end"])
def test_fault_inside_a_stream_raises_after_the_content(client, model, fault):
    text, error = content_until_error(
        client.chat.completions.create(model=model, messages=user(f"[[events 9]] [[{fault} after 4]]"), stream=True)
    )
    assert text.split() == ["w1", "w2", "w3", "w4"]
    assert error.body["message"] and error.body["request_id"]


def test_bare_json_error_of_gemini_is_not_a_clean_end(client):
    text = "[[events 9]] [[error-event after 4 raw]]"
    text, _ = content_until_error(client.chat.completions.create(model=GEMINI, messages=user(text), stream=True))
    assert text.split() == ["w1", "w2", "w3", "w4"]


def test_broken_event_never_reaches_the_parser_of_the_sdk(client, model):
    texts = []
    stream = client.chat.completions.create(
        model=model, messages=user("[[events 9]] [[malformed after 3]]"), stream=True
    )
    # To leave it out and to end with an error are both right; a JSONDecodeError here is not.
    with contextlib.suppress(openai.APIError):
        for chunk in stream:
            texts += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(texts).split()[:3] == ["w1", "w2", "w3"]


def test_cut_of_a_whole_answer_is_an_internal_server_error(client, model):
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=model, messages=user("[[cut]]"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_timeout_of_the_caller_reaches_the_upstream(client, vendors, marker, model, stream):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(
            model=model, messages=user(f"[[hang]] {marker}"), stream=stream
        )
    assert vendors.seen(marker, end="client-left")


def test_abort_inside_a_stream_reaches_the_upstream_at_once(client, vendors, marker, model):
    stream = client.chat.completions.create(
        model=model, messages=user(f"[[slow 20ms]] [[events 1000]] {marker}"), stream=True
    )
    for _, _ in zip(range(5), stream):
        pass
    left = vendors.now_ms()
    stream.close()
    (request,) = vendors.seen(marker, end="client-left")
    assert request["end_ms"] - left <= NOTICED_WITHIN_MS
    assert request["events"] < 1000


def test_events_arrive_one_by_one(client, vendors, marker, model):
    stream = client.chat.completions.create(
        model=model, messages=user(f"[[events 9]] [[hang after 3]] {marker}"), stream=True
    )
    # The vendor stalls after the third: who buffers would wait for ever.
    texts = []
    for chunk in stream:
        texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        if len(texts) == 3:
            break
    assert [text.strip() for text in texts] == ["w1", "w2", "w3"]
    stream.close()
    assert vendors.seen(marker, end="client-left")


def test_fifty_calls_at_once_get_their_own_answers():
    async def run():
        async with openai.AsyncOpenAI(
            base_url=os.environ["AIHUB_BASE_URL"], api_key=os.environ["AIHUB_API_KEY"], max_retries=0
        ) as client:

            async def ask(position):
                secret = str(uuid.uuid4())
                model = (ROUTER, GEMINI)[position % 2]
                asked = {"model": model, "messages": user(f"[[delay 20ms]] [[say {secret}]]")}
                if position % 4 < 2:
                    answer = await client.chat.completions.create(**asked)
                    return secret, answer.choices[0].message.content
                stream = await client.chat.completions.create(**asked, stream=True)
                return secret, "".join([c.delta.content or "" async for chunk in stream for c in chunk.choices])

            return await asyncio.gather(*(ask(position) for position in range(50)))

    for asked, answered in asyncio.run(run()):
        assert asked == answered
