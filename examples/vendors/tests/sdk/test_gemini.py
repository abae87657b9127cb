"""google-genai is the judge of the scripted Gemini."""

import httpx2
import pydantic
import pytest
from conftest import WEATHER
from google import genai
from google.genai import errors, types

MODELS = ["gemini-2.5-flash", "gemini-3.5-flash"]


@pytest.fixture(scope="module", params=["v1beta", "v1"])
def gemini(vendors, request):
    options = types.HttpOptions(base_url=vendors["vendors_url"], api_version=request.param)
    with genai.Client(api_key=vendors["gemini_api_key"], http_options=options) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_text(gemini, model):
    answer = gemini.models.generate_content(model=model, contents="hello there")
    assert answer.text.endswith("You said: hello there")
    usage = answer.usage_metadata
    parts = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("model", MODELS)
def test_stream_adds_up_to_the_text(gemini, model):
    chunks = list(gemini.models.generate_content_stream(model=model, contents="hello there"))
    assert "".join(chunk.text or "" for chunk in chunks).endswith("You said: hello there")
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks]
    assert counts == sorted(counts) and len(chunks) > 5
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


def test_system_text_is_heard(gemini):
    config = types.GenerateContentConfig(system_instruction="be brief")
    answer = gemini.models.generate_content(model=MODELS[0], contents="hi", config=config)
    assert "I was told: be brief" in answer.text


def test_thoughts_are_shown_when_asked_for(gemini):
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answer = gemini.models.generate_content(model=MODELS[1], contents="hi", config=config)
    assert [part.thought for part in answer.candidates[0].content.parts] == [True, None]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_parallel_tools_over_two_turns(gemini, model, stream):
    declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])])
    question = types.Content(role="user", parts=[types.Part(text="How is the weather in Paris and Rome?")])

    def ask(contents):
        call = gemini.models.generate_content_stream if stream else gemini.models.generate_content
        answers = call(model=model, contents=contents, config=config)
        parts = [p for a in (answers if stream else [answers]) for p in a.candidates[0].content.parts or []]
        return types.Content(role="model", parts=[part for part in parts if part.text != ""])

    calls = ask([question])
    assert [part.function_call.args["city"] for part in calls.parts] == ["Paris", "Rome"]
    assert [part.thought_signature is not None for part in calls.parts] == [True, False]
    results = [
        types.Part.from_function_response(name="get_weather", response={"result": f"18 in {part.function_call.args['city']}"})
        for part in calls.parts
    ]
    final = ask([question, calls, types.Content(role="user", parts=results)])
    text = "".join(part.text for part in final.parts)
    assert "18 in Paris" in text and "18 in Rome" in text


def test_automatic_function_calling_runs_to_the_end(gemini):
    asked = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return f"18 in {city}"

    config = types.GenerateContentConfig(tools=[get_weather])
    answer = gemini.models.generate_content(model=MODELS[1], contents="Tell the weather in Oslo", config=config)
    assert asked == ["Oslo"] and "18 in Oslo" in answer.text


def test_schema_is_answered_with_what_fits(gemini):
    class Person(pydantic.BaseModel):
        name: str
        age: int
        tags: list[str]

    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Person)
    answer = gemini.models.generate_content(model=MODELS[0], contents="who?", config=config)
    assert isinstance(answer.parsed, Person) and answer.parsed.tags


def test_image_is_seen(gemini):
    image = types.Part.from_bytes(data=b"not really a picture", mime_type="image/png")
    answer = gemini.models.generate_content(model=MODELS[0], contents=["what is it?", image])
    assert "I see image/png of 20 bytes." in answer.text


def test_embeddings(gemini):
    config = types.EmbedContentConfig(output_dimensionality=8)
    answer = gemini.models.embed_content(model="gemini-embedding-001", contents=["one", "two"], config=config)
    assert [len(embedding.values) for embedding in answer.embeddings] == [8, 8]
    assert answer.embeddings[0].values != answer.embeddings[1].values


def test_count_tokens(gemini):
    assert gemini.models.count_tokens(model=MODELS[0], contents="one two three").total_tokens == 7


def test_models_are_listed_over_pages(gemini):
    names = [model.name for model in gemini.models.list(config={"page_size": 3})]
    assert "models/gemini-2.5-flash" in names and len(names) > 3
    assert gemini.models.get(model="gemini-2.5-flash").input_token_limit == 1048576


@pytest.mark.parametrize(
    ("directive", "kind", "code", "status"),
    [
        ("[[status 429 retry-after 2]]", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("[[status 400]]", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("[[status 503]]", errors.ServerError, 503, "UNAVAILABLE"),
        ("[[status 500]]", errors.ServerError, 500, "INTERNAL"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_statuses_are_the_sdk_exceptions(gemini, directive, kind, code, status, stream):
    with pytest.raises(kind) as raised:
        if stream:
            list(gemini.models.generate_content_stream(model=MODELS[0], contents=directive))
        else:
            gemini.models.generate_content(model=MODELS[0], contents=directive)
    assert (raised.value.code, raised.value.status) == (code, status)


@pytest.mark.parametrize("form", ["", "raw"])
def test_error_inside_a_stream_is_raised_after_its_text(gemini, form):
    texts = []
    with pytest.raises(errors.APIError) as raised:
        for chunk in gemini.models.generate_content_stream(
            model=MODELS[0], contents=f"[[error-event after 2 code 503 {form}]]"
        ):
            texts.append(chunk.text)
    assert len(texts) == 2 and raised.value.code == 503


def test_cut_stream_is_a_broken_connection(gemini):
    with pytest.raises(httpx2.RemoteProtocolError):
        list(gemini.models.generate_content_stream(model=MODELS[0], contents="[[cut after 2]]"))


def test_blocked_answers_and_prompts(gemini):
    answer = gemini.models.generate_content(model=MODELS[0], contents="[[safety]]")
    assert answer.candidates[0].finish_reason == types.FinishReason.SAFETY and answer.text is None
    answer = gemini.models.generate_content(model=MODELS[0], contents="[[safety prompt]]")
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


def test_wrong_key_is_a_client_error_400(vendors):
    options = types.HttpOptions(base_url=vendors["vendors_url"])
    with genai.Client(api_key="wrong", http_options=options) as client, pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=MODELS[0], contents="hi")
    assert raised.value.code == 400 and "API_KEY_INVALID" in str(raised.value.details)


def test_unknown_model_is_404(gemini):
    with pytest.raises(errors.ClientError) as raised:
        gemini.models.generate_content(model="gemini-0", contents="hi")
    assert raised.value.code == 404
