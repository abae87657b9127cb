//! Calls as a file, written as they are read: at no time is there more of it than one page of records.

use aihub_core::{Result, UsageRecord};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use crate::ask::Format;
use crate::view::CallView;

/// The columns of a CSV file.
const COLUMNS: &str = "id,at,key,plan,endpoint,model,stream,outcome,status,finish_reason,prompt_tokens,cached_tokens,\
                       completion_tokens,reasoning_tokens,estimated,charge,currency,price_version,duration_ms,\
                       first_event_ms,ip,user_agent\r\n";

/// The response that writes `batches`. An error midway breaks it off, so that no reader takes it for the whole.
pub(crate) fn respond(batches: BoxStream<'static, Result<Vec<UsageRecord>>>, format: Format) -> Response {
    let (head, kind, name): (&'static str, _, _) = match format {
        Format::Csv => (COLUMNS, "text/csv; charset=utf-8; header=present", "attachment; filename=\"usage.csv\""),
        Format::JsonL => ("", "application/jsonl", "attachment; filename=\"usage.jsonl\""),
    };
    let pieces = batches.map(move |batch| {
        let batch = batch.inspect_err(|error| tracing::warn!(?error, "an export broke off"))?;
        Ok::<_, aihub_core::Error>(Bytes::from(written(batch, format)))
    });
    let head = stream::iter((!head.is_empty()).then(|| Ok(Bytes::from_static(head.as_bytes()))));
    let mut response = Response::new(Body::from_stream(head.chain(pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(name));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn written(batch: Vec<UsageRecord>, format: Format) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.len() * 400);
    for record in batch {
        let call = CallView::from(record);
        match format {
            Format::Csv => line(&call, &mut out),
            Format::JsonL => {
                serde_json::to_writer(&mut out, &call).expect("a call is plain JSON, and a vector takes it");
                out.push(b'\n');
            }
        }
    }
    out
}

/// A line as RFC 4180 has it.
fn line(call: &CallView, out: &mut Vec<u8>) {
    let number = |number: u64| number.to_string();
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    let charge = call.charge.as_ref();
    let cells = [
        call.id.to_string(),
        call.at.to_string(),
        call.key.clone(),
        safe(&call.plan),
        call.endpoint.to_owned(),
        safe(&call.model),
        call.stream.to_string(),
        call.outcome.to_owned(),
        call.status.to_string(),
        safe(&shown(&call.finish_reason)),
        number(call.prompt_tokens),
        number(call.cached_tokens),
        number(call.completion_tokens),
        number(call.reasoning_tokens),
        call.estimated.to_string(),
        charge.map(|charge| charge.amount.clone()).unwrap_or_default(),
        charge.map(|charge| charge.currency.clone()).unwrap_or_default(),
        shown(&call.price_version),
        number(call.duration_ms),
        call.first_event_ms.map(number).unwrap_or_default(),
        shown(&call.ip),
        safe(&shown(&call.user_agent)),
    ];
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        if cell.contains([',', '"', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Text that somebody else chose, such that no spreadsheet takes it for a formula: those begin with one of these signs, and
/// get an apostrophe before it, which spreadsheets do not show. Numbers are ours and stay as they are.
fn safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use aihub_core::{AccountId, CallId, Currency, KeyId, Money, Timestamp};

    use super::*;

    fn record() -> UsageRecord {
        let at = Timestamp::UNIX_EPOCH;
        let (call, account, key) = (CallId::new(at), AccountId::new(at), KeyId::new(at));
        UsageRecord::from_parts(call, at, account, key, "pro".into(), "chat", "vendor/m".into())
    }

    /// The cells of one line, read the way RFC 4180 says.
    fn cells(line: &str) -> Vec<String> {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        let mut signs = line.strip_suffix("\r\n").unwrap().chars().peekable();
        while let Some(sign) = signs.next() {
            match sign {
                '"' if quoted && signs.peek() == Some(&'"') => cells.last_mut().unwrap().push(signs.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                sign => cells.last_mut().unwrap().push(sign),
            }
        }
        assert!(!quoted);
        cells
    }

    #[test]
    fn a_line_has_a_cell_for_each_column_whatever_is_in_it() {
        let mut record = record();
        record.user_agent = Some("a \"quoted\", and\r\nbroken one".into());
        record.model = "=HYPERLINK(\"http://example.com\")".into();
        record.charge = Some(Money::from_nanos(-1_500_000_000, Currency::USD));
        record.usage.input = 7;
        let text = String::from_utf8(written(vec![record], Format::Csv)).unwrap();
        let (names, cells) = (cells(COLUMNS), cells(&text));
        assert_eq!(names.len(), cells.len());
        let cell = |name: &str| &*cells[names.iter().position(|each| each == name).unwrap()];
        assert_eq!(cell("user_agent"), "a \"quoted\", and\r\nbroken one");
        assert_eq!(cell("model"), "'=HYPERLINK(\"http://example.com\")");
        assert_eq!((cell("charge"), cell("currency"), cell("prompt_tokens")), ("-1.5", "USD", "7"));
        assert_eq!((cell("at"), cell("first_event_ms")), ("1970-01-01T00:00:00Z", ""));
    }

    #[test]
    fn no_text_begins_like_a_formula() {
        for text in ["=1", "+1", "-1", "@a", "\t=1", "\r=1"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        assert_eq!((safe("a=1"), safe("")), ("a=1".to_owned(), String::new()));
    }

    #[test]
    fn a_line_of_json_is_one_line_and_shows_no_vendor() {
        let mut record = record();
        record.user_agent = Some("two\nlines".into());
        (record.provider, record.served_model) = (Some("secret".into()), Some("secret".into()));
        record.cost = Some(Money::from_nanos(77, Currency::USD));
        record.vendor_cost = record.cost;
        let text = String::from_utf8(written(vec![record.clone(), record], Format::JsonL)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("secret") && !text.contains("cost") && !text.contains("77"), "{text}");
    }
}
