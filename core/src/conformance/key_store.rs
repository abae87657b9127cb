//! Proves a [`KeyStore`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Fixture, at, together};
use crate::error::ErrorKind;
use crate::id::{AccountId, KeyId};
use crate::key::{
    ApiKey, KeyChange, KeyHash, KeyLimits, KeyStore, NewKey, NewSecret, OperationAccess, Pepper, Permission,
};
use crate::model::ModelKind;
use crate::page::PageRequest;
use crate::plan::ModelAccess;

/// Makes a test of every check in [`key_store`](mod@crate::conformance::key_store) out of a future
/// that makes an empty store: an `Arc<dyn KeyStore>`, or a [`Fixture`] of one.
#[doc(hidden)]
#[macro_export]
macro_rules! __key_store {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(key_store, $maker.await, [
            finds_what_was_inserted
            an_unknown_hash_is_none
            a_hash_is_inserted_once
            an_id_is_inserted_once
            one_of_many_equal_inserts_wins
            a_hundred_inserts_at_once_are_all_kept
            a_revoked_key_is_seen_at_once
            revoking_twice_keeps_the_first_instant
            no_look_up_after_a_revocation_misses_it
            a_key_of_another_account_is_not_found
            an_update_changes_what_it_names
            an_update_does_not_undo_a_revocation
            updates_at_once_lose_nothing_of_each_other
            a_rotated_key_is_found_by_both_secrets
            rotating_again_leaves_older_ends_alone
            what_cannot_be_rotated_stays_as_it_is
            every_secret_of_a_revoked_key_is_revoked
            the_latest_use_is_kept
            lists_are_paged_without_loss_or_repeat
            a_list_shows_one_account_with_its_revoked_keys
        ]);
    };
}

/// A new key of `account`, made `age` microseconds after the first; its secret is thrown away.
pub fn new_key(account: AccountId, age: i64) -> NewKey {
    let key = ApiKey {
        permission: Permission::Manage,
        operations: OperationAccess::Only(vec![ModelKind::Embedding]),
        models: ModelAccess::Only(vec!["vendor/a".to_owned(), "other/*".to_owned()]),
        allowed_ips: ["192.0.2.7", "2001:db8::/32"].map(|text| text.parse().expect("a network")).to_vec(),
        limits: KeyLimits {
            requests_per_minute: Some(7),
            monthly_calls: None,
            monthly_tokens: Some(u64::MAX >> 1),
            monthly_money: None,
        },
        expires_at: Some(at(age + 1_234_567)),
        ..ApiKey::new(account, format!("Schlüssel {age} 🔑"), "basic", at(age))
    };
    NewKey::issue("test", &Pepper::random(), key).0
}

fn account() -> AccountId {
    AccountId::new(at(0))
}

async fn found(store: &dyn KeyStore, hash: &KeyHash) -> Arc<ApiKey> {
    store.find(hash).await.expect("a look-up").expect("the key is there")
}

async fn inserted(store: &dyn KeyStore, account: AccountId, age: i64) -> NewKey {
    let new = new_key(account, age);
    store.insert(new.clone()).await.expect("an insert");
    new
}

/// What is found is what was inserted, in every field.
pub async fn finds_what_was_inserted(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    assert_eq!(*found(&*store.subject, &new.hash).await, new.key);
    let mut plain = new_key(account(), 1);
    plain.key.operations = OperationAccess::All;
    plain.key.models = ModelAccess::Basic;
    plain.key.limits = KeyLimits::default();
    plain.key.allowed_ips = Vec::new();
    plain.key.expires_at = None;
    plain.key.permission = Permission::ReadOnly;
    store.subject.insert(plain.clone()).await.expect("an insert");
    assert_eq!(*found(&*store.subject, &plain.hash).await, plain.key);
}

/// An unknown hash is no error, also next to known ones, and is found once it is inserted.
pub async fn an_unknown_hash_is_none(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    inserted(&*store.subject, account(), 0).await;
    let later = new_key(account(), 1);
    assert_eq!(store.subject.find(&later.hash).await.expect("a look-up"), None);
    store.subject.insert(later.clone()).await.expect("an insert");
    assert_eq!(*found(&*store.subject, &later.hash).await, later.key);
}

