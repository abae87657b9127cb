//! How much a call can cost at most, and how long an answer a hold pays for.

use aihub_core::error::Refusal;
use aihub_core::price::Priced;
use aihub_core::quota::Amounts;
use aihub_core::tokens::Family;
use aihub_core::{Error, ErrorKind, Model, Money, Offer, Operation};

use crate::access::Routed;

/// The most that a call can use: what [`Quota`](super::Quota) holds for it, and what a quote says of it.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// By the vocabulary of whoever may come to serve the call and counts most.
    pub(super) prompt_tokens: u64,
    pub(super) most: Amounts,
    /// As the operation tells it, before anybody's vocabulary.
    counted: u64,
    choices: u64,
    /// Output tokens per choice: what the caller named, else what its plan says.
    per_choice: u64,
    /// The same, as far as any model on the route can give it.
    reachable: u64,
    named: bool,
}

/// What a call comes to at most by one offer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OfferEstimate<'r> {
    /// The model that the offer is of.
    pub model: &'r Model,
    /// The prices that the call would be charged by.
    pub prices: &'r Priced,
    /// The tokens of the prompt, in this model's vocabulary.
    pub prompt_tokens: u64,
    /// The longest answer, for each choice.
    pub output_tokens: u64,
    /// What the caller is charged at most, with the markup of its plan; `None` where the amount does not fit.
    pub most: Option<Money>,
}

impl Estimate {
    /// The estimate of a call by its size, by what it and its plan say of the answer, and by every offer that may come to
    /// serve it.
    pub fn of<O: Operation>(routed: &Routed<O>) -> Self {
        let demand = routed.call.operation.demand();
        let choices = demand.choices.max(1);
        let named = demand.output_tokens.map(|all| all.div_ceil(choices));
        let per_choice = named.unwrap_or(routed.call.caller.plan.default_output_tokens);
        let reachable = routed.models().map(|model| cap(model, per_choice)).max().unwrap_or(per_choice);
        let mut estimate = Self {
            prompt_tokens: routed
                .offers()
                .map(|(model, offer)| prompt(model, offer, demand.prompt_tokens))
                .max()
                .unwrap_or(demand.prompt_tokens),
            counted: demand.prompt_tokens,
            most: Amounts::default(),
            choices,
            per_choice,
            reachable,
            named: named.is_some(),
        };
        let tokens = estimate.prompt_tokens.saturating_add(reachable.saturating_mul(choices));
        estimate.most = Amounts::call(tokens, estimate.cost(routed, reachable));
        estimate
    }

    /// The most that is held: of tokens, and of money at the worst offer, with the markup of the caller's plan.
    pub const fn most(&self) -> Amounts {
        self.most
    }

    /// How many answers are asked for; each may have the tokens of one.
    pub const fn choices(&self) -> u64 {
        self.choices
    }

