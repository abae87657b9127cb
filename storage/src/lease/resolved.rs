//! Which slices a caller's calls take from: found out once, and again when anything that it depends on changes.

use std::sync::{Arc, Mutex, PoisonError};

use aihub_core::quota::{Ask, Limit, Most, Scope, Window, limits, windows};
use aihub_core::{ApiKey, KeyId, Plan, Timestamp};
use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::lender::{Lent, Wish};
use super::slice::Slice;

/// The limits of one key's calls, and where this process has something of them.
#[derive(Debug)]
pub(super) struct Resolved {
    key: Arc<ApiKey>,
    plan: Arc<Plan>,
    /// While the call is admitted from here on and before there, this is right.
    from: Timestamp,
    until: Timestamp,
    /// Those that refuse; in the same order as the slices.
    pub(super) limits: Vec<Limit>,
    pub(super) slices: Vec<Arc<Slice>>,
    /// Those that only count: they are opened, so that they do.
    counting: Vec<Limit>,
    pub(super) windows: Arc<[Window]>,
    pub(super) turn: usize,
    /// How the windows stood when something was missing.
    stood: Mutex<Vec<Lent>>,
}

impl Resolved {
    fn is_right(&self, ask: &Ask) -> bool {
        Arc::ptr_eq(&self.key, &ask.caller.key)
            && Arc::ptr_eq(&self.plan, &ask.caller.plan)
            && self.from <= ask.at
            && ask.at < self.until
    }

    /// What to ask the lender for, for a call that takes so much: what is there need not be borrowed.
    pub(super) fn wishes(&self, least: &[i64], most: &[i64], asked: &[Lent]) -> Vec<Wish> {
        let missing = |amounts: &[i64]| -> Vec<i64> {
            amounts.iter().zip(&self.slices).map(|(amount, slice)| (amount - slice.free()).max(0)).collect()
        };
        let mut wishes = self.wishes_of(&missing(least), &missing(most));
        for (wish, asked) in wishes.iter_mut().zip(asked) {
            wish.recall = asked.recall;
        }
        wishes
    }

    /// What to ask the lender for, of so much.
    pub(super) fn wishes_of(&self, least: &[i64], enough: &[i64]) -> Vec<Wish> {
        let amounts = least.iter().zip(enough);
        let hard = self.limits.iter().zip(amounts).map(|(limit, (least, enough))| wish(limit, *least, *enough));
        hard.chain(self.counting.iter().map(|limit| wish(limit, 0, 0))).collect()
    }

    pub(super) fn remember(&self, lent: &[Lent]) {
        *self.stood.lock().unwrap_or_else(PoisonError::into_inner) = lent.to_vec();
    }

    pub(super) fn standing(&self, place: usize) -> Lent {
        self.stood.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied().unwrap_or_default()
    }
}

fn wish(limit: &Limit, least: i64, enough: i64) -> Wish {
    let Limit { window, ends_at, most, .. } = limit;
    Wish { window: window.clone(), ends_at: *ends_at, most: *most, least, enough, recall: None }
}

/// Remembers what was resolved.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    known: DashMap<(KeyId, Option<Arc<str>>), Arc<Resolved>, RandomState>,
}

impl Resolver {
    pub(super) fn resolve(&self, ask: &Ask, slice: impl Fn(&Window, Option<Timestamp>) -> Arc<Slice>) -> Arc<Resolved> {
        let key = (ask.caller.key.id, by_model(ask).then(|| Arc::clone(&ask.model)));
        if let Some(known) = self.known.get(&key).filter(|known| known.is_right(ask)) {
            return Arc::clone(&known);
        }
        let resolved = Arc::new(resolve(ask, slice));
        self.known.insert(key, Arc::clone(&resolved));
        resolved
    }

    /// Forgets what cannot be right any more.
    pub(super) fn forget_before(&self, now: Timestamp) {
        self.known.retain(|_, resolved| resolved.until > now);
    }
}

/// Whether it depends on the model what a call counts in.
fn by_model(ask: &Ask) -> bool {
    let (plan, terms) = (&ask.caller.plan.quotas, &ask.caller.key.terms.quotas);
    plan.iter().chain(terms).any(|rule| rule.scope == Scope::Model)
}

fn resolve(ask: &Ask, slice: impl Fn(&Window, Option<Timestamp>) -> Arc<Slice>) -> Resolved {
    let all = limits(&ask.caller, &ask.model, ask.at);
    let until = all.iter().filter_map(|limit| limit.ends_at).min().unwrap_or(Timestamp::MAX);
    let from = all.iter().map(|limit| limit.window.starts_at).max().unwrap_or(Timestamp::MIN);
    let (mut hard, counting): (Vec<Limit>, Vec<Limit>) = all.into_iter().partition(|limit| !limit.overage);
    // Of two rules for one window the smaller is the limit.
    hard.sort_by_key(|limit| limit.most.order());
    let mut seen = std::collections::BTreeSet::new();
    hard.retain(|limit| seen.insert(limit.window.clone()));
    let slices: Vec<Arc<Slice>> = hard.iter().map(|limit| slice(&limit.window, limit.ends_at)).collect();
    for (limit, slice) in hard.iter().zip(&slices) {
        if let Most::Fixed(most) = limit.most {
            slice.under(most);
        }
    }
    Resolved {
        key: Arc::clone(&ask.caller.key),
        plan: Arc::clone(&ask.caller.plan),
        from,
        until,
        slices,
        windows: windows(&hard),
        limits: hard,
        counting,
        turn: ask.caller.account().as_uuid().as_u128() as usize,
        stood: Mutex::default(),
    }
}
