//! Calls one by one.

use std::sync::Arc;

use aihub_core::commerce::analytics::{CallFilter, Filter, export};
use aihub_core::page::PageRequest;
use aihub_core::{AccountId, CallId, ErrorKind, UsageRecord};
use futures_util::TryStreamExt as _;

use super::{Place, at, everywhere, record, settle};

everywhere! {
    a_list_has_what_matches_newest_first_and_nobody_elses
    a_call_of_another_account_is_not_there
    an_export_has_every_call_once_in_batches
}

async fn a_list_has_what_matches_newest_first_and_nobody_elses(place: Place) {
    let stores = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    let mut records: Vec<UsageRecord> = (0..40).map(|place| record(account, at(place / 2))).collect();
    for (place, record) in records.iter_mut().enumerate() {
        record.status = if place % 3 == 0 { 500 } else { 200 };
        record.model = if place % 2 == 0 { "a".into() } else { "b".into() };
    }
    settle(&stores, uuid::Uuid::now_v7(), &records, at(100)).await;
    settle(&stores, uuid::Uuid::now_v7(), &[record(other, at(5))], at(100)).await;
    records.sort_by_key(|record| std::cmp::Reverse((record.at, record.call)));
    let filters = [
        CallFilter::default(),
        CallFilter { of: Filter { status: Some(500), ..Filter::default() }, ..CallFilter::default() },
        CallFilter { of: Filter { model: Some("b".into()), ..Filter::default() }, from: Some(at(3)), to: Some(at(9)) },
        CallFilter { of: Filter { key: Some(records[7].key), ..Filter::default() }, ..CallFilter::default() },
        CallFilter { of: Filter { operation: Some("embedding".into()), ..Filter::default() }, ..CallFilter::default() },
    ];
    for (filter, count) in filters.into_iter().zip([40, 14, 6, 1, 0]) {
        let (mut found, mut page) = (Vec::new(), PageRequest::first(3));
        loop {
            let part = stores.usage.calls(account, &filter, page).await.unwrap();
            found.extend(part.rows);
            let Some(last) = part.next else { break };
            page.after = Some(last);
        }
        let wanted: Vec<_> = records.iter().filter(|record| filter.matches(record)).cloned().collect();
        assert_eq!(wanted.len(), count, "{filter:?}");
        assert_eq!(found, wanted, "{filter:?}");
    }
    let page = PageRequest { after: Some(records[0].call), limit: 3 };
    let refused = stores.usage.calls(other, &CallFilter::default(), page).await.unwrap_err();
    assert_eq!((refused.kind(), refused.param()), (ErrorKind::Invalid, Some("after")));
}

async fn a_call_of_another_account_is_not_there(place: Place) {
    let stores = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    let mine = record(account, at(1));
    settle(&stores, uuid::Uuid::now_v7(), std::slice::from_ref(&mine), at(2)).await;
    assert_eq!(stores.usage.call(account, mine.call).await.unwrap(), Some(mine.clone()));
    assert_eq!(stores.usage.call(other, mine.call).await.unwrap(), None);
    assert_eq!(stores.usage.call(account, CallId::new(at(1))).await.unwrap(), None);
}

async fn an_export_has_every_call_once_in_batches(place: Place) {
    let stores = place.open().await;
    let account = AccountId::new(at(0));
    let records: Vec<UsageRecord> = (0..2_500).map(|place| record(account, at(place))).collect();
    settle(&stores, uuid::Uuid::now_v7(), &records, at(3_000)).await;
    let filter = CallFilter { from: Some(at(100)), to: Some(at(2_400)), ..CallFilter::default() };
    let batches = export(Arc::clone(&stores.usage), account, filter);
    let batches: Vec<Vec<UsageRecord>> = batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 300]);
    let found: Vec<CallId> = batches.iter().flatten().map(|record| record.call).collect();
    let wanted: Vec<CallId> = records[100..2_400].iter().rev().map(|record| record.call).collect();
    assert_eq!(found, wanted);
}
