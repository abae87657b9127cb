//! OpenRouter, Gemini and Stripe's meters, played from a script on loopback.
//!
//! The demo, the tests of the server and the suites of the official SDKs call these instead of the vendors: no
//! network, no bill, and every fault on demand. The shapes on the wire are the vendors' own; their official SDKs are
//! the judges (`tests/sdk`).
//!
//! ```
//! let vendors = aihub_vendors::Vendors::start()?;
//! assert!(vendors.openrouter_base_url().ends_with("/api/v1"));
//! assert!(vendors.gemini_base_url().ends_with("/v1beta"));
//! assert!(vendors.seen().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Keys
//!
//! [`OPENROUTER_KEY`], [`GEMINI_KEY`] and [`STRIPE_KEY`] are the only good ones; every other key is refused as the vendor
//! does it.
//!
//! # What it answers
//!
//! Deterministic text that repeats the last user message (and the system text, media and tool results it was given),
//! so that a test sees what arrived. With tools, a question for the weather of several cities becomes one call for
//! each city; naming a tool calls it. A JSON schema is answered with JSON that is valid for it.
//!
//! Stripe takes events for a meter, one at a time for each customer, and refuses what is missing, unknown, too old, no
//! whole number or known by its identifier. Of the directives it knows `status` and `delay`, written into the customer.
//!
//! # Directives
//!
//! Written into the last user message (or the first text to embed). One word is one token of the answer, and one
//! event of a stream. An unknown directive is refused with 400, so that a slip of the pen is seen.
//!
//! | Directive | Effect |
//! |---|---|
//! | `[[status 429]]` | this HTTP status, in the vendor's error shape; `retry-after 1.5` adds the vendor's hint (header, or `RetryInfo`), `daily` makes it a quota of the day, `in-flight` makes a 402 transient |
//! | `[[html 524]]` | this HTTP status with an HTML page |
//! | `[[delay 500ms]]` | wait before the headers |
//! | `[[hang]]`, `[[hang after 3]]` | no headers ever; or stall after three events |
//! | `[[slow 20ms]]` | wait between the events |
//! | `[[events 200]]` | an answer of 200 words, hence 200 events |
//! | `[[say TEXT]]` | the answer is TEXT |
//! | `[[cut after 3]]`, `[[cut]]` | break the connection inside the event that follows (or inside the body) |
//! | `[[end after 3]]` | close the stream cleanly without finish, usage or `[DONE]` |
//! | `[[error-event after 2]]` | an error inside the stream; `code 429` chooses it, `raw` sends Gemini's as bare JSON lines; without a stream OpenRouter answers 200 with the error in the choice, Gemini its HTTP status |
//! | `[[first-event-error]]` | the same before any content |
//! | `[[malformed]]`, `[[malformed after 3]]` | one event (or the body) is not JSON |
//! | `[[no-usage]]` | nothing is said about usage and cost |
//! | `[[usage prompt 100 completion 20 cached 50 reasoning 5]]` | these numbers are reported; each is optional |
//! | `[[empty]]` | a clean stop without any content |
//! | `[[safety]]`, `[[safety prompt]]` | the answer is filtered; or the prompt is (Gemini: no candidates) |
//! | `[[length]]` | stops half way for its length |
//! | `[[generation late 2]]` | the first two look-ups of `/generation` find nothing |
//!
//! Every directive takes `times N` (only for the first N requests), `id X` (what is counted; without it the
//! directive's own text, over both vendors) and `on gemini` or `on openrouter` (the other vendor ignores it):
//! `[[status 503 times 2 id 7f3a on gemini]]`.
//!
//! # What was seen
//!
//! [`Vendors::seen`] in Rust; over HTTP `GET /_vendors/seen` with `contains` (text in the body), `vendor`, `end`
//! (`any`, `completed`, `client-left`, `cut`) and `wait_ms` (answer as soon as one matches), and `DELETE` to forget.
//! Times are milliseconds since the start; `now_ms` in the answer is the same clock.
//!
//! # What is billed
//!
//! [`Vendors::book`] in Rust; over HTTP `GET /_vendors/book`, one JSON object a line: every call to a model that has
//! ended, with the tokens that its vendor bills. `DELETE /_vendors/seen` does not touch it.

mod book;
mod catalogue;
mod gemini;
mod mind;
mod openrouter;
mod play;
mod schema;
mod script;
mod seen;
mod stripe;

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{Router, extract::DefaultBodyLimit, serve::ListenerExt};
use tokio::sync::watch;

