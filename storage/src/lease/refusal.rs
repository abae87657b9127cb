//! How a limit refuses.

use aihub_core::quota::{Limit, Most, Span, Subject, Unit};
use aihub_core::{Error, ErrorKind, Money, Refusal};

/// `limit` allows `most`, of which `left` is left, which is less than what is asked for.
#[cold]
pub(super) fn refuse(limit: &Limit, most: i64, left: i64, asked: i64) -> Error {
    let who = match limit.window.subject {
        Subject::Key(_) => "API key",
        Subject::Account(_) | Subject::Model(..) => "account",
        Subject::Organisation(_) => "organisation",
        Subject::Plan(_) => "plan",
    };
    let amount = |amount: i64| match limit.window.unit {
        Unit::Calls => format!("{amount} calls"),
        Unit::Tokens => format!("{amount} tokens"),
        Unit::Money(currency) => Money::from_nanos(amount, currency).to_string(),
    };
    let (most, left, asked) = (amount(most), amount(left), amount(asked));
    let until = limit.ends_at.map(|end| format!(" until {end}")).unwrap_or_default();
    let message = if limit.most == Most::Prepaid {
        format!(
            "This {who} has {left} left of what was paid in, and this call may need {asked}: top up, or ask for less"
        )
    } else {
        let per = match limit.window.span {
            Span::Minute => " a minute",
            Span::Day => " a day",
            Span::Month => " a month",
            Span::Lifetime => "",
        };
        format!(
            "This {who} may use {most}{per} and has {left} left{until}, and this call may need {asked}: ask for less, \
             wait, or move to a larger plan"
        )
    };
    let refusal = Refusal::new(limit.source.clone(), most, left);
    let refusal = match limit.ends_at {
        Some(end) => refusal.with_reset(end),
        None => refusal,
    };
    // A minute passes: to come back is no matter of money.
    let kind = if limit.window.span == Span::Minute { ErrorKind::RateLimited } else { ErrorKind::PaymentRequired };
    Error::new(kind, message).with_refusal(refusal)
}
