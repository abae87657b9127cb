//! The posting of a settlement.

use aihub_core::commerce::{LedgerAccount, Line, Posting, SettledCall, Settlement};
use aihub_core::{Funding, Money, Result, UsageRecord};

/// What `calls` of `settlement` move: what customers are charged, against revenue; what vendors charge, against what is
/// owed to them. One posting for all of them, whose source is the stretch of the journal; the records name it, and so are
/// its details.
pub(crate) fn posting(settlement: &Settlement, calls: &[&SettledCall]) -> Result<Posting> {
    let lines = calls.iter().flat_map(|call| lines(&call.record));
    let source = format!("usage:{}:{}", settlement.node, settlement.to);
    Posting::new("usage", source, settlement.at, lines)
}

fn lines(record: &UsageRecord) -> impl Iterator<Item = Line> {
    let customer = match record.funding {
        Funding::Postpaid => LedgerAccount::accrued(record.account),
        Funding::Prepaid(_) => LedgerAccount::prepaid(record.account),
    };
    let charged = record.charge.map(|charge| pair(customer, LedgerAccount::revenue(), charge));
    let cost = record.cost.zip(record.provider.as_deref());
    let owed = cost.map(|(cost, provider)| pair(LedgerAccount::vendor_cost(), LedgerAccount::payable(provider), cost));
    charged.into_iter().chain(owed).flatten()
}

fn pair(debit: LedgerAccount, credit: LedgerAccount, money: Money) -> [Line; 2] {
    let against = Money::from_nanos(money.nanos().saturating_neg(), money.currency());
    [Line { account: debit, money }, Line { account: credit, money: against }]
}
