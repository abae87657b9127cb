//! Proves a [`SecretStore`].

use secrecy::{ExposeSecret as _, SecretSlice};

use super::{Fixture, at, together};
use crate::error::ErrorKind;
use crate::id::AccountId;
use crate::page::PageRequest;
use crate::secret::{LONGEST_SECRET, SecretName, SecretOwner, SecretStore};

/// Makes a test of every check in [`secret_store`](mod@crate::conformance::secret_store) out of a future
/// that makes an empty store: an `Arc<dyn SecretStore>`, or a [`Fixture`] of one.
#[doc(hidden)]
#[macro_export]
macro_rules! __secret_store {
    ($maker:expr $(,)?) => {
        $crate::__conformance!(secret_store, $maker.await, [
            gives_back_the_bytes_that_were_put
            an_unknown_name_is_none
            the_last_value_stays
            a_value_too_long_is_refused_and_changes_nothing
            another_owner_sees_nothing
            names_alike_are_told_apart
            what_was_removed_is_gone
            one_of_many_puts_at_once_stays_as_a_whole
            a_hundred_names_at_once_are_all_kept
            a_get_beside_puts_sees_one_of_them
            names_are_paged_in_order_without_loss_or_repeat
            a_list_shows_one_owner
            nothing_printable_holds_the_value
        ]);
    };
}

fn account() -> SecretOwner {
    AccountId::new(at(0)).into()
}

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

fn value(bytes: impl Into<Vec<u8>>) -> SecretSlice<u8> {
    bytes.into().into()
}

async fn put(store: &dyn SecretStore, owner: SecretOwner, called: &str, bytes: &[u8]) {
    store.put(owner, &name(called), &value(bytes)).await.expect("a put");
}

async fn got(store: &dyn SecretStore, owner: SecretOwner, called: &str) -> Option<Vec<u8>> {
    let found = store.get(owner, &name(called)).await.expect("a look-up");
    found.map(|plain| plain.expose_secret().to_vec())
}

/// Any bytes: none, every one there is, no text, and as many as may be.
pub async fn gives_back_the_bytes_that_were_put(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let long: Vec<u8> = every.iter().copied().cycle().take(LONGEST_SECRET).collect();
    let values = [Vec::new(), vec![0], b"whsec_abc".to_vec(), "Schlüssel 🔑\n".into(), every, long];
    for owner in [SecretOwner::House, account()] {
        for (place, bytes) in values.iter().enumerate() {
            let called = format!("value/{place}");
            put(&*store.subject, owner, &called, bytes).await;
            assert!(got(&*store.subject, owner, &called).await.as_ref() == Some(bytes), "value {place} of {owner}");
        }
        for (place, bytes) in values.iter().enumerate() {
            assert!(got(&*store.subject, owner, &format!("value/{place}")).await.as_ref() == Some(bytes));
        }
    }
}

/// A name that is not there is no error, also beside others.
pub async fn an_unknown_name_is_none(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    assert_eq!(got(&*store.subject, owner, "totp").await, None);
    put(&*store.subject, owner, "totp2", b"other").await;
    assert_eq!(got(&*store.subject, owner, "totp").await, None);
    put(&*store.subject, owner, "totp", b"seed").await;
    assert_eq!(got(&*store.subject, owner, "totp").await.as_deref(), Some(&b"seed"[..]));
}

/// A put replaces the value, whether it is shorter or longer, and may be said twice.
pub async fn the_last_value_stays(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    for bytes in [&b"first"[..], b"a much longer second one", b"3", b"", b"last", b"last"] {
        put(&*store.subject, owner, "webhook", bytes).await;
        assert_eq!(got(&*store.subject, owner, "webhook").await.as_deref(), Some(bytes));
    }
    let page = store.subject.names(owner, PageRequest::first(10)).await.expect("names");
    assert_eq!(page.rows, [name("webhook")]);
}

