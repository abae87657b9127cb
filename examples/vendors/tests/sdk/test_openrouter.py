"""The openrouter package is the judge of the scripted OpenRouter."""

import json

import pytest
from conftest import WEATHER
from openrouter import OpenRouter, errors
from openrouter.utils import BackoffStrategy, RetryConfig

MODEL = "openai/gpt-5.4-mini"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
ONCE = RetryConfig("backoff", BackoffStrategy(1, 1, 1, 1), False)


@pytest.fixture(scope="module")
def router(vendors):
    with OpenRouter(api_key=vendors["openrouter_api_key"], server_url=vendors["openrouter_base_url"]) as client:
        yield client


def user(text):
    return [{"role": "user", "content": text}]


def test_text(router):
    answer = router.chat.send(model=MODEL, messages=user("hello there"))
    assert answer.choices[0].message.content.endswith("You said: hello there")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.cost > 0


def test_stream_adds_up_to_the_text(router):
    with router.chat.send(model=MODEL, messages=user("hello there"), stream=True) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.endswith("You said: hello there")
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == ["stop", "stop"]
    assert chunks[-1].usage.cost > 0


def test_reasoning_is_shown_when_asked_for(router):
    answer = router.chat.send(model=MODEL, messages=user("hi"), reasoning={"effort": "low"})
    assert answer.choices[0].message.reasoning
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def test_parallel_tools_over_two_turns(router):
    question = user("How is the weather in Paris and Rome?")
    first = router.chat.send(model=MODEL, messages=question, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in calls]}
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"18 at {call.id}"} for call in calls]
    final = router.chat.send(model=MODEL, messages=[*question, turn, *results], tools=TOOLS).choices[0]
    assert all(call.id in final.message.content for call in calls)


def test_tool_deltas_join_by_their_index(router):
    question = user("How is the weather in Paris and Rome?")
    joined = {}
    with router.chat.send(model=MODEL, messages=question, tools=TOOLS, stream=True) as stream:
        for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or []:
                joined[call.index] = joined.get(call.index, "") + call.function.arguments
    assert [json.loads(text)["city"] for text in joined.values()] == ["Paris", "Rome"]


def test_schema_is_answered_with_what_fits(router):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    shape = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = router.chat.send(model=MODEL, messages=user("who?"), response_format=shape)
    assert json.loads(answer.choices[0].message.content) == {"age": 1}


def test_embeddings(router):
    answer = router.embeddings.generate(model="openai/text-embedding-3-small", input=["one", "two"], dimensions=8)
    assert [len(item.embedding) for item in answer.data] == [8, 8]


def test_models_are_listed(router):
    listed = router.models.list()
    ids = [model.id for model in (listed.data if hasattr(listed, "data") else listed.result.data)]
    assert MODEL in ids and "openrouter/auto" in ids


def test_generation_is_found_by_its_id(router):
    answer = router.chat.send(model=MODEL, messages=user("hello"))
    record = router.generations.get_generation(id=answer.id).data
    assert record.total_cost == answer.usage.cost
    assert record.native_tokens_completion == answer.usage.completion_tokens


def test_key_is_described(router):
    assert router.api_keys.get_current_key_metadata().data.limit_remaining == 74.5


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, errors.BadRequestResponseError),
        (402, errors.PaymentRequiredResponseError),
        (404, errors.NotFoundResponseError),
        (429, errors.TooManyRequestsResponseError),
        (500, errors.InternalServerResponseError),
        (502, errors.BadGatewayResponseError),
        (503, errors.ServiceUnavailableResponseError),
    ],
)
def test_statuses_are_the_sdk_exceptions(router, code, kind):
    with pytest.raises(kind) as raised:
        router.chat.send(model=MODEL, messages=user(f"[[status {code}]]"), retries=ONCE)
    assert raised.value.status_code == code


def test_error_inside_a_stream_is_in_its_last_chunk(router):
    with router.chat.send(model=MODEL, messages=user("[[error-event after 2]]"), stream=True) as stream:
        chunks = list(stream)
    assert len(chunks) == 3 and chunks[-1].error.code == 502
    assert chunks[-1].choices[0].finish_reason == "error"


def test_wrong_key_is_unauthorized(vendors):
    with OpenRouter(api_key="wrong", server_url=vendors["openrouter_base_url"]) as client:
        with pytest.raises(errors.UnauthorizedResponseError):
            client.chat.send(model=MODEL, messages=user("hi"))
