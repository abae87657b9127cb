//! The rows of the books.

use aihub_core::Timestamp;
use aihub_core::commerce::{Posting, RunId};
use aihub_core::quota::{Span, Subject, Unit, Window};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use crate::books::{Bucket, Sums};
use crate::sql::bulk::bulk;
use crate::sql::schema::{leases, windows};
use crate::sql::values::{At, Id, Instant, Uuid};

/// A window as it stands.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = windows)]
pub(super) struct Standing {
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: String,
    pub(super) starts_at: At,
    pub(super) ends_at: Option<At>,
    pub(super) most: Option<i64>,
    pub(super) granted: i64,
    pub(super) settled: i64,
    pub(super) leased: i64,
    pub(super) recall: i64,
}

impl Standing {
    /// The window; `None` where this version cannot tell which it is.
    pub(super) fn window(&self) -> Option<Window> {
        window(&self.subject, &self.unit, &self.span, self.starts_at)
    }

    /// How much it allows.
    pub(super) fn limit(&self) -> i64 {
        self.most.unwrap_or(self.granted)
    }
}

/// Which window a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: &'static str,
    pub(super) starts_at: Timestamp,
}

impl Place {
    pub(super) fn of(window: &Window) -> Self {
        let Window { subject, unit, span, starts_at } = window;
        Self { subject: subject.to_string(), unit: unit.to_string(), span: (*span).into(), starts_at: *starts_at }
    }
}

pub(super) fn window(subject: &str, unit: &str, span: &str, starts_at: At) -> Option<Window> {
    let (subject, unit): (Subject, Unit) = (subject.parse().ok()?, unit.parse().ok()?);
    Some(Window { subject, unit, span: span.parse::<Span>().ok()?, starts_at: starts_at.0 })
}

/// What a process has borrowed.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = leases)]
pub(super) struct Lease {
    pub(super) run: Id,
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: String,
    pub(super) starts_at: At,
    pub(super) amount: i64,
    pub(super) answered: i64,
}

impl Lease {
    pub(super) fn window(&self) -> Option<Window> {
        window(&self.subject, &self.unit, &self.span, self.starts_at)
    }
}

/// A move of a window.
pub(super) struct Move {
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: &'static str,
    pub(super) starts_at: At,
    pub(super) settled: i64,
    pub(super) leased: i64,
}

impl Move {
    pub(super) fn of(window: &Window, settled: i64, leased: i64) -> Self {
        let Place { subject, unit, span, starts_at } = Place::of(window);
        Self { subject, unit, span, starts_at: At(starts_at), settled, leased }
    }

    /// By the key of its row: the order in which all write windows.
    pub(super) fn order(&self) -> (&str, &str, &str, Timestamp) {
        (&self.subject, &self.unit, self.span, self.starts_at.0)
    }
}

bulk!(Move, "windows", "(subject, unit, span, starts_at) DO UPDATE SET \
    settled = windows.settled + excluded.settled, leased = windows.leased + excluded.leased", {
    "subject": Text = subject;
    "unit": Text = unit;
    "span": Text = span;
    "starts_at": Instant = starts_at;
    "settled": BigInt = settled;
    "leased": BigInt = leased;
});

/// A move of a lease.
pub(super) struct LeaseMove {
    pub(super) run: Id,
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: &'static str,
    pub(super) starts_at: At,
    pub(super) amount: i64,
}

impl LeaseMove {
    pub(super) fn of(run: RunId, window: &Window, amount: i64) -> Self {
        let Place { subject, unit, span, starts_at } = Place::of(window);
        Self { run: Id(run), subject, unit, span, starts_at: At(starts_at), amount }
    }
}

bulk!(LeaseMove, "leases", "(run, subject, unit, span, starts_at) DO UPDATE SET \
    amount = leases.amount + excluded.amount", {
    "run": Uuid = run;
    "subject": Text = subject;
    "unit": Text = unit;
    "span": Text = span;
    "starts_at": Instant = starts_at;
    "amount": BigInt = amount;
});

