// The smallest world in which a call can be made: one model, scripted vendors, and ports that count.
// Plain comments, since the examples in the docs include this file.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aihub_core::chat::{ChatEvent, Finish};
use aihub_core::idempotency::{Begun, Claim, Kept};
use aihub_core::key::KeyChange;
use aihub_core::model::FixedCatalogue;
use aihub_core::page::{Page, PageRequest};
use aihub_core::quota::{Amounts, Ask};
use aihub_core::rate::RateDecision;
use aihub_core::*;
use bytes::Bytes;
use futures_util::StreamExt as _;

/// The usage of every answer that ends well.
pub fn usage() -> Usage {
    Usage::new(5, 7)
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::default())
}

pub fn offer(provider: &str, dollars_per_million: &str) -> Offer {
    Offer::new(provider, "m-1", prices(dollars_per_million))
}

pub fn prices(dollars_per_million: &str) -> PriceList {
    PriceList::flat(dollars_per_million, dollars_per_million).unwrap()
}

pub fn model(id: &str, offers: Vec<Offer>) -> Model {
    Model { basic: true, ..Model::chat(id, offers) }
}

/// A catalogue with the model `m`, offered by `first` and `second`, first cheaper, and with `e` for
/// embeddings.
pub fn catalogue() -> Arc<FixedCatalogue> {
    let embedding = Model { basic: true, ..Model::embedding("e", [offer("first", "1")]) };
    Arc::new(FixedCatalogue::new([model("m", vec![offer("first", "1"), offer("second", "2")]), embedding], &[]))
}

pub fn plan() -> Plan {
    Plan { default_output_tokens: 100, ..Plan::unlimited("free") }
}

pub fn key() -> ApiKey {
    let at = Timestamp::UNIX_EPOCH;
    ApiKey::new(AccountId::new(at), "key", "free", at)
}

pub fn caller() -> Arc<Caller> {
    Arc::new(Caller::new(key(), plan()))
}

pub const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

/// A request for the model `m`, with `fields` beside the usual ones (`,"n":2`).
pub fn request(fields: &str) -> ChatRequest {
    let body = BODY.strip_suffix('}').unwrap();
    ChatRequest::parse(format!("{body}{fields}}}").into()).unwrap()
}

/// A call of the model `m` by a caller on the plan `free`.
pub fn call() -> Call<ChatRequest> {
    Call::new(caller(), request(""), &ManualClock::default())
}

/// The attempt of [`call`] at `first`.
pub fn attempt() -> Attempt<ChatRequest> {
    Attempt::new(call(), offer("first", "1"))
}

/// A whole answer with the usual usage.
pub fn answer() -> ChatReply {
    ChatReply::whole_body(0, Bytes::from_static(b"{}"), Finish::new(Some(usage()), Some("stop".into())))
}

pub fn transient() -> Error {
    Error::new(ErrorKind::BadUpstream, "again").with_transient()
}

pub fn failover() -> Error {
    Error::new(ErrorKind::Unavailable, "elsewhere").with_failover()
}

/// Reads a reply to its end.
pub async fn read(reply: ChatReply) -> Result<Finish> {
    reply.collect().await.map(|(_, finish)| finish)
}

/// What a vendor does when it is asked.
pub enum Step {
    Answer,
    /// Says something, then this.
    Stream(Vec<Result<ChatEvent>>),
    Fail(Error),
    /// Never answers.
    Hang,
    /// Says something, and again each second.
    Endless,
}

