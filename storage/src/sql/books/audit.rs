//! Proving that the books agree with themselves.

use aihub_core::quota::{Subject, Unit};
use aihub_core::{Result, Timestamp};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::SqlBooks;
use super::lend::used;
use super::rows::Standing;
use crate::lease::LOST;
use crate::sql::SqlError;
use crate::sql::connection::on;
use crate::sql::schema::{balances, usage_records, windows};
use crate::sql::values::{At, Id, Uuid};

/// One thing that has to hold, and where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What has to hold.
    pub name: &'static str,
    /// Each place where it does not, and by how much.
    pub drift: Vec<String>,
}

/// What is off, by an id.
#[derive(Debug, QueryableByName)]
struct ById {
    #[diesel(sql_type = Uuid)]
    id: Id,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    off: i64,
}

/// What is off, by a name.
#[derive(Debug, QueryableByName)]
struct ByName {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    off: i64,
}

/// Each query gives back what is off, in words that both databases know.
const BY_ID: [(&str, &str); 6] = [
    (
        "every posting balances",
        "SELECT posting AS id, currency AS name, CAST(sum(nanos) AS bigint) AS off FROM posting_lines \
         GROUP BY posting, currency HAVING sum(nanos) <> 0",
    ),
    (
        "revenue is what usage was charged",
        "SELECT id, currency AS name, CAST(sum(nanos) AS bigint) AS off FROM ( \
             SELECT posting AS id, cost_currency AS currency, charge AS nanos FROM usage_records \
                 WHERE charge IS NOT NULL AND posting IS NOT NULL \
             UNION ALL SELECT posting, currency, nanos FROM posting_lines WHERE account = 'house/revenue') AS both_sides \
         GROUP BY id, currency HAVING sum(nanos) <> 0",
    ),
    (
        "vendor cost is what usage has cost",
        "SELECT id, currency AS name, CAST(sum(nanos) AS bigint) AS off FROM ( \
             SELECT posting AS id, cost_currency AS currency, -cost AS nanos FROM usage_records \
                 WHERE cost IS NOT NULL AND provider IS NOT NULL AND posting IS NOT NULL \
             UNION ALL SELECT posting, currency, nanos FROM posting_lines WHERE account = 'house/vendor_cost') AS both_sides \
         GROUP BY id, currency HAVING sum(nanos) <> 0",
    ),
    (
        "every record is in one posting",
        "SELECT call AS id, 'not posted' AS name, CAST(1 AS bigint) AS off FROM usage_records WHERE posting IS NULL",
    ),
    (
        "a settlement has the calls that it says",
        "SELECT id, 'calls' AS name, CAST(sum(calls) AS bigint) AS off FROM ( \
             SELECT posting AS id, calls FROM settlements \
             UNION ALL SELECT posting, -count(*) FROM usage_records WHERE posting IS NOT NULL GROUP BY posting) AS both_sides \
         GROUP BY id HAVING sum(calls) <> 0",
    ),
    (
        "rollups are what the records say",
        "SELECT id, name, CAST(sum(off) AS bigint) AS off FROM ( \
             SELECT account AS id, width || ' ' || currency AS name, \
                 calls * 1000003 + prompt_tokens + completion_tokens * 7 + charge * 13 + cost * 17 AS off FROM usage_rollups \
             UNION ALL SELECT account, width || ' ' || coalesce(cost_currency, ''), -(1000003 + input + cache_read + cache_write \
                 + audio_input + image_input + tool_input + (output + reasoning + audio_output + image_output) * 7 \
                 + coalesce(charge, 0) * 13 + coalesce(cost, 0) * 17) FROM usage_records \
                 CROSS JOIN (SELECT 'quarter' AS width UNION ALL SELECT 'hour' UNION ALL SELECT 'day' \
                     UNION ALL SELECT 'model_quarter' UNION ALL SELECT 'model_hour' UNION ALL SELECT 'model_day') AS widths \
                 WHERE posting IS NOT NULL) AS both_sides \
         GROUP BY id, name HAVING sum(off) <> 0",
    ),
];

