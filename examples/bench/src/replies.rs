//! The answers of the mock vendor, made once and shared by all requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use memchr::memmem;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How many pieces of text a stream carries.
const PIECES: usize = 50;

/// The text of a plain answer, sized so that the whole OpenAI answer has about 500 bytes.
const TEXT: &str = "The capital of France is Paris. It lies on the Seine, has about two million inhabitants, and has been \
                    the seat of government for most of the past thousand years.";

/// Every answer the vendor can give.
#[derive(Clone, Debug)]
pub struct Replies {
    /// A plain answer of the OpenAI dialect.
    pub openai: Bytes,
    /// The events of a stream of the OpenAI dialect: role, text pieces, finish, usage, `[DONE]`.
    pub openai_events: Vec<Bytes>,
    /// A plain answer of Gemini.
    pub gemini: Bytes,
    /// The events of a stream of Gemini: it has no end mark, and its usage grows with every event.
    pub gemini_events: Vec<Bytes>,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            openai: openai().into(),
            openai_events: openai_events(),
            gemini: gemini(TEXT, Some("STOP"), 40).into(),
            gemini_events: gemini_events(),
        }
    }
}

fn openai() -> String {
    format!(
        r#"{{"id":"gen-1763700000-bench","provider":"Bench","model":"openai/gpt-4o-mini","object":"chat.completion","created":1763700000,"choices":[{{"index":0,"logprobs":null,"finish_reason":"stop","native_finish_reason":"stop","message":{{"role":"assistant","content":"{TEXT}","refusal":null}}}}],"usage":{{"prompt_tokens":20,"completion_tokens":40,"total_tokens":60,"cost":0.000027}}}}"#
    )
}

fn openai_events() -> Vec<Bytes> {
    const HEAD: &str = r#""id":"gen-1763700000-bench","provider":"Bench","model":"openai/gpt-4o-mini","object":"chat.completion.chunk","created":1763700000"#;
    let event = |choices: &str, rest: &str| Bytes::from(format!("data: {{{HEAD},\"choices\":[{choices}]{rest}}}\n\n"));
    let mut events = vec![event(r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, "")];
    for piece in 0..PIECES {
        let choice =
            format!(r#"{{"index":0,"delta":{{"content":" word{piece:02}"}},"finish_reason":null,"logprobs":null}}"#);
        events.push(event(&choice, ""));
    }
    events.push(event(r#"{"index":0,"delta":{},"finish_reason":"stop","native_finish_reason":"stop"}"#, ""));
    events.push(event("", r#","usage":{"prompt_tokens":20,"completion_tokens":50,"total_tokens":70,"cost":0.000033}"#));
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn gemini(text: &str, finish: Option<&str>, tokens: usize) -> String {
    let finish = finish.map(|reason| format!(r#","finishReason":"{reason}""#)).unwrap_or_default();
    let total = 20 + tokens;
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}}{finish},"index":0}}],"usageMetadata":{{"promptTokenCount":20,"candidatesTokenCount":{tokens},"totalTokenCount":{total}}},"modelVersion":"gemini-2.5-flash","responseId":"bench"}}"#
    )
}

fn gemini_events() -> Vec<Bytes> {
    let event = |piece: usize| {
        let finish = (piece + 1 == PIECES).then_some("STOP");
        Bytes::from(format!("data: {}\r\n\r\n", gemini(&format!(" word{piece:02}"), finish, piece + 1)))
    };
    (0..PIECES).map(event).collect()
}

/// Whether the caller of the OpenAI dialect asked for a stream.
pub fn wants_stream(request: &[u8]) -> bool {
    memmem::find(request, br#""stream":true"#).is_some() || memmem::find(request, br#""stream": true"#).is_some()
}

/// The pace asked for in the text of a request: `pace-ms=20` anywhere in it.
///
/// In the text, because a gateway does not hand unknown headers on and a translation keeps only what it knows.
pub fn pace(request: &[u8]) -> Option<Duration> {
    const MARK: &[u8] = b"pace-ms=";
    let digits = &request[memmem::find(request, MARK)? + MARK.len()..];
    let digits = digits.iter().take(5).take_while(|byte| byte.is_ascii_digit());
    let millis = digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Events of a stream, each a frame of its own: all at once or one at every tick.
#[derive(Debug)]
pub struct Events {
    events: std::vec::IntoIter<Bytes>,
    pace: Option<Interval>,
}

impl Events {
    /// A stream of these events.
    pub fn new(events: Vec<Bytes>, pace: Option<Duration>) -> Self {
        let pace = pace.map(|pace| {
            let mut pace = interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        Self { events: events.into_iter(), pace }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.events.as_slice().is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_tick(cx));
        }
        Poll::Ready(self.events.next().map(|event| Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.events.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        // Deliberately unknown: a vendor does not know the length of its stream, so it must travel in chunks.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn the_sizes_are_those_the_tables_tell() {
        let replies = Replies::default();
        assert_eq!(replies.openai_events.len(), PIECES + 4);
        assert_eq!(replies.gemini_events.len(), PIECES);
        let stream: usize = replies.openai_events.iter().map(Bytes::len).sum();
        assert!((10_500..13_500).contains(&stream), "{stream}");
        assert!((450..550).contains(&replies.openai.len()), "{}", replies.openai.len());
    }

    #[test]
    fn a_stream_and_its_pace_are_read_from_the_request() {
        assert!(wants_stream(br#"{"stream":true}"#) && wants_stream(br#"{"stream": true}"#));
        assert!(!wants_stream(br#"{"stream":false}"#));
        assert_eq!(pace(b"hello pace-ms=20 there"), Some(Duration::from_millis(20)));
        assert_eq!(pace(b"pace-ms=0"), None);
        assert_eq!(pace(b"pace-ms="), None);
        assert_eq!(pace(b""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_stream_takes_its_time_and_loses_nothing() {
        let events = Replies::default().openai_events;
        let sent: Vec<u8> = events.concat();
        let start = tokio::time::Instant::now();
        let body = Events::new(events, Some(Duration::from_millis(20))).collect().await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(20 * (PIECES as u64 + 3)));
        assert_eq!(body.to_bytes(), sent);
    }
}