pub use book::{Line, Served};
pub use seen::{End, Seen, Vendor};
pub use stripe::MeterEvent;

/// The key that the scripted OpenRouter knows.
pub const OPENROUTER_KEY: &str = "sk-or-v1-scripted";
/// The key that the scripted Gemini knows.
pub const GEMINI_KEY: &str = "AIza-scripted";
/// The key that the scripted Stripe knows.
pub const STRIPE_KEY: &str = "sk_test_scripted";

/// How long running answers may go on after the stop. A scripted `[[hang]]` would otherwise hold the drop for ever.
const GRACE: Duration = Duration::from_millis(100);
/// Larger than every body a gateway should let through, so that its own limit is what a test meets.
const BODY_LIMIT_BYTES: usize = 64 << 20;

/// All vendors on one port, on a thread of their own, until dropped.
///
/// The thread has its own runtime, so that a test with a single-threaded one is not slowed by its vendors.
#[derive(Debug)]
pub struct Vendors {
    address: SocketAddr,
    stage: Arc<Stage>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Vendors {
    /// On a free port of loopback.
    pub fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// On this address. Requests are accepted from the return on.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let stage = Arc::new(Stage::new(stopped.clone()));
        let router = router(Arc::clone(&stage));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = thread::Builder::new().name("aihub-vendors".into()).spawn(move || {
            runtime.block_on(serve(listener, router, stopped));
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stage, stop, thread: Some(thread) })
    }

    /// Where OpenRouter is: append `/chat/completions`.
    pub fn openrouter_base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Where Gemini is, with the version: append `/models/{model}:generateContent`.
    pub fn gemini_base_url(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }

    /// Where Stripe is: append `/v1/billing/meter_events`.
    pub fn stripe_base_url(&self) -> String {
        format!("http://{}/stripe", self.address)
    }

    /// What Stripe's meters have counted, in the order of arrival.
    pub fn meter_events(&self) -> Vec<MeterEvent> {
        self.stage.meter.counted()
    }

    /// Stops Stripe's clock at this second; it goes with the machine's before.
    pub fn set_stripe_time(&self, second: i64) {
        self.stage.meter.set_now(second);
    }

    /// Where what was seen can be read over HTTP: append `/_vendors/seen`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.stage.journal.all()
    }

    /// Every call to a model that has ended, with what its vendor bills, in the order of their ends.
    pub fn book(&self) -> Vec<Line> {
        self.stage.journal.book()
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.stage.journal.forget();
    }

    /// Waits for a request that matches. Wrap it in a timeout.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call looks at all that was seen again.
    pub async fn until(&self, matches: impl Fn(&Seen) -> bool) -> Seen {
        self.stage.journal.until(matches).await
    }
}

impl Drop for Vendors {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed by its thread; a second one in a drop would abort the test.
            let _ended = thread.join();
        }
    }
}

fn router(stage: Arc<Stage>) -> Router {
    Router::new()
        .nest("/api/v1", openrouter::routes())
        .nest("/v1beta", gemini::routes())
        // The official Python SDK says v1 when nobody tells it otherwise.
        .nest("/v1", gemini::routes())
        .nest("/stripe", stripe::routes())
        .merge(seen::routes())
        .merge(book::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(stage)
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime, and set to non-blocking");
    // Without this Nagle holds back the small events, and a test of latency would measure the double.
    let listener = listener.tap_io(|stream| {
        let _best_effort = stream.set_nodelay(true);
    });
    let mut patience = stopped.clone();
    let shutdown = async move {
        let _sender_gone = stopped.wait_for(|stop| *stop).await;
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future();
    let deadline = async move {
        let _sender_gone = patience.wait_for(|stop| *stop).await.is_err();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        _served = serving => {}
        () = deadline => {}
    }
}

/// What all requests share.
#[derive(Debug)]
struct Stage {
    journal: Arc<seen::Journal>,
    takes: script::Takes,
    generations: Mutex<HashMap<String, openrouter::Generation>>,
    meter: stripe::Meter,
    serial: AtomicU64,
    stopped: watch::Receiver<bool>,
}

impl Stage {
    fn new(stopped: watch::Receiver<bool>) -> Self {
        Self {
            journal: Arc::default(),
            takes: script::Takes::default(),
            generations: Mutex::default(),
            meter: stripe::Meter::default(),
            serial: AtomicU64::new(1),
            stopped,
        }
    }

    /// A number that no other request of this process has.
    fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// A poisoned lock is only another test's panic: the data behind it stays whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