/// One byte more than the longest is too large, and the value before it stays.
pub async fn a_value_too_long_is_refused_and_changes_nothing(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    put(&*store.subject, owner, "kept", b"before").await;
    for called in ["kept", "new"] {
        let long = value(vec![7; LONGEST_SECRET + 1]);
        let error = store.subject.put(owner, &name(called), &long).await.expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
    assert_eq!(got(&*store.subject, owner, "kept").await.as_deref(), Some(&b"before"[..]));
    assert_eq!(got(&*store.subject, owner, "new").await, None);
}

/// A name is one owner's: another account, the house and an account of zeros neither read nor remove it.
pub async fn another_owner_sees_nothing(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let zeros = SecretOwner::from(AccountId::from_uuid(uuid::Uuid::nil()));
    let owners = [SecretOwner::House, account(), account(), zeros];
    for owner in owners {
        put(&*store.subject, owner, "totp", owner.to_string().as_bytes()).await;
        for stranger in owners.into_iter().filter(|stranger| *stranger != owner) {
            assert_eq!(got(&*store.subject, stranger, "totp").await, None, "{stranger} sees what is {owner}'s");
            assert!(!store.subject.remove(stranger, &name("totp")).await.expect("a removal"));
        }
        assert_eq!(got(&*store.subject, owner, "totp").await, Some(owner.to_string().into_bytes()));
        assert!(store.subject.remove(owner, &name("totp")).await.expect("a removal"));
    }
    for owner in owners {
        put(&*store.subject, owner, "totp", owner.to_string().as_bytes()).await;
    }
    for owner in owners {
        assert_eq!(got(&*store.subject, owner, "totp").await, Some(owner.to_string().into_bytes()));
    }
}

/// Names that a database might take for one another.
pub async fn names_alike_are_told_apart(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    let long = "n".repeat(SecretName::LONGEST);
    let names = ["a", "A", "a/b", "a:b", "a.b", "a_b", "a-b", "ab", "0", "00", "0.0", &long, &long[1..]];
    for called in names {
        put(&*store.subject, owner, called, called.as_bytes()).await;
    }
    for called in names {
        assert_eq!(got(&*store.subject, owner, called).await.as_deref(), Some(called.as_bytes()));
    }
}

/// A removal says whether there was something, can be said again, and leaves the others alone.
pub async fn what_was_removed_is_gone(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    assert!(!store.subject.remove(owner, &name("gone")).await.expect("a removal"));
    put(&*store.subject, owner, "gone", b"1").await;
    put(&*store.subject, owner, "stays", b"2").await;
    assert!(store.subject.remove(owner, &name("gone")).await.expect("a removal"));
    assert!(!store.subject.remove(owner, &name("gone")).await.expect("a removal"));
    assert_eq!(got(&*store.subject, owner, "gone").await, None);
    assert_eq!(got(&*store.subject, owner, "stays").await.as_deref(), Some(&b"2"[..]));
    put(&*store.subject, owner, "gone", b"3").await;
    assert_eq!(got(&*store.subject, owner, "gone").await.as_deref(), Some(&b"3"[..]));
}

/// Of puts of one name at once none fails, and what stays is one of the values and not a mixture.
pub async fn one_of_many_puts_at_once_stays_as_a_whole(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    let puts = (0..20_u8).map(|number| {
        let store = store.subject.clone();
        async move { put(&*store, owner, "contended", &vec![number; 100 + usize::from(number)]).await }
    });
    together(puts).await;
    let kept = got(&*store.subject, owner, "contended").await.expect("one of them");
    assert_eq!(kept, vec![kept[0]; 100 + usize::from(kept[0])]);
    let page = store.subject.names(owner, PageRequest::first(10)).await.expect("names");
    assert_eq!(page.rows.len(), 1);
}

/// Puts of different names do not get into each other's way.
pub async fn a_hundred_names_at_once_are_all_kept(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    let puts = (0..100).map(|number| {
        let store = store.subject.clone();
        async move { put(&*store, owner, &format!("n{number}"), format!("value {number}").as_bytes()).await }
    });
    together(puts).await;
    for number in 0..100 {
        let kept = got(&*store.subject, owner, &format!("n{number}")).await;
        assert_eq!(kept, Some(format!("value {number}").into_bytes()));
    }
}

/// A reader beside a writer sees the value before or the one after, never an error.
pub async fn a_get_beside_puts_sees_one_of_them(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    put(&*store.subject, owner, "busy", &[0; 40]).await;
    let writer = {
        let store = store.subject.clone();
        tokio::spawn(async move {
            for number in 1..=50_u8 {
                put(&*store, owner, "busy", &[number; 40]).await;
            }
        })
    };
    let mut last = 0;
    while last < 50 {
        let seen = got(&*store.subject, owner, "busy").await.expect("always there");
        assert_eq!(seen, vec![seen[0]; 40]);
        assert!(seen[0] >= last, "a value came back");
        last = seen[0];
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer");
}

/// Walking the pages shows every name once, in the order of its bytes, whatever the limit.
pub async fn names_are_paged_in_order_without_loss_or_repeat(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    let mut names: Vec<_> =
        ["b", "B", "a-", "a.", "a/", "a0", "a:", "aA", "aZ", "a_", "aa", "Z", "z", "0", "9"].map(name).to_vec();
    for called in &names {
        put(&*store.subject, owner, called.as_str(), b"x").await;
    }
    names.sort();
    for limit in [1, 2, 3, 7, 14, 15, 16, 1_000, usize::MAX, 0] {
        let (mut seen, mut after) = (Vec::new(), None);
        for _ in 0..=names.len() {
            let page = store.subject.names(owner, PageRequest { after, limit }).await.expect("a page");
            assert!(page.rows.len() <= limit.max(1), "a page longer than asked for");
            seen.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((&seen, &after), (&names, &None), "pages of {limit}");
    }
}

/// A list holds the names of one owner only; that of a stranger is empty.
pub async fn a_list_shows_one_owner(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let (mine, other) = (account(), account());
    put(&*store.subject, mine, "mine", b"1").await;
    put(&*store.subject, other, "other", b"2").await;
    put(&*store.subject, SecretOwner::House, "house", b"3").await;
    for (owner, called) in [(mine, "mine"), (other, "other"), (SecretOwner::House, "house")] {
        let page = store.subject.names(owner, PageRequest::first(10)).await.expect("names");
        assert_eq!((page.rows, page.next), (vec![name(called)], None));
    }
    let nobody = store.subject.names(account(), PageRequest::first(10)).await.expect("names");
    assert!(nobody.rows.is_empty() && nobody.next.is_none());
}

/// Neither the store nor what it gives back prints a value, as text or as a list of numbers.
pub async fn nothing_printable_holds_the_value(store: impl Into<Fixture<dyn SecretStore>>) {
    let store = store.into();
    let owner = account();
    let plain = value(*b"hunter2hunter2hunter2");
    store.subject.put(owner, &name("webhook"), &plain).await.expect("a put");
    let found = store.subject.get(owner, &name("webhook")).await.expect("a look-up");
    let long = value(vec![b'h'; LONGEST_SECRET + 1]);
    let error = store.subject.put(owner, &name("webhook"), &long).await.expect_err("too large");
    let printed = format!("{:?} {:#?} {plain:?} {found:?} {error} {error:?}", store.subject, store.subject);
    for part in ["hunter2", "104, 117, 110", "104,117,110", "68756e", "68, 75, 6e", "hhhh", "104, 104, 104"] {
        assert!(!printed.to_lowercase().contains(part), "{part} is in {printed}");
    }
}
