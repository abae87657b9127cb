//! Questions as they stand in addresses, and what they mean.

use std::str::FromStr;
use std::time::Duration;

use aihub_core::commerce::analytics::{Bucket, CallFilter, Dimension, Filter, SeriesQuery};
use aihub_core::jiff::civil::Date;
use aihub_core::jiff::tz::TimeZone;
use aihub_core::page::PageRequest;
use aihub_core::quota::Calendar;
use aihub_core::{CallId, Caller, Error, Result, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which time, and which calls.
///
/// Numbers are text here: what cannot be read is told in one way, with the name of the parameter.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AskSeries {
    /// The first instant (RFC 3339), or a day of the time zone; as long ago as the buckets suggest: 30 days, 24 hours or one
    /// hour before `to`. The first bucket is the one that has it, whole.
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// The first instant, or day, that no longer counts; now.
    to: Option<String>,
    /// `1m` (up to a day of them), `1h` (a quarter) or `1d` (three years).
    #[param(example = "1d")]
    bucket: Option<String>,
    /// Whose hours and days, such as `Europe/Berlin`; the account's own.
    time_zone: Option<String>,
    /// What sums are taken apart by: any of `key`, `model`, `endpoint`, `status`, separated by commas; nothing.
    #[param(example = "model,status")]
    group_by: Option<String>,
    /// Only calls with this key.
    key: Option<String>,
    /// Only calls of this model, by the name under which it was asked for.
    model: Option<String>,
    /// Only these calls: `chat` or `embedding`.
    endpoint: Option<String>,
    /// Only calls answered with this HTTP status.
    status: Option<String>,
}

/// Which calls, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AskCalls {
    /// The first instant (RFC 3339), or a day of the account's time zone; the beginning.
    from: Option<String>,
    /// The first instant, or day, that no longer counts; none.
    to: Option<String>,
    /// Only calls with this key.
    key: Option<String>,
    /// Only calls of this model.
    model: Option<String>,
    /// Only these calls: `chat` or `embedding`.
    endpoint: Option<String>,
    /// Only calls answered with this HTTP status.
    status: Option<String>,
    /// How many, from 1 to 1000; 50.
    limit: Option<String>,
    /// Go on after this call.
    after: Option<String>,
}

/// Which calls, and in which form.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AskExport {
    /// `csv` or `jsonl`; `csv`.
    format: Option<String>,
    /// The first instant (RFC 3339), or a day of the account's time zone; the beginning.
    from: Option<String>,
    /// The first instant, or day, that no longer counts; now.
    to: Option<String>,
    /// Only calls with this key.
    key: Option<String>,
    /// Only calls of this model.
    model: Option<String>,
    /// Only these calls: `chat` or `embedding`.
    endpoint: Option<String>,
    /// Only calls answered with this HTTP status.
    status: Option<String>,
}

/// In which form calls are exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Csv,
    JsonL,
}

impl AskSeries {
    pub(crate) fn query(self, caller: &Caller, now: Timestamp) -> Result<SeriesQuery> {
        let what = "write `1m`, `1h` or `1d`";
        let bucket = read("bucket", self.bucket, what)?.unwrap_or(Bucket::Day);
        let zone = match self.time_zone {
            Some(name) => Calendar::of(&name, 1)?.zone().clone(),
            None => caller.key.terms.calendar.zone().clone(),
        };
        let to = instant("to", self.to, &zone)?.unwrap_or(now);
        let usual = Duration::from_secs(match bucket {
            Bucket::Minute => 3_600,
            Bucket::Hour => 24 * 3_600,
            Bucket::Day => 30 * 24 * 3_600,
        });
        let from = match instant("from", self.from, &zone)? {
            Some(from) => from,
            None => to.checked_sub(usual).map_err(|_| Error::invalid("to", "`to` is before all calendars"))?,
        };
        let group_by = self.group_by.unwrap_or_default();
        let named = group_by.split(',').map(str::trim).filter(|name| !name.is_empty());
        let what = "write any of `key`, `model`, `endpoint` and `status`, separated by commas";
        let group_by = named.map(|name| one::<Dimension>("group_by", name, what)).collect::<Result<_>>()?;
        let filter = filter(self.key, self.model, self.endpoint, self.status)?;
        Ok(SeriesQuery { account: caller.account(), from, to, bucket, zone, group_by, filter })
    }
}

impl AskCalls {
    pub(crate) fn query(self, caller: &Caller) -> Result<(CallFilter, PageRequest<CallId>)> {
        let zone = caller.key.terms.calendar.zone();
        let filter = CallFilter {
            of: filter(self.key, self.model, self.endpoint, self.status)?,
            from: instant("from", self.from, zone)?,
            to: instant("to", self.to, zone)?,
        };
        let limit = read("limit", self.limit, "write a number from 1 to 1000")?.unwrap_or(50);
        if !(1..=PageRequest::<CallId>::MOST).contains(&limit) {
            return Err(wrong("limit", &limit.to_string(), "write a number from 1 to 1000"));
        }
        let after = read("after", self.after, "write the `next` of the page before")?;
        Ok((filter, PageRequest { after, limit }))
    }
}

