//! The record of one call while it is being made.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::journal::Written;
use aihub_core::{
    Call, CallId, Caller, Charge, Clock, Ending, Error, ErrorKind, Hook, Journal, Offer, Operation, Outcome, Timestamp,
    Trail, Unanswered, Usage, UsageRecord,
};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::oneshot;

/// A model name longer than this is cut: it is the caller's text, and may be as long as a body.
const NAME_BYTES: usize = 256;

/// Where a record goes.
#[derive(Debug)]
pub(super) enum Place {
    /// To the sink with others, by way of the queue; its caller may wait until the sink has it.
    Queue(OwnedPermit<Item>, Option<Duration>),
    /// Into the journal, at once.
    Journal(Arc<dyn Journal>),
}

/// Writes one record into the place it has: by one of its methods, or when it is dropped.
#[derive(Debug)]
pub(super) struct Record {
    /// `None` once it is written.
    place: Option<Place>,
    clock: Arc<dyn Clock>,
    // What is needed of the call, and not the call: its prompt need not stay in memory for as long as
    // the answer streams.
    id: CallId,
    caller: Arc<Caller>,
    trail: Arc<Trail>,
    received_at: Timestamp,
    started: Duration,
    model: Arc<str>,
    operation: &'static str,
    stream: bool,
    prompt_tokens: u64,
    first_event_us: Option<u64>,
}

impl Record {
    pub(super) fn open<O: Operation>(place: Place, clock: Arc<dyn Clock>, call: &Call<O>) -> Self {
        let model = call.operation.model();
        Self {
            place: Some(place),
            clock,
            id: call.id,
            caller: Arc::clone(&call.caller),
            trail: Arc::clone(&call.trail),
            received_at: call.received_at,
            started: call.started,
            model: model[..model.floor_char_boundary(NAME_BYTES)].into(),
            operation: O::KIND.into(),
            stream: call.operation.streams(),
            prompt_tokens: call.operation.demand().prompt_tokens,
            first_event_us: None,
        }
    }

    /// The call has a reply: the record waits for its end.
    pub(super) fn into_hook(mut self) -> Hook {
        self.first_event_us = Some(self.since_start_us());
        Box::new(move |ending: &Ending| self.ended(ending))
    }

    fn ended(mut self, ending: &Ending) -> Written {
        let served = &ending.served;
        let (offer, left) = (served.offer.clone().or_else(|| self.trail.offer()), self.trail.left());
        self.write(offer, ending.usage, ending.waived, |record| {
            record.served_model.clone_from(&served.model);
            record.generation.clone_from(&served.generation);
            record.discarded = record.discarded.plus(&ending.discarded);
            record.vendor_cost = ending.vendor_cost;
            // A whole answer has an end of its own, also where its caller left before it was there.
            let gone = ending.outcome == Outcome::Completed && left;
            record.outcome = if gone { Outcome::ClientGone } else { ending.outcome };
            record.status = ending.error.map_or(200, ErrorKind::status);
            record.finish_reason.clone_from(&ending.finish_reason);
        })
    }

    /// The call failed before it had a reply. What was sent upstream is waited for like a reply; a
    /// refusal, of which nobody has to pay anything, is not.
    pub(super) fn failed(mut self, error: &Error) -> Written {
        let outcome = match error.kind() {
            _ if self.trail.attempts() == 0 => Outcome::Refused,
            _ if self.trail.left() => Outcome::ClientGone,
            ErrorKind::Cancelled => Outcome::ClientGone,
            ErrorKind::Internal => Outcome::GatewayFailed,
            _ => Outcome::UpstreamFailed,
        };
        let confirmation = self.without_reply(Some(error), |record| {
            record.vendor_cost = error.vendor_cost();
            record.outcome = outcome;
            record.status = error.kind().status();
        });
        confirmation.filter(|_| outcome != Outcome::Refused)
    }

