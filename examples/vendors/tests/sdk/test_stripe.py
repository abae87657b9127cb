"""The stripe package is the judge of the scripted Stripe."""

import time
import uuid

import pytest
import stripe


@pytest.fixture(scope="module")
def client(vendors):
    return stripe.StripeClient(
        vendors["stripe_api_key"], base_addresses={"api": vendors["stripe_base_url"]}, max_network_retries=0
    )


def event(**changes):
    return {
        "event_name": "tokens",
        "identifier": str(uuid.uuid4()),
        "timestamp": int(time.time()),
        "payload": {"stripe_customer_id": "cus_1", "value": "25"},
        **changes,
    }


def tell(client, **changes):
    return client.v1.billing.meter_events.create(params=event(**changes))


def test_an_event_is_counted_and_told_back(client):
    params = event()
    told = client.v1.billing.meter_events.create(params=params)
    assert (told.object, told.livemode) == ("billing.meter_event", False)
    assert (told.identifier, told.event_name, told.timestamp) == (params["identifier"], "tokens", params["timestamp"])
    assert told.payload.to_dict() == params["payload"]


def test_what_may_be_left_out_is_filled_in(client):
    told = client.v1.billing.meter_events.create(
        params={"event_name": "tokens", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}
    )
    assert told.identifier and abs(told.timestamp - time.time()) < 60


def test_an_identifier_counts_once(client):
    identifier = tell(client).identifier
    with pytest.raises(stripe.InvalidRequestError, match=f"An event already exists with identifier {identifier}"):
        tell(client, identifier=identifier)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_name": ""},
        {"payload": {"stripe_customer_id": "cus_1"}},
        {"payload": {"value": "25"}},
        {"payload": {"stripe_customer_id": "cus_1", "value": "2.5"}},
        {"extra": "1"},
        {"timestamp": int(time.time()) - 36 * 86_400},
        {"timestamp": int(time.time()) + 3_600},
    ],
)
def test_what_stripe_does_not_count_is_refused(client, changes):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        tell(client, **changes)
    assert refused.value.http_status == 400


def test_another_key_is_refused(vendors):
    stranger = stripe.StripeClient("sk_test_other", base_addresses={"api": vendors["stripe_base_url"]})
    with pytest.raises(stripe.AuthenticationError):
        tell(stranger)


@pytest.mark.parametrize(("status", "kind"), [(429, stripe.RateLimitError), (500, stripe.APIError)])
def test_faults_are_stripes_own(client, status, kind):
    with pytest.raises(kind) as fault:
        tell(client, payload={"stripe_customer_id": f"cus_1 [[status {status}]]", "value": "1"})
    assert fault.value.http_status == status


def test_a_fault_passes_and_the_event_is_counted(client):
    customer = f"cus_1 [[status 503 times 1 id {uuid.uuid4()}]]"
    params = event(payload={"stripe_customer_id": customer, "value": "1"})
    with pytest.raises(stripe.APIError):
        client.v1.billing.meter_events.create(params=params)
    assert client.v1.billing.meter_events.create(params=params).identifier == params["identifier"]
