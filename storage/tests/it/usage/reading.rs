//! What is read back: every field, page by page, and of nobody else.

use aihub_core::page::PageRequest;
use aihub_core::{AccountId, BillingSink, CallId, ErrorKind, Money, Outcome, Usage, UsageRecord};

use super::{Place, all, at, dollars, ever, everywhere, record};

everywhere! {
    every_field_comes_back
    what_no_database_can_hold_is_held_as_far_as_it_can
    pages_hold_every_record_once_newest_first
    a_page_has_one_record_at_least
    a_cursor_of_nobody_or_of_another_account_is_refused
    sums_are_of_one_account_and_of_a_time_with_its_start_and_without_its_end
    money_of_two_currencies_has_no_sum
}

/// Every bucket with a number of its own.
fn usage(start: u64) -> Usage {
    let mut usage = Usage::estimate(start, start + 1);
    (usage.cache_read, usage.cache_write, usage.audio_input) = (start + 2, start + 3, start + 4);
    (usage.image_input, usage.tool_input, usage.reasoning) = (start + 5, start + 6, start + 7);
    (usage.audio_output, usage.image_output, usage.searches) = (start + 8, start + 9, start + 10);
    usage
}

/// A record with a value of its own in every field.
fn full(account: AccountId, outcome: Outcome) -> UsageRecord {
    let mut record = record(account, at(1));
    record.stream = true;
    record.provider = Some("vendor".into());
    record.served_model = Some("modèle \u{1f980}".into());
    record.generation = Some("gen-1".into());
    record.usage = usage(10);
    record.discarded = usage(100);
    record.cost = Some(dollars(-3));
    record.vendor_cost = Some(Money::from_nanos(i64::MAX, "JPY".parse().unwrap()));
    record.outcome = outcome;
    record.status = u16::MAX;
    record.finish_reason = Some("stop".into());
    record.attempts = u32::MAX;
    record.duration_us = i64::MAX.unsigned_abs();
    record.first_event_us = Some(0);
    record.ip = Some("2001:db8::1".parse().unwrap());
    record.user_agent = Some("line\nbreak \"quoted\" '; --".into());
    record
}

async fn every_field_comes_back(place: Place) {
    let usage = place.open().await;
    let account = AccountId::new(at(0));
    let outcomes =
        [Outcome::Completed, Outcome::ClientGone, Outcome::UpstreamFailed, Outcome::GatewayFailed, Outcome::Refused];
    let mut records: Vec<UsageRecord> = outcomes.into_iter().map(|outcome| full(account, outcome)).collect();
    // Empty texts are texts; a vendor's figure of nothing is one; an embedding is one.
    let mut empty = record(account, at(2));
    (empty.operation, empty.user_agent, empty.provider) = ("embedding", Some("".into()), Some("".into()));
    empty.discarded = Usage::estimate(0, 0);
    (empty.cost, empty.vendor_cost) = (None, Some(dollars(0)));
    empty.ip = Some("192.0.2.1".parse().unwrap());
    records.extend([empty, record(account, at(3))]);
    usage.record(&records).await.unwrap();
    let mut kept = all(&usage, account).await;
    kept.sort_by_key(|record| record.call);
    records.sort_by_key(|record| record.call);
    assert_eq!(kept, records);
}

/// A record that were refused would be delivered again and again, and with it its whole batch.
async fn what_no_database_can_hold_is_held_as_far_as_it_can(place: Place) {
    let usage = place.open().await;
    let account = AccountId::new(at(0));
    let mut odd = record(account, at(1));
    odd.at = "2026-09-21T10:00:00.123456789Z".parse().unwrap();
    (odd.model, odd.user_agent) = ("a\0b".into(), Some("\0".into()));
    odd.usage = Usage::new(u64::MAX, 1);
    odd.duration_us = u64::MAX;
    usage.record(std::slice::from_ref(&odd)).await.unwrap();
    usage.record(std::slice::from_ref(&odd)).await.unwrap();
    let most = i64::MAX.unsigned_abs();
    odd.at = "2026-09-21T10:00:00.123456Z".parse().unwrap();
    (odd.model, odd.user_agent) = ("a\u{fffd}b".into(), Some("\u{fffd}".into()));
    (odd.usage, odd.duration_us) = (Usage::new(most, 1), most);
    assert_eq!(all(&usage, account).await, [odd]);
    assert_eq!(ever(&usage, account).await.tokens, most + 1);
}

