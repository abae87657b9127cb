"""The official OpenAI SDK against a running AI Hub whose upstreams are the scripted vendors.

Needs AIHUB_BASE_URL (with /v1), AIHUB_API_KEY (all models), AIHUB_FREE_KEY (basic models only) and
AIHUB_VENDORS_URL. The server must not stand in the way of provoked faults: start it with
AIHUB_UPSTREAM__BREAKER_FAILURES above the number of tests, AIHUB_UPSTREAM__DEPARTURES=[] so that every vendor is left at
once, and the key on a plan without a rate limit.
"""

import os
import uuid

import httpx2
import openai
import pytest

NEEDED = ("AIHUB_BASE_URL", "AIHUB_API_KEY", "AIHUB_FREE_KEY", "AIHUB_VENDORS_URL")
ROUTER = "openai/gpt-5.4-mini"
GEMINI = "google/gemini-2.5-flash"
GEMINI_3 = "google/gemini-3.1-pro-preview"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


def pytest_configure():
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        # A suite that cannot run is red, not green.
        raise pytest.UsageError(f"set {', '.join(missing)}: see conftest.py")


def user(text):
    return [{"role": "user", "content": text}]


class Vendors:
    """What the upstreams saw."""

    def __init__(self):
        self.http = httpx2.Client(base_url=os.environ["AIHUB_VENDORS_URL"], timeout=10)

    def now_ms(self):
        return self.http.get("/_vendors/seen", params={"contains": str(uuid.uuid4())}).json()["now_ms"]

    def seen(self, marker, **filters):
        """All requests whose body holds the marker, as soon as one matches; at least one must."""
        answer = self.http.get("/_vendors/seen", params={"contains": marker, "wait_ms": 3000, **filters})
        requests = answer.raise_for_status().json()["requests"]
        assert requests, f"no upstream saw {marker} {filters}"
        return requests


@pytest.fixture(scope="session")
def vendors():
    return Vendors()


@pytest.fixture
def marker():
    return str(uuid.uuid4())


@pytest.fixture(scope="session")
def client():
    with openai.OpenAI(base_url=os.environ["AIHUB_BASE_URL"], api_key=os.environ["AIHUB_API_KEY"], max_retries=0) as client:
        yield client


@pytest.fixture(params=[ROUTER, GEMINI], ids=["openrouter", "gemini"])
def model(request):
    """A model of each vendor."""
    return request.param


def check_envelope(error, status):
    """Every refusal says the same five things, and the id is the one in the header."""
    assert error.status_code == status
    assert {"message", "type", "code", "param", "request_id"} <= error.body.keys()
    assert error.body["message"] and error.body["type"] and error.body["code"]
    assert error.body["request_id"] == error.request_id == error.response.headers["x-request-id"]
