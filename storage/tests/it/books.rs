//! Books: whatever is delivered, in whatever order and however often, they say one thing, and it agrees with itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use aihub_core::commerce::{Books, LedgerAccount, Posting, Settled, SettledCall, Settlement};
use aihub_core::journal::Position;
use aihub_core::plan::Plan;
use aihub_core::quota::{Amounts, Ask, Calendar, limits};
use aihub_core::{
    AccountId, ApiKey, BillingSink as _, CallId, Caller, Clock, Currency, Funding, Journal as _, KeyId, ManualClock,
    Money, Outcome, QuotaPolicy as _, SystemClock, Terms, Timestamp, Usage, UsageRecord,
};
use aihub_storage::journal::{FileJournal, JournalSettings, Shipper};
use aihub_storage::lease::{LeasedQuota, Lender as _};
use aihub_storage::{Database, MemoryBooks, Migrate, PoolSettings, SqlBooks, SqlUsage};
use proptest::prelude::*;
use uuid::Uuid;

fn at() -> Timestamp {
    ManualClock::default().now()
}

fn usd(nanos: i64) -> Money {
    Money::from_nanos(nanos, Currency::USD)
}

async fn sqlite() -> (tempfile::TempDir, SqlBooks) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.db");
    let database = Database::sqlite(&file, PoolSettings::default(), Migrate::Run).await.unwrap();
    (folder, SqlBooks::new(database))
}

/// Three accounts with a key each.
fn people() -> Vec<(AccountId, KeyId)> {
    (0..3).map(|_| (AccountId::new(at()), KeyId::new(at()))).collect()
}

/// A call of one of them, of this size.
fn call(people: &[(AccountId, KeyId)], size: u64) -> SettledCall {
    let place = usize::try_from(size).unwrap();
    let (account, key) = people[place % people.len()];
    let mut record = UsageRecord::from_parts(
        CallId::new(at()),
        at() + std::time::Duration::from_secs(size * 61),
        account,
        key,
        "pro".into(),
        "chat",
        ["vendor/a", "vendor/b"][place % 2].into(),
    );
    record.provider = Some("vendor".into());
    record.usage = Usage::new(size, size / 2);
    (record.cost, record.charge) = (Some(usd(size.cast_signed() * 3)), Some(usd(size.cast_signed() * 4)));
    record.outcome = if size.is_multiple_of(5) { Outcome::UpstreamFailed } else { Outcome::Completed };
    record.waived = size.is_multiple_of(7);
    if record.waived {
        record.charge = Some(usd(0));
    }
    record.status = 200;
    SettledCall { record, windows: Vec::new(), run: Uuid::nil() }
}

/// The stretches of a journal: each begins where the one before ended.
fn stretches(node: Uuid, calls: &[SettledCall], lengths: &[usize]) -> Vec<Settlement> {
    let (mut stretches, mut from, mut rest) = (Vec::new(), Position::default(), calls);
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            return stretches;
        }
        let (calls, after) = rest.split_at((*length).clamp(1, rest.len()));
        let to = Position { segment: from.segment + 1, offset: 64 };
        stretches.push(Settlement { node, from, to, calls: calls.to_vec(), at: at() });
        (from, rest) = (to, after);
    }
    stretches
}

async fn no_drift(books: &SqlBooks, what: &str) {
    for check in books.audit(at()).await.unwrap() {
        assert!(check.drift.is_empty(), "{what}: {}: {:?}", check.name, check.drift);
    }
}

/// Delivers all, some of it again and out of order, until everything is in.
async fn deliver(books: &dyn Books, stretches: &[Settlement], order: &[prop::sample::Index]) {
    for pick in order {
        // Out of order it is refused, and in order it is taken once.
        books.settle(stretches[pick.index(stretches.len())].clone()).await.unwrap();
    }
    for stretch in stretches {
        books.settle(stretch.clone()).await.unwrap();
        assert!(books.position(stretch.node).await.unwrap() >= stretch.to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_number_of_deliveries_has_one_result(
        sizes in prop::collection::vec(1_u64..500, 1..30),
        lengths in prop::collection::vec(1_usize..7, 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        twice in any::<prop::sample::Index>(),
    ) {
        let people = people();
        let calls: Vec<SettledCall> = sizes.iter().map(|size| call(&people, *size)).collect();
        let mut journals = stretches(Uuid::from_u128(1), &calls, &lengths);
        // The same calls by the journal of somebody else, from some place on.
        journals.extend(stretches(Uuid::from_u128(2), &calls[twice.index(calls.len())..], &lengths));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, sql) = sqlite().await;
            let memory = MemoryBooks::new();
            deliver(&memory, &journals, &order).await;
            deliver(&sql, &journals, &order).await;
            let mut records: Vec<UsageRecord> = calls.iter().map(|call| call.record.clone()).collect();
            records.sort_by_key(|record| record.call);
            assert_eq!(memory.records(), records);
            no_drift(&sql, "after all deliveries").await;
            for (account, _) in &people {
                let own = records.iter().filter(|record| record.account == *account);
                let charged: i64 = own.filter_map(|record| record.charge).map(Money::nanos).sum();
                let accrued = LedgerAccount::accrued(*account);
                assert_eq!(memory.balance(&accrued, Currency::USD), charged);
                assert_eq!(sql.balance(&accrued, Currency::USD).await.unwrap().nanos(), charged);
            }
            let cost: i64 = records.iter().filter_map(|record| record.cost).map(Money::nanos).sum();
            assert_eq!(memory.balance(&LedgerAccount::payable("vendor"), Currency::USD), -cost);
        });
    }
}