async fn pages_hold_every_record_once_newest_first(place: Place) {
    let usage = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    // Five at each instant, so that pages begin and end between records of the same time.
    let mut records: Vec<UsageRecord> = (0..40).map(|place| record(account, at(place / 5))).collect();
    let others: Vec<UsageRecord> = (0..40).map(|place| record(other, at(place / 5))).collect();
    usage.record(&[records.clone(), others].concat()).await.unwrap();
    records.sort_by_key(|record| std::cmp::Reverse((record.at, record.call)));
    for limit in [1, 3, 39, 40, 41, 5_000] {
        let (mut page, mut found) = (PageRequest::first(limit), Vec::new());
        loop {
            let one = usage.of_account(account, page).await.unwrap();
            assert!(one.rows.len() <= limit);
            found.extend(one.rows.into_iter().filter(|record| record.at < at(1_000)));
            // What comes meanwhile is in nobody's way.
            usage.record(&[record(account, at(1_000))]).await.unwrap();
            match one.next {
                Some(last) => page.after = Some(last),
                None => break,
            }
        }
        assert_eq!(found, records, "pages of {limit}");
    }
}

async fn a_page_has_one_record_at_least(place: Place) {
    let usage = place.open().await;
    let account = AccountId::new(at(0));
    usage.record(&[record(account, at(1)), record(account, at(2))]).await.unwrap();
    let page = usage.of_account(account, PageRequest::first(0)).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (1, Some(page.rows[0].call)));
}

async fn a_cursor_of_nobody_or_of_another_account_is_refused(place: Place) {
    let usage = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    let (mine, theirs) = (record(account, at(1)), record(other, at(2)));
    usage.record(&[mine, theirs.clone()]).await.unwrap();
    for after in [theirs.call, CallId::new(at(3))] {
        let page = PageRequest { after: Some(after), limit: 10 };
        let error = usage.of_account(account, page).await.unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Invalid, Some("after")));
    }
}

async fn sums_are_of_one_account_and_of_a_time_with_its_start_and_without_its_end(place: Place) {
    let usage = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    let mut records: Vec<UsageRecord> = (0..10).map(|place| record(account, at(place))).collect();
    for (cost, record) in (1..).zip(&mut records) {
        record.usage = super::reading::usage(1);
        record.cost = (cost % 2 == 0).then_some(dollars(cost));
    }
    let mut theirs = record(other, at(5));
    (theirs.usage, theirs.cost) = (Usage::new(7, 7), Some(Money::from_nanos(1, "EUR".parse().unwrap())));
    usage.record(&[records.clone(), vec![theirs]].concat()).await.unwrap();
    let found = usage.totals(account, at(2), at(6)).await.unwrap();
    let tokens: u64 = records[2..6].iter().map(|record| record.usage.total_tokens()).sum();
    assert_eq!((found.calls, found.tokens, found.money), (4, tokens, Some(dollars(4 + 6))));
    let unpriced = usage.totals(account, at(2), at(3)).await.unwrap();
    assert_eq!((unpriced.calls, unpriced.money), (1, None));
    assert_eq!(usage.totals(account, at(6), at(2)).await.unwrap().calls, 0);
    assert_eq!(all(&usage, other).await.len(), 1);
    assert_eq!(ever(&usage, other).await.tokens, 14);
}

async fn money_of_two_currencies_has_no_sum(place: Place) {
    let usage = place.open().await;
    let account = AccountId::new(at(0));
    let mut records = [record(account, at(1)), record(account, at(2))];
    records[0].cost = Some(dollars(1));
    records[1].cost = Some(Money::from_nanos(1, "EUR".parse().unwrap()));
    usage.record(&records).await.unwrap();
    let error = usage.totals(account, at(0), at(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(usage.totals(account, at(0), at(2)).await.unwrap().money, Some(dollars(1)));
}
