//! What the books say, read from the database itself, and what the vendors say.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fleet::{self, Fleet};
use crate::{Result, probe};

/// A usage record.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Record {
    /// The call's id, in hexadecimal digits.
    pub(super) call: String,
    /// The key's.
    pub(super) key: String,
    flags: i32,
    /// All tokens of the prompt.
    pub(super) prompt: u64,
    /// All tokens of the answer.
    pub(super) completion: u64,
    /// In nano-units.
    pub(super) charge: Option<i64>,
    pub(super) outcome: String,
    pub(super) detail: Detail,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Detail {
    pub(super) generation: Option<String>,
    #[serde(default)]
    pub(super) attempts: usize,
    #[serde(default)]
    pub(super) user_agent: String,
    /// By buckets; empty ones are left out.
    #[serde(default)]
    discarded: BTreeMap<String, Value>,
}

impl Record {
    /// Another process ended it.
    pub(super) const fn is_recovered(&self) -> bool {
        self.flags & 4 != 0
    }

    /// Not all of its figures are the vendor's.
    pub(super) const fn is_estimated(&self) -> bool {
        self.flags & 2 != 0
    }

    /// All tokens of answers that were paid for and thrown away.
    pub(super) fn discarded(&self) -> u64 {
        self.detail.discarded.values().filter_map(Value::as_u64).sum()
    }

    /// Whether it counts in windows of calls: whoever was let off counts nowhere.
    pub(super) fn counts(&self) -> bool {
        let waived = self.flags & 16 != 0;
        !waived && (self.outcome == "completed" || self.prompt + self.completion > 0)
    }
}

const RECORDS: &str = "SELECT {object}('call', {hex call}, 'key', {hex key}, 'flags', flags, \
    'prompt', input + cache_read + cache_write + audio_input + image_input + tool_input, \
    'completion', output + reasoning + audio_output + image_output, \
    'charge', charge, 'outcome', outcome, 'detail', {json detail}) FROM usage_records";

/// A quota's window.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Window {
    subject: String,
    unit: String,
    span: String,
    most: Option<i64>,
    granted: i64,
    pub(super) settled: i64,
    pub(super) leased: i64,
}

impl Window {
    /// How much it allows.
    pub(super) fn limit(&self) -> i64 {
        self.most.unwrap_or(self.granted)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, unit, span, settled, leased, .. } = self;
        write!(f, "{subject} {unit} {span}: {settled} used and {leased} lent of {}", self.limit())
    }
}

const WINDOWS: &str = "SELECT {object}('subject', subject, 'unit', unit, 'span', span, 'most', most, 'granted', granted, \
    'settled', settled, 'leased', leased) FROM windows";

/// What is in an account of the ledger, in nano-units.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Balance {
    pub(super) account: String,
    pub(super) nanos: i64,
}

const BALANCES: &str = "SELECT {object}('account', account, 'nanos', nanos) FROM balances";

/// A line of the vendors' book.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    pub(super) generation: Option<String>,
    pub(super) asked: String,
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) served: String,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub(super) records: Vec<Record>,
    pub(super) windows: Vec<Window>,
    pub(super) balances: Vec<Balance>,
    pub(super) lines: Vec<Line>,
}

impl Books {
    pub(super) fn read(fleet: &Fleet, vendors: &str) -> Result<Self> {
        let port = fleet::port_of(vendors)?;
        let (status, said) = probe::ask(port, &probe::request("GET", "/_vendors/book", None, ""))?;
        let (_, lines) = said.split_once("\r\n\r\n").filter(|_| status == 200).ok_or("the vendors show no book")?;
        Ok(Self {
            records: documents(&fleet.ask(RECORDS)?)?,
            windows: windows(fleet)?,
            balances: documents(&fleet.ask(BALANCES)?)?,
            lines: documents(lines)?,
        })
    }
}

/// Every quota's window.
pub(super) fn windows(fleet: &Fleet) -> Result<Vec<Window>> {
    documents(&fleet.ask(WINDOWS)?)
}

/// How many records there are.
pub(super) fn count(fleet: &Fleet) -> Result<u64> {
    Ok(fleet.ask("SELECT count(*) FROM usage_records")?.trim().parse()?)
}

fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>> {
    let read = |line: &str| serde_json::from_str(line).map_err(|error| format!("{error} in `{line}`").into());
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// A decimal amount in nano-units.
pub(super) fn nanos(amount: &str) -> Option<i64> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    let part: i64 = format!("{part:0<9}").get(..9)?.parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
}

/// An id as the database has it: what the characters after its prefix say, in hexadecimal digits.
pub(super) fn hex(id: &str) -> Option<String> {
    const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";
    let (_, digits) = id.rsplit_once('_')?;
    let value = digits.chars().try_fold(0_u128, |bits, digit| {
        let digit = ALPHABET.find(digit)?;
        Some(bits << 5 | u128::try_from(digit).ok()?)
    })?;
    Some(format!("{value:032x}"))
}

#[cfg(test)]
mod tests {
    use super::{hex, nanos};

    #[test]
    fn an_amount_is_read_to_the_nano() {
        assert_eq!((nanos("0.05"), nanos("3"), nanos("0.000000001")), (Some(50_000_000), Some(3_000_000_000), Some(1)));
        assert_eq!(nanos("x"), None);
    }

    #[test]
    fn an_id_is_read_as_the_database_writes_it() {
        assert_eq!(hex("call_00000000000000000000000010").unwrap(), format!("{:032x}", 32));
        assert_eq!(hex("key_7zzzzzzzzzzzzzzzzzzzzzzzzz").unwrap(), "f".repeat(32));
        assert!(hex("call_u").is_none() && hex("call").is_none());
    }
}
