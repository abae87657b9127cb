//! The vendors' own book: what they would bill for each call, whatever became of it. Whoever keeps books over calls to
//! them can be compared with it.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use serde::Serialize;

use crate::{End, Stage, Vendor};

/// What was served of a call, as the vendor bills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Served {
    /// The whole answer was handed to the connection.
    Whole,
    /// The client left before. A stream is billed as far as it had come; an answer that is not streamed is worked out
    /// to its end, and billed in full.
    Left,
    /// The vendor failed. A refusal bills nothing; of a stream that broke the line says how far it had come.
    Failed,
}

/// One call in the book. Tokens are the vendor's own, cached ones within the prompt and reasoning within the completion.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// The number of the request: [`Seen::id`](crate::Seen::id).
    pub request: u64,
    /// Who bills.
    pub vendor: Vendor,
    /// The model, in the vendor's words.
    pub model: String,
    /// The id that the answer carries, where the vendor gives one.
    pub generation: Option<String>,
    /// What was asked (the last user message, or the first text to embed) without its directives.
    pub asked: String,
    /// Whether the answer came piece by piece.
    pub stream: bool,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
    /// What became of it.
    pub served: Served,
}

/// What a call comes to if nothing goes wrong.
#[derive(Debug)]
pub(crate) struct Bill {
    pub(crate) model: String,
    pub(crate) generation: Option<String>,
    pub(crate) asked: String,
    pub(crate) stream: bool,
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
    /// Whether the script lets the answer fail half way.
    pub(crate) fails: bool,
}

impl Bill {
    /// The line of a call that ended so, with this status if it came to one, after so many events.
    pub(crate) fn line(self, request: u64, vendor: Vendor, status: Option<u16>, end: End, events: u64) -> Line {
        let Self { model, generation, asked, stream, prompt, completion, fails } = self;
        let served = match (end, status) {
            (End::ClientLeft, _) => Served::Left,
            (End::Completed, Some(200..=299)) if !fails => Served::Whole,
            _ => Served::Failed,
        };
        let come = if stream { events.min(completion) } else { completion };
        let (prompt, completion) = match (served, status) {
            (Served::Whole, _) => (prompt, completion),
            (Served::Failed, Some(200..=299)) => (prompt, if stream { come } else { 0 }),
            (Served::Failed, _) => (0, 0),
            (Served::Left, _) => (prompt, come),
        };
        Line { request, vendor, model, generation, asked, stream, prompt, completion, served }
    }
}

pub(crate) fn routes() -> Router<Arc<Stage>> {
    Router::new().route("/_vendors/book", get(read))
}

/// One JSON object a line, oldest end first.
async fn read(State(stage): State<Arc<Stage>>) -> impl IntoResponse {
    let lines = stage.journal.book().into_iter().filter_map(|line| serde_json::to_string(&line).ok());
    let text: String = lines.map(|line| line + "\n").collect();
    ([(header::CONTENT_TYPE, "application/x-ndjson")], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: bool, fails: bool, status: Option<u16>, end: End, events: u64) -> (Served, u64, u64) {
        let bill = Bill {
            model: "m".to_owned(),
            generation: None,
            asked: String::new(),
            stream,
            prompt: 5,
            completion: 10,
            fails,
        };
        let line = bill.line(1, Vendor::Gemini, status, end, events);
        (line.served, line.prompt, line.completion)
    }

    #[test]
    fn what_is_billed_depends_on_who_broke_it_off() {
        assert_eq!(line(true, false, Some(200), End::Completed, 12), (Served::Whole, 5, 10));
        assert_eq!(line(true, false, Some(200), End::ClientLeft, 3), (Served::Left, 5, 3));
        assert_eq!(line(false, false, None, End::ClientLeft, 0), (Served::Left, 5, 10));
        assert_eq!(line(false, false, Some(503), End::Completed, 0), (Served::Failed, 0, 0));
        assert_eq!(line(true, true, Some(200), End::Completed, 4), (Served::Failed, 5, 4));
        assert_eq!(line(true, false, Some(200), End::Cut, 2), (Served::Failed, 5, 2));
        assert_eq!(line(false, true, Some(200), End::Completed, 0), (Served::Failed, 5, 0));
    }
}
