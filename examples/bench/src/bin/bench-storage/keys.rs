//! Finding keys, remembered and not, and paging through them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aihub_bench::Failure;
use aihub_core::key::{KeyChange, NewKey, NewSecret};
use aihub_core::page::{Page, PageRequest};
use aihub_core::{
    AccountId, ApiKey, Clock, KeyHash, KeyId, KeyStore, Pepper, PlainKey, Result, SystemClock, Timestamp,
};
use aihub_storage::{CachedKeys, SqlKeys};
use async_trait::async_trait;

use crate::place::{self, Place};
use crate::table::{Table, Times};

/// Keys that are looked up, over and over.
const USED: usize = 10_000;
/// Look-ups in a round of each thread: every key a hundred times.
const LOOKUPS: usize = 1_000_000;
/// How deep into a list pages are read.
pub(crate) const DEPTHS: [usize; 3] = [1, 1_000, DEEPEST];
pub(crate) const DEEPEST: usize = 100_000;
/// Rows of a page.
pub(crate) const PAGE: usize = 100;

/// The keys that are looked up.
#[derive(Debug)]
struct Used {
    account: AccountId,
    pepper: Pepper,
    secrets: Vec<String>,
    hashes: Vec<KeyHash>,
}

/// Measures keys in `place`, alone at first and then beside `stored` others.
pub(crate) async fn measure<P: Place>(place: &P, stored: usize, table: &mut Table) -> Result<(), Failure> {
    let name = P::NAME;
    let store = Arc::new(Counted { keys: SqlKeys::new(place.database().clone()), questions: AtomicU64::new(0) });
    let used = Arc::new(used(&store).await?);
    let few = format!("of {}", grouped(USED));
    cold(name, &few, &store, &used, table).await?;
    warm(name, &few, &store, &used, table).await?;
    place.fill(stored).await?;
    place.settle().await?;
    let many = format!("of {}", grouped(USED + stored));
    cold(name, &many, &store, &used, table).await?;
    warm(name, &many, &store, &used, table).await?;
    pages(name, &many, &store.keys, used.account, table).await
}

async fn used(store: &Counted) -> Result<Used, Failure> {
    let now = place::at(0)?;
    let (account, pepper) = (AccountId::new(now), Pepper::random());
    let (mut secrets, mut hashes) = (Vec::new(), Vec::new());
    for _ in 0..USED {
        let (new, secret) = NewKey::issue("live", &pepper, ApiKey::new(account, "used", "basic", now));
        hashes.push(new.hash);
        secrets.push(secret.reveal().to_owned());
        store.insert(new).await?;
    }
    Ok(Used { account, pepper, secrets, hashes })
}

/// Every key once, with a cache that knows none.
async fn cold(name: &str, of: &str, store: &Arc<Counted>, used: &Used, table: &mut Table) -> Result<(), Failure> {
    let cached = CachedKeys::new(Arc::clone(store), Arc::new(Still::default()));
    // Connections are made when they are needed, and pages of the file are read: not a matter of the look-up.
    for hash in used.hashes.iter().take(500) {
        store.find(hash).await?;
    }
    let before = store.questions.load(Ordering::Relaxed);
    let misses = 2_000.min(used.hashes.len());
    let looked: Times = table.times(misses, |place| cached.find(&used.hashes[place])).await;
    let questions = store.questions.load(Ordering::Relaxed) - before;
    table.line(format!("{name}: cold look-up, {of} keys, median / p99"), looked.shown(), "");
    table.line(
        format!("{name}: questions to the database for {} cold look-ups", grouped(misses)),
        questions.to_string(),
        grouped(misses),
    );
    Ok(())
}

