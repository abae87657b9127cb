//! Meter events, against a Stripe that takes a form to the letter.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::conformance::Fixture;
use aihub_core::conformance::billing_sink::{SinkFixture, records};
use aihub_core::quota::Amounts;
use aihub_core::{AccountId, BillingSink, Clock, Currency, ErrorKind, ManualClock, Money, Timestamp, UsageRecord};
use aihub_storage::StripeSink;
use aihub_storage::sink::{Reach, StripeCustomers, StripeMeasure, StripeSettings};
use aihub_vendors::{STRIPE_KEY, Vendors};

/// The suite's records are of the second in which the manual clock begins.
fn vendors() -> Vendors {
    let vendors = Vendors::start().unwrap();
    vendors.set_stripe_time(ManualClock::default().now().as_second());
    vendors
}

fn settings(vendors: &Vendors, measure: StripeMeasure) -> StripeSettings {
    let mut settings = StripeSettings::new(STRIPE_KEY.to_owned().into(), "tokens", measure);
    (settings.base_url, settings.reach) = (vendors.stripe_base_url(), Reach::Loopback);
    settings
}

/// Every account is this customer.
fn all_are(customer: &'static str) -> StripeCustomers {
    Arc::new(move |_| Some(customer.into()))
}

fn sink(vendors: &Vendors, measure: StripeMeasure, customers: StripeCustomers) -> StripeSink {
    StripeSink::new(&settings(vendors, measure), customers, Arc::new(ManualClock::default())).unwrap()
}

mod suite {
    aihub_core::conformance::billing_sink!(async { super::fixture() }, exactly_once);
}

fn fixture() -> SinkFixture {
    let vendors = Arc::new(vendors());
    let (kept, summed) = (Arc::clone(&vendors), Arc::clone(&vendors));
    let sink = sink(&vendors, StripeMeasure::Tokens, all_are("cus_1"));
    let sink = Fixture::from(Arc::new(sink) as Arc<dyn BillingSink>).keeping(vendors);
    SinkFixture::from(sink)
        .keeping_only(|record| record.usage.total_tokens() > 0)
        .with_reader(move || {
            let calls = kept.meter_events().iter().map(|event| event.identifier.parse().unwrap()).collect();
            Box::pin(async move { calls })
        })
        .with_totals(move || {
            let events = summed.meter_events();
            let tokens = events.iter().map(|event| event.value.unsigned_abs()).sum();
            let totals = Amounts::new(events.len() as u64, tokens, None);
            Box::pin(async move { totals })
        })
}

#[tokio::test]
async fn an_event_says_what_whom_and_when() {
    let vendors = vendors();
    let mut record = records(1).remove(0);
    let account = record.account;
    let customers: StripeCustomers = Arc::new(move |asked: AccountId| (asked == account).then(|| "cus_7".into()));
    record.charge = Some(Money::from_nanos(37_500_000_001, Currency::USD));
    sink(&vendors, StripeMeasure::Charge(Currency::USD), customers).record(&[record.clone()]).await.unwrap();
    let event = vendors.meter_events().remove(0);
    assert_eq!((event.event_name.as_str(), event.customer.as_str()), ("tokens", "cus_7"));
    assert_eq!((event.value, event.timestamp), (37_500_000_001, record.at.as_second()), "to the nano");
    assert_eq!(event.identifier, record.call.to_string());
    assert_eq!(vendors.seen()[0].headers["stripe-version"], "2024-09-30.acacia");
}

