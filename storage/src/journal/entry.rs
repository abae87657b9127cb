//! What is written of a call, and its form on disk.
//!
//! An entry is a frame and a body:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | the length of the body, little endian |
//! | 4 | the CRC-32 (IEEE) of kind and body, little endian |
//! | 1 | the kind: 1 dispatched, 2 progressed, 3 settled |
//! | … | the body, in the form of [`postcard`](https://postcard.jamesmunns.com/wire-format.html) |
//!
//! Fields of a body are only ever added under a new kind, so that what an older version wrote stays readable.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use aihub_core::journal::Progress;
use aihub_core::model::ModelKind;
use aihub_core::quota::{Span, Window};
use aihub_core::{
    AccountId, CallId, Currency, Funding, KeyId, Markup, Money, OrganisationId, Outcome, Timestamp, Usage, UsageRecord,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes in front of a body.
pub(super) const FRAME: usize = 9;

/// No body is longer: what callers choose in it is cut to [`TEXT`] bytes each.
pub(super) const LONGEST: usize = 1 << 16;

/// Bytes that a text of the caller's choice keeps.
const TEXT: usize = 512;

/// One entry, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An attempt is sent; the record is what the call comes to if nothing more is heard.
    Dispatched(Box<UsageRecord>),
    /// An answer has come so far.
    Progressed(Box<Progress>),
    /// A call has ended.
    Settled(Box<Settled>),
}

/// A call that has ended, and where it was held.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What there is to say of it.
    pub record: UsageRecord,
    /// The windows that it was held in.
    pub windows: Vec<Window>,
    /// The process that held it, where that is not the one that wrote this.
    pub held_by: Option<Uuid>,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They end before the entry does.
    Short,
    /// They were never written so.
    Damaged,
    /// They are of a later version.
    Unknown(u8),
}

const DISPATCHED: u8 = 1;
const PROGRESSED: u8 = 2;
const SETTLED: u8 = 3;

#[derive(Serialize, Deserialize)]
struct Amount(i64, [u8; 3]);

/// A record as it is written: every field, in this order, for good.
#[expect(clippy::struct_excessive_bools, reason = "it is what a record is, and nobody makes one but from a record")]
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    call: Uuid,
    at_us: i64,
    account: Uuid,
    organisation: Option<Uuid>,
    prepaid: Option<[u8; 3]>,
    key: Uuid,
    plan: Cow<'a, str>,
    embedding: bool,
    stream: bool,
    model: Cow<'a, str>,
    provider: Option<Cow<'a, str>>,
    served_model: Option<Cow<'a, str>>,
    generation: Option<Cow<'a, str>>,
    usage: Counts,
    discarded: Option<Counts>,
    cost: Option<Amount>,
    charge: Option<Amount>,
    shortfall: Option<Amount>,
    charge_at_most: Option<Amount>,
    price_version: Option<Cow<'a, str>>,
    markup_ppm: i32,
    vendor_cost: Option<Amount>,
    outcome: u8,
    waived: bool,
    recovered: bool,
    status: u16,
    finish_reason: Option<Cow<'a, str>>,
    attempts: u32,
    duration_us: u64,
    first_event_us: Option<u64>,
    ip: Option<IpAddr>,
    user_agent: Option<Cow<'a, str>>,
}

/// [`Usage`], bucket by bucket.
#[derive(Serialize, Deserialize)]
struct Counts([u64; 11], bool);

#[derive(Serialize, Deserialize)]
struct Mark<'a> {
    call: Uuid,
    served_model: Option<Cow<'a, str>>,
    generation: Option<Cow<'a, str>>,
    usage: Counts,
    cost: Option<Amount>,
    charge: Option<Amount>,
}

#[derive(Serialize, Deserialize)]
struct End<'a> {
    record: Record<'a>,
    windows: Vec<Place<'a>>,
    held_by: Option<Uuid>,
}

#[derive(Serialize, Deserialize)]
struct Place<'a>(Cow<'a, str>, Cow<'a, str>, u8, i64);

/// The entry of an attempt that is sent.
pub(super) fn dispatched(draft: &UsageRecord) -> Vec<u8> {
    frame(DISPATCHED, &Record::of(draft))
}

/// The entry of a mark.
pub(super) fn progressed(mark: &Progress) -> Vec<u8> {
    let Progress { call, served_model, generation, usage, cost, charge, .. } = mark;
    let mark = Mark {
        call: *call.as_uuid(),
        served_model: served_model.as_deref().map(cut),
        generation: generation.as_deref().map(cut),
        usage: usage.into(),
        cost: cost.map(Amount::from),
        charge: charge.map(Amount::from),
    };
    frame(PROGRESSED, &mark)
}