async fn warm(name: &str, of: &str, store: &Arc<Counted>, used: &Arc<Used>, table: &mut Table) -> Result<(), Failure> {
    let cached = Arc::new(CachedKeys::new(Arc::clone(store), Arc::new(Still::default())));
    for hash in &used.hashes {
        cached.find(hash).await?;
    }
    let asked = store.questions.load(Ordering::Relaxed);
    for threads in [1, 2] {
        let once = |_| look_up(threads, &cached, used, false);
        let each = per_look_up(&table.times(table.rounds, once).await);
        let plural = if threads == 1 { "" } else { "s" };
        table.line(
            format!("{name}: warm look-up, {} keys {of}, {threads} thread{plural}", grouped(USED)),
            each,
            "< 2 µs",
        );
    }
    let once = |_| look_up(1, &cached, used, true);
    let each = per_look_up(&table.times(table.rounds, once).await);
    table.line(format!("{name}: warm verification {of}: read, hash, look up"), each, "< 2 µs");
    if store.questions.load(Ordering::Relaxed) != asked {
        return Err("a key that was remembered was asked for again: the figures are not of warm look-ups".into());
    }
    Ok(())
}

/// Each thread looks keys up in an order of its own, in which no key follows its neighbour in memory.
async fn look_up(threads: usize, cached: &Arc<CachedKeys<Counted>>, used: &Arc<Used>, whole: bool) {
    let tasks = (0..threads).map(|thread| {
        let (cached, used) = (Arc::clone(cached), Arc::clone(used));
        tokio::spawn(async move {
            let mut place = thread;
            for _ in 0..LOOKUPS {
                // No divisor in common with the number of keys: all of them come.
                place = (place + 7_919) % USED;
                let found = if whole {
                    let key: PlainKey = used.secrets[place].parse().expect("a key that was issued");
                    cached.find(&used.pepper.hash(&key)).await
                } else {
                    cached.find(&used.hashes[place]).await
                };
                assert!(found.is_ok_and(|key| key.is_some()), "a key that was stored is found");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a thread that looks keys up");
    }
}

fn per_look_up(rounds: &Times) -> String {
    format!("{} ns", rounds.median().as_nanos() / LOOKUPS as u128)
}

async fn pages(name: &str, of: &str, keys: &SqlKeys, account: AccountId, table: &mut Table) -> Result<(), Failure> {
    for depth in DEPTHS {
        let after = (depth > 1).then(|| place::filled(depth - 1));
        let page = PageRequest { after, limit: PAGE };
        let found = keys.list(account, page).await?;
        if found.rows.first().map(|key| key.id) != Some(place::filled(depth)) {
            return Err(format!("{name}: the page at {depth} begins with another key").into());
        }
        let read = table.times(table.rounds * 10, |_| keys.list(account, page)).await;
        table.line(
            format!("{name}: page of {PAGE} keys {of} of one account, at {}, median / p99", grouped(depth)),
            read.shown(),
            "the same at any depth",
        );
    }
    Ok(())
}

/// `10,000`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Reads the machine's clock and says that no time has passed: a key is not forgotten after its second, and what
/// a look-up pays for the time is paid.
#[derive(Debug, Default)]
struct Still(SystemClock);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        std::hint::black_box(self.0.elapsed());
        Duration::ZERO
    }
}

/// Keys in a database, which is asked by one statement for each look-up, and how often it was.
#[derive(Debug)]
struct Counted {
    keys: SqlKeys,
    questions: AtomicU64,
}

#[async_trait]
impl KeyStore for Counted {
    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<ApiKey>>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.keys.find(hash).await
    }

    async fn insert(&self, key: NewKey) -> Result<()> {
        self.keys.insert(key).await
    }

    async fn update(&self, account: AccountId, id: KeyId, change: KeyChange) -> Result<Arc<ApiKey>> {
        self.keys.update(account, id, change).await
    }

    async fn revoke(&self, account: AccountId, id: KeyId, at: Timestamp) -> Result<()> {
        self.keys.revoke(account, id, at).await
    }

    async fn rotate(&self, account: AccountId, id: KeyId, secret: NewSecret) -> Result<Arc<ApiKey>> {
        self.keys.rotate(account, id, secret).await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<()> {
        self.keys.touch(uses).await
    }

    async fn list(&self, account: AccountId, page: PageRequest<KeyId>) -> Result<Page<Arc<ApiKey>, KeyId>> {
        self.keys.list(account, page).await
    }
}
