//! Proves an [`IdempotencyStore`].

use std::sync::Arc;

use bytes::Bytes;

use super::{Fixture, at, together};
use crate::id::{AccountId, CallId};
use crate::idempotency::{Begun, Claim, Fingerprint, IdempotencyKey, IdempotencyStore, Kept, StoredAnswer};
use crate::time::Timestamp;

/// Makes a test of every check in [`idempotency_store`](mod@crate::conformance::idempotency_store) out of a
/// future that makes an empty store: an `Arc<dyn IdempotencyStore>`, or a [`Fixture`] of one.
#[doc(hidden)]
#[macro_export]
macro_rules! __idempotency_store {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(idempotency_store, $maker.await, [
            the_first_claim_is_new_and_the_next_finds_it_running
            an_answer_is_given_back_as_it_came
            what_is_not_an_answer_is_remembered_as_what_it_is
            another_request_under_a_key_is_a_mismatch
            accounts_are_apart
            keys_alike_are_told_apart
            of_many_claims_at_once_one_is_new
            what_was_given_back_may_be_claimed_again
            what_nothing_was_heard_of_is_interrupted
            what_is_heard_of_runs_on
            claims_of_one_instant_are_told_apart
            an_end_that_comes_late_counts
            only_the_first_end_counts
            an_expired_key_is_as_good_as_new
            a_claim_that_stands_no_more_changes_nothing
            what_has_expired_is_forgotten_in_batches
            a_sweep_beside_claims_forgets_none_of_them
        ]);
    };
}

const SECOND: i64 = 1_000_000;
const RUNS: i64 = 60 * SECOND;
const KEEPS: i64 = 3_600 * SECOND;

fn account() -> AccountId {
    AccountId::new(at(0))
}

fn key(text: &str) -> IdempotencyKey {
    text.parse().expect("a key")
}

/// A claim of `account` under this key, `micros` after the beginning.
fn claim(account: AccountId, called: &str, micros: i64) -> Claim {
    Claim {
        account,
        key: key(called),
        fingerprint: Fingerprint::of("POST", "/v1/chat/completions", b"{}"),
        request: CallId::new(at(micros)),
        at: at(micros),
        running_until: at(micros + RUNS),
        expires_at: at(micros + KEEPS),
    }
}

fn answer(body: impl Into<Bytes>) -> Kept {
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned()), ("x-a".to_owned(), String::new())];
    Kept::Answer(StoredAnswer { status: 200, headers, body: body.into() })
}

async fn begun(store: &dyn IdempotencyStore, claim: &Claim) -> Begun {
    store.begin(claim).await.expect("a claim")
}

async fn finished(store: &dyn IdempotencyStore, claim: &Claim, kept: Kept) {
    store.finish(claim, kept).await.expect("an end");
}

/// The same request again, `micros` after the beginning.
fn again(claim: &Claim, micros: i64) -> Claim {
    self::claim(claim.account, claim.key.as_str(), micros)
}

/// Whoever comes second learns since when the first runs.
pub async fn the_first_claim_is_new_and_the_next_finds_it_running(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 5);
    assert_eq!(begun(&*store.subject, &first).await, Begun::New);
    for later in [5, 6, RUNS] {
        assert_eq!(begun(&*store.subject, &again(&first, later)).await, Begun::Running { since: at(5) });
    }
}

/// Status, headers and every byte of the body, as often as they are asked for; the empty body, too.
pub async fn an_answer_is_given_back_as_it_came(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    let every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for (called, body) in [("empty", Bytes::new()), ("text", Bytes::from("data: {}\n\n")), ("long", every_byte.into())]
    {
        let first = claim(owner, called, 0);
        assert_eq!(begun(&*store.subject, &first).await, Begun::New);
        finished(&*store.subject, &first, answer(body.clone())).await;
        for later in [1, RUNS + 1, KEEPS - 1] {
            assert_eq!(begun(&*store.subject, &again(&first, later)).await, Begun::Done(answer(body.clone())));
        }
    }
    let first = claim(owner, "bare", 0);
    begun(&*store.subject, &first).await;
    let bare = Kept::Answer(StoredAnswer { status: 502, headers: Vec::new(), body: Bytes::from_static(b"{}") });
    finished(&*store.subject, &first, bare.clone()).await;
    assert_eq!(begun(&*store.subject, &again(&first, 1)).await, Begun::Done(bare));
}