/// The entry of an end.
pub(super) fn settled(record: &UsageRecord, windows: &[Window], held_by: Option<Uuid>) -> Vec<u8> {
    let windows = windows.iter().map(Place::of).collect();
    frame(SETTLED, &End { record: Record::of(record), windows, held_by })
}

fn frame(kind: u8, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&[0; FRAME]);
    bytes[FRAME - 1] = kind;
    let mut bytes =
        postcard::to_extend(body, bytes).expect("nothing refuses bytes, and nothing here fails to be written");
    let length = u32::try_from(bytes.len() - FRAME).unwrap_or(u32::MAX);
    let check = crc32fast::hash(&bytes[FRAME - 1..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// The entry that `bytes` begin with, and its length.
pub(super) fn read(bytes: &[u8]) -> Result<(Entry, usize), Flaw> {
    let (kind, body) = unframe(bytes)?;
    let damaged = |_: postcard::Error| Flaw::Damaged;
    let entry = match kind {
        DISPATCHED => {
            let record: Record<'_> = postcard::from_bytes(body).map_err(damaged)?;
            Entry::Dispatched(Box::new(record.read().ok_or(Flaw::Damaged)?))
        }
        PROGRESSED => {
            let mark: Mark<'_> = postcard::from_bytes(body).map_err(damaged)?;
            Entry::Progressed(Box::new(mark.read().ok_or(Flaw::Damaged)?))
        }
        SETTLED => {
            let End { record, windows, held_by } = postcard::from_bytes(body).map_err(damaged)?;
            let record = record.read().ok_or(Flaw::Damaged)?;
            let windows = windows.iter().map(Place::read).collect::<Option<_>>().ok_or(Flaw::Damaged)?;
            Entry::Settled(Box::new(Settled { record, windows, held_by }))
        }
        kind => return Err(Flaw::Unknown(kind)),
    };
    Ok((entry, FRAME + body.len()))
}

/// Kind and body, if the check holds.
pub(super) fn unframe(bytes: &[u8]) -> Result<(u8, &[u8]), Flaw> {
    let Some((head, rest)) = bytes.split_at_checked(FRAME - 1) else { return Err(Flaw::Short) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(number(0)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(Flaw::Damaged);
    }
    let checked = rest.get(..=length).ok_or(Flaw::Short)?;
    if crc32fast::hash(checked) != number(4) {
        return Err(Flaw::Damaged);
    }
    Ok((checked[0], &checked[1..]))
}

impl<'a> Record<'a> {
    fn of(record: &'a UsageRecord) -> Self {
        Self {
            call: *record.call.as_uuid(),
            at_us: record.at.as_microsecond(),
            account: *record.account.as_uuid(),
            organisation: record.organisation.map(|id| *id.as_uuid()),
            prepaid: match record.funding {
                Funding::Prepaid(currency) => Some(letters(currency)),
                Funding::Postpaid => None,
            },
            key: *record.key.as_uuid(),
            plan: cut(&record.plan),
            embedding: record.operation != <&str>::from(ModelKind::Chat),
            stream: record.stream,
            model: cut(&record.model),
            provider: record.provider.as_deref().map(cut),
            served_model: record.served_model.as_deref().map(cut),
            generation: record.generation.as_deref().map(cut),
            usage: (&record.usage).into(),
            discarded: (record.discarded != Usage::default()).then(|| (&record.discarded).into()),
            cost: record.cost.map(Amount::from),
            charge: record.charge.map(Amount::from),
            shortfall: record.shortfall.map(Amount::from),
            charge_at_most: record.charge_at_most.map(Amount::from),
            price_version: record.price_version.as_deref().map(cut),
            markup_ppm: record.markup.ppm(),
            vendor_cost: record.vendor_cost.map(Amount::from),
            outcome: number(&OUTCOMES, &record.outcome),
            waived: record.waived,
            recovered: record.recovered,
            status: record.status,
            finish_reason: record.finish_reason.as_deref().map(cut),
            attempts: record.attempts,
            duration_us: record.duration_us,
            first_event_us: record.first_event_us,
            ip: record.ip,
            user_agent: record.user_agent.as_deref().map(cut),
        }
    }

    fn read(self) -> Option<UsageRecord> {
        let shared = |text: Option<Cow<'_, str>>| text.map(Arc::from);
        let kind = if self.embedding { ModelKind::Embedding } else { ModelKind::Chat };
        let mut record = UsageRecord::from_parts(
            CallId::from_uuid(self.call),
            Timestamp::from_microsecond(self.at_us).ok()?,
            AccountId::from_uuid(self.account),
            KeyId::from_uuid(self.key),
            self.plan.into(),
            kind.into(),
            self.model.into(),
        );
        record.organisation = self.organisation.map(OrganisationId::from_uuid);
        if let Some(letters) = self.prepaid {
            record.funding = Funding::Prepaid(currency(letters)?);
        }
        record.stream = self.stream;
        record.provider = shared(self.provider);
        record.served_model = shared(self.served_model);
        record.generation = shared(self.generation);
        record.usage = self.usage.into();
        record.discarded = self.discarded.map(Usage::from).unwrap_or_default();
        record.cost = Amount::read(self.cost)?;
        record.charge = Amount::read(self.charge)?;
        record.shortfall = Amount::read(self.shortfall)?;
        record.charge_at_most = Amount::read(self.charge_at_most)?;
        record.price_version = shared(self.price_version);
        record.markup = Markup::from_ppm(self.markup_ppm)?;
        record.vendor_cost = Amount::read(self.vendor_cost)?;
        record.outcome = *OUTCOMES.get(usize::from(self.outcome))?;
        (record.waived, record.recovered) = (self.waived, self.recovered);
        record.status = self.status;
        record.finish_reason = shared(self.finish_reason);
        record.attempts = self.attempts;
        record.duration_us = self.duration_us;
        record.first_event_us = self.first_event_us;
        record.ip = self.ip;
        record.user_agent = shared(self.user_agent);
        Some(record)
    }
}

/// The outcomes by their numbers on disk.
const OUTCOMES: [Outcome; 5] =
    [Outcome::Completed, Outcome::ClientGone, Outcome::UpstreamFailed, Outcome::GatewayFailed, Outcome::Refused];

impl Mark<'_> {
    fn read(self) -> Option<Progress> {
        let mut mark = Progress::new(CallId::from_uuid(self.call), self.usage.into());
        mark.served_model = self.served_model.map(Arc::from);
        mark.generation = self.generation.map(Arc::from);
        mark.cost = Amount::read(self.cost)?;
        mark.charge = Amount::read(self.charge)?;
        Some(mark)
    }
}

impl<'a> Place<'a> {
    fn of(window: &'a Window) -> Self {
        let span = number(&SPANS, &window.span);
        let texts = (window.subject.to_string().into(), window.unit.to_string().into());
        Self(texts.0, texts.1, span, window.starts_at.as_microsecond())
    }

    fn read(&self) -> Option<Window> {
        Some(Window {
            subject: self.0.parse().ok()?,
            unit: self.1.parse().ok()?,
            span: *SPANS.get(usize::from(self.2))?,
            starts_at: Timestamp::from_microsecond(self.3).ok()?,
        })
    }
}

/// The spans by their numbers on disk.
const SPANS: [Span; 4] = [Span::Minute, Span::Day, Span::Month, Span::Lifetime];

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money.nanos(), letters(money.currency()))
    }
}