    fn without_reply(&mut self, error: Option<&Error>, rest: impl FnOnce(&mut UsageRecord)) -> Written {
        let Unanswered { usage, waived, .. } = self.trail.unanswered(self.prompt_tokens, error);
        let (in_flight, offer) = (self.trail.in_flight(), self.trail.offer());
        self.write(offer, usage, waived, |record| {
            // The trail has counted a failed attempt among the discarded: not twice.
            if !in_flight {
                record.discarded = less(record.discarded, &usage);
            }
            rest(record);
        })
    }

    fn since_start_us(&self) -> u64 {
        let elapsed = self.clock.elapsed().saturating_sub(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    fn write(
        &mut self,
        offer: Option<Offer>,
        usage: Usage,
        waived: bool,
        rest: impl FnOnce(&mut UsageRecord),
    ) -> Written {
        let place = self.place.take()?;
        let mut record =
            UsageRecord::new(self.id, self.received_at, &self.caller, self.operation, Arc::clone(&self.model));
        (record.stream, record.waived) = (self.stream, waived && self.trail.attempts() > 0);
        if let Some(offer) = offer {
            record.markup = self.caller.plan.markup;
            record.charge_at_most = self.trail.most();
            if let Some(prices) = offer.prices.at(self.received_at) {
                let charge = Charge::of(&prices.list, &usage, record.markup, waived, self.trail.most());
                (record.cost, record.charge, record.shortfall) = (charge.cost, charge.charge, charge.shortfall);
                record.price_version = Some(Arc::clone(&prices.version));
            }
            record.provider = Some(offer.provider);
        }
        record.usage = usage;
        record.discarded = self.trail.discarded();
        record.attempts = self.trail.attempts();
        record.duration_us = self.since_start_us();
        record.first_event_us = self.first_event_us;
        rest(&mut record);
        match place {
            Place::Journal(journal) => journal.settled(&record, &self.trail.windows()),
            Place::Queue(place, None) => {
                place.send(Item { record, taken: None });
                None
            }
            Place::Queue(place, Some(within)) => {
                let (taken, confirmation) = Confirmation::new(self.id, within);
                place.send(Item { record, taken: Some(taken) });
                Some(Box::pin(confirmation.wait()))
            }
        }
    }
}

/// The caller left before there was a reply.
impl Drop for Record {
    fn drop(&mut self) {
        if self.place.is_some() {
            // Nobody is left to wait until it is written.
            drop(self.without_reply(None, |record| {
                record.outcome = Outcome::ClientGone;
                record.status = ErrorKind::Cancelled.status();
            }));
        }
    }
}

/// A record on its way to the sink.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) record: UsageRecord,
    /// Told when the sink has taken the record, if somebody waits for that.
    pub(super) taken: Option<oneshot::Sender<()>>,
}

/// That the sink has taken a record.
#[derive(Debug)]
struct Confirmation {
    taken: oneshot::Receiver<()>,
    within: Duration,
    call: CallId,
}

impl Confirmation {
    fn new(call: CallId, within: Duration) -> (oneshot::Sender<()>, Self) {
        let (tell, taken) = oneshot::channel();
        (tell, Self { taken, within, call })
    }

    /// A sink that does not confirm is no reason to keep an answer back for ever: the record stays in
    /// the queue, and new calls are refused once that is full.
    async fn wait(self) {
        if !matches!(tokio::time::timeout(self.within, self.taken).await, Ok(Ok(()))) {
            tracing::warn!(call = %self.call, within = ?self.within, "a record was not confirmed in time");
        }
    }
}

/// Bucket by bucket what is left of `all` without `part`.
fn less(mut all: Usage, part: &Usage) -> Usage {
    let buckets = [
        (&mut all.input, part.input),
        (&mut all.cache_read, part.cache_read),
        (&mut all.cache_write, part.cache_write),
        (&mut all.audio_input, part.audio_input),
        (&mut all.image_input, part.image_input),
        (&mut all.tool_input, part.tool_input),
        (&mut all.output, part.output),
        (&mut all.reasoning, part.reasoning),
        (&mut all.audio_output, part.audio_output),
        (&mut all.image_output, part.image_output),
        (&mut all.searches, part.searches),
    ];
    for (bucket, part) in buckets {
        *bucket = bucket.saturating_sub(part);
    }
    all.estimated &= !all.is_zero();
    all
}
