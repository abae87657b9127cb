//! Lending slices of windows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aihub_core::commerce::RunId;
use aihub_core::quota::{Most, Subject, Unit, Window};
use aihub_core::{Result, Timestamp};
use async_trait::async_trait;
use diesel::dsl::exists;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::RunQueryDsl;

use super::SqlBooks;
use super::lock::Lock as _;
use super::rows::{Lease, LeaseMove, Move, Place, Standing, window};
use crate::lease::{LOST, Lender, Lent, Return, SILENT, Wish, share};
use crate::sql::SqlError;
use crate::sql::bulk::Put as _;
use crate::sql::connection::{on, transact};
use crate::sql::schema::{leases, runs, usage_records, windows};
use crate::sql::values::{At, Id};

/// How often it is written down that a process lives.
const SEEN: Duration = Duration::from_secs(5);

impl SqlBooks {
    async fn lend(&self, run: RunId, wishes: Vec<Wish>, at: Timestamp) -> Result<Vec<Lent>, SqlError> {
        let places: Vec<Place> = wishes.iter().map(|wish| Place::of(&wish.window)).collect();
        let subjects: BTreeSet<String> = places.iter().map(|place| place.subject.clone()).collect();
        let subjects: Vec<String> = subjects.into_iter().collect();
        transact!(self.database.write, |conn| {
            let query = windows::table.filter(windows::subject.eq_any(subjects.clone()));
            let known: Vec<Standing> = RunQueryDsl::load(query.select(Standing::as_select()), conn).await?;
            let known: BTreeSet<Window> = known.iter().filter_map(Standing::window).collect();
            let missing: Vec<&Wish> = wishes.iter().filter(|wish| !known.contains(&wish.window)).collect();
            if !missing.is_empty() {
                conn.while_opening().await?;
                for wish in missing {
                    let begins_with: i64 = match begin(wish) {
                        Some(Begin::Counted(by)) => {
                            let query = usage_records::table
                                .filter(usage_records::at.ge(At(wish.window.starts_at)))
                                .filter(usage_records::at.lt(At(wish.ends_at.unwrap_or(Timestamp::MAX))));
                            let sum: Option<i64> = match by {
                                By::Key(key) => {
                                    let query = query.filter(usage_records::key.eq(key));
                                    RunQueryDsl::first(query.select(used(wish.window.unit)), conn).await?
                                }
                                By::Account(account) => {
                                    let query = query.filter(usage_records::account.eq(account));
                                    RunQueryDsl::first(query.select(used(wish.window.unit)), conn).await?
                                }
                            };
                            sum.unwrap_or(0)
                        }
                        None => 0,
                    };
                    let place = Place::of(&wish.window);
                    let row = (
                        windows::subject.eq(place.subject),
                        windows::unit.eq(place.unit),
                        windows::span.eq(place.span),
                        windows::starts_at.eq(At(place.starts_at)),
                        windows::ends_at.eq(wish.ends_at.map(At)),
                        windows::settled.eq(begins_with),
                    );
                    let open = diesel::insert_into(windows::table)
                        .values(row)
                        .on_conflict((windows::subject, windows::unit, windows::span, windows::starts_at))
                        .do_nothing();
                    RunQueryDsl::execute(open, conn).await?;
                }
            }
            let standings = conn.lock_windows(subjects.clone()).await?;
            let borrowed = leases::table.filter(leases::subject.eq_any(subjects));
            let borrowed: Vec<Lease> = RunQueryDsl::load(borrowed.select(Lease::as_select()), conn).await?;
            let silent_since = At(at.checked_sub(SILENT).unwrap_or(Timestamp::MIN));
            let silent = runs::table.filter(runs::seen_at.lt(silent_since)).select(runs::run);
            let silent: Vec<Id> = RunQueryDsl::load(silent, conn).await?;
            let silent = silent.into_iter().map(|run| run.0).collect();
            let decisions = decide(run, &wishes, &standings, &borrowed, &silent);
            let mut moved = (Vec::new(), Vec::new());
            for (wish, decision) in wishes.iter().zip(&decisions) {
                if decision.lent.amount > 0 {
                    moved.0.push(Move::of(&wish.window, 0, decision.lent.amount));
                    moved.1.push(LeaseMove::of(run, &wish.window, decision.lent.amount));
                }
                let place = Place::of(&wish.window);
                if decision.most_is_new {
                    let most = match wish.most {
                        Most::Fixed(most) => Some(most),
                        Most::Prepaid => None,
                    };
                    RunQueryDsl::execute(diesel::update(of(&place)).set(windows::most.eq(most)), conn).await?;
                }
                if decision.recalls {
                    let update = diesel::update(of(&place)).set(windows::recall.eq(windows::recall + 1));
                    RunQueryDsl::execute(update, conn).await?;
                }
            }
            moved.0.sort_unstable_by(|a, b| Move::order(a).cmp(&Move::order(b)));
            conn.put(moved.0).await?;
            conn.put(moved.1).await?;
            for (wish, decision) in wishes.iter().zip(&decisions) {
                if let Some(number) = decision.answers {
                    let lease = of_lease(run, &Place::of(&wish.window));
                    RunQueryDsl::execute(diesel::update(lease).set(leases::answered.eq(number)), conn).await?;
                }
            }
            Ok(decisions.into_iter().map(|decision| decision.lent).collect())
        })
    }

