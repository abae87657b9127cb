"""Answers: whole, streamed, with tools, shaped, and with everything a caller may add."""

import base64
import json

import pytest
from conftest import GEMINI, GEMINI_3, ROUTER, TOOLS, user
from pydantic import BaseModel

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def test_plain_answer_with_usage(client, model):
    answer = client.chat.completions.create(model=model, messages=user("hello there"))
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content.endswith("You said: hello there")
    assert (answer.object, answer.model, choice.finish_reason) == ("chat.completion", model, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id


def test_the_upstream_is_the_vendor_of_the_model(client, vendors, marker, model):
    client.chat.completions.create(model=model, messages=user(marker))
    expected = "openrouter" if model == ROUTER else "gemini"
    assert [request["vendor"] for request in vendors.seen(marker)] == [expected]


def test_the_callers_key_never_reaches_the_upstream(client, vendors, marker, model):
    client.chat.completions.create(model=model, messages=user(marker))
    assert client.api_key not in json.dumps(vendors.seen(marker))


def test_stream_adds_up_to_the_text(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=user("hello there"), stream=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.endswith("You said: hello there") and len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    finishes = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finishes == ["stop"]


def test_usage_comes_once_in_a_chunk_without_choices(client, model):
    stream = client.chat.completions.create(
        model=model, messages=user("hello"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    bearing = [chunk for chunk in chunks if chunk.usage]
    assert bearing == [chunks[-1]] and chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens > 0


def test_usage_stays_out_of_a_stream_that_did_not_ask(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=user("hello"), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_stream_and_whole_answer_report_the_same_usage(client, model):
    whole = client.chat.completions.create(model=model, messages=user("hello"))
    *_, last = client.chat.completions.create(
        model=model, messages=user("hello"), stream=True, stream_options={"include_usage": True}
    )
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )


def test_raw_stream_ends_with_done(client, model):
    with client.chat.completions.with_streaming_response.create(
        model=model, messages=user("hello"), stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"]
        body = b"".join(response.iter_bytes())
    assert body.endswith(b"data: [DONE]\n\n") and body.count(b"[DONE]") == 1


@pytest.mark.parametrize("model", [ROUTER, GEMINI, GEMINI_3])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("history", ["as-given", "standard-fields-only"])
def test_parallel_tools_over_two_turns(client, model, stream, history):
    def ask(messages):
        if not stream:
            return client.chat.completions.create(model=model, messages=messages, tools=TOOLS).choices[0]
        with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as events:
            return events.get_final_completion().choices[0]

    question = user("How is the weather in Paris and Rome?")
    first = ask(question)
    calls = first.message.tool_calls
    assert first.finish_reason == "tool_calls" and len({call.id for call in calls}) == 2
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    if history == "as-given":
        turn = first.message.model_dump(exclude_none=True, exclude={"parsed": True})
        for call in turn["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
    else:
        # Most clients keep only what OpenAI documents, so nothing opaque comes back with the calls.
        named = [{"name": call.function.name, "arguments": call.function.arguments} for call in calls]
        kept = [{"id": call.id, "type": "function", "function": function} for call, function in zip(calls, named)]
        turn = {"role": "assistant", "content": None, "tool_calls": kept}
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"18 in {json.loads(call.function.arguments)['city']}"}
        for call in calls
    ]
    final = ask([*question, turn, *results])
    assert final.finish_reason == "stop"
    assert "18 in Paris" in final.message.content and "18 in Rome" in final.message.content


def test_required_tool_choice_forces_a_call(client, model):
    answer = client.chat.completions.create(model=model, messages=user("hello"), tools=TOOLS, tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_parse_gives_an_instance_of_the_schema(client, model):
    class City(BaseModel):
        name: str
        population: int
        twin: "City | None"

    answer = client.chat.completions.parse(model=model, messages=user("a city"), response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


def test_image_in_a_data_url_arrives(client, model):
    url = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert f"I see image/png of {len(PIXEL)} bytes." in answer.choices[0].message.content


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_of_either_role_are_heard(client, model, role):
    messages = [{"role": role, "content": "be brief"}, *user("hello")]
    answer = client.chat.completions.create(model=model, messages=messages)
    assert "I was told: be brief" in answer.choices[0].message.content


@pytest.mark.parametrize("model", [ROUTER, GEMINI, GEMINI_3])
def test_reasoning_effort_reaches_the_vendor_in_its_words(client, vendors, marker, model):
    answer = client.chat.completions.create(model=model, messages=user(marker), reasoning_effort="low")
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    body = vendors.seen(marker)[0]["body"]
    if model == ROUTER:
        assert "low" in (body.get("reasoning_effort"), body.get("reasoning", {}).get("effort"))
    else:
        thinking = body["generationConfig"]["thinkingConfig"]
        expected = {"thinkingBudget": 1024} if model == GEMINI else {"thinkingLevel": "LOW"}
        assert {name: str(thinking[name]).upper() for name in expected} == {k: str(v) for k, v in expected.items()}


def test_two_choices_when_two_are_asked_for(client, model):
    answer = client.chat.completions.create(model=model, messages=user("hello"), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)


def test_stop_ends_the_answer(client, model):
    answer = client.chat.completions.create(model=model, messages=user("[[say one two HALT three]]"), stop=["HALT"])
    assert (answer.choices[0].message.content.strip(), answer.choices[0].finish_reason) == ("one two", "stop")


@pytest.mark.parametrize(("directive", "reason"), [("[[length]]", "length"), ("[[safety]]", "content_filter")])
def test_finish_reasons_are_translated(client, model, directive, reason):
    answer = client.chat.completions.create(model=model, messages=user(directive))
    assert answer.choices[0].finish_reason == reason


def test_output_limit_is_obeyed(client):
    answer = client.chat.completions.create(model=ROUTER, messages=user("[[events 50]]"), max_completion_tokens=10)
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (10, "length")


def test_logprobs_pass_through(client):
    answer = client.chat.completions.create(model=ROUTER, messages=user("hello"), logprobs=True, top_logprobs=1)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content


def test_fields_nobody_here_knows_reach_openrouter(client, vendors, marker):
    client.chat.completions.create(
        model=ROUTER, messages=user(marker), extra_body={"x_unknown": {"deep": [1, None]}, "top_k": 7}
    )
    body = vendors.seen(marker)[0]["body"]
    assert (body["x_unknown"], body["top_k"], body["model"]) == ({"deep": [1, None]}, 7, ROUTER)
