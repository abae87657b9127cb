"""Refusals: each is the exception that the SDK has for it, in one envelope."""

import os
import socket

import httpx2
import openai
import pytest
from conftest import GEMINI, GEMINI_3, ROUTER, check_envelope, user


def raw(content, **headers):
    """A request that no SDK would write."""
    headers = {"authorization": f"Bearer {os.environ['AIHUB_API_KEY']}", "content-type": "application/json", **headers}
    return httpx2.post(os.environ["AIHUB_BASE_URL"] + "/chat/completions", content=content, headers=headers, timeout=30)


def refused(response, status):
    error = response.json()["error"]
    assert response.status_code == status
    assert {"message", "type", "code", "param", "request_id"} <= error.keys()
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def test_body_that_is_not_json_is_400():
    assert refused(raw(b'{"model": '), 400)["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"[]", b"null", b"{}", b'{"model": "x", "messages": "hi"}'])
def test_body_of_the_wrong_shape_is_400(body):
    refused(raw(body), 400)


def test_other_content_type_is_415():
    refused(raw(b"hello", **{"content-type": "text/plain"}), 415)


def test_empty_messages_are_400(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model, messages=[])
    check_envelope(raised.value, 400)


def test_tool_result_without_its_call_is_400(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model=model, messages=[*user("hi"), {"role": "tool", "tool_call_id": "call_none", "content": "1"}]
        )
    check_envelope(raised.value, 400)


def test_data_url_that_is_not_base64_is_400(client, model):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,***"}}
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [part]}])
    check_envelope(raised.value, 400)


def test_setting_out_of_range_is_400(client, model):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model, messages=user("hi"), temperature=9)
    check_envelope(raised.value, 400)


@pytest.mark.parametrize("key", ["ahub_live_garbled", "sk-something-else", "x"])
def test_wrong_key_is_401(client, key):
    with pytest.raises(openai.AuthenticationError) as raised:
        client.with_options(api_key=key).chat.completions.create(model=GEMINI, messages=user("hi"))
    check_envelope(raised.value, 401)
    assert len(key) < 5 or key not in raised.value.body["message"]


def test_missing_key_is_401():
    response = httpx2.post(os.environ["AIHUB_BASE_URL"] + "/chat/completions", json={"model": GEMINI, "messages": user("hi")})
    assert refused(response, 401)["type"] == "authentication_error"


def test_key_with_one_letter_changed_is_401(client):
    key = client.api_key
    changed = key[:-1] + ("a" if key[-1] != "a" else "b")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=changed).chat.completions.create(model=GEMINI, messages=user("hi"))


@pytest.mark.parametrize("outside", [ROUTER, GEMINI_3])
def test_model_outside_the_free_plan_is_403(client, outside):
    free = client.with_options(api_key=os.environ["AIHUB_FREE_KEY"])
    with pytest.raises(openai.PermissionDeniedError) as raised:
        free.chat.completions.create(model=outside, messages=user("hi"))
    check_envelope(raised.value, 403)


def test_model_inside_the_free_plan_is_served(client):
    free = client.with_options(api_key=os.environ["AIHUB_FREE_KEY"])
    assert free.chat.completions.create(model=GEMINI, messages=user("hi")).choices[0].message.content


@pytest.mark.parametrize("call", ["chat", "embeddings", "retrieve"])
def test_unknown_model_is_404(client, call):
    calls = {
        "chat": lambda: client.chat.completions.create(model="nobody/nothing", messages=user("hi")),
        "embeddings": lambda: client.embeddings.create(model="nobody/nothing", input="hi"),
        "retrieve": lambda: client.models.retrieve("nobody/nothing"),
    }
    with pytest.raises(openai.NotFoundError) as raised:
        calls[call]()
    check_envelope(raised.value, 404)
    assert raised.value.code == "model_not_found"


def test_unknown_path_is_404_in_the_envelope(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.post("/nowhere", body={}, cast_to=object)
    check_envelope(raised.value, 404)


def test_body_above_the_limit_is_413(client):
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=GEMINI, messages=user("x" * (34 << 20)))
    check_envelope(raised.value, 413)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_rate_limit_of_the_upstream_is_429(client, model, stream):
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model=model, messages=user("[[status 429]]"), stream=stream)
    check_envelope(raised.value, 429)


@pytest.mark.parametrize("code", [500, 502, 503])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_failure_of_the_upstream_is_an_internal_server_error(client, model, code, stream):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=user(f"[[status {code}]]"), stream=stream)
    check_envelope(raised.value, raised.value.status_code)


@pytest.mark.parametrize("code", [401, 402, 403])
def test_account_trouble_with_the_upstream_is_not_the_callers(client, model, code):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=user(f"[[status {code}]]"))
    check_envelope(raised.value, raised.value.status_code)
    assert "credits" not in raised.value.body["message"]


def test_html_of_an_edge_never_reaches_the_caller(client, model):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=user("[[html 524]]"))
    check_envelope(raised.value, raised.value.status_code)
    assert "<" not in raised.value.body["message"]


def test_answer_that_is_not_json_is_an_internal_server_error(client, model):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=user("[[malformed]]"))
    check_envelope(raised.value, raised.value.status_code)


def test_nobody_listening_is_a_connection_error(client):
    with socket.socket() as taken:
        # Bound but not listening: the port is refused, and nobody else can take it meanwhile.
        taken.bind(("127.0.0.1", 0))
        elsewhere = client.with_options(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(openai.APIConnectionError):
            elsewhere.chat.completions.create(model=GEMINI, messages=user("hi"))
