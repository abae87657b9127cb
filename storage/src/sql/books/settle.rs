//! The one transaction that takes a stretch of a journal over.

use std::collections::{BTreeMap, BTreeSet};

use aihub_core::commerce::{Posting, Settled, SettledCall, Settlement};
use aihub_core::quota::Window;
use aihub_core::{CallId, Timestamp};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::lock::Lock as _;
use super::rows::{Alert, Lease, LeaseMove, Move, Rollup, Standing, lines};
use super::{SqlBooks, place, position};
use crate::books::{Moves, passed, posting, rollups, subjects};
use crate::sql::SqlError;
use crate::sql::bulk::Put as _;
use crate::sql::connection::transact;
use crate::sql::schema::{journals, leases, postings, settlements, usage_records};
use crate::sql::usage::Row;
use crate::sql::values::{At, Id};

impl SqlBooks {
    pub(super) async fn take_over(&self, settlement: Settlement) -> Result<Settled, SqlError> {
        let node = Id(settlement.node);
        let ((from_segment, from_place), (to_segment, to_place)) = (place(settlement.from), place(settlement.to));
        let booked_at = At(settlement.at);
        transact!(self.database.write, |conn| {
            conn.while_settling().await?;
            let new = (journals::node.eq(node), journals::segment.eq(0), journals::place.eq(0), journals::seq.eq(0));
            let new = diesel::insert_into(journals::table).values(new).on_conflict(journals::node).do_nothing();
            RunQueryDsl::execute(new, conn).await?;
            let here = journals::table
                .filter(journals::node.eq(node))
                .filter(journals::segment.eq(from_segment))
                .filter(journals::place.eq(from_place));
            let go_on =
                (journals::segment.eq(to_segment), journals::place.eq(to_place), journals::seq.eq(journals::seq + 1));
            let moved = diesel::update(here).set(go_on).returning(journals::seq);
            let Some(seq): Option<i64> = RunQueryDsl::get_result(moved, conn).await.optional()? else {
                let query = journals::table.find(node).select((journals::segment, journals::place));
                return Ok(Settled::Elsewhere(position(RunQueryDsl::first(query, conn).await?)));
            };

            let all: Vec<&SettledCall> = settlement.calls.iter().collect();
            let mut booked = posting(&settlement, &all).map_err(SqlError::Ours)?;
            let written = conn.put(usage_rows(&all, &booked)).await?;
            let calls = if written == all.len() {
                all
            } else {
                // Some were there, from another journal or another time: they move nothing again.
                let query = usage_records::table.filter(usage_records::posting.eq(Id(booked.id())));
                let new: Vec<Id> = RunQueryDsl::load(query.select(usage_records::call), conn).await?;
                let new: BTreeSet<CallId> = new.into_iter().map(|call| CallId::from_uuid(call.0)).collect();
                let calls: Vec<_> = all.into_iter().filter(|call| new.contains(&call.record.call)).collect();
                let id = booked.id();
                booked = posting(&settlement, &calls).map_err(SqlError::Ours)?.with_id(id);
                calls
            };

            let named: BTreeSet<String> =
                calls.iter().flat_map(|call| subjects(call)).map(|subject| subject.to_string()).collect();
            let named: Vec<String> = named.into_iter().collect();
            let runs: BTreeSet<uuid::Uuid> = calls.iter().map(|call| call.run).collect();
            let runs: Vec<Id> = runs.into_iter().map(Id).collect();
            let standings: Vec<Standing> = conn.lock_windows(named.clone()).await?;
            let borrowed = leases::table.filter(leases::run.eq_any(runs)).filter(leases::subject.eq_any(named));
            let borrowed: Vec<Lease> = RunQueryDsl::load(borrowed.select(Lease::as_select()), conn).await?;
            let moves = moves(&calls, &standings, &borrowed);
            let (windows, returned) = moved_rows(&moves);
            conn.put(windows).await?;
            conn.put(returned).await?;
            conn.put(alerts(&standings, &moves, settlement.at)).await?;

            let sums = rollups(calls.iter().map(|call| &call.record));
            conn.put(sums.into_iter().map(Rollup::from).collect()).await?;

            let head = (
                postings::id.eq(Id(booked.id())),
                postings::kind.eq(booked.kind()),
                postings::source.eq(booked.source().to_owned()),
                postings::effective_at.eq(At(booked.effective_at())),
                postings::booked_at.eq(booked_at),
            );
            RunQueryDsl::execute(diesel::insert_into(postings::table).values(head), conn).await?;
            let (rows, balances) = lines(&booked);
            conn.put(rows).await?;
            conn.put(balances).await?;
            let stretch = (
                settlements::node.eq(node),
                settlements::seq.eq(seq),
                settlements::posting.eq(Id(booked.id())),
                settlements::calls.eq(i64::try_from(calls.len()).unwrap_or(i64::MAX)),
                settlements::booked_at.eq(booked_at),
            );
            RunQueryDsl::execute(diesel::insert_into(settlements::table).values(stretch), conn).await?;
            Ok(Settled::Now { calls: calls.len() })
        })
    }
}

/// By call: two processes that deliver the same calls at the same time wait for each other in one order.
fn usage_rows(calls: &[&SettledCall], booked: &Posting) -> Vec<Row> {
    let mut rows: Vec<Row> =
        calls.iter().map(|call| Row { posting: Some(Id(booked.id())), ..Row::from(&call.record) }).collect();
    rows.sort_unstable_by_key(|row| row.call.0);
    rows
}

fn moves(calls: &[&SettledCall], standings: &[Standing], borrowed: &[Lease]) -> Moves {
    let windows: Vec<(Window, Option<Timestamp>)> =
        standings.iter().filter_map(|standing| Some((standing.window()?, standing.ends_at.map(|at| at.0)))).collect();
    let leases = borrowed.iter().filter_map(|lease| Some((lease.run.0, lease.window()?))).collect();
    Moves::of(calls, &windows, &leases)
}

fn moved_rows(moves: &Moves) -> (Vec<Move>, Vec<LeaseMove>) {
    let mut windows: BTreeMap<&Window, (i64, i64)> = BTreeMap::new();
    for (window, amount) in &moves.settled {
        windows.entry(window).or_default().0 += amount;
    }
    for ((_, window), amount) in &moves.returned {
        windows.entry(window).or_default().1 -= amount;
    }
    let windows = windows.into_iter().map(|(window, (settled, leased))| Move::of(window, settled, leased));
    let leases = moves.returned.iter().map(|((run, window), amount)| LeaseMove::of(*run, window, -amount));
    (windows.collect(), leases.collect())
}

/// The thresholds that are passed by these moves.
fn alerts(standings: &[Standing], moves: &Moves, at: Timestamp) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for standing in standings {
        let Some(more) = standing.window().and_then(|window| moves.settled.get(&window)) else { continue };
        let (before, most) = (standing.settled, standing.limit());
        let after = before + more;
        alerts.extend(passed(before, after, most).map(|percent| Alert {
            subject: standing.subject.clone(),
            unit: standing.unit.clone(),
            span: standing.span.clone(),
            starts_at: standing.starts_at,
            percent: percent.into(),
            settled: after,
            most,
            raised_at: At(at),
            fired_at: None,
        }));
    }
    alerts
}