    /// What the call comes to at most by each offer that may serve it, in the order in which they are tried.
    ///
    /// # Errors
    ///
    /// That of the call itself, when no offer has a price in force.
    pub fn by_offer<'r, O>(&self, routed: &'r Routed<O>) -> Result<Vec<OfferEstimate<'r>>, Error> {
        let offers: Vec<_> = self.bounds(routed, self.reachable).collect();
        if offers.is_empty() { Err(crate::fallback::not_offered()) } else { Ok(offers) }
    }

    fn bounds<'r, O>(&self, routed: &'r Routed<O>, per_choice: u64) -> impl Iterator<Item = OfferEstimate<'r>> {
        let (markup, counted, choices) = (routed.call.caller.plan.markup, self.counted, self.choices);
        routed.priced().map(move |(model, offer, prices)| {
            let (prompt_tokens, output_tokens) = (prompt(model, offer, counted), cap(model, per_choice));
            let bound = prices.list.bound(prompt_tokens, output_tokens.saturating_mul(choices));
            let most = bound.and_then(|bound| markup.on(bound));
            OfferEstimate { model, prices, prompt_tokens, output_tokens, most }
        })
    }

    /// What the call needs to be of any use: its prompt, and one token for each choice.
    pub(super) fn least<O>(&self, routed: &Routed<O>) -> Amounts {
        let per_choice = self.reachable.min(1);
        let tokens = self.prompt_tokens.saturating_add(per_choice.saturating_mul(self.choices));
        Amounts::call(tokens, self.cost(routed, per_choice))
    }

    /// The most that the call can cost with answers of `per_choice` tokens, at the worst offer.
    /// `None` when that is not one known amount: no offer, an overflow, more than one currency.
    fn cost<O>(&self, routed: &Routed<O>, per_choice: u64) -> Option<Money> {
        self.bounds(routed, per_choice)
            .map(|offer| offer.most)
            .reduce(|worst, next| match (worst?, next?) {
                (a, b) if a.currency() != b.currency() => None,
                (a, b) if a.nanos() >= b.nanos() => Some(a),
                (_, b) => Some(b),
            })
            .flatten()
    }

    /// The bound to send upstream for a hold of `held`: `None` when the request says it already.
    ///
    /// # Errors
    ///
    /// `PaymentRequired` when the hold does not even pay for the prompt and one token per choice.
    pub(super) fn bound<O>(&self, routed: &Routed<O>, held: Amounts) -> Result<Option<u64>, Error> {
        let paid = if self.whole(held) {
            self.reachable
        } else {
            self.paid_by(routed, held).ok_or_else(|| too_little(held, self.most))?
        };
        Ok((!self.named || paid < self.per_choice).then_some(paid))
    }

    /// Whether everything was granted. A policy that keeps no count in a unit grants all of it.
    fn whole(&self, held: Amounts) -> bool {
        let tokens = held.tokens == 0 || held.tokens >= self.most.tokens;
        let money = match (held.money, self.most.money) {
            (Some(held), Some(most)) => held.currency() != most.currency() || held.nanos() >= most.nanos(),
            _ => true,
        };
        tokens && money
    }

    /// The longest answers that `held` pays for, by bisection: prices have tiers, so that there is
    /// no formula to invert. Seldom taken.
    fn paid_by<O>(&self, routed: &Routed<O>, held: Amounts) -> Option<u64> {
        let pays = |per_choice: u64| {
            let tokens = self.prompt_tokens.saturating_add(per_choice.saturating_mul(self.choices));
            let cost = self.cost(routed, per_choice);
            (held.tokens == 0 || tokens <= held.tokens)
                && held.money.is_none_or(|held| cost.is_some_and(|cost| cost.nanos() <= held.nanos()))
        };
        let least = u64::from(self.reachable > 0);
        if !pays(least) {
            return None;
        }
        let (mut paid, mut unpaid) = (least, self.reachable.saturating_add(1));
        while paid + 1 < unpaid {
            let middle = paid + (unpaid - paid) / 2;
            *(if pays(middle) { &mut paid } else { &mut unpaid }) = middle;
        }
        Some(paid)
    }
}

fn cap(model: &Model, per_choice: u64) -> u64 {
    model.max_output_tokens.map_or(per_choice, |most| per_choice.min(most))
}

/// What a prompt counts in the vocabulary of the model that an offer is of: its vendor's name tells, or else ours.
fn prompt(model: &Model, offer: &Offer, counted: u64) -> u64 {
    let family = match Family::of(&offer.model) {
        Family::Other => Family::of(&model.id),
        known => known,
    };
    family.tokens(counted)
}

#[cold]
fn too_little(held: Amounts, most: Amounts) -> Error {
    let by_tokens = held.tokens > 0 && held.tokens < most.tokens;
    let text = |amounts: Amounts| match amounts.money {
        Some(money) if !by_tokens => money.to_string(),
        _ => format!("{} tokens", amounts.tokens),
    };
    Error::new(ErrorKind::PaymentRequired, "What is left does not pay for this prompt: send a shorter one, or top up")
        .with_refusal(Refusal::new("hold", text(most), text(held)))
}