#[tokio::test]
async fn a_meter_of_calls_leaves_refused_ones_out() {
    let vendors = vendors();
    sink(&vendors, StripeMeasure::Calls, all_are("cus_1")).record(&records(9)).await.unwrap();
    assert_eq!(vendors.meter_events().iter().map(|event| event.value).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn what_stripe_has_is_taken() {
    let vendors = vendors();
    let used: Vec<_> = records(9);
    let first = sink(&vendors, StripeMeasure::Tokens, all_are("cus_1"));
    first.record(&used).await.unwrap();
    first.record(&used).await.unwrap();
    assert_eq!(vendors.seen().len(), 3, "what this process has told is not told again");
    // As after a restart.
    sink(&vendors, StripeMeasure::Tokens, all_are("cus_1")).record(&used).await.unwrap();
    let answers: Vec<_> = vendors.seen().iter().map(|seen| seen.status.unwrap()).collect();
    assert_eq!(answers, [200, 200, 200, 400, 400, 400]);
    assert_eq!(vendors.meter_events().len(), 3);
}

#[tokio::test]
async fn one_customer_is_told_about_one_event_at_a_time_and_several_at_once() {
    let vendors = vendors();
    let mut used: Vec<_> = records(24).into_iter().filter(|record| !record.usage.is_zero()).collect();
    for (at, record) in used.iter_mut().enumerate() {
        record.account = AccountId::from_uuid(uuid::Uuid::from_u128(at as u128 % 4));
    }
    let customers: StripeCustomers =
        Arc::new(|account| Some(format!("cus_{} [[delay 20ms]]", account.as_uuid().as_u128()).into()));
    sink(&vendors, StripeMeasure::Tokens, customers).record(&used).await.unwrap();
    // Stripe answers 429 to whom it is told of twice at once; the sink would have failed.
    assert_eq!(vendors.meter_events().len(), 8);
    let seen = vendors.seen();
    assert!(seen[3].at_ms < seen[0].end_ms.unwrap() + 20, "the customers wait for each other");
}

#[tokio::test]
async fn what_can_be_told_again_is_no_rejection() {
    let vendors = vendors();
    for (at, (directive, rejected)) in [
        ("[[status 429 retry-after 7]]", false),
        ("[[status 500]]", false),
        ("[[status 409]]", false),
        ("[[status 400]]", true),
    ]
    .into_iter()
    .enumerate()
    {
        let customers: StripeCustomers = Arc::new(move |_| Some(format!("cus_{at} {directive}").into()));
        let error = sink(&vendors, StripeMeasure::Tokens, customers).record(&records(1)).await.unwrap_err();
        assert_eq!(error.is_rejection(), rejected, "{directive} {error:?}");
        assert_eq!(error.retry_after(), (at == 0).then(|| Duration::from_secs(7)), "{directive}");
    }
    let mut settings = settings(&vendors, StripeMeasure::Tokens);
    settings.key = "sk_test_other".to_owned().into();
    let stranger = StripeSink::new(&settings, all_are("cus_1"), Arc::new(ManualClock::default())).unwrap();
    let error = stranger.record(&records(1)).await.unwrap_err();
    assert!(error.needs_operator() && !error.is_rejection(), "{error:?}");
}

#[tokio::test]
async fn what_stripe_would_never_count_is_rejected_before_anything_is_told() {
    type Spoil = Box<dyn Fn(&mut UsageRecord)>;
    let vendors = vendors();
    let now = ManualClock::default().now();
    let moved =
        |by: i64| move |record: &mut UsageRecord| record.at = Timestamp::from_second(now.as_second() + by).unwrap();
    let day = 86_400;
    let spoiled: [(&str, Spoil); 4] = [
        ("older than 35 days", Box::new(moved(-35 * day - 1))),
        ("ahead of the clock", Box::new(moved(301))),
        ("charged in EUR", Box::new(|record| record.charge = Some(Money::from_nanos(1, "EUR".parse().unwrap())))),
        ("no known charge", Box::new(|record| record.charge = None)),
    ];
    let measure = StripeMeasure::Charge(Currency::USD);
    let charged = || {
        let mut records: Vec<_> = records(7).into_iter().filter(|record| !record.usage.is_zero()).collect();
        for record in &mut records {
            record.charge = Some(Money::from_nanos(5, Currency::USD));
        }
        records
    };
    for (why, spoil) in spoiled {
        let mut records = charged();
        spoil(&mut records[2]);
        let error = sink(&vendors, measure, all_are("cus_1")).record(&records).await.unwrap_err();
        assert!(error.is_rejection() && error.message().contains(why), "{why}: {error}");
        assert!(error.message().contains(&records[2].call.to_string()), "{error}");
    }
    let nobody: StripeCustomers = Arc::new(|_| None);
    let error = sink(&vendors, measure, nobody).record(&charged()).await.unwrap_err();
    assert!(error.is_rejection() && error.message().contains("no customer"), "{error}");
    assert_eq!(vendors.seen().len(), 0);
    // At the very edges it is taken.
    let mut edges = charged();
    moved(-35 * day)(&mut edges[0]);
    moved(300)(&mut edges[1]);
    sink(&vendors, measure, all_are("cus_1")).record(&edges).await.unwrap();
    assert_eq!(vendors.meter_events().len(), 3);
}

#[test]
fn settings_are_checked_and_the_key_is_never_shown() {
    let vendors = vendors();
    let made = |change: fn(&mut StripeSettings)| {
        let mut settings = settings(&vendors, StripeMeasure::Tokens);
        change(&mut settings);
        StripeSink::new(&settings, all_are("cus_1"), Arc::new(ManualClock::default()) as Arc<dyn Clock>)
    };
    for (change, param) in [
        ((|settings| settings.event_name.clear()) as fn(&mut StripeSettings), "event_name"),
        (|settings| settings.concurrency = 0, "concurrency"),
        (|settings| settings.key = String::new().into(), "key"),
        (|settings| settings.reach = Reach::Public, "base_url"),
    ] {
        let error = made(change).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Invalid, Some(param)));
    }
    assert!(!format!("{:?}", made(|_| ()).unwrap()).contains(STRIPE_KEY));
}
