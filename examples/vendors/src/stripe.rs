//! Stripe, as far as a meter goes: `POST /v1/billing/meter_events`, and what it has counted.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::Response,
    routing::post,
};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    End, STRIPE_KEY, Stage, Vendor, lock, play,
    script::{Script, Status},
};

/// How old an event may be, and how far ahead.
const OLDEST_S: i64 = 35 * 86_400;
const LATEST_S: i64 = 300;
/// The longest name and identifier.
const LONGEST: usize = 100;

/// What a meter has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterEvent {
    /// The meter, by the name of its events.
    pub event_name: String,
    /// What it is known by; an event with a known one is refused.
    pub identifier: String,
    /// Whom it was counted for.
    pub customer: String,
    /// How much.
    pub value: i64,
    /// When it happened, in seconds.
    pub timestamp: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// By identifier, in the order of arrival.
    counted: Mutex<Vec<MeterEvent>>,
    /// Customers whose event is being taken: Stripe takes one at a time for each.
    busy: Mutex<HashSet<String>>,
    now: Mutex<Option<i64>>,
}

impl Meter {
    pub(crate) fn counted(&self) -> Vec<MeterEvent> {
        lock(&self.counted).clone()
    }

    pub(crate) fn set_now(&self, now: i64) {
        *lock(&self.now) = Some(now);
    }

    #[expect(clippy::disallowed_methods, reason = "Stripe has a clock of its own, which is not the server's")]
    fn now(&self) -> i64 {
        let machine = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        lock(&self.now).unwrap_or_else(|| machine().cast_signed())
    }
}

/// A customer's turn, given back however the request ends.
struct Turn<'a>(&'a Meter, String);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.busy).remove(&self.1);
    }
}

pub(crate) fn routes() -> Router<Arc<Stage>> {
    Router::new().route("/v1/billing/meter_events", post(meter_event))
}

async fn meter_event(
    State(stage): State<Arc<Stage>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut watch = stage.journal.open(Vendor::Stripe, (&method, &uri, &headers), &body);
    let response = match taken(&stage, &headers, &body).await {
        Ok(event) => play::json(200, &event),
        Err(refusal) => refusal.response(),
    };
    watch.status(response.status());
    watch.end(End::Completed);
    response
}

/// Why an event is not counted.
#[derive(Debug)]
struct Refusal {
    status: u16,
    error: Value,
    retry_after_seconds: Option<f64>,
}