    async fn take_back(&self, run: RunId, returns: Vec<Return>) -> Result<(), SqlError> {
        let subjects: BTreeSet<String> = returns.iter().map(|back| back.window.subject.to_string()).collect();
        transact!(self.database.write, |conn| {
            conn.lock_windows(subjects.into_iter().collect()).await?;
            let mut sorted: Vec<&Return> = returns.iter().collect();
            sorted.sort_unstable_by_key(|back| Place::of(&back.window));
            let windows = sorted.iter().map(|back| Move::of(&back.window, back.used, -(back.unused + back.used)));
            conn.put(windows.collect()).await?;
            let leases = sorted.iter().map(|back| LeaseMove::of(run, &back.window, -(back.unused + back.used)));
            conn.put(leases.collect()).await?;
            for back in sorted {
                let Some(number) = back.answers else { continue };
                let lease = of_lease(run, &Place::of(&back.window));
                RunQueryDsl::execute(diesel::update(lease).set(leases::answered.eq(number)), conn).await?;
            }
            Ok(())
        })
    }

    /// Says that `run` lives, if that has not been said for a while.
    async fn say(&self, run: RunId, node: uuid::Uuid, at: Timestamp) -> Result<bool, SqlError> {
        let query = runs::table.find(Id(run)).select(runs::seen_at);
        let said: Option<At> = on!(self.database.read, |conn| query.first(conn)).optional()?;
        if said.is_some_and(|said| at.duration_since(said.0).unsigned_abs() < SEEN) {
            return Ok(false);
        }
        let row = (runs::run.eq(Id(run)), runs::node.eq(Id(node)), runs::seen_at.eq(At(at)));
        let say = diesel::insert_into(runs::table)
            .values(row)
            .on_conflict(runs::run)
            .do_update()
            .set(runs::seen_at.eq(At(at)));
        on!(self.database.write, |conn| RunQueryDsl::execute(say, conn))?;
        Ok(true)
    }

    async fn recalled(&self, run: RunId) -> Result<Vec<(Window, i64)>, SqlError> {
        let joined = windows::table.inner_join(
            leases::table.on(leases::subject
                .eq(windows::subject)
                .and(leases::unit.eq(windows::unit))
                .and(leases::span.eq(windows::span))
                .and(leases::starts_at.eq(windows::starts_at))),
        );
        let query = joined.filter(leases::run.eq(Id(run))).filter(windows::recall.gt(leases::answered)).select((
            windows::subject,
            windows::unit,
            windows::span,
            windows::starts_at,
            windows::recall,
        ));
        let rows: Vec<(String, String, String, At, i64)> = on!(self.database.read, |conn| query.load(conn))?;
        let asked_for = |(subject, unit, span, starts_at, number): &(String, String, String, At, i64)| {
            Some((window(subject, unit, span, *starts_at)?, *number))
        };
        Ok(rows.iter().filter_map(asked_for).collect())
    }