// failure: books | a stretch is delivered twice, or too early | nothing changes; the books say where they are
#[tokio::test]
async fn a_stretch_is_taken_once_and_only_where_the_books_are() {
    let (_folder, books) = sqlite().await;
    let people = people();
    let calls: Vec<_> = (1..=6).map(|size| call(&people, size)).collect();
    let all = stretches(Uuid::from_u128(1), &calls, &[3]);
    assert_eq!(books.settle(all[1].clone()).await.unwrap(), Settled::Elsewhere(Position::default()));
    assert_eq!(books.settle(all[0].clone()).await.unwrap(), Settled::Now { calls: 3 });
    assert_eq!(books.settle(all[0].clone()).await.unwrap(), Settled::Elsewhere(all[0].to));
    assert_eq!(books.settle(all[1].clone()).await.unwrap(), Settled::Now { calls: 3 });
    no_drift(&books, "after two stretches").await;
}

// failure: books | usage that was never posted | `aihub audit` exits 1 and names it
#[tokio::test]
async fn drift_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.db");
    let database = Database::sqlite(&file, PoolSettings::default(), Migrate::Run).await.unwrap();
    let books = SqlBooks::new(database.clone());
    let people = people();
    let calls: Vec<_> = (1..=3).map(|size| call(&people, size)).collect();
    books.settle(stretches(Uuid::from_u128(1), &calls, &[9]).remove(0)).await.unwrap();
    // A record that nobody has posted.
    SqlUsage::new(database).record(&[call(&people, 9).record]).await.unwrap();
    let drift: Vec<_> = books.audit(at()).await.unwrap().into_iter().filter(|check| !check.drift.is_empty()).collect();
    assert_eq!(drift.iter().map(|check| check.name).collect::<Vec<_>>(), ["every record is in one posting"]);
}

/// A caller under `plan`, with `terms`.
fn caller(plan: Plan, terms: Terms) -> Arc<Caller> {
    let key = ApiKey { terms: Arc::new(terms), ..ApiKey::new(AccountId::new(at()), "key", &*plan.name, at()) };
    Arc::new(Caller::new(key, plan))
}

fn ask(caller: &Arc<Caller>, tokens: u64, nanos: i64) -> Ask {
    Ask::new(CallId::new(at()), Arc::clone(caller), "m".into(), at(), Amounts::call(tokens, Some(usd(nanos))))
}

/// What `ask` has come to, held in `windows` by `run`.
fn settled(ask: &Ask, windows: &[aihub_core::quota::Window], run: Uuid, tokens: u64, nanos: i64) -> SettledCall {
    let mut record = UsageRecord::new(ask.call, ask.at, &ask.caller, "chat", "m".into());
    (record.usage, record.outcome) = (Usage::new(tokens, 0), Outcome::Completed);
    (record.cost, record.charge, record.provider) = (Some(usd(nanos)), Some(usd(nanos)), Some("vendor".into()));
    SettledCall { record, windows: windows.to_vec(), run }
}