/// That an answer was too large, or that there was none.
pub async fn what_is_not_an_answer_is_remembered_as_what_it_is(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    for (called, kept) in [("large", Kept::TooLarge), ("broken", Kept::Interrupted)] {
        let first = claim(account(), called, 0);
        begun(&*store.subject, &first).await;
        finished(&*store.subject, &first, kept.clone()).await;
        assert_eq!(begun(&*store.subject, &again(&first, 1)).await, Begun::Done(kept));
    }
}

/// While the first runs and after it has ended; and it is the first whose answer stays.
pub async fn another_request_under_a_key_is_a_mismatch(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    let mut other = again(&first, 1);
    other.fingerprint = Fingerprint::of("POST", "/v1/chat/completions", b"{ }");
    begun(&*store.subject, &first).await;
    assert_eq!(begun(&*store.subject, &other).await, Begun::Mismatch);
    finished(&*store.subject, &first, answer("first")).await;
    assert_eq!(begun(&*store.subject, &other).await, Begun::Mismatch);
    assert_eq!(begun(&*store.subject, &again(&first, 2)).await, Begun::Done(answer("first")));
}

/// The same text is another key in another account.
pub async fn accounts_are_apart(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let (mine, other) = (claim(account(), "one", 0), claim(account(), "one", 0));
    assert_eq!(begun(&*store.subject, &mine).await, Begun::New);
    assert_eq!(begun(&*store.subject, &other).await, Begun::New);
    finished(&*store.subject, &mine, answer("mine")).await;
    assert_eq!(begun(&*store.subject, &again(&other, 1)).await, Begun::Running { since: at(0) });
    store.subject.abandon(&other).await.expect("a key given back");
    assert_eq!(begun(&*store.subject, &again(&mine, 1)).await, Begun::Done(answer("mine")));
}

/// Keys that a database might take for one another.
pub async fn keys_alike_are_told_apart(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    let long = "k".repeat(IdempotencyKey::LONGEST);
    let keys = ["a", "A", "a-", "a_", "a%", "a'", "\"a\"", "0", "00", "0.0", "\\", "\\0", &long, &long[1..]];
    let claims = keys.map(|called| claim(owner, called, 0));
    for claim in &claims {
        assert_eq!(begun(&*store.subject, claim).await, Begun::New, "{}", claim.key);
    }
    for claim in &claims {
        finished(&*store.subject, claim, answer(claim.key.to_string())).await;
    }
    for called in keys {
        let kept = begun(&*store.subject, &claim(owner, called, 1)).await;
        assert_eq!(kept, Begun::Done(answer(called.to_owned())));
    }
}

/// Fifty at once, of a key that is new and of one that has expired: one of each fifty does the work.
pub async fn of_many_claims_at_once_one_is_new(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    begun(&*store.subject, &claim(owner, "one", -KEEPS)).await;
    for called in ["one", "two"] {
        let claims = (0..50).map(|micros| {
            let store = Arc::clone(&store.subject);
            async move { begun(&*store, &claim(owner, called, micros)).await }
        });
        let all = together(claims).await;
        assert_eq!(all.iter().filter(|begun| **begun == Begun::New).count(), 1, "{all:?}");
        assert_eq!(all.iter().filter(|begun| matches!(begun, Begun::Running { .. })).count(), 49, "{all:?}");
    }
}

