//! The journal: what reached the vendors, and how each request ended.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    Stage,
    book::{Bill, Line},
    lock,
};

/// Whom a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// `/api/v1`
    OpenRouter,
    /// `/v1beta` and `/v1`
    Gemini,
    /// `/stripe/v1`
    Stripe,
}

impl Vendor {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenRouter => "openrouter",
            Self::Gemini => "gemini",
            Self::Stripe => "stripe",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All that was to be said was handed to the connection.
    Completed,
    /// The client closed the connection before that.
    ClientLeft,
    /// The script broke the connection.
    Cut,
}

/// One request as a vendor saw it. Times are milliseconds since the vendors started.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Seen {
    /// Counts up from 1.
    pub id: u64,
    /// Whom it was for.
    pub vendor: Vendor,
    /// The HTTP method.
    pub method: String,
    /// The path with the base, for example `/api/v1/chat/completions`.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Names in lower case; of repeated ones the last.
    pub headers: BTreeMap<String, String>,
    /// The parsed body, or its text if it is not JSON, or null if there is none.
    pub body: Value,
    /// The status that was answered, once it was.
    pub status: Option<u16>,
    /// When the whole request had arrived.
    pub at_ms: u64,
    /// How many data events were handed to the connection.
    pub events: u64,
    /// When the last of them was.
    pub last_event_ms: Option<u64>,
    /// How it ended; none while it runs.
    pub end: Option<End>,
    /// When it ended.
    pub end_ms: Option<u64>,
    /// For a client that left: how long after the last event (or after the request) that was noticed.
    pub left_after_ms: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    seen: Mutex<(u64, Vec<Seen>)>,
    book: Mutex<Vec<Line>>,
    changes: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { started: Instant::now(), seen: Mutex::default(), book: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Journal {
    pub(crate) fn all(&self) -> Vec<Seen> {
        lock(&self.seen).1.clone()
    }

    pub(crate) fn book(&self) -> Vec<Line> {
        lock(&self.book).clone()
    }

    pub(crate) fn forget(&self) {
        lock(&self.seen).1.clear();
    }

    pub(crate) async fn until(&self, matches: impl Fn(&Seen) -> bool) -> Seen {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let found = lock(&self.seen).1.iter().find(|seen| matches(seen)).cloned();
            if let Some(seen) = found {
                return seen;
            }
            changes.changed().await.expect("the sender lives as long as self");
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// Writes the request down and returns what watches over its answer.
    pub(crate) fn open(
        self: &Arc<Self>,
        vendor: Vendor,
        (method, uri, headers): (&Method, &Uri, &HeaderMap),
        body: &[u8],
    ) -> Watch {
        let at_ms = self.now_ms();
        let text = |body: &[u8]| match body {
            [] => Value::Null,
            body => String::from_utf8_lossy(body).into(),
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let mut journal = lock(&self.seen);
        journal.0 += 1;
        let id = journal.0;
        journal.1.push(Seen {
            id,
            vendor,
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            headers: headers.collect(),
            body: serde_json::from_slice(body).unwrap_or_else(|_| text(body)),
            status: None,
            at_ms,
            events: 0,
            last_event_ms: None,
            end: None,
            end_ms: None,
            left_after_ms: None,
        });
        drop(journal);
        self.changes.send_modify(|count| *count += 1);
        Watch { journal: Arc::clone(self), id, vendor, status: None, events: 0, bill: None, ended: false }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = lock(&self.seen).1.iter_mut().rfind(|seen| seen.id == id) {
            change(seen);
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Lives as long as the answer; dropped before its end, the client has left.
#[derive(Debug)]
pub(crate) struct Watch {
    journal: Arc<Journal>,
    id: u64,
    vendor: Vendor,
    // Once more beside the journal, which may have been told to forget them.
    status: Option<u16>,
    events: u64,
    bill: Option<Bill>,
    ended: bool,
}

impl Watch {
    /// What goes into the book when the call ends.
    pub(crate) fn bill(&mut self, bill: Bill) {
        self.bill = Some(bill);
    }

    pub(crate) fn status(&mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
        self.journal.change(self.id, |seen| seen.status = Some(status.as_u16()));
    }

    pub(crate) fn event(&mut self) {
        self.events += 1;
        let now = self.journal.now_ms();
        self.journal.change(self.id, |seen| {
            seen.events += 1;
            seen.last_event_ms = Some(now);
        });
    }

    pub(crate) fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // The book first: who waits for the end may read it at once.
        if let Some(bill) = self.bill.take() {
            lock(&self.journal.book).push(bill.line(self.id, self.vendor, self.status, end, self.events));
        }
        let now = self.journal.now_ms();
        self.journal.change(self.id, |seen| {
            seen.end = Some(end);
            seen.end_ms = Some(now);
            seen.left_after_ms =
                (end == End::ClientLeft).then(|| now.saturating_sub(seen.last_event_ms.unwrap_or(seen.at_ms)));
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(End::ClientLeft);
    }
}

/// Which requests are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    contains: Option<String>,
    vendor: Option<Vendor>,
    end: Option<String>,
    wait_ms: Option<u64>,
}

impl Filter {
    fn matches(&self, seen: &Seen) -> bool {
        let end = match (self.end.as_deref(), seen.end) {
            (None, _) | (Some("any"), Some(_)) => true,
            (Some(_), None) => false,
            (Some(name), Some(end)) => json!(end) == name,
        };
        end && self.vendor.is_none_or(|vendor| vendor == seen.vendor)
            && self.contains.as_ref().is_none_or(|text| seen.body.to_string().contains(text))
    }
}

pub(crate) fn routes() -> Router<Arc<Stage>> {
    Router::new().route("/_vendors/seen", get(read).delete(forget))
}

async fn read(State(stage): State<Arc<Stage>>, Query(filter): Query<Filter>) -> Json<Value> {
    let journal = &stage.journal;
    if let Some(wait_ms) = filter.wait_ms {
        let patience = Duration::from_millis(wait_ms);
        // Nothing in time is an answer too: an empty list.
        let _found = tokio::time::timeout(patience, journal.until(|seen| filter.matches(seen))).await;
    }
    let requests: Vec<Seen> = journal.all().into_iter().filter(|seen| filter.matches(seen)).collect();
    Json(json!({"now_ms": journal.now_ms(), "requests": requests}))
}

async fn forget(State(stage): State<Arc<Stage>>) -> StatusCode {
    stage.journal.forget();
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(journal: &Arc<Journal>, body: &str) -> Watch {
        let uri = Uri::from_static("/api/v1/chat/completions?x=1");
        journal.open(Vendor::OpenRouter, (&Method::POST, &uri, &HeaderMap::new()), body.as_bytes())
    }

    #[test]
    fn a_watch_dropped_early_says_that_the_client_left() {
        let journal = Arc::default();
        let mut watch = open(&journal, r#"{"a":1}"#);
        watch.event();
        drop(watch);
        let seen = &journal.all()[0];
        assert_eq!((seen.end, seen.events, &seen.body["a"]), (Some(End::ClientLeft), 1, &json!(1)));
        assert!(seen.left_after_ms.is_some());
    }

    #[test]
    fn the_first_end_stands() {
        let journal = Arc::default();
        let mut watch = open(&journal, "not json");
        watch.end(End::Completed);
        drop(watch);
        let seen = &journal.all()[0];
        assert_eq!((seen.end, seen.left_after_ms, &seen.body), (Some(End::Completed), None, &json!("not json")));
    }

    #[test]
    fn a_filter_for_an_end_does_not_match_what_still_runs() {
        let journal = Arc::default();
        let _running = open(&journal, "{}");
        let filter = |end: &str| Filter { end: Some(end.to_owned()), ..Filter::default() };
        assert!(!filter("any").matches(&journal.all()[0]));
        assert!(Filter::default().matches(&journal.all()[0]));
    }
}