    /// The processes that were not seen for too long, and have something.
    pub(super) async fn lost(&self, at: Timestamp) -> Result<Vec<Id>, SqlError> {
        let silent_since = At(at.checked_sub(LOST).unwrap_or(Timestamp::MIN));
        let borrows = leases::table.filter(leases::run.eq(runs::run)).filter(leases::amount.ne(0));
        let query = runs::table.filter(runs::seen_at.lt(silent_since)).filter(exists(borrows)).select(runs::run);
        Ok(on!(self.database.read, |conn| query.load(conn))?)
    }

    async fn finish(&self, run: RunId) -> Result<(), SqlError> {
        transact!(self.database.write, |conn| {
            let own = leases::table.filter(leases::run.eq(Id(run)));
            let subjects: Vec<String> = RunQueryDsl::load(own.select(leases::subject).distinct(), conn).await?;
            conn.lock_windows(subjects).await?;
            let own = leases::table.filter(leases::run.eq(Id(run)));
            let had: Vec<Lease> = RunQueryDsl::load(own.select(Lease::as_select()), conn).await?;
            let mut back: Vec<Move> =
                had.iter().filter_map(|lease| Some(Move::of(&lease.window()?, 0, -lease.amount))).collect();
            back.sort_unstable_by(|a, b| Move::order(a).cmp(&Move::order(b)));
            conn.put(back).await?;
            let own = leases::table.filter(leases::run.eq(Id(run)));
            RunQueryDsl::execute(diesel::delete(own), conn).await?;
            RunQueryDsl::execute(diesel::delete(runs::table.find(Id(run))), conn).await?;
            Ok(())
        })
    }
}

/// The row of a window.
#[diesel::dsl::auto_type(no_type_alias)]
fn of(place: &Place) -> _ {
    let subject: String = place.subject.clone();
    let unit: String = place.unit.clone();
    let span: String = place.span.to_owned();
    let starts_at: At = At(place.starts_at);
    windows::table
        .filter(windows::subject.eq(subject))
        .filter(windows::unit.eq(unit))
        .filter(windows::span.eq(span))
        .filter(windows::starts_at.eq(starts_at))
}

/// The row of what `run` has of a window.
#[diesel::dsl::auto_type(no_type_alias)]
fn of_lease(run: RunId, place: &Place) -> _ {
    let run: Id = Id(run);
    let subject: String = place.subject.clone();
    let unit: String = place.unit.clone();
    let span: String = place.span.to_owned();
    let starts_at: At = At(place.starts_at);
    leases::table
        .filter(leases::run.eq(run))
        .filter(leases::subject.eq(subject))
        .filter(leases::unit.eq(unit))
        .filter(leases::span.eq(span))
        .filter(leases::starts_at.eq(starts_at))
}

/// What is decided of a wish.
struct Decision {
    lent: Lent,
    most_is_new: bool,
    /// Whether the others are asked anew.
    recalls: bool,
    /// Which recall the borrower itself has answered by this, if that changes.
    answers: Option<i64>,
}