/// Says something and then nothing any more.
pub fn piece() -> Result<ChatEvent> {
    Ok(ChatEvent::Frames(Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n")))
}

pub fn finish() -> Result<ChatEvent> {
    Ok(ChatEvent::Finish(Box::new(Finish::new(Some(usage()), Some("stop".into())))))
}

/// A vendor that does as its script says, then answers.
#[derive(Debug, Default)]
pub struct Scripted {
    pub name: &'static str,
    script: Mutex<VecDeque<Step>>,
    pub asked: AtomicU32,
    /// The bound that each attempt came with.
    pub bounds: Mutex<Vec<Option<u64>>>,
    /// How often it lets others run before it does anything.
    pub pauses: usize,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}

impl Scripted {
    pub fn new(name: &'static str, script: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self { name, script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

pub async fn pause(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[async_trait::async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::CHAT;
        all.embed = true;
        all
    }

    async fn embed(&self, _: Attempt<EmbedRequest>) -> Result<EmbedReply> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        pause(self.pauses).await;
        Ok(EmbedReply { body: Bytes::new(), usage: Usage::new(2, 0), vendor_cost: None, served: Served::default() })
    }

    async fn chat(&self, attempt: Attempt<ChatRequest>) -> Result<ChatReply> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.bounds.lock().unwrap().push(attempt.max_output_tokens);
        pause(self.pauses).await;
        let step = self.script.lock().unwrap().pop_front().unwrap_or(Step::Answer);
        match step {
            Step::Answer => Ok(answer()),
            Step::Fail(error) => Err(error),
            Step::Hang => std::future::pending().await,
            Step::Endless => {
                let second = std::time::Duration::from_secs(1);
                let events = futures_util::stream::repeat_with(piece).then(move |event| async move {
                    tokio::time::sleep(second).await;
                    event
                });
                let events = futures_util::stream::iter([piece()]).chain(events);
                Ok(ChatReply::from_events(attempt.call.operation.demand().prompt_tokens, events))
            }
            Step::Stream(events) => {
                let pauses = self.pauses;
                let events = futures_util::stream::iter(events).then(move |event| async move {
                    pause(pauses).await;
                    event
                });
                let events = futures_util::stream::iter([piece()]).chain(events);
                Ok(ChatReply::from_events(attempt.call.operation.demand().prompt_tokens, events))
            }
        }
    }
}

/// A quota of one account: calls and tokens.
#[derive(Debug)]
pub struct Purse {
    limit: u64,
    state: Mutex<State>,
    pub pauses: usize,
    /// How many of the next settlements and releases fail.
    pub failing: AtomicU32,
    /// Grants at most this many tokens.
    pub grants: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<CallId, Amounts>,
    resolved: HashMap<CallId, Amounts>,
}

impl Purse {
    pub fn of(limit: u64) -> Self {
        Self { limit, state: Mutex::default(), pauses: 0, failing: AtomicU32::new(0), grants: None }
    }

    pub fn used(&self) -> u64 {
        self.state.lock().unwrap().resolved.values().map(|used| used.tokens).sum()
    }

    pub fn cost(&self) -> Vec<Option<Money>> {
        self.state.lock().unwrap().resolved.values().map(|used| used.money).collect()
    }

    /// Calls that were counted.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().resolved.values().map(|used| used.calls).sum()
    }

    /// Holds that were made and resolved.
    pub fn visits(&self) -> usize {
        self.state.lock().unwrap().resolved.len()
    }

    /// Holds that are neither settled nor released.
    pub fn open(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    fn resolve(&self, call: CallId, used: Amounts) -> Result<()> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
        }
        let mut state = self.state.lock().unwrap();
        if state.held.remove(&call).is_some() {
            state.resolved.insert(call, used);
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl QuotaPolicy for Purse {
    async fn reserve(&self, ask: &Ask) -> Result<Reservation> {
        pause(self.pauses).await;
        let mut held = ask.most;
        held.tokens = held.tokens.min(self.grants.unwrap_or(u64::MAX));
        let mut state = self.state.lock().unwrap();
        let taken = state.held.values().chain(state.resolved.values()).map(|amounts| amounts.tokens).sum::<u64>();
        if taken + held.tokens > self.limit {
            return Err(Error::new(ErrorKind::PaymentRequired, "used up"));
        }
        state.held.insert(ask.call, held);
        Ok(Reservation { held, ..Reservation::of(ask) })
    }

    async fn settle(&self, reservation: Reservation, used: Amounts) -> Result<()> {
        pause(self.pauses).await;
        self.resolve(reservation.call, used)
    }

    async fn release(&self, reservation: Reservation) -> Result<()> {
        pause(self.pauses).await;
        self.resolve(reservation.call, Amounts::default())
    }
}

/// A sink that keeps everything.
#[derive(Debug, Default)]
pub struct Books {
    records: Mutex<Vec<UsageRecord>>,
    /// How many of the next batches fail.
    pub failing: AtomicU32,
    pub batches: AtomicUsize,
    told: tokio::sync::Notify,
}

impl Books {
    pub fn records(&self) -> Vec<UsageRecord> {
        self.records.lock().unwrap().clone()
    }

    /// The only record there is, once it is there.
    pub async fn only(&self) -> UsageRecord {
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), self.told.notified()).await;
        match (told, &*self.records()) {
            (Ok(()), [record]) => record.clone(),
            (_, records) => panic!("there is not one record but {records:?}"),
        }
    }
}

#[async_trait::async_trait]
impl BillingSink for Books {
    async fn record(&self, records: &[UsageRecord]) -> Result<()> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "the sink is away"));
        }
        self.batches.fetch_add(1, Ordering::SeqCst);
        self.records.lock().unwrap().extend_from_slice(records);
        self.told.notify_one();
        Ok(())
    }
}

/// One key.
#[derive(Debug)]
pub struct Keys(pub Result<Option<(KeyHash, Arc<ApiKey>)>, ErrorKind>);

