//! How windows stand, and whom is told of it.

use std::collections::{BTreeMap, BTreeSet};

use aihub_core::commerce::{Alert, Alerts, Standing, Standings};
use aihub_core::quota::{Span, Subject, Unit, Window};
use aihub_core::{Result, Timestamp};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::SqlBooks;
use super::lend::used;
use super::rows::{self, Place, window};
use crate::sql::SqlError;
use crate::sql::connection::on;
use crate::sql::schema::{quota_alerts, usage_records, windows};
use crate::sql::values::{At, Id};

/// An alert as it is kept.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = quota_alerts)]
struct AlertRow {
    subject: String,
    unit: String,
    span: String,
    starts_at: At,
    percent: i32,
    settled: i64,
    most: i64,
    raised_at: At,
}

impl AlertRow {
    /// `None` where this version cannot tell which window it is of.
    fn alert(&self) -> Option<Alert> {
        Some(Alert {
            window: window(&self.subject, &self.unit, &self.span, self.starts_at)?,
            percent: u16::try_from(self.percent).ok()?,
            settled: self.settled,
            most: self.most,
            raised_at: self.raised_at.0,
        })
    }
}

impl SqlBooks {
    async fn standing(&self, asked: &[Window]) -> Result<Vec<Standing>, SqlError> {
        // By their starts, too: an account whose minutes are limited has very many windows.
        let subjects: BTreeSet<String> = asked.iter().map(|window| window.subject.to_string()).collect();
        let subjects: Vec<String> = subjects.into_iter().collect();
        let starts: BTreeSet<Timestamp> = asked.iter().map(|window| window.starts_at).collect();
        let starts: Vec<At> = starts.into_iter().map(At).collect();
        let query = windows::table
            .filter(windows::subject.eq_any(subjects.clone()))
            .filter(windows::starts_at.eq_any(starts.clone()));
        let open = on!(self.database.read, |conn| query.select(rows::Standing::as_select()).load(conn))?;
        let open: BTreeMap<Window, rows::Standing> =
            open.into_iter().filter_map(|standing| Some((standing.window()?, standing))).collect();
        let query = quota_alerts::table
            .filter(quota_alerts::subject.eq_any(subjects))
            .filter(quota_alerts::starts_at.eq_any(starts))
            .order(quota_alerts::percent);
        let raised = on!(self.database.read, |conn| query.select(AlertRow::as_select()).load(conn))?;
        let mut alerts = BTreeMap::<Window, Vec<Alert>>::new();
        for alert in raised.iter().filter_map(AlertRow::alert) {
            alerts.entry(alert.window.clone()).or_default().push(alert);
        }
        let mut standings = Vec::with_capacity(asked.len());
        for window in asked {
            let (settled, leased, granted) = match open.get(window) {
                Some(standing) => (standing.settled, standing.leased, standing.granted),
                None => (self.used_before(window).await?, 0, 0),
            };
            let alerts = alerts.get(window).cloned().unwrap_or_default();
            standings.push(Standing { window: window.clone(), settled, leased, granted, alerts });
        }
        Ok(standings)
    }

    /// What a window would begin with if somebody borrowed of it now.
    async fn used_before(&self, window: &Window) -> Result<i64, SqlError> {
        let query = usage_records::table.filter(usage_records::at.ge(At(window.starts_at)));
        let sum: Option<i64> = match (&window.subject, window.span, window.unit) {
            // What is paid in counts from when it was.
            (Subject::Account(_), Span::Lifetime, Unit::Money(_)) => None,
            (Subject::Account(account), ..) => {
                let query = query.filter(usage_records::account.eq(Id::from(*account))).select(used(window.unit));
                on!(self.database.read, |conn| query.first(conn))?
            }
            (Subject::Key(key), ..) => {
                let query = query.filter(usage_records::key.eq(Id::from(*key))).select(used(window.unit));
                on!(self.database.read, |conn| query.first(conn))?
            }
            _ => None,
        };
        Ok(sum.unwrap_or(0))
    }

    async fn not_fired(&self, limit: usize) -> Result<Vec<Alert>, SqlError> {
        let query = quota_alerts::table
            .filter(quota_alerts::fired_at.is_null())
            .order(quota_alerts::raised_at)
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let raised = on!(self.database.read, |conn| query.select(AlertRow::as_select()).load(conn))?;
        Ok(raised.iter().filter_map(AlertRow::alert).collect())
    }

    async fn fired(&self, alert: &Alert, at: Timestamp) -> Result<bool, SqlError> {
        let free = quota_alerts::table.filter(of(alert)).filter(quota_alerts::fired_at.is_null());
        let claim = diesel::update(free).set(quota_alerts::fired_at.eq(At(at)));
        let claimed: usize = on!(self.database.write, |conn| RunQueryDsl::execute(claim, conn))?;
        Ok(claimed == 1)
    }

    async fn free(&self, alert: &Alert) -> Result<(), SqlError> {
        let back = diesel::update(quota_alerts::table.filter(of(alert))).set(quota_alerts::fired_at.eq(None::<At>));
        on!(self.database.write, |conn| RunQueryDsl::execute(back, conn))?;
        Ok(())
    }
}

/// Whether a row is this alert.
#[diesel::dsl::auto_type(no_type_alias)]
fn of(alert: &Alert) -> _ {
    let place: Place = Place::of(&alert.window);
    let subject: String = place.subject;
    let unit: String = place.unit;
    let span: &'static str = place.span;
    let starts_at: At = At(place.starts_at);
    let percent: i32 = i32::from(alert.percent);
    quota_alerts::subject
        .eq(subject)
        .and(quota_alerts::unit.eq(unit))
        .and(quota_alerts::span.eq(span))
        .and(quota_alerts::starts_at.eq(starts_at))
        .and(quota_alerts::percent.eq(percent))
}

#[async_trait]
impl Standings for SqlBooks {
    async fn standings(&self, windows: &[Window]) -> Result<Vec<Standing>> {
        Ok(self.standing(windows).await?)
    }
}

#[async_trait]
impl Alerts for SqlBooks {
    async fn pending(&self, limit: usize) -> Result<Vec<Alert>> {
        Ok(self.not_fired(limit).await?)
    }

    async fn claim(&self, alert: &Alert, at: Timestamp) -> Result<bool> {
        Ok(self.fired(alert, at).await?)
    }

    async fn give_back(&self, alert: &Alert) -> Result<()> {
        Ok(self.free(alert).await?)
    }
}
