//! The feed of what the books have settled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aihub_core::feed::{Batch, DeadLetter, Lag, Position};
use aihub_core::{CallId, Clock, Feed, Result, Timestamp, UsageRecord};
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::query_dsl::methods;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::SqlError;
use super::bulk::{Put as _, bulk};
use super::connection::{Database, on, transact};
use super::schema::{journals, settlements, sink_cursors as cursors, sink_dead_letters as letters, usage_records};
use super::usage::{Row, sum_of, without_nul};
use super::values::{At, Id, Instant, Uuid};

/// A [`Feed`] of what [`SqlBooks`](super::SqlBooks) has settled, in the same database.
///
/// - Records of a node are numbered in the order of its settlements, and as they were admitted within one: an order that
///   never changes, and that nobody commits into behind a reader. Nodes that are gone are delivered like the others.
/// - **One of several replicas delivers a node to a sink.** [`next`](Feed::next) claims it for [`SqlFeed::CLAIM`], and the
///   others turn to other nodes meanwhile. A delivery that takes longer may be made by two, which a sink has to bear
///   anyhow: what it gets twice is the same.
/// - The lag is as old as the first record that waits, node by node.
#[derive(Debug, Clone)]
pub struct SqlFeed {
    database: Database,
    clock: Arc<dyn Clock>,
    claimer: Id,
}

/// The most records of a piece, whoever asks for more: each may be of a settlement of its own, and the database takes so
/// many names in a query and not many more.
const MOST: usize = 10_000;

/// How many settlements are looked at together.
const PAGE: i64 = 1_000;

/// How far a sink has come with a node.
#[derive(Debug, Clone, Copy, Queryable, Selectable)]
#[diesel(table_name = cursors)]
struct Cursor {
    node: Id,
    seq: i64,
    settlement: i64,
    ends: i64,
}

/// A settlement with records in it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = settlements)]
struct Stretch {
    seq: i64,
    posting: Id,
    calls: i64,
    booked_at: At,
}

struct Letter {
    sink: String,
    call: Id,
    reason: String,
    at: At,
}

bulk!(Letter, "sink_dead_letters", "(sink, call) DO UPDATE SET reason = excluded.reason, at = excluded.at", {
    "sink": Text = sink;
    "call": Uuid = call;
    "reason": Text = reason;
    "at": Instant = at;
});

impl SqlFeed {
    /// How long a node is left to the one that has claimed it. Shorter, and a slow delivery is made by two; longer, and
    /// the records of a process that is gone wait longer for another one to deliver them.
    pub const CLAIM: Duration = Duration::from_mins(3);

    /// The feed of the books in `database`. `claimer` tells replicas apart, and is best the node of the own journal: a
    /// process that is started again then goes on with what it had claimed.
    pub fn new(database: Database, clock: Arc<dyn Clock>, claimer: uuid::Uuid) -> Self {
        Self { database, clock, claimer: Id(claimer) }
    }

    /// What `sink` will never take, by call.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](aihub_core::ErrorKind::Unavailable) when the database does not answer.
    pub async fn dead_letters(&self, sink: &str) -> Result<Vec<DeadLetter>> {
        let found = self.letters(sink.to_owned()).await?.into_iter();
        Ok(found.map(|(call, reason)| DeadLetter { call: CallId::from_uuid(call.0), reason }).collect())
    }

