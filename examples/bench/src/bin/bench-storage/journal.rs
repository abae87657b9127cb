//! Two ways to keep a journal: files of ours, written by the thread that has something to write; and a table of SQLite,
//! whose writer is a thread of its own that takes what has gathered and commits it at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use aihub_bench::Failure;
use aihub_core::{AccountId, CallId, Clock as _, Journal, KeyId, Outcome, Usage, UsageRecord};
use aihub_storage::journal::{FileJournal, JournalSettings};
use aihub_storage::sink::Durability;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use tokio::sync::oneshot;

use crate::table::Table;

/// Calls of one round, each of which writes twice and waits for both.
const CALLS: usize = 20_000;

/// Callers at the same time.
const CALLERS: usize = 32;

pub(crate) async fn measure(folder: &Path, table: &mut Table) -> Result<(), Failure> {
    let record = record(table);
    for durability in [Durability::Process, Durability::Disk] {
        let journals = folder.join(format!("journal-{durability:?}"));
        let settings = JournalSettings { durability, ..JournalSettings::new(journals) };
        let (journal, _) = FileJournal::open(settings, &*table.clock).await?;
        let calls = if durability == Durability::Disk { CALLS / 10 } else { CALLS };
        let times = rounds(table, calls, || ours(journal.clone(), record.clone(), calls)).await;
        table.line(format!("journal in files, {durability:?}: one call of {CALLERS} at once"), times, "");
    }
    for (synchronous, calls) in [("NORMAL", CALLS), ("FULL", CALLS / 10)] {
        let file = folder.join(format!("journal-{synchronous}.db"));
        let writer = Writer::start(&file, synchronous)?;
        let times = rounds(table, calls, || theirs(writer.clone(), calls)).await;
        table.line(format!("journal in SQLite, {synchronous}: one call of {CALLERS} at once"), times, "");
    }
    Ok(())
}

/// The median of what a call takes, over all rounds.
async fn rounds<Work: Future<Output = ()>>(table: &Table, calls: usize, work: impl Fn() -> Work) -> String {
    let times = table.times(table.rounds, |_| work()).await;
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    format!("{:.2} µs", (times.median() / calls).as_secs_f64() * 1e6)
}

/// So many callers share the calls.
async fn share<Work: Future<Output = ()> + Send + 'static>(calls: usize, work: impl Fn(usize) -> Work) {
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(work(calls / CALLERS))).collect();
    for caller in callers {
        drop(caller.await);
    }
}

async fn ours(journal: FileJournal, record: UsageRecord, calls: usize) {
    share(calls, |calls| {
        let (journal, record) = (journal.clone(), record.clone());
        async move {
            for _ in 0..calls {
                while journal.admit().is_err() {
                    tokio::task::yield_now().await;
                }
                if let Ok(Some(written)) = journal.dispatched(&record) {
                    written.await;
                }
                if let Some(written) = journal.settled(&record, &[]) {
                    written.await;
                }
            }
        }
    })
    .await;
}

async fn theirs(writer: Writer, calls: usize) {
    share(calls, |calls| {
        let writer = writer.clone();
        async move {
            for _ in 0..calls * 2 {
                writer.append().await;
            }
        }
    })
    .await;
}

/// The thread that owns the table.
#[derive(Debug, Clone)]
struct Writer(Arc<SyncSender<oneshot::Sender<()>>>);

/// As long as an entry of ours.
const ENTRY: usize = 300;

impl Writer {
    fn start(file: &Path, synchronous: &str) -> Result<Self, Failure> {
        let mut conn = SqliteConnection::establish(&file.display().to_string())?;
        conn.batch_execute(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
             CREATE TABLE journal (seq INTEGER PRIMARY KEY, rec BLOB NOT NULL) STRICT;"
        ))?;
        let (append, entries) = sync_channel::<oneshot::Sender<()>>(4_096);
        std::thread::spawn(move || {
            let entry = vec![7_u8; ENTRY];
            while let Ok(first) = entries.recv() {
                let mut waiting = vec![first];
                waiting.extend(entries.try_iter().take(511));
                let committed = conn.transaction(|conn| {
                    waiting.iter().try_for_each(|_| {
                        let insert = diesel::sql_query("INSERT INTO journal (rec) VALUES (?)");
                        insert.bind::<diesel::sql_types::Binary, _>(&entry).execute(conn).map(drop)
                    })
                });
                if committed.is_err() {
                    return;
                }
                for waits in waiting {
                    let _ = waits.send(());
                }
            }
        });
        Ok(Self(Arc::new(append)))
    }

    async fn append(&self) {
        let (done, committed) = oneshot::channel();
        // Room for more than there are callers: it never blocks.
        if self.0.send(done).is_ok() {
            drop(committed.await);
        }
    }
}

fn record(table: &Table) -> UsageRecord {
    let at = table.clock.now();
    let (call, account, key) = (CallId::new(at), AccountId::new(at), KeyId::new(at));
    let mut record = UsageRecord::from_parts(call, at, account, key, "pro".into(), "chat", "google/gemini".into());
    record.provider = Some("openrouter".into());
    record.generation = Some("gen-1700000000-abcdefghijklmnop".into());
    record.user_agent = Some("OpenAI/Python 2.8.1".into());
    (record.usage, record.outcome) = (Usage::new(1_200, 300), Outcome::Completed);
    record
}