/// Also for another request: nothing came of the first. To give back what is not there is no error.
pub async fn what_was_given_back_may_be_claimed_again(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    store.subject.abandon(&first).await.expect("nothing to give back");
    begun(&*store.subject, &first).await;
    for _ in 0..2 {
        store.subject.abandon(&first).await.expect("a key given back");
    }
    let mut second = again(&first, 1);
    second.fingerprint = Fingerprint::of("POST", "/v1/embeddings", b"{}");
    assert_eq!(begun(&*store.subject, &second).await, Begun::New);
    finished(&*store.subject, &second, answer("second")).await;
    second.at = at(2);
    assert_eq!(begun(&*store.subject, &second).await, Begun::Done(answer("second")));
}

/// From its instant on, and until the key expires: it is not done again.
pub async fn what_nothing_was_heard_of_is_interrupted(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    begun(&*store.subject, &first).await;
    assert_eq!(begun(&*store.subject, &again(&first, RUNS - 1)).await, Begun::Running { since: at(0) });
    for later in [RUNS, RUNS + 1, KEEPS - 1] {
        assert_eq!(begun(&*store.subject, &again(&first, later)).await, Begun::Done(Kept::Interrupted));
    }
}

/// For as long as it says, again and again, and no longer; and not once it has ended.
pub async fn what_is_heard_of_runs_on(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    store.subject.extend(&first, at(9 * RUNS)).await.expect("nothing to extend");
    begun(&*store.subject, &first).await;
    for turn in 1..=5 {
        store.subject.extend(&first, at(turn * RUNS + 1)).await.expect("more time");
        assert_eq!(begun(&*store.subject, &again(&first, turn * RUNS)).await, Begun::Running { since: at(0) });
        assert_eq!(begun(&*store.subject, &again(&first, turn * RUNS + 1)).await, Begun::Done(Kept::Interrupted));
    }
    store.subject.extend(&again(&first, 1), at(9 * RUNS)).await.expect("somebody else's");
    assert_eq!(begun(&*store.subject, &again(&first, 5 * RUNS + 1)).await, Begun::Done(Kept::Interrupted));
    finished(&*store.subject, &first, answer("done")).await;
    store.subject.extend(&first, at(9 * RUNS)).await.expect("nothing to extend");
    assert_eq!(begun(&*store.subject, &again(&first, 1)).await, Begun::Done(answer("done")));
}

/// Who came second in the same microsecond neither ends nor gives back what the first one claimed.
pub async fn claims_of_one_instant_are_told_apart(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    let second = again(&first, 0);
    assert_eq!(begun(&*store.subject, &first).await, Begun::New);
    assert_eq!(begun(&*store.subject, &second).await, Begun::Running { since: at(0) });
    store.subject.abandon(&second).await.expect("nothing to give back");
    finished(&*store.subject, &second, answer("second")).await;
    assert_eq!(begun(&*store.subject, &again(&first, 1)).await, Begun::Running { since: at(0) });
}

/// Who was taken for gone and was not may still bring its answer.
pub async fn an_end_that_comes_late_counts(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    begun(&*store.subject, &first).await;
    assert_eq!(begun(&*store.subject, &again(&first, RUNS)).await, Begun::Done(Kept::Interrupted));
    finished(&*store.subject, &first, answer("late")).await;
    assert_eq!(begun(&*store.subject, &again(&first, RUNS + 1)).await, Begun::Done(answer("late")));
}

/// An answer is not changed, nor given back, once it is there.
pub async fn only_the_first_end_counts(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    finished(&*store.subject, &first, answer("before it was claimed")).await;
    assert_eq!(begun(&*store.subject, &first).await, Begun::New);
    for kept in [answer("first"), answer("second"), Kept::TooLarge, Kept::Interrupted] {
        finished(&*store.subject, &first, kept).await;
    }
    store.subject.abandon(&first).await.expect("nothing to give back");
    assert_eq!(begun(&*store.subject, &again(&first, 1)).await, Begun::Done(answer("first")));
}