impl Amount {
    /// An amount that is there has a currency, or was never written so.
    #[expect(clippy::option_option, reason = "what is not there is read well, and what is there may be damaged")]
    #[expect(clippy::needless_pass_by_value, reason = "read once, and gone")]
    fn read(amount: Option<Self>) -> Option<Option<Money>> {
        match amount {
            None => Some(None),
            Some(Self(nanos, letters)) => Some(Some(Money::from_nanos(nanos, currency(letters)?))),
        }
    }
}

/// The place of `value` among `known`; one that is not there is not read back.
fn number<T: PartialEq>(known: &[T], value: &T) -> u8 {
    known.iter().position(|known| known == value).and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn letters(currency: Currency) -> [u8; 3] {
    currency.as_str().as_bytes().try_into().unwrap_or_default()
}

fn currency(letters: [u8; 3]) -> Option<Currency> {
    std::str::from_utf8(&letters).ok()?.parse().ok()
}

impl From<&Usage> for Counts {
    fn from(usage: &Usage) -> Self {
        let counts = [
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.audio_input,
            usage.image_input,
            usage.tool_input,
            usage.output,
            usage.reasoning,
            usage.audio_output,
            usage.image_output,
            usage.searches,
        ];
        Self(counts, usage.estimated)
    }
}

impl From<Counts> for Usage {
    fn from(Counts(counts, estimated): Counts) -> Self {
        let mut usage = Self::new(counts[0], counts[6]);
        usage.cache_read = counts[1];
        usage.cache_write = counts[2];
        usage.audio_input = counts[3];
        usage.image_input = counts[4];
        usage.tool_input = counts[5];
        usage.reasoning = counts[7];
        usage.audio_output = counts[8];
        usage.image_output = counts[9];
        usage.searches = counts[10];
        usage.estimated = estimated;
        usage
    }
}

fn cut(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(&text[..text.floor_char_boundary(TEXT)])
}