#[tokio::test]
async fn what_is_paid_in_is_used_to_the_last_nano_and_never_more() {
    let (_folder, books) = sqlite().await;
    let (books, run, node) = (Arc::new(books), Uuid::from_u128(7), Uuid::from_u128(8));
    let quota = LeasedQuota::new(books.clone(), Arc::new(ManualClock::default()), run, node);
    let terms = Terms { funding: Funding::Prepaid(Currency::USD), ..Terms::default() };
    let caller = caller(Plan::unlimited("any"), terms);
    let refused = quota.reserve(&ask(&caller, 1, 1)).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().limit_source, "prepaid_balance");
    let top_up = || Posting::top_up(caller.account(), usd(100), "manual", "a transfer", at()).unwrap();
    assert!(books.post(top_up()).await.unwrap());
    assert!(!books.post(top_up()).await.unwrap(), "the same transfer is booked once");

    let quota = LeasedQuota::new(books.clone(), Arc::new(ManualClock::default()), run, node);
    let first = ask(&caller, 1, 80);
    let held = quota.reserve(&first).await.unwrap();
    assert_eq!(held.charge_at_most, Some(usd(80)));
    let less = ask(&caller, 1, 60).or_less(Amounts::call(1, Some(usd(5))));
    let rest = quota.reserve(&less).await.unwrap();
    assert_eq!(rest.held.money, Some(usd(20)), "what is left, and not what was asked for");
    quota.release(rest).await.unwrap();
    let end = settled(&first, &held.windows, run, 1, 70);
    quota.settle(held, Amounts::call(1, Some(usd(70)))).await.unwrap();
    books.settle(stretches(node, &[end], &[1]).remove(0)).await.unwrap();
    assert_eq!(books.paid_in(caller.account(), Currency::USD).await.unwrap(), usd(30));
    quota.reserve(&ask(&caller, 1, 31)).await.unwrap_err();
    let last = quota.reserve(&ask(&caller, 1, 30)).await.unwrap();
    quota.release(last).await.unwrap();
    quota.close().await.unwrap();
    no_drift(&books, "after paying from what was paid in").await;
}

#[tokio::test]
async fn a_limit_that_is_new_counts_what_was_used_before_it() {
    let (_folder, books) = sqlite().await;
    let books = Arc::new(books);
    let plan = Plan { monthly_tokens: Some(100), ..Plan::unlimited("pro") };
    let caller = caller(plan, Terms { calendar: Calendar::of("Europe/Berlin", 31).unwrap(), ..Terms::default() });
    let before = settled(&ask(&caller, 60, 1), &[], Uuid::nil(), 60, 1);
    let node = Uuid::from_u128(3);
    let stretch = |from, to, calls| Settlement { node, from, to, calls, at: at() };
    let (start, first) = (Position::default(), Position { segment: 1, offset: 1 });
    books.settle(stretch(start, first, vec![before])).await.unwrap();
    let quota = LeasedQuota::new(books.clone(), Arc::new(ManualClock::default()), Uuid::from_u128(4), node);
    let refused = quota.reserve(&ask(&caller, 41, 1)).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().remaining, "40 tokens");
    let fits = ask(&caller, 40, 1);
    let held = quota.reserve(&fits).await.unwrap();
    // A process that ended before it: what it had borrowed is free again, and what it used is not.
    let end = settled(&fits, &held.windows, Uuid::from_u128(4), 25, 1);
    books.settle(stretch(first, Position { segment: 2, offset: 1 }, vec![end])).await.unwrap();
    books.end(Uuid::from_u128(4)).await.unwrap();
    no_drift(&books, "after the process has ended").await;
    let next = LeasedQuota::new(books.clone(), Arc::new(ManualClock::default()), Uuid::from_u128(5), node);
    next.reserve(&ask(&caller, 16, 1)).await.unwrap_err();
    drop(next.reserve(&ask(&caller, 15, 1)).await.unwrap());
    assert_eq!(limits(&caller, "m", at()).len(), 1);
}

/// A journal that is taken over while it is written, dropped in the middle, and opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_reaches_the_books_whole_and_once_also_through_an_end_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let (_database, books) = sqlite().await;
    let books: Arc<SqlBooks> = Arc::new(books);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let settings = || JournalSettings { segment_bytes: 1 << 20, ..JournalSettings::new(folder.path()) };
    let people = people();
    let mut written = BTreeSet::new();
    for round in 0..4_u64 {
        let (journal, recovered) = FileJournal::open(settings(), &*clock).await.unwrap();
        assert_eq!(recovered.unsettled.len(), usize::from(round > 0), "the one that was left open");
        for open in &recovered.unsettled {
            drop(journal.recover(&open.record(), open.run));
        }
        let mut shipper = Shipper::new(journal.clone(), books.clone(), Arc::clone(&clock)).await.unwrap();
        let writing = tokio::task::spawn_blocking({
            let (journal, people) = (journal.clone(), people.clone());
            move || {
                let calls: Vec<UsageRecord> = (1..300).map(|size| call(&people, size + round).record).collect();
                for record in &calls {
                    journal.admit().unwrap();
                    drop(journal.dispatched(record).unwrap());
                    drop(journal.settled(record, &[]));
                }
                let open = call(&people, 5).record;
                drop(journal.dispatched(&open).unwrap());
                calls.iter().chain([&open]).map(|record| record.call).collect::<Vec<_>>()
            }
        });
        // The last round takes everything over; the others end whenever they have written.
        while !writing.is_finished() || round == 3 && !shipper.is_done() {
            shipper.tick().await.unwrap();
            tokio::task::yield_now().await;
        }
        written.extend(writing.await.unwrap());
    }
    no_drift(&books, "after four processes").await;
    // The call that the last one left open is still in its journal.
    assert_eq!(books.count().await.unwrap(), written.len() as u64 - 1);
}