/// From its instant on, whether it was swept or not, whether it had ended or not, for any request.
pub async fn an_expired_key_is_as_good_as_new(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    for (called, kept) in [("running", None), ("ended", Some(answer("old"))), ("large", Some(Kept::TooLarge))] {
        let first = claim(owner, called, 0);
        begun(&*store.subject, &first).await;
        if let Some(kept) = kept {
            finished(&*store.subject, &first, kept).await;
        }
        assert_ne!(begun(&*store.subject, &again(&first, KEEPS - 1)).await, Begun::New, "{called}");
        let mut second = again(&first, KEEPS);
        second.fingerprint = Fingerprint::of("POST", "/v1/embeddings", b"{}");
        assert_eq!(begun(&*store.subject, &second).await, Begun::New, "{called}");
        second.at = at(KEEPS + 1);
        assert_eq!(begun(&*store.subject, &second).await, Begun::Running { since: at(KEEPS) }, "{called}");
    }
}

/// Who comes back after its key has expired neither answers nor gives back what is another one's.
pub async fn a_claim_that_stands_no_more_changes_nothing(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let first = claim(account(), "one", 0);
    begun(&*store.subject, &first).await;
    let second = again(&first, KEEPS);
    assert_eq!(begun(&*store.subject, &second).await, Begun::New);
    finished(&*store.subject, &first, answer("of the first")).await;
    store.subject.abandon(&first).await.expect("nothing to give back");
    assert_eq!(begun(&*store.subject, &again(&first, KEEPS + 1)).await, Begun::Running { since: second.at });
    finished(&*store.subject, &second, answer("of the second")).await;
    assert_eq!(begun(&*store.subject, &again(&first, KEEPS + 2)).await, Begun::Done(answer("of the second")));
}

/// Sweeps whatever has expired, and says how much of it in all.
async fn swept(store: &dyn IdempotencyStore, now: Timestamp, limit: usize) -> u64 {
    let mut all = 0;
    loop {
        let some = store.sweep(now, limit).await.expect("a sweep");
        assert!(some <= limit as u64, "a batch of {some}");
        if some == 0 {
            return all;
        }
        all += some;
    }
}

/// All of it, in batches no longer than asked for, and nothing that still holds.
pub async fn what_has_expired_is_forgotten_in_batches(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    for number in 0..25 {
        let old = claim(owner, &format!("old-{number}"), number);
        begun(&*store.subject, &old).await;
        finished(&*store.subject, &old, answer("old")).await;
    }
    let young = claim(owner, "young", 25);
    begun(&*store.subject, &young).await;
    assert_eq!(swept(&*store.subject, at(KEEPS - 1), 10).await, 0, "nothing has expired");
    assert_eq!(swept(&*store.subject, at(KEEPS), 10).await, 1);
    assert_eq!(swept(&*store.subject, at(KEEPS + 24), 10).await, 24);
    assert_eq!(begun(&*store.subject, &again(&young, 26)).await, Begun::Running { since: young.at });
    assert_eq!(swept(&*store.subject, at(KEEPS + 25), 1).await, 1);
}

/// A key that is claimed anew while the old one is swept stands afterwards.
pub async fn a_sweep_beside_claims_forgets_none_of_them(store: impl Into<Fixture<dyn IdempotencyStore>>) {
    let store = store.into();
    let owner = account();
    let called = |number: i64| format!("key-{number}");
    for number in 0..30 {
        begun(&*store.subject, &claim(owner, &called(number), number)).await;
    }
    let sweeper = {
        let store = Arc::clone(&store.subject);
        tokio::spawn(async move { swept(&*store, at(KEEPS + 100), 5).await })
    };
    let claims = (0..30).map(|number| {
        let store = Arc::clone(&store.subject);
        async move { begun(&*store, &claim(owner, &called(number), KEEPS + 100)).await }
    });
    assert!(together(claims).await.iter().all(|begun| *begun == Begun::New));
    sweeper.await.expect("the sweeper");
    for number in 0..30 {
        let standing = begun(&*store.subject, &claim(owner, &called(number), KEEPS + 101)).await;
        assert_eq!(standing, Begun::Running { since: at(KEEPS + 100) });
    }
}
