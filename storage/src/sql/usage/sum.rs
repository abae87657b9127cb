//! Sums, made where the records are.

use aihub_core::quota::Amounts;
use aihub_core::{Error, ErrorKind, Money, Result, Usage};
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::row::unreadable;
use crate::sql::schema::usage_records;
use crate::sql::values::WideSum;

#[diesel::declare_sql_function]
extern "SQL" {
    /// The sum of those that are there; none of none.
    #[aggregate]
    #[sql_name = "sum"]
    fn sum_of(x: Nullable<BigInt>) -> Nullable<WideSum>;
}

/// The records of one currency, or of none.
#[derive(Debug, Queryable)]
pub(super) struct Sums {
    currency: Option<String>,
    calls: i64,
    prompt: (Count, Count, Count, Count, Count, Count),
    completion: (Count, Count, Count, Count),
    cost: Count,
}

type Count = Option<i64>;

/// The columns of [`Sums`], of records grouped by the currency.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn columns() -> _ {
    (
        usage_records::cost_currency,
        count_star(),
        (
            sum_of(usage_records::input.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::cache_read.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::cache_write.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::audio_input.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::image_input.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::tool_input.nullable()).cast::<Nullable<BigInt>>(),
        ),
        (
            sum_of(usage_records::output.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::reasoning.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::audio_output.nullable()).cast::<Nullable<BigInt>>(),
            sum_of(usage_records::image_output.nullable()).cast::<Nullable<BigInt>>(),
        ),
        sum_of(usage_records::cost).cast::<Nullable<BigInt>>(),
    )
}

/// All currencies together, which are one at most.
pub(super) fn amounts(sums: Vec<Sums>) -> Result<Amounts> {
    let mut all = Amounts::default();
    for sums in sums {
        all.calls = all.calls.saturating_add(whole(Some(sums.calls)));
        all.tokens = all.tokens.saturating_add(sums.usage().total_tokens());
        if let (Some(currency), Some(nanos)) = (sums.currency, sums.cost) {
            let other = all.money.replace(Money::from_nanos(nanos, currency.parse().map_err(unreadable)?));
            if other.is_some() {
                let message = "These records are in several currencies, which have no sum: ask the operator";
                return Err(Error::new(ErrorKind::Internal, message).with_alert());
            }
        }
    }
    Ok(all)
}

impl Sums {
    fn usage(&self) -> Usage {
        let (input, cache_read, cache_write, audio_input, image_input, tool_input) = self.prompt;
        let (output, reasoning, audio_output, image_output) = self.completion;
        let mut usage = Usage::new(whole(input), whole(output));
        usage.cache_read = whole(cache_read);
        usage.cache_write = whole(cache_write);
        usage.audio_input = whole(audio_input);
        usage.image_input = whole(image_input);
        usage.tool_input = whole(tool_input);
        usage.reasoning = whole(reasoning);
        usage.audio_output = whole(audio_output);
        usage.image_output = whole(image_output);
        usage
    }
}

fn whole(count: Count) -> u64 {
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}