fn decide(
    run: RunId,
    wishes: &[Wish],
    standings: &[Standing],
    borrowed: &[Lease],
    silent: &BTreeSet<RunId>,
) -> Vec<Decision> {
    let standings: BTreeMap<Window, &Standing> =
        standings.iter().filter_map(|standing| Some((standing.window()?, standing))).collect();
    let mut leases_of = BTreeMap::<Window, Vec<&Lease>>::new();
    for lease in borrowed {
        if let Some(window) = lease.window() {
            leases_of.entry(window).or_default().push(lease);
        }
    }
    let decide = |wish: &Wish| {
        let Some(standing) = standings.get(&wish.window) else {
            return Decision { lent: Lent::default(), most_is_new: false, recalls: false, answers: None };
        };
        let leases = leases_of.get(&wish.window).map(Vec::as_slice).unwrap_or_default();
        let own: i64 = leases.iter().filter(|lease| lease.run.0 == run).map(|lease| lease.amount).sum();
        let (limit, most_is_new) = match wish.most {
            Most::Fixed(most) => (most, standing.most != Some(most)),
            Most::Prepaid => (standing.granted, standing.most.is_some()),
        };
        let left = limit.saturating_sub(standing.settled).saturating_sub(standing.leased);
        let others: Vec<_> = leases.iter().filter(|lease| lease.run.0 != run && lease.amount > 0).collect();
        let amount = share(wish, left, others.len() + 1);
        let nothing = amount == 0 && wish.least > 0;
        let recall = nothing.then(|| wish.recall.unwrap_or(standing.recall + 1));
        let waited_for = |lease: &Lease, number| lease.answered < number && !silent.contains(&lease.run.0);
        let pending = recall.is_some_and(|number| others.iter().any(|lease| waited_for(lease, number)));
        let (settled, elsewhere) = (standing.settled, standing.leased - own);
        let lent = Lent { amount, limit, settled, own: own + amount, elsewhere, recall, pending };
        let recalls = nothing && wish.recall.is_none();
        // Who asks has nothing to give back. Who got something while little is left may have more than it needs, and is
        // to answer again whoever asks.
        let scarce = standing.recall > 0 && amount > 0 && left - amount < amount.saturating_mul(4);
        let answers = if recalls { recall } else { scarce.then_some(standing.recall - 1) };
        Decision { lent, most_is_new, recalls, answers }
    };
    wishes.iter().map(decide).collect()
}

/// How much of `unit` records say, as [`UsageRecord::amounts`](aihub_core::UsageRecord::amounts) does.
pub(super) fn used(unit: Unit) -> SqlLiteral<Nullable<BigInt>> {
    const TOKENS: &str = "input + cache_read + cache_write + audio_input + image_input + tool_input + output + reasoning + \
                          audio_output + image_output";
    /// Whoever was let off counts nowhere.
    const COUNTS: &str = "(flags & 16) = 0";
    let sum = match unit {
        Unit::Calls => {
            format!("CASE WHEN {COUNTS} AND (outcome = 'completed' OR {TOKENS} + searches > 0) THEN 1 ELSE 0 END")
        }
        Unit::Tokens => format!("CASE WHEN {COUNTS} THEN {TOKENS} ELSE 0 END"),
        // Three capital letters, and nothing else.
        Unit::Money(currency) => format!("CASE WHEN cost_currency = '{currency}' THEN charge END"),
    };
    diesel::dsl::sql(&format!("CAST(sum({sum}) AS bigint)"))
}

/// What a window that is opened now begins with.
enum Begin {
    /// With what the records say.
    Counted(By),
}

enum By {
    Key(Id),
    Account(Id),
}

/// Keys and accounts are counted from the records, so that a limit that is new counts the whole period. What is paid in
/// counts from when it was; and whole organisations, plans and patterns of models count from the first call under the
/// rule, since there is no index to sum them by.
fn begin(wish: &Wish) -> Option<Begin> {
    match (&wish.window.subject, wish.most) {
        (_, Most::Prepaid) => None,
        (Subject::Key(key), _) => Some(Begin::Counted(By::Key((*key).into()))),
        (Subject::Account(account), _) => Some(Begin::Counted(By::Account((*account).into()))),
        _ => None,
    }
}

#[async_trait]
impl Lender for SqlBooks {
    async fn borrow(&self, run: RunId, wishes: Vec<Wish>, at: Timestamp) -> Result<Vec<Lent>> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.lend(run, wishes, at).await?)
    }

    async fn give_back(&self, run: RunId, returns: Vec<Return>) -> Result<()> {
        Ok(self.take_back(run, returns).await?)
    }

    async fn seen(&self, run: RunId, node: uuid::Uuid, at: Timestamp) -> Result<Vec<(Window, i64)>> {
        if self.say(run, node, at).await? {
            for lost in self.lost(at).await? {
                tracing::error!(run = %lost.0, "a process was not seen for too long: what it had borrowed is lent to others. \
                     What it has used of it and did not say may take limits beyond what they allow; start it again, or see \
                     to its journal");
                self.finish(lost.0).await?;
            }
        }
        Ok(self.recalled(run).await?)
    }

    async fn end(&self, run: RunId) -> Result<()> {
        Ok(self.finish(run).await?)
    }
}