/// The same hash again is a conflict, and the first key stays as it is.
pub async fn a_hash_is_inserted_once(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let first = inserted(&*store.subject, account(), 0).await;
    let second = NewKey { hash: first.hash, ..new_key(account(), 1) };
    assert_eq!(store.subject.insert(second).await.expect_err("a conflict").kind(), ErrorKind::Conflict);
    assert_eq!(*found(&*store.subject, &first.hash).await, first.key);
}

/// The same id again is a conflict, also for another account, and leaves nothing behind.
pub async fn an_id_is_inserted_once(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let first = inserted(&*store.subject, account(), 0).await;
    let mut second = new_key(account(), 1);
    second.key.id = first.key.id;
    let hash = second.hash;
    let other = second.key.account;
    assert_eq!(store.subject.insert(second).await.expect_err("a conflict").kind(), ErrorKind::Conflict);
    assert_eq!(store.subject.find(&hash).await.expect("a look-up"), None);
    assert!(store.subject.list(other, PageRequest::first(10)).await.expect("a list").rows.is_empty());
    assert_eq!(*found(&*store.subject, &first.hash).await, first.key);
}

/// Of many inserts of one hash at the same time, one wins and the others are conflicts.
pub async fn one_of_many_equal_inserts_wins(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let hash = new_key(account(), 0).hash;
    let done = together((0..20).map(|age| {
        let store = Arc::clone(&store.subject);
        async move { store.insert(NewKey { hash, ..new_key(account(), age) }).await.map_err(|error| error.kind()) }
    }))
    .await;
    assert_eq!(done.iter().filter(|each| each.is_ok()).count(), 1);
    assert_eq!(done.iter().filter(|each| **each == Err(ErrorKind::Conflict)).count(), 19);
}

/// A hundred inserts at the same time are all kept, and found by who inserted them at once.
pub async fn a_hundred_inserts_at_once_are_all_kept(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let account = account();
    let ids = together((0..100).map(|age| {
        let store = Arc::clone(&store.subject);
        async move {
            let new = inserted(&*store, account, age).await;
            assert_eq!(*found(&*store, &new.hash).await, new.key);
            new.key.id
        }
    }))
    .await;
    let listed = store.subject.list(account, PageRequest::first(200)).await.expect("a list").rows;
    assert_eq!(listed.iter().map(|key| key.id).collect::<BTreeSet<_>>(), ids.into_iter().collect());
    assert_eq!(listed.len(), 100);
}

/// A key that was looked up before is seen revoked by the very next look-up.
pub async fn a_revoked_key_is_seen_at_once(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    for _ in 0..3 {
        assert_eq!(found(&*store.subject, &new.hash).await.revoked_at, None);
    }
    store.subject.revoke(new.key.account, new.key.id, at(5)).await.expect("a revocation");
    assert_eq!(found(&*store.subject, &new.hash).await.revoked_at, Some(at(5)));
}

/// Revoking again succeeds and changes nothing.
pub async fn revoking_twice_keeps_the_first_instant(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    for instant in [at(7), at(9), at(3)] {
        store.subject.revoke(new.key.account, new.key.id, instant).await.expect("a revocation");
        assert_eq!(found(&*store.subject, &new.hash).await.revoked_at, Some(at(7)));
    }
}