    /// The next piece of the node that has waited longest, of those that nobody else has claimed.
    async fn piece(&self, sink: &str, limit: usize) -> Result<Option<Batch>> {
        for node in self.behind(sink).await? {
            let Some(cursor) = self.claim(sink, node).await? else { continue };
            if let Some(batch) = self.read(cursor, limit).await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The nodes with records that `sink` has not passed; first what was settled first.
    async fn behind(&self, sink: &str) -> Result<Vec<Id>, SqlError> {
        let mut behind = Vec::new();
        for cursor in self.cursors(sink).await? {
            if let Some(next) = self.stretches(cursor, 1).await?.pop() {
                behind.push((next.booked_at.0, cursor.node));
            }
        }
        behind.sort_unstable_by_key(|(at, node)| (*at, node.0));
        Ok(behind.into_iter().map(|(_, node)| node).collect())
    }

    /// The place of `sink` in every node that has settled something since.
    async fn cursors(&self, sink: &str) -> Result<Vec<Cursor>, SqlError> {
        let nodes = journals::table.select((journals::node, journals::seq));
        let nodes: Vec<(Id, i64)> = on!(self.database.read, |conn| nodes.load(conn))?;
        let passed = cursors::table.filter(cursors::sink.eq(sink.to_owned()));
        let passed: Vec<Cursor> = on!(self.database.read, |conn| passed.select(Cursor::as_select()).load(conn))?;
        let passed: HashMap<_, _> = passed.into_iter().map(|cursor| (cursor.node.0, cursor)).collect();
        let of = |(node, last): (Id, i64)| {
            let cursor = passed.get(&node.0).copied().unwrap_or_else(|| Cursor::first(node));
            (cursor.settlement < last).then_some(cursor)
        };
        Ok(nodes.into_iter().filter_map(of).collect())
    }

    /// The settlements with records that are not all passed, in their order.
    async fn stretches(&self, from: Cursor, limit: i64) -> Result<Vec<Stretch>, SqlError> {
        let query = settlements::table
            .filter(settlements::node.eq(from.node))
            .filter(settlements::seq.gt(from.settlement))
            .filter(settlements::calls.gt(0))
            .order(settlements::seq)
            .limit(limit);
        Ok(on!(self.database.read, |conn| query.select(Stretch::as_select()).load(conn))?)
    }

    /// Keeps other replicas from a node for a while, in one statement. Where `sink` is there; none when another one has
    /// claimed it.
    async fn claim(&self, sink: &str, node: Id) -> Result<Option<Cursor>, SqlError> {
        let now = self.clock.now();
        let until = now.checked_add(Self::CLAIM).unwrap_or(Timestamp::MAX);
        let first = Cursor::first(node);
        let upsert = diesel::insert_into(cursors::table)
            .values((
                cursors::sink.eq(sink.to_owned()),
                cursors::node.eq(node),
                cursors::seq.eq(first.seq),
                cursors::settlement.eq(first.settlement),
                cursors::ends.eq(first.ends),
                cursors::claimed_by.eq(self.claimer),
                cursors::claimed_until.eq(At(until)),
            ))
            .on_conflict((cursors::sink, cursors::node))
            .do_update()
            .set((
                cursors::claimed_by.eq(excluded(cursors::claimed_by)),
                cursors::claimed_until.eq(excluded(cursors::claimed_until)),
            ));
        let free = cursors::claimed_by.eq(self.claimer).or(cursors::claimed_until.le(At(now)));
        // Named: beside that of queries, the method would be one of two.
        let claim =
            methods::FilterDsl::filter(upsert, free).returning((cursors::seq, cursors::settlement, cursors::ends));
        let place: Option<(i64, i64, i64)> =
            on!(self.database.write, |conn| RunQueryDsl::get_result(claim, conn)).optional()?;
        Ok(place.map(|(seq, settlement, ends)| Cursor { node, seq, settlement, ends }))
    }

    async fn read(&self, cursor: Cursor, limit: usize) -> Result<Option<Batch>> {
        let limit = i64::try_from(limit.clamp(1, MOST)).unwrap_or(PAGE);
        // Each has a record at least, and of the first one all but one may be passed.
        let stretches = self.stretches(cursor, limit + 1).await?;
        let (mut skip, mut seq) = (cursor.seq - cursor.ends, cursor.seq);
        let mut parts = Vec::new();
        for stretch in stretches {
            let room = limit - (seq - cursor.seq);
            if room == 0 {
                break;
            }
            let take = (stretch.calls - skip).clamp(0, room);
            parts.push((stretch.posting, skip, take));
            seq += take;
            skip = 0;
        }
        if seq == cursor.seq {
            return Ok(None);
        }
        let mut rows = self.rows(parts.iter().map(|(posting, ..)| *posting).collect()).await?;
        let mut records = Vec::new();
        for (posting, skip, take) in parts {
            let (skip, take) = (usize::try_from(skip).unwrap_or(0), usize::try_from(take).unwrap_or(0));
            let rows = rows.remove(&posting.0).unwrap_or_default();
            for row in rows.into_iter().skip(skip).take(take) {
                records.push(UsageRecord::try_from(row)?);
            }
        }
        Ok(Some(Batch { records, position: Position { node: cursor.node.0, seq } }))
    }

    /// The records of these settlements, each one's in order.
    async fn rows(&self, postings: Vec<Id>) -> Result<HashMap<uuid::Uuid, Vec<Row>>, SqlError> {
        let query = usage_records::table
            .filter(usage_records::posting.eq_any(postings))
            .order((usage_records::at, usage_records::call));
        let rows: Vec<Row> = on!(self.database.read, |conn| query.select(Row::as_select()).load(conn))?;
        let mut of: HashMap<_, Vec<Row>> = HashMap::new();
        for row in rows {
            if let Some(posting) = row.posting {
                of.entry(posting.0).or_default().push(row);
            }
        }
        Ok(of)
    }

    async fn pass(&self, sink: &str, position: Position) -> Result<(), SqlError> {
        let node = Id(position.node);
        let query = cursors::table.find((sink.to_owned(), node));
        let found: Option<Cursor> =
            on!(self.database.write, |conn| query.select(Cursor::as_select()).first(conn)).optional()?;
        let from = found.unwrap_or_else(|| Cursor::first(node));
        if position.seq <= from.seq {
            return Ok(());
        }
        let to = self.place(from, position.seq).await?;
        // Where it is goes by its number alone: whoever says the higher one is right, whatever came between.
        let upsert = diesel::insert_into(cursors::table)
            .values((
                cursors::sink.eq(sink.to_owned()),
                cursors::node.eq(node),
                cursors::seq.eq(to.seq),
                cursors::settlement.eq(to.settlement),
                cursors::ends.eq(to.ends),
                cursors::claimed_by.eq(self.claimer),
                cursors::claimed_until.eq(At(self.clock.now())),
            ))
            .on_conflict((cursors::sink, cursors::node))
            .do_update()
            .set((
                cursors::seq.eq(excluded(cursors::seq)),
                cursors::settlement.eq(excluded(cursors::settlement)),
                cursors::ends.eq(excluded(cursors::ends)),
            ));
        let pass = methods::FilterDsl::filter(upsert, cursors::seq.lt(to.seq));
        on!(self.database.write, |conn| RunQueryDsl::execute(pass, conn))?;
        Ok(())
    }

    /// The place of the record of this number, or of the last one.
    async fn place(&self, mut at: Cursor, seq: i64) -> Result<Cursor, SqlError> {
        loop {
            let stretches = self.stretches(at, PAGE).await?;
            if stretches.is_empty() {
                return Ok(Cursor { seq: at.ends, ..at });
            }
            for stretch in stretches {
                if at.ends + stretch.calls > seq {
                    return Ok(Cursor { seq, ..at });
                }
                at = Cursor { settlement: stretch.seq, ends: at.ends + stretch.calls, ..at };
            }
        }
    }

    async fn rest(&self, sink: &str) -> Result<Lag, SqlError> {
        let mut lag = Lag::default();
        for cursor in self.cursors(sink).await? {
            let Some(next) = self.stretches(cursor, 1).await?.pop() else { continue };
            let settled = settlements::table
                .filter(settlements::node.eq(cursor.node))
                .filter(settlements::seq.gt(cursor.settlement))
                .select(sum_of(settlements::calls.nullable()).cast::<Nullable<BigInt>>());
            let settled: Option<i64> = on!(self.database.read, |conn| settled.first(conn))?;
            let passed = cursor.seq - cursor.ends;
            lag.records += u64::try_from(settled.unwrap_or(0) - passed).unwrap_or(0);
            let oldest = usage_records::table
                .filter(usage_records::posting.eq(next.posting))
                .order((usage_records::at, usage_records::call))
                .offset(passed)
                .limit(1)
                .select(usage_records::at);
            let oldest: Option<At> = on!(self.database.read, |conn| oldest.first(conn)).optional()?;
            lag.since = [lag.since, oldest.map(|at| at.0)].into_iter().flatten().min();
        }
        Ok(lag)
    }

    async fn put_aside(&self, rows: Vec<Letter>) -> Result<(), SqlError> {
        transact!(self.database.write, |conn| {
            conn.put(rows).await?;
            Ok(())
        })
    }

    async fn letters(&self, sink: String) -> Result<Vec<(Id, String)>, SqlError> {
        let query = letters::table.filter(letters::sink.eq(sink)).order(letters::call);
        Ok(on!(self.database.read, |conn| query.select((letters::call, letters::reason)).load(conn))?)
    }
}

impl Cursor {
    /// Where a sink begins.
    const fn first(node: Id) -> Self {
        Self { node, seq: 0, settlement: 0, ends: 0 }
    }
}

#[async_trait]
impl Feed for SqlFeed {
    async fn next(&self, sink: &str, limit: usize) -> Result<Option<Batch>> {
        self.piece(sink, limit).await
    }

    async fn advance(&self, sink: &str, position: Position) -> Result<()> {
        Ok(self.pass(sink, position).await?)
    }

    async fn dead_letter(&self, sink: &str, letters: &[DeadLetter]) -> Result<()> {
        // One statement takes a row once.
        let last: BTreeMap<_, _> = letters.iter().map(|letter| (letter.call, &letter.reason)).collect();
        let at = At(self.clock.now());
        let row = |(call, reason): (CallId, &String)| Letter {
            sink: sink.to_owned(),
            call: call.into(),
            reason: without_nul(reason),
            at,
        };
        Ok(self.put_aside(last.into_iter().map(row).collect()).await?)
    }

    async fn lag(&self, sink: &str) -> Result<Lag> {
        Ok(self.rest(sink).await?)
    }
}
