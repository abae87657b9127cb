//! How windows stand, and who is told.

use aihub_core::commerce::{Settled, SettledCall, Settlement};
use aihub_core::journal::Position;
use aihub_core::quota::{Most, Span, Subject, Unit, Window};
use aihub_core::{AccountId, UsageRecord};
use aihub_storage::Stores;
use aihub_storage::lease::Wish;

use super::{Place, at, everywhere, record, settle};

everywhere! {
    each_threshold_is_raised_once_and_told_by_one_of_many
    an_alert_that_could_not_be_told_is_pending_again
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_window_that_nobody_borrowed_of_has_what_was_used_before_on_sqlite() {
    what_was_used_before_counts(super::sqlite().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_window_that_nobody_borrowed_of_has_what_was_used_before_on_postgres() {
    what_was_used_before_counts(super::postgres().await).await;
}

/// Ten calls of an account.
fn window(account: AccountId) -> Window {
    Window { subject: Subject::Account(account), unit: Unit::Calls, span: Span::Day, starts_at: at(-1_000) }
}

async fn open(stores: &Stores, window: &Window) {
    let wish = Wish {
        window: window.clone(),
        ends_at: Some(at(86_400_000)),
        most: Most::Fixed(10),
        least: 0,
        enough: 0,
        recall: None,
    };
    stores.lender.borrow(uuid::Uuid::now_v7(), vec![wish], at(0)).await.unwrap();
}

fn calls(account: AccountId, count: i64) -> Vec<UsageRecord> {
    (0..count).map(|place| record(account, at(place))).collect()
}

async fn raised(stores: &Stores, window: &Window) -> Vec<u16> {
    let standings = stores.standings.standings(std::slice::from_ref(window)).await.unwrap();
    standings[0].alerts.iter().map(|alert| alert.percent).collect()
}

async fn each_threshold_is_raised_once_and_told_by_one_of_many(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let account = AccountId::new(at(0));
    let window = window(account);
    open(&here, &window).await;
    let node = uuid::Uuid::now_v7();
    settle(&here, node, &calls(account, 7), at(1)).await;
    assert_eq!(raised(&here, &window).await, [] as [u16; 0]);

    // The eighth call, delivered again from where it was, from another journal, and both at once.
    let eighth = calls(account, 1);
    let from = here.books.position(node).await.unwrap();
    let to = Position { segment: from.segment, offset: from.offset + 1 };
    let call = SettledCall { record: eighth[0].clone(), windows: Vec::new(), run: node };
    let stretch = Settlement { node, from, to, calls: vec![call], at: at(2) };
    let (first, second) = tokio::join!(here.books.settle(stretch.clone()), there.books.settle(stretch.clone()));
    let now = [first.unwrap(), second.unwrap()];
    assert!(now.contains(&Settled::Now { calls: 1 }) && now.contains(&Settled::Elsewhere(to)), "{now:?}");
    assert_eq!(settle(&there, uuid::Uuid::now_v7(), &eighth, at(3)).await, Settled::Now { calls: 0 });
    assert_eq!(raised(&there, &window).await, [80]);

    // The ninth raises nothing; the tenth and an eleventh raise the second threshold, once.
    for number in 0..3 {
        settle(&there, node, &calls(account, 1), at(4 + number)).await;
    }
    assert_eq!(raised(&here, &window).await, [80, 100]);
    let standing = here.standings.standings(std::slice::from_ref(&window)).await.unwrap().remove(0);
    assert_eq!((standing.settled, standing.leased, &standing.window), (11, 0, &window));

    let pending = there.alerts.pending(10).await.unwrap();
    assert_eq!(pending.iter().map(|alert| (alert.percent, alert.settled)).collect::<Vec<_>>(), [(80, 8), (100, 10)]);
    for alert in pending {
        let asked = (0..8).map(|number| {
            let (alerts, alert) = (if number % 2 == 0 { &here } else { &there }.alerts.clone(), alert.clone());
            tokio::spawn(async move { alerts.claim(&alert, at(9)).await.unwrap() })
        });
        let asked: Vec<_> = asked.collect();
        let mut told = 0;
        for claim in asked {
            told += usize::from(claim.await.unwrap());
        }
        assert_eq!(told, 1, "{alert:?}");
    }
    assert!(here.alerts.pending(10).await.unwrap().is_empty());
}

async fn an_alert_that_could_not_be_told_is_pending_again(place: Place) {
    let stores = place.open().await;
    let account = AccountId::new(at(0));
    let window = window(account);
    open(&stores, &window).await;
    // Both at once, by one stretch.
    settle(&stores, uuid::Uuid::now_v7(), &calls(account, 10), at(1)).await;
    let pending = stores.alerts.pending(1).await.unwrap();
    assert_eq!((pending.len(), pending[0].most), (1, 10));
    assert!(stores.alerts.claim(&pending[0], at(2)).await.unwrap());
    assert_eq!(stores.alerts.pending(10).await.unwrap().len(), 1);
    stores.alerts.give_back(&pending[0]).await.unwrap();
    assert_eq!(stores.alerts.pending(10).await.unwrap().len(), 2);
    assert!(stores.alerts.claim(&pending[0], at(3)).await.unwrap());
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
async fn what_was_used_before_counts(place: Place) {
    let stores = place.open().await;
    let (account, other) = (AccountId::new(at(0)), AccountId::new(at(0)));
    settle(&stores, uuid::Uuid::now_v7(), &calls(account, 4), at(1)).await;
    settle(&stores, uuid::Uuid::now_v7(), &[record(account, at(-2_000))], at(1)).await;
    let plan = Window { subject: Subject::Plan("basic".into()), ..window(account) };
    let asked = [window(account), window(other), plan];
    let standings = stores.standings.standings(&asked).await.unwrap();
    assert_eq!(standings.iter().map(|standing| standing.settled).collect::<Vec<_>>(), [4, 0, 0]);
    assert_eq!(standings.iter().map(|standing| &standing.window).collect::<Vec<_>>(), asked.iter().collect::<Vec<_>>());
}