const BY_NAME: [(&str, &str); 2] = [
    (
        "balances are the sums of their lines",
        "SELECT account || ' ' || currency AS name, CAST(sum(nanos) AS bigint) AS off FROM ( \
             SELECT account, currency, nanos FROM posting_lines \
             UNION ALL SELECT account, currency, -nanos FROM balances) AS both_sides \
         GROUP BY account, currency HAVING sum(nanos) <> 0",
    ),
    (
        "what is lent is what was borrowed",
        "SELECT subject || ' ' || unit || ' ' || span AS name, CAST(sum(amount) AS bigint) AS off FROM ( \
             SELECT subject, unit, span, starts_at, leased AS amount FROM windows \
             UNION ALL SELECT subject, unit, span, starts_at, -amount FROM leases) AS both_sides \
         GROUP BY subject, unit, span, starts_at HAVING sum(amount) <> 0",
    ),
];

impl SqlBooks {
    /// Checks everything that has to hold, at `now`. Reads only. Takes as long as there is usage; while calls are being
    /// settled it may see some of a settlement in one check and none in the next, so that drift has to be there twice.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the database does not answer.
    pub async fn audit(&self, now: Timestamp) -> Result<Vec<Check>> {
        Ok(self.checks(now).await?)
    }

    async fn checks(&self, now: Timestamp) -> Result<Vec<Check>, SqlError> {
        let mut checks = Vec::new();
        for (name, query) in BY_ID {
            let rows: Vec<ById> = on!(self.database.read, |conn| RunQueryDsl::load(diesel::sql_query(query), conn))?;
            let drift = rows.iter().map(|row| format!("{} {}: {}", row.id.0, row.name, row.off)).collect();
            checks.push(Check { name, drift });
        }
        for (name, query) in BY_NAME {
            let rows: Vec<ByName> = on!(self.database.read, |conn| RunQueryDsl::load(diesel::sql_query(query), conn))?;
            checks.push(Check { name, drift: rows.iter().map(|row| format!("{}: {}", row.name, row.off)).collect() });
        }
        checks.push(Check { name: "quotas count what was used", drift: self.miscounted().await? });
        checks.push(Check { name: "nobody has borrowed who is gone", drift: self.gone(now).await? });
        Ok(checks)
    }

    /// Windows of keys and accounts that do not count what their records say, and purses that do not hold what their
    /// ledger says.
    async fn miscounted(&self) -> Result<Vec<String>, SqlError> {
        let query = windows::table.order((windows::subject, windows::unit, windows::starts_at));
        let standings: Vec<Standing> = on!(self.database.read, |conn| query.select(Standing::as_select()).load(conn))?;
        let mut drift = Vec::new();
        for standing in standings {
            let Some(window) = standing.window() else { continue };
            let period = usage_records::table
                .filter(usage_records::at.ge(standing.starts_at))
                .filter(usage_records::at.lt(standing.ends_at.unwrap_or(At(Timestamp::MAX))));
            let unit = used(window.unit);
            let said: Option<i64> = match (&window.subject, standing.most) {
                (Subject::Account(account), None) => {
                    let Unit::Money(currency) = window.unit else { continue };
                    let purse = balances::table
                        .find((format!("{account}/prepaid"), currency.to_string()))
                        .select(balances::nanos);
                    let owed: Option<i64> = on!(self.database.read, |conn| purse.first(conn)).optional()?;
                    Some(standing.granted + owed.unwrap_or(0))
                }
                (Subject::Account(account), Some(_)) => {
                    let query = period.filter(usage_records::account.eq(Id::from(*account))).select(unit);
                    on!(self.database.read, |conn| query.first(conn))?
                }
                (Subject::Key(key), Some(_)) => {
                    let query = period.filter(usage_records::key.eq(Id::from(*key))).select(unit);
                    on!(self.database.read, |conn| query.first(conn))?
                }
                _ => continue,
            };
            let off = standing.settled - said.unwrap_or(0);
            if off != 0 {
                let Standing { subject, unit, span, .. } = &standing;
                drift.push(format!("{subject} {unit} {span} of {}: {off}", standing.starts_at.0));
            }
        }
        Ok(drift)
    }

    async fn gone(&self, now: Timestamp) -> Result<Vec<String>, SqlError> {
        let lost = self.lost(now).await?;
        Ok(lost.iter().map(|run| format!("the process {} has not been seen for {LOST:?}", run.0)).collect())
    }
}