#[async_trait::async_trait]
impl KeyStore for Keys {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        match &self.0 {
            Ok(known) => Ok(known.as_ref().filter(|(of, _)| of == hash).map(|(_, key)| Arc::clone(key))),
            Err(kind) => Err(Error::new(*kind, "the store is away")),
        }
    }

    async fn insert(&self, _: NewKey) -> Result<()> {
        unreachable!("layers make no keys")
    }

    async fn update(&self, _: AccountId, _: KeyId, _: KeyChange) -> Result<Arc<ApiKey>> {
        unreachable!("layers change no keys")
    }

    async fn revoke(&self, _: AccountId, _: KeyId, _: Timestamp) -> Result<()> {
        unreachable!("layers revoke no keys")
    }

    async fn rotate(&self, _: AccountId, _: KeyId, _: key::NewSecret) -> Result<Arc<ApiKey>> {
        unreachable!("layers rotate no keys")
    }

    async fn touch(&self, _: &[(KeyId, Timestamp)]) -> Result<()> {
        unreachable!("layers write no uses down")
    }

    async fn list(&self, _: AccountId, _: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        unreachable!("layers list no keys")
    }
}

/// Allows as many as are left.
#[derive(Debug)]
pub struct Turnstile(pub AtomicU32);

#[async_trait::async_trait]
impl RateStore for Turnstile {
    async fn take(&self, _: &str, _: Rate) -> Result<RateDecision> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        Ok(RateDecision {
            allowed: left.is_ok(),
            remaining: left.map_or(0, |left| left - 1),
            reset_after: std::time::Duration::from_millis(1_500),
        })
    }
}

/// A journal that keeps everything in memory.
#[allow(dead_code, reason = "the crate's own tests use it, the others need not")]
#[derive(Debug, Default)]
pub struct Diary {
    pub full: std::sync::atomic::AtomicBool,
    lines: Mutex<Vec<&'static str>>,
    pub drafts: Mutex<Vec<UsageRecord>>,
    pub marks: Mutex<Vec<journal::Progress>>,
    pub records: Mutex<Vec<UsageRecord>>,
}

#[allow(dead_code, reason = "as above")]
impl Diary {
    /// What was written, in order.
    pub fn lines(&self) -> Vec<&'static str> {
        self.lines.lock().unwrap().clone()
    }

    fn room(&self) -> Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(journal::unavailable(std::time::Duration::from_secs(1)));
        }
        Ok(())
    }
}

impl Journal for Diary {
    fn admit(&self) -> Result<()> {
        self.room()
    }

    fn dispatched(&self, draft: &UsageRecord) -> Result<journal::Written> {
        self.room()?;
        self.lines.lock().unwrap().push("dispatched");
        self.drafts.lock().unwrap().push(draft.clone());
        Ok(None)
    }

    fn progressed(&self, mark: &journal::Progress) {
        self.lines.lock().unwrap().push("progressed");
        self.marks.lock().unwrap().push(mark.clone());
    }

    fn settled(&self, record: &UsageRecord, _: &[quota::Window]) -> journal::Written {
        self.lines.lock().unwrap().push("settled");
        self.records.lock().unwrap().push(record.clone());
        None
    }
}

/// Claims by their keys, with how they have ended.
type Claims = HashMap<(AccountId, IdempotencyKey), (Claim, Option<Kept>)>;

/// Keeps requests under keys, and loses none.
#[derive(Debug, Default)]
pub struct Drawer {
    pub known: Mutex<Claims>,
    /// How many of the next operations fail.
    pub failing: AtomicU32,
    /// Of every end.
    pub told: tokio::sync::Notify,
}

impl Drawer {
    fn opened(&self) -> Result<std::sync::MutexGuard<'_, Claims>> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
        }
        Ok(self.known.lock().unwrap())
    }
}

#[async_trait::async_trait]
impl IdempotencyStore for Drawer {
    async fn begin(&self, claim: &Claim) -> Result<Begun> {
        let name = (claim.account, claim.key.clone());
        let Ok(mut known) = self.opened() else {
            // As a store does it whose answer is lost on the way.
            self.known.lock().unwrap().entry(name).or_insert((claim.clone(), None));
            return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
        };
        Ok(match known.get(&name) {
            None => {
                known.insert(name, (claim.clone(), None));
                Begun::New
            }
            Some((first, _)) if first.fingerprint != claim.fingerprint => Begun::Mismatch,
            Some((_, Some(kept))) => Begun::Done(kept.clone()),
            Some((first, None)) if first.running_until <= claim.at => Begun::Done(Kept::Interrupted),
            Some((first, None)) => Begun::Running { since: first.at },
        })
    }

    async fn extend(&self, claim: &Claim, running_until: Timestamp) -> Result<()> {
        if let Some((known, None)) = self.opened()?.get_mut(&(claim.account, claim.key.clone())) {
            known.running_until = running_until;
        }
        Ok(())
    }

    async fn finish(&self, claim: &Claim, kept: Kept) -> Result<()> {
        if let Some((_, end)) = self.opened()?.get_mut(&(claim.account, claim.key.clone())) {
            end.get_or_insert(kept);
        }
        self.told.notify_waiters();
        Ok(())
    }

    async fn abandon(&self, claim: &Claim) -> Result<()> {
        self.opened()?.retain(|_, (known, end)| known.request != claim.request || end.is_some());
        self.told.notify_waiters();
        Ok(())
    }

    async fn sweep(&self, _: Timestamp, _: usize) -> Result<u64> {
        unreachable!("layers sweep nothing")
    }
}