/// A rollup.
pub(super) struct Rollup {
    account: Id,
    width: &'static str,
    starts_at: At,
    key: Id,
    model: String,
    operation: &'static str,
    status: i32,
    currency: String,
    sums: Sums,
}

impl From<(Bucket, Sums)> for Rollup {
    fn from((bucket, sums): (Bucket, Sums)) -> Self {
        let Bucket { account, width, starts_at, key, model, operation, status, currency } = bucket;
        let (account, key, starts_at) = (account.into(), key.into(), At(starts_at));
        Self { account, width, starts_at, key, model, operation, status, currency, sums }
    }
}

bulk!(Rollup, "usage_rollups", "(account, width, starts_at, key, model, operation, status, currency) DO UPDATE SET \
    calls = usage_rollups.calls + excluded.calls, \
    prompt_tokens = usage_rollups.prompt_tokens + excluded.prompt_tokens, \
    cached_tokens = usage_rollups.cached_tokens + excluded.cached_tokens, \
    completion_tokens = usage_rollups.completion_tokens + excluded.completion_tokens, \
    reasoning_tokens = usage_rollups.reasoning_tokens + excluded.reasoning_tokens, \
    charge = usage_rollups.charge + excluded.charge, \
    cost = usage_rollups.cost + excluded.cost, \
    duration_us = usage_rollups.duration_us + excluded.duration_us", {
    "account": Uuid = account;
    "width": Text = width;
    "starts_at": Instant = starts_at;
    "key": Uuid = key;
    "model": Text = model;
    "operation": Text = operation;
    "status": Integer = status;
    "currency": Text = currency;
    "calls": BigInt = sums.calls;
    "prompt_tokens": BigInt = sums.prompt_tokens;
    "cached_tokens": BigInt = sums.cached_tokens;
    "completion_tokens": BigInt = sums.completion_tokens;
    "reasoning_tokens": BigInt = sums.reasoning_tokens;
    "charge": BigInt = sums.charge;
    "cost": BigInt = sums.cost;
    "duration_us": BigInt = sums.duration_us;
});

/// A line of a posting.
pub(super) struct LineRow {
    posting: Id,
    account: String,
    currency: String,
    nanos: i64,
}

bulk!(LineRow, "posting_lines", "DO NOTHING", {
    "posting": Uuid = posting;
    "account": Text = account;
    "currency": Text = currency;
    "nanos": BigInt = nanos;
});

/// A line, added to the balance of its account.
pub(super) struct BalanceMove {
    account: String,
    currency: String,
    nanos: i64,
}

bulk!(BalanceMove, "balances", "(account, currency) DO UPDATE SET nanos = balances.nanos + excluded.nanos", {
    "account": Text = account;
    "currency": Text = currency;
    "nanos": BigInt = nanos;
});

/// The lines of a posting, and what they do to balances; both in the order of the accounts, in which all lock them.
pub(super) fn lines(posting: &Posting) -> (Vec<LineRow>, Vec<BalanceMove>) {
    let of = |line: &aihub_core::commerce::Line| {
        (line.account.as_str().to_owned(), line.money.currency().to_string(), line.money.nanos())
    };
    let id = Id(posting.id());
    let lines = posting.lines().iter().map(of);
    let rows = lines.clone().map(|(account, currency, nanos)| LineRow { posting: id, account, currency, nanos });
    (rows.collect(), lines.map(|(account, currency, nanos)| BalanceMove { account, currency, nanos }).collect())
}

/// A window has passed so many percent.
pub(super) struct Alert {
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) span: String,
    pub(super) starts_at: At,
    pub(super) percent: i32,
    pub(super) settled: i64,
    pub(super) most: i64,
    pub(super) raised_at: At,
    pub(super) fired_at: Option<At>,
}

bulk!(Alert, "quota_alerts", "DO NOTHING", {
    "subject": Text = subject;
    "unit": Text = unit;
    "span": Text = span;
    "starts_at": Instant = starts_at;
    "percent": Integer = percent;
    "settled": BigInt = settled;
    "most": BigInt = most;
    "raised_at": Instant = raised_at;
    "fired_at": Nullable<Instant> = fired_at;
});
