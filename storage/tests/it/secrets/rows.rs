//! What somebody who can write the rows, but has no key, can do.

use aihub_core::page::PageRequest;
use aihub_core::{ErrorKind, SecretStore};
use aihub_storage::secret::{KeyRing, Sealed, SealedRows, SealedValue, Sealing, WrappedKey};

use super::{HOUSE, account, got, name, place, value};

on_every_rows! {
    a_changed_row_is_an_error_and_can_be_set_again
    rows_cannot_be_swapped
    rows_hold_nothing_of_the_value
    a_missing_master_key_is_named_and_not_taken_for_a_missing_secret
    what_is_not_under_a_version_is_walked_in_order
    a_rewrap_replaces_only_what_was_read
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

async fn a_changed_row_is_an_error_and_can_be_set_again(rows: impl SealedRows + Clone) {
    let secrets = Sealing::over(rows.clone(), KeyRing::random());
    let here = place(account(), "totp");
    secrets.put(here.owner, &here.name, &value("seed")).await.unwrap();
    let written = rows.get(&here).await.unwrap().unwrap();
    let (key, bytes) = (written.key.as_bytes(), written.value.as_bytes());
    let changed_keys = [0, 1, 4, 5, 16, 17, 48, 49, 64]
        .map(|at| Sealed { key: WrappedKey::from_bytes(flipped(key, at)), value: written.value.clone() });
    let changed_values = [0, 1, 13, bytes.len() - 1]
        .map(|at| Sealed { key: written.key.clone(), value: SealedValue::from_bytes(flipped(bytes, at)) });
    let emptied = Sealed { key: WrappedKey::from_bytes(Vec::new()), value: SealedValue::from_bytes(Vec::new()) };
    for changed in changed_keys.into_iter().chain(changed_values).chain([emptied]) {
        rows.put(here.clone(), changed).await.unwrap();
        let error = secrets.get(here.owner, &here.name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(!format!("{error} {error:?}").contains("seed"), "{error:?}");
    }
    secrets.put(here.owner, &here.name, &value("new")).await.unwrap();
    assert_eq!(got(&secrets, here.owner, "totp").await, "new");
    rows.put(here.clone(), Sealed { value: SealedValue::from_bytes(vec![1]), ..written }).await.unwrap();
    assert!(secrets.remove(here.owner, &here.name).await.unwrap(), "what cannot be read can be forgotten");
}

async fn rows_cannot_be_swapped(rows: impl SealedRows + Clone) {
    let secrets = Sealing::over(rows.clone(), KeyRing::random());
    let (mine, other) = (account(), account());
    let places = [place(mine, "a"), place(mine, "b"), place(other, "a"), place(HOUSE, "a")];
    for here in &places {
        secrets.put(here.owner, &here.name, &value("mine")).await.unwrap();
    }
    for from in &places {
        for to in places.iter().filter(|to| *to != from) {
            let [stolen, own] = [rows.get(from).await.unwrap().unwrap(), rows.get(to).await.unwrap().unwrap()];
            let with_own_key = Sealed { key: own.key.clone(), ..stolen.clone() };
            for planted in [stolen, with_own_key] {
                rows.put(to.clone(), planted).await.unwrap();
                let error = secrets.get(to.owner, &to.name).await.unwrap_err();
                assert_eq!(error.code(), "secret_damaged", "{from:?} stands for {to:?}");
            }
            rows.put(to.clone(), own).await.unwrap();
            assert_eq!(got(&secrets, to.owner, to.name.as_str()).await, "mine");
        }
    }
}

async fn rows_hold_nothing_of_the_value(rows: impl SealedRows + Clone) {
    let ring = KeyRing::random();
    let secrets = Sealing::over(rows.clone(), ring.clone());
    let plain = "hunter2".repeat(9);
    secrets.put(HOUSE, &name("vendor"), &value(&plain)).await.unwrap();
    let row = rows.get(&place(HOUSE, "vendor")).await.unwrap().unwrap();
    for bytes in [row.key.as_bytes(), row.value.as_bytes()] {
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }
    let printed = format!("{secrets:?} {secrets:#?} {row:?} {ring:?}");
    assert!(!printed.contains("hunter") && printed.len() < 4_000, "{printed}");
}

async fn a_missing_master_key_is_named_and_not_taken_for_a_missing_secret(rows: impl SealedRows + Clone) {
    let old = Sealing::over(rows.clone(), super::ring(&['1']));
    old.put(HOUSE, &name("vendor"), &value("key")).await.unwrap();
    let new = Sealing::over(rows, super::ring(&['3', '2']));
    let error = new.get(HOUSE, &name("vendor")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, "master_key_missing"));
    assert!(error.message().contains("master key 1,"), "{error}");
    assert_eq!(new.names(HOUSE, PageRequest::first(9)).await.unwrap().rows, [name("vendor")]);
    assert!(new.get(HOUSE, &name("other")).await.unwrap().is_none());
}

async fn what_is_not_under_a_version_is_walked_in_order(rows: impl SealedRows + Clone) {
    let (one, two) =
        (Sealing::over(rows.clone(), super::ring(&['1'])), Sealing::over(rows.clone(), super::ring(&['2'])));
    let owners = [HOUSE, account(), account()];
    let mut expected = Vec::new();
    for number in 0..30 {
        for owner in owners {
            let here = place(owner, &format!("n{}", number * 7 % 30));
            let under = if number % 3 == 0 { &two } else { &one };
            under.put(owner, &here.name, &value("x")).await.unwrap();
            if number % 3 != 0 {
                expected.push(here);
            }
        }
    }
    expected.sort();
    for limit in [1, 2, 7, 59, 60, 61, 1_000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let batch = rows.not_under(2, after.as_ref(), limit).await.unwrap();
            assert!(batch.len() <= limit && batch.iter().all(|(_, key)| key.version() == Some(1)));
            let Some((last, _)) = batch.last() else { break };
            after = Some(last.clone());
            seen.extend(batch.into_iter().map(|(place, _)| place));
        }
        // Once each; the order of owners is the store's own.
        seen.sort();
        assert_eq!(seen, expected, "batches of {limit}");
    }
    assert_eq!(rows.count().await.unwrap(), 90);
    assert_eq!(rows.not_under(1, None, 1_000).await.unwrap().len(), 30);
    assert_eq!(rows.not_under(9, None, 1_000).await.unwrap().len(), 90);
}

