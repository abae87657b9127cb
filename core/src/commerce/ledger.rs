//! Double entry: every movement of money is a posting whose lines sum to nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::id::AccountId;
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// An account of the ledger, by its name: `acc_…/accrued`, `house/revenue`, `vendor/openrouter/payable`.
///
/// What grows by debits (positive lines) is what is had or was spent; what grows by credits (negative ones) is what is
/// owed or was earned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerAccount(String);

impl LedgerAccount {
    /// What a customer has used and was not billed for yet.
    pub fn accrued(account: AccountId) -> Self {
        Self(format!("{account}/accrued"))
    }

    /// What a customer has paid in and not used yet: credits, since it is owed to them.
    pub fn prepaid(account: AccountId) -> Self {
        Self(format!("{account}/prepaid"))
    }

    /// What was earned by usage.
    pub fn revenue() -> Self {
        Self("house/revenue".to_owned())
    }

    /// What usage has cost.
    pub fn vendor_cost() -> Self {
        Self("house/vendor_cost".to_owned())
    }

    /// What is owed to the vendor behind the provider of this name.
    pub fn payable(provider: &str) -> Self {
        Self(format!("vendor/{provider}/payable"))
    }

    /// Where money that comes in stands until it is known where it came from, such as `house/clearing/manual`.
    pub fn clearing(way: &str) -> Self {
        Self(format!("house/clearing/{way}"))
    }

    /// The account of this name, as a store kept it.
    pub const fn named(name: String) -> Self {
        Self(name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LedgerAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a posting.
pub type PostingId = uuid::Uuid;

/// What one account has to do with a posting: debits are positive, credits negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The account.
    pub account: LedgerAccount,
    /// How much.
    pub money: Money,
}

/// One movement of money. There is none whose lines do not sum to nothing, in each currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    id: PostingId,
    kind: &'static str,
    source: String,
    effective_at: Timestamp,
    lines: Vec<Line>,
}

impl Posting {
    /// A posting of `kind`, such as `usage` or `top_up`. `source` is what it came of: of two postings with the same
    /// source the books take the first, and know the second for it. `effective_at` is when it counts. Lines of one
    /// account and currency become one; those of nothing are left out.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) when the lines do not balance, or are too large to be added.
    pub fn new(
        kind: &'static str,
        source: impl Into<String>,
        effective_at: Timestamp,
        lines: impl IntoIterator<Item = Line>,
    ) -> Result<Self> {
        let (mut sums, mut totals) = (BTreeMap::new(), BTreeMap::<Currency, i128>::new());
        for Line { account, money } in lines {
            *sums.entry((account, money.currency())).or_insert(0_i128) += i128::from(money.nanos());
            *totals.entry(money.currency()).or_default() += i128::from(money.nanos());
        }
        if let Some((currency, total)) = totals.into_iter().find(|(_, total)| *total != 0) {
            return Err(wrong(format!("a posting of {kind} is off by {total} nano-{currency}")));
        }
        let mut merged = Vec::with_capacity(sums.len());
        for ((account, currency), nanos) in sums {
            let nanos = i64::try_from(nanos).map_err(|_| wrong(format!("a line of {account} is too large")))?;
            if nanos != 0 {
                merged.push(Line { account, money: Money::from_nanos(nanos, currency) });
            }
        }
        let id = *crate::id::CallId::new(effective_at).as_uuid();
        Ok(Self { id, kind, source: source.into(), effective_at, lines: merged })
    }

    /// The same under another id: for books that have given one to what it is of.
    #[must_use]
    pub const fn with_id(mut self, id: PostingId) -> Self {
        self.id = id;
        self
    }

    /// Money that a customer has paid in, the way it came.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an amount that is not above zero.
    pub fn top_up(account: AccountId, money: Money, way: &str, source: &str, at: Timestamp) -> Result<Self> {
        if money.nanos() <= 0 {
            return Err(Error::invalid("amount", "what is paid in has to be more than nothing"));
        }
        let owed = Money::from_nanos(-money.nanos(), money.currency());
        let lines = [
            Line { account: LedgerAccount::clearing(way), money },
            Line { account: LedgerAccount::prepaid(account), money: owed },
        ];
        Self::new("top_up", format!("top_up:{way}:{source}"), at, lines)
    }

    /// Its id, stamped with the instant at which it counts.
    pub const fn id(&self) -> PostingId {
        self.id
    }

    /// Of what kind it is.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What it came of.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// When it counts.
    pub const fn effective_at(&self) -> Timestamp {
        self.effective_at
    }

    /// Its lines, by account and currency.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Internal, message).with_alert()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(name: usize, nanos: i64) -> Line {
        let account = LedgerAccount::named(format!("a{name}"));
        Line { account, money: Money::from_nanos(nanos, Currency::USD) }
    }

    proptest! {
        #[test]
        fn what_is_posted_balances(amounts in prop::collection::vec((0..5_usize, -9_000_000_000_i64..9_000_000_000), 0..20)) {
            let sum: i64 = amounts.iter().map(|(_, nanos)| nanos).sum();
            let lines = amounts.iter().map(|(name, nanos)| line(*name, *nanos));
            let at = Timestamp::UNIX_EPOCH;
            prop_assert_eq!(Posting::new("test", "s", at, lines.clone()).is_ok(), sum == 0);
            let posting = Posting::new("test", "s", at, lines.chain([line(9, -sum)])).unwrap();
            prop_assert_eq!(posting.lines().iter().map(|line| line.money.nanos()).sum::<i64>(), 0);
            prop_assert!(posting.lines().iter().all(|line| line.money.nanos() != 0));
            prop_assert!(posting.lines().is_sorted_by(|a, b| a.account < b.account));
        }
    }

    #[test]
    fn currencies_balance_each_for_itself() {
        let yen = Money::from_nanos(-5, "JPY".parse().unwrap());
        let lines = [line(1, 5), Line { account: LedgerAccount::revenue(), money: yen }];
        assert!(Posting::new("test", "s", Timestamp::UNIX_EPOCH, lines).is_err());
    }
}