impl AskExport {
    pub(crate) fn query(self, caller: &Caller, now: Timestamp) -> Result<(CallFilter, Format)> {
        let zone = caller.key.terms.calendar.zone();
        let filter = CallFilter {
            of: filter(self.key, self.model, self.endpoint, self.status)?,
            from: instant("from", self.from, zone)?,
            // Calls that come meanwhile would not be in it anyway: the newest are written first.
            to: Some(instant("to", self.to, zone)?.unwrap_or(now)),
        };
        Ok((filter, read("format", self.format, "write `csv` or `jsonl`")?.unwrap_or_default()))
    }
}

fn filter(
    key: Option<String>,
    model: Option<String>,
    endpoint: Option<String>,
    status: Option<String>,
) -> Result<Filter> {
    Ok(Filter {
        key: read("key", key, "write the id of a key, `key_…`")?,
        model: model.map(Into::into),
        operation: endpoint.map(Into::into),
        status: read("status", status, "write an HTTP status, such as 200")?,
    })
}

/// An instant, or the first one of a day.
fn instant(name: &'static str, text: Option<String>, zone: &TimeZone) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(at));
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-01".len());
    let start = day.and_then(|day| day.to_zoned(zone.clone()).ok()).map(|start| start.timestamp());
    let what = "write an instant such as `2026-11-01T00:00:00Z` (a `+` in an address is `%2B`), or a day such as \
                `2026-11-01`";
    start.map(Some).ok_or_else(|| wrong(name, &text, what))
}

fn read<T: FromStr>(name: &'static str, text: Option<String>, what: &str) -> Result<Option<T>> {
    text.map(|text| one(name, &text, what)).transpose()
}

fn one<T: FromStr>(name: &'static str, text: &str, what: &str) -> Result<T> {
    text.parse().map_err(|_| wrong(name, text, what))
}

fn wrong(name: &'static str, text: &str, what: &str) -> Error {
    let shown: String = text.chars().take(100).collect();
    Error::invalid(name, format!("`{name}` cannot be `{shown}`: {what}"))
}

#[cfg(test)]
mod tests {
    use aihub_core::{AccountId, ApiKey, Plan};

    use super::*;

    fn caller() -> Caller {
        let at = Timestamp::UNIX_EPOCH;
        let mut key = ApiKey::new(AccountId::new(at), "reader", "basic", at);
        let terms = aihub_core::Terms { calendar: Calendar::of("Asia/Kolkata", 1).unwrap(), ..Default::default() };
        key.terms = terms.into();
        Caller::new(key, Plan::unlimited("basic"))
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_not_said_is_the_last_month_by_the_accounts_days() {
        let query = AskSeries::default().query(&caller(), now()).unwrap();
        assert_eq!((query.to, query.bucket), (now(), Bucket::Day));
        assert_eq!(query.from.to_string(), "2026-10-22T12:00:00Z");
        assert_eq!(query.zone.iana_name(), Some("Asia/Kolkata"));
        assert!(query.group_by.is_empty() && query.filter == Filter::default());
    }

    #[test]
    fn a_day_begins_where_it_begins_in_the_zone() {
        let ask = AskSeries { from: Some("2026-11-01".into()), ..AskSeries::default() };
        let query = ask.query(&caller(), now()).unwrap();
        assert_eq!(query.from.to_string(), "2026-10-31T18:30:00Z");
        let zone = Some("Europe/Berlin".into());
        let ask = AskSeries { from: Some("2026-11-01".into()), time_zone: zone, ..AskSeries::default() };
        assert_eq!(ask.query(&caller(), now()).unwrap().from.to_string(), "2026-10-31T23:00:00Z");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refused = |ask: AskSeries| ask.query(&caller(), now()).unwrap_err();
        let some = |text: &str| Some(text.to_owned());
        for (ask, name) in [
            (AskSeries { from: some("yesterday"), ..AskSeries::default() }, "from"),
            (AskSeries { from: some("2026-11-01T00:00:00"), ..AskSeries::default() }, "from"),
            (AskSeries { to: some("2026-13-01"), ..AskSeries::default() }, "to"),
            (AskSeries { bucket: some("1w"), ..AskSeries::default() }, "bucket"),
            (AskSeries { time_zone: some("Middle/Earth"), ..AskSeries::default() }, "time_zone"),
            (AskSeries { group_by: some("model,colour"), ..AskSeries::default() }, "group_by"),
            (AskSeries { key: some("acc_1"), ..AskSeries::default() }, "key"),
            (AskSeries { status: some("ok"), ..AskSeries::default() }, "status"),
        ] {
            assert_eq!(refused(ask).param(), Some(name));
        }
        for limit in ["0", "1001", "-1", "many"] {
            let ask = AskCalls { limit: some(limit), ..AskCalls::default() };
            assert_eq!(ask.query(&caller()).unwrap_err().param(), Some("limit"));
        }
        let ask = AskExport { format: some("xlsx"), ..AskExport::default() };
        assert_eq!(ask.query(&caller(), now()).unwrap_err().param(), Some("format"));
    }
}
