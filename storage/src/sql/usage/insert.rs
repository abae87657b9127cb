//! Writing many records at once: the one thing that each database has a way of its own for.
//!
//! What diesel makes of a list of rows was refused on both: a statement as long as the batch, which is
//! prepared anew every time, and limited to 65,535 values on one and 32,766 on the other.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

use aihub_core::UsageRecord;
use diesel::QueryResult;

/// Inserts records, all or none; those of calls that are there stay as they are.
pub(super) trait Insert {
    fn insert(&mut self, records: Arc<[UsageRecord]>) -> impl Future<Output = QueryResult<()>> + Send;
}

/// Hands the columns to the macro `$then`: name, type, and where a [`Row`](super::row::Row) has it. Each
/// database makes its statement and what is bound to it out of this one list, so that they have one order.
macro_rules! columns {
    ($then:ident) => {
        $then! {
            "call": Uuid = call;
            "at": Instant = at;
            "account": Uuid = account;
            "key": Uuid = key;
            "plan": Text = plan;
            "operation": Text = operation;
            "stream": Bool = stream;
            "model": Text = model;
            "provider": Nullable<Text> = provider;
            "served_model": Nullable<Text> = served_model;
            "input": BigInt = usage.input;
            "cache_read": BigInt = usage.cache_read;
            "cache_write": BigInt = usage.cache_write;
            "audio_input": BigInt = usage.audio_input;
            "image_input": BigInt = usage.image_input;
            "tool_input": BigInt = usage.tool_input;
            "output": BigInt = usage.output;
            "reasoning": BigInt = usage.reasoning;
            "audio_output": BigInt = usage.audio_output;
            "image_output": BigInt = usage.image_output;
            "searches": BigInt = usage.searches;
            "estimated": Bool = usage.estimated;
            "cost": Nullable<BigInt> = money.cost;
            "cost_currency": Nullable<Text> = money.cost_currency;
            "vendor_cost": Nullable<BigInt> = money.vendor_cost;
            "vendor_currency": Nullable<Text> = money.vendor_currency;
            "outcome": Text = outcome;
            "status": Integer = status;
            "duration_us": BigInt = duration_us;
            "first_event_us": Nullable<BigInt> = first_event_us;
            "detail": Document = detail;
        }
    };
}
use columns;
