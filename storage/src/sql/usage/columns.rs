//! How records are written: all columns, once.

use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::row::Row;
use crate::sql::bulk::bulk;
use crate::sql::values::{Document, Instant, Uuid};

bulk!(Row, "usage_records", "DO NOTHING", {
    "call": Uuid = call;
    "at": Instant = at;
    "account": Uuid = account;
    "key": Uuid = key;
    "plan": Text = plan;
    "operation": Text = operation;
    "organisation": Nullable<Uuid> = organisation;
    "flags": Integer = flags;
    "model": Text = model;
    "provider": Nullable<Text> = provider;
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
    "cost": Nullable<BigInt> = money.cost;
    "charge": Nullable<BigInt> = money.charge;
    "cost_currency": Nullable<Text> = money.cost_currency;
    "price_version": Nullable<Text> = money.price_version;
    "vendor_cost": Nullable<BigInt> = money.vendor_cost;
    "vendor_currency": Nullable<Text> = money.vendor_currency;
    "outcome": Text = outcome;
    "status": Integer = status;
    "duration_us": BigInt = duration_us;
    "posting": Nullable<Uuid> = posting;
    "detail": Document = detail;
});