async fn a_rewrap_replaces_only_what_was_read(rows: impl SealedRows + Clone) {
    use aihub_storage::secret::Rewrap;

    let [key, other, new] = [1, 2, 3].map(|byte| WrappedKey::from_bytes(vec![1, 0, 0, 0, 1, byte]));
    let sealed = |key: &WrappedKey| Sealed { key: key.clone(), value: SealedValue::from_bytes(vec![7]) };
    let (same, changed, gone) = (place(HOUSE, "same"), place(HOUSE, "changed"), place(HOUSE, "gone"));
    rows.put(same.clone(), sealed(&key)).await.unwrap();
    rows.put(changed.clone(), sealed(&other)).await.unwrap();
    let rewrap = |place| Rewrap { place, from: key.clone(), to: new.clone() };
    let keys = [gone.clone(), same.clone(), changed.clone()].map(rewrap).to_vec();
    assert_eq!(rows.rewrap(keys).await.unwrap(), 1);
    assert_eq!(rows.get(&same).await.unwrap(), Some(sealed(&new)));
    assert_eq!(rows.get(&changed).await.unwrap(), Some(sealed(&other)));
    assert_eq!(rows.get(&gone).await.unwrap(), None);
    assert_eq!(rows.rewrap(Vec::new()).await.unwrap(), 0);
}