impl Refusal {
    fn response(&self) -> Response {
        let mut response = play::json(self.status, &json!({"error": self.error}));
        if let Some(seconds) = self.retry_after_seconds {
            let value = HeaderValue::from_str(&seconds.to_string()).expect("a number is a header value");
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

async fn taken(stage: &Stage, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    if header(headers, header::AUTHORIZATION.as_str()) != Some(&format!("Bearer {STRIPE_KEY}")) {
        return Err(refused(401, None, "Invalid API Key provided: sk_test_****", None));
    }
    if header(headers, header::CONTENT_TYPE.as_str()) != Some("application/x-www-form-urlencoded") {
        return Err(refused(400, None, "Invalid request: the body is form-encoded", None));
    }
    let meter = &stage.meter;
    let event = event(body, meter.now(), || format!("generated-{}", stage.serial()))?;
    if !lock(&meter.busy).insert(event.customer.clone()) {
        return Err(refused(429, Some("lock_timeout"), "Another event of this customer is being taken", None));
    }
    let _turn = Turn(meter, event.customer.clone());
    let script = Script::read(&event.customer, Vendor::Stripe, &stage.takes)
        .map_err(|message| refused(400, None, &message, Some("payload[stripe_customer_id]")))?;
    tokio::time::sleep(script.delay).await;
    if let Some(status) = script.status {
        return Err(fault(&status));
    }
    let mut counted = lock(&meter.counted);
    if counted.iter().any(|known| known.identifier == event.identifier) {
        let message = format!("An event already exists with identifier {}.", event.identifier);
        return Err(refused(400, None, &message, None));
    }
    let told = json!({
        "object": "billing.meter_event", "created": meter.now(), "event_name": event.event_name,
        "identifier": event.identifier, "livemode": false, "timestamp": event.timestamp,
        "payload": {"stripe_customer_id": event.customer, "value": event.value.to_string()},
    });
    counted.push(event);
    Ok(told)
}

/// Reads the form, in which nothing may be missing, unknown or said twice.
fn event(body: &[u8], now: i64, generated: impl FnOnce() -> String) -> Result<MeterEvent, Refusal> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if fields.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(refused(400, None, "Invalid request: a parameter is given twice", Some(&name)));
        }
    }
    let mut required = |name: &str| {
        fields.remove(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            refused(400, Some("parameter_missing"), &format!("Missing required param: {name}."), Some(name))
        })
    };
    let event_name = required("event_name")?;
    let customer = required("payload[stripe_customer_id]")?;
    let value = required("payload[value]")?;
    let identifier = fields.remove("identifier").unwrap_or_else(generated);
    let timestamp = fields.remove("timestamp");
    if let Some(unknown) = fields.keys().next() {
        let message = format!("Received unknown parameter: {unknown}");
        return Err(refused(400, Some("parameter_unknown"), &message, Some(unknown)));
    }
    let invalid = |message: &str, param: &str| refused(400, None, message, Some(param));
    if identifier.is_empty() || identifier.len() > LONGEST || event_name.len() > LONGEST {
        return Err(invalid("Invalid string: must be at most 100 characters", "identifier"));
    }
    let value = value.parse().map_err(|_| invalid("The value has to be a whole number", "payload[value]"))?;
    let timestamp = match timestamp {
        Some(text) => text.parse().map_err(|_| invalid("Invalid timestamp", "timestamp"))?,
        None => now,
    };
    if timestamp < now - OLDEST_S || timestamp > now + LATEST_S {
        let message = "The timestamp must be within the past 35 calendar days or up to 5 minutes in the future";
        return Err(invalid(message, "timestamp"));
    }
    Ok(MeterEvent { event_name, identifier, customer, value, timestamp })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A scripted status in Stripe's words.
fn fault(status: &Status) -> Refusal {
    let code = (status.code == 429).then_some("rate_limit");
    Refusal { retry_after_seconds: status.retry_after_seconds, ..refused(status.code, code, "scripted", None) }
}

fn refused(status: u16, code: Option<&str>, message: &str, param: Option<&str>) -> Refusal {
    let kind = if status < 500 { "invalid_request_error" } else { "api_error" };
    let mut error = json!({"message": message, "type": kind});
    for (name, value) in [("code", code), ("param", param)] {
        if let Some(value) = value {
            error[name] = json!(value);
        }
    }
    Refusal { status, error, retry_after_seconds: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn read(form: &str) -> Result<MeterEvent, u16> {
        event(form.as_bytes(), NOW, || "generated".to_owned()).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_form_is_read_to_the_last_field() {
        let form = "event_name=tokens&payload%5Bstripe_customer_id%5D=cus_1&payload%5Bvalue%5D=25";
        let read_event = read(form).unwrap();
        assert_eq!((read_event.value, read_event.timestamp), (25, NOW));
        assert_eq!(read_event.identifier, "generated");
        for wrong in [
            &form.replace("tokens", ""),
            &form.replace("event_name", "name"),
            &form.replace("25", "2.5"),
            &format!("{form}&extra=1"),
            &format!("{form}&event_name=tokens"),
            &format!("{form}&identifier={}", "x".repeat(101)),
            &format!("{form}&timestamp=soon"),
            &format!("{form}&timestamp={}", NOW - OLDEST_S - 1),
            &format!("{form}&timestamp={}", NOW + LATEST_S + 1),
        ] {
            assert_eq!(read(wrong), Err(400), "{wrong}");
        }
        assert!(read(&format!("{form}&timestamp={}", NOW - OLDEST_S)).is_ok());
    }
}