/// Under a storm of look-ups, none that starts after a revocation has returned misses it.
pub async fn no_look_up_after_a_revocation_misses_it(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    for age in 0..20 {
        let new = inserted(&*store.subject, account(), age).await;
        let revoked = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (store, revoked, hash) = (Arc::clone(&store.subject), Arc::clone(&revoked), new.hash);
                tokio::spawn(async move {
                    loop {
                        let after = revoked.load(Ordering::SeqCst);
                        let seen = found(&*store, &hash).await.revoked_at.is_some();
                        assert!(seen || !after, "a look-up after the revocation missed it");
                        if after {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        store.subject.revoke(new.key.account, new.key.id, at(5)).await.expect("a revocation");
        revoked.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await.expect("a reader");
        }
    }
}

/// Another account's key cannot be changed or revoked by its id, and neither can one that is not there.
pub async fn a_key_of_another_account_is_not_found(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    let stranger = account();
    inserted(&*store.subject, stranger, 1).await;
    for (account, id) in [(stranger, new.key.id), (new.key.account, KeyId::new(at(2)))] {
        let change = KeyChange { name: Some("mine now".to_owned()), ..KeyChange::default() };
        let update = store.subject.update(account, id, change).await.expect_err("not found");
        let revoke = store.subject.revoke(account, id, at(5)).await.expect_err("not found");
        assert_eq!((update.kind(), revoke.kind()), (ErrorKind::NotFound, ErrorKind::NotFound));
    }
    assert_eq!(*found(&*store.subject, &new.hash).await, new.key);
}

/// What a change does to a key, said a second time.
type Apply = fn(&mut ApiKey);

/// An update changes the fields that it names, those alone and at once, and gives back the key.
pub async fn an_update_changes_what_it_names(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    let mut expected = new.key.clone();
    let none = KeyChange::default;
    let limits = KeyLimits { monthly_calls: Some(5), ..KeyLimits::default() };
    let changes: [(KeyChange, Apply); 10] = [
        (none(), |_| {}),
        (KeyChange { name: Some("new".to_owned()), ..none() }, |key| key.name = "new".into()),
        (KeyChange { plan: Some("pro".to_owned()), ..none() }, |key| key.plan = "pro".into()),
        (KeyChange { permission: Some(Permission::ReadOnly), ..none() }, |key| key.permission = Permission::ReadOnly),
        (KeyChange { models: Some(ModelAccess::All), ..none() }, |key| key.models = ModelAccess::All),
        (KeyChange { operations: Some(OperationAccess::All), ..none() }, |key| key.operations = OperationAccess::All),
        (KeyChange { limits: Some(limits), ..none() }, |key| {
            key.limits = KeyLimits { monthly_calls: Some(5), ..KeyLimits::default() };
        }),
        (KeyChange { allowed_ips: Some(Vec::new()), ..none() }, |key| key.allowed_ips = Vec::new()),
        (KeyChange { expires_at: Some(None), ..none() }, |key| key.expires_at = None),
        (KeyChange { expires_at: Some(Some(at(99))), ..none() }, |key| key.expires_at = Some(at(99))),
    ];
    for (change, apply) in changes {
        apply(&mut expected);
        for _ in 0..2 {
            let updated = store.subject.update(new.key.account, new.key.id, change.clone()).await.expect("an update");
            assert_eq!(*updated, expected);
        }
        assert_eq!(*found(&*store.subject, &new.hash).await, expected);
    }
}

/// A revoked key stays revoked, whatever else is changed of it.
pub async fn an_update_does_not_undo_a_revocation(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    store.subject.revoke(new.key.account, new.key.id, at(5)).await.expect("a revocation");
    let change = KeyChange { name: Some("again".to_owned()), expires_at: Some(None), ..KeyChange::default() };
    let updated = store.subject.update(new.key.account, new.key.id, change).await.expect("an update");
    assert_eq!(updated.revoked_at, Some(at(5)));
    assert_eq!(found(&*store.subject, &new.hash).await.revoked_at, Some(at(5)));
}

/// Changes of different fields at the same time are all there afterwards, and so is a revocation between them.
pub async fn updates_at_once_lose_nothing_of_each_other(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    for age in 0..10 {
        let new = inserted(&*store.subject, account(), age).await;
        let (account, id, none) = (new.key.account, new.key.id, KeyChange::default);
        let changes = [
            KeyChange { name: Some("new".to_owned()), ..none() },
            KeyChange { plan: Some("pro".to_owned()), ..none() },
            KeyChange { permission: Some(Permission::ReadOnly), ..none() },
        ];
        let revoking = {
            let store = Arc::clone(&store.subject);
            tokio::spawn(async move { store.revoke(account, id, at(5)).await.expect("a revocation") })
        };
        together(changes.map(|change| {
            let store = Arc::clone(&store.subject);
            async move { drop(store.update(account, id, change).await.expect("an update")) }
        }))
        .await;
        revoking.await.expect("a revocation");
        let key = found(&*store.subject, &new.hash).await;
        assert_eq!((&*key.name, &*key.plan, key.permission), ("new", "pro", Permission::ReadOnly));
        assert_eq!(key.revoked_at, Some(at(5)));
    }
}

/// A secret that replaces another one at `age`, and lets it hold for `overlap` microseconds longer.
fn new_secret(age: i64, overlap: u64) -> NewSecret {
    NewSecret::issue("test", &Pepper::random(), at(age), std::time::Duration::from_micros(overlap)).0
}

async fn rotated(store: &dyn KeyStore, new: &NewKey, secret: &NewSecret) -> Arc<ApiKey> {
    store.rotate(new.key.account, new.key.id, secret.clone()).await.expect("a rotation")
}

/// Both secrets find the same key, in every field; the replaced one says when it ends.
pub async fn a_rotated_key_is_found_by_both_secrets(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    assert_eq!(found(&*store.subject, &new.hash).await.secret_ends_at, None);
    let secret = new_secret(10, 90);
    let key = rotated(&*store.subject, &new, &secret).await;
    let expected = ApiKey { display_prefix: secret.display_prefix.clone(), ..new.key.clone() };
    assert_eq!(*key, expected);
    assert_eq!(*found(&*store.subject, &secret.hash).await, expected);
    let ending = ApiKey { secret_ends_at: Some(at(100)), ..expected.clone() };
    assert_eq!(*found(&*store.subject, &new.hash).await, ending);
    let change = KeyChange { name: Some("both".to_owned()), ..KeyChange::default() };
    store.subject.update(new.key.account, new.key.id, change).await.expect("an update");
    for hash in [&new.hash, &secret.hash] {
        assert_eq!(found(&*store.subject, hash).await.name, "both");
    }
    let listed = store.subject.list(new.key.account, PageRequest::first(10)).await.expect("a list").rows;
    assert_eq!(listed.iter().map(|key| (key.id, key.secret_ends_at)).collect::<Vec<_>>(), [(new.key.id, None)]);
}

/// A second rotation ends the secret of the first, and does not prolong the one before it.
pub async fn rotating_again_leaves_older_ends_alone(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    let (second, third) = (new_secret(10, 90), new_secret(20, 900));
    rotated(&*store.subject, &new, &second).await;
    rotated(&*store.subject, &new, &third).await;
    let ends = async |hash: &KeyHash| found(&*store.subject, hash).await.secret_ends_at;
    assert_eq!(
        (ends(&new.hash).await, ends(&second.hash).await, ends(&third.hash).await),
        (Some(at(100)), Some(at(920)), None)
    );
    // At once: whoever stole the secret does not keep it for the rest of an overlap.
    let last = new_secret(30, 0);
    rotated(&*store.subject, &new, &last).await;
    assert!(found(&*store.subject, &third.hash).await.check(at(30)).is_err());
    assert!(found(&*store.subject, &last.hash).await.check(at(30)).is_ok());
}

/// A stranger's key, one that is not there, a revoked one and a hash that is taken: refused, and nothing changed.
pub async fn what_cannot_be_rotated_stays_as_it_is(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let (new, other) = (inserted(&*store.subject, account(), 0).await, inserted(&*store.subject, account(), 1).await);
    let refused = async |account, id, secret: NewSecret| {
        store.subject.rotate(account, id, secret).await.expect_err("a refusal").kind()
    };
    let secret = new_secret(10, 90);
    assert_eq!(refused(other.key.account, new.key.id, secret.clone()).await, ErrorKind::NotFound);
    assert_eq!(refused(new.key.account, KeyId::new(at(2)), secret.clone()).await, ErrorKind::NotFound);
    let taken = NewSecret { hash: other.hash, ..secret.clone() };
    assert_eq!(refused(new.key.account, new.key.id, taken).await, ErrorKind::Conflict);
    assert_eq!(*found(&*store.subject, &new.hash).await, new.key);
    assert_eq!(*found(&*store.subject, &other.hash).await, other.key);
    store.subject.revoke(new.key.account, new.key.id, at(5)).await.expect("a revocation");
    assert_eq!(refused(new.key.account, new.key.id, secret.clone()).await, ErrorKind::Conflict);
    assert_eq!(store.subject.find(&secret.hash).await.expect("a look-up"), None);
}

/// A revocation is one of the key, and so of each of its secrets, at once.
pub async fn every_secret_of_a_revoked_key_is_revoked(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let new = inserted(&*store.subject, account(), 0).await;
    let secret = new_secret(10, 90);
    rotated(&*store.subject, &new, &secret).await;
    for hash in [&new.hash, &secret.hash] {
        assert_eq!(found(&*store.subject, hash).await.revoked_at, None);
    }
    store.subject.revoke(new.key.account, new.key.id, at(50)).await.expect("a revocation");
    for hash in [&new.hash, &secret.hash] {
        assert_eq!(found(&*store.subject, hash).await.revoked_at, Some(at(50)));
    }
}

/// Of the uses that are told of, in whatever order, the latest is listed; unknown keys do not matter.
pub async fn the_latest_use_is_kept(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let account = account();
    let (used, idle) = (inserted(&*store.subject, account, 0).await, inserted(&*store.subject, account, 1_000).await);
    let gone = KeyId::new(at(2));
    for uses in [&[][..], &[(used.key.id, at(7)), (gone, at(9))], &[(used.key.id, at(8))], &[(used.key.id, at(3))]] {
        store.subject.touch(uses).await.expect("uses");
    }
    let listed = store.subject.list(account, PageRequest::first(10)).await.expect("a list").rows;
    let kept: Vec<_> = listed.iter().map(|key| (key.id, key.last_used_at)).collect();
    assert_eq!(kept, [(used.key.id, Some(at(8))), (idle.key.id, None)]);
}

/// Walking the pages shows every key once, oldest first, whatever the limit.
pub async fn lists_are_paged_without_loss_or_repeat(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let (account, other) = (account(), account());
    let mut ids = Vec::new();
    for step in 0..25_i64 {
        // A fixed shuffle, milliseconds apart: ids sort by the millisecond that they were made in.
        let age = step * 7 % 25 * 1_000;
        ids.push(inserted(&*store.subject, account, age).await.key.id);
        inserted(&*store.subject, other, age).await;
    }
    ids.sort_unstable();
    for limit in [1, 2, 3, 7, 24, 25, 26, 1_000, usize::MAX, 0] {
        let (mut seen, mut after) = (Vec::new(), None);
        for _ in 0..=ids.len() {
            let page = store.subject.list(account, PageRequest { after, limit }).await.expect("a page");
            assert!(page.rows.len() <= limit.max(1), "a page longer than asked for");
            seen.extend(page.rows.iter().map(|key| key.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((seen, after), (ids.clone(), None), "pages of {limit}");
    }
}

/// A list holds the keys of one account only, its revoked ones too; that of a stranger is empty.
pub async fn a_list_shows_one_account_with_its_revoked_keys(store: impl Into<Fixture<dyn KeyStore>>) {
    let store = store.into();
    let mine = inserted(&*store.subject, account(), 0).await;
    inserted(&*store.subject, account(), 1).await;
    store.subject.revoke(mine.key.account, mine.key.id, at(5)).await.expect("a revocation");
    let page = store.subject.list(mine.key.account, PageRequest::first(10)).await.expect("a page");
    assert_eq!(page.rows.iter().map(|key| (key.id, key.revoked_at)).collect::<Vec<_>>(), [(mine.key.id, Some(at(5)))]);
    assert_eq!(page.next, None);
    let nobody = store.subject.list(account(), PageRequest::first(10)).await.expect("a page");
    assert!(nobody.rows.is_empty() && nobody.next.is_none());
}
