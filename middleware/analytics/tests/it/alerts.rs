//! Each alert is told of once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aihub_analytics::AlertWorker;
use aihub_core::commerce::{Alert, AlertSink, Alerts};
use aihub_core::quota::{Span, Subject, Unit, Window};
use aihub_core::{Error, ErrorKind, ManualClock, Result, Timestamp};
use async_trait::async_trait;

use crate::world::alert;

/// Alerts, and whether somebody has taken them over.
#[derive(Debug, Default)]
struct Raised(Mutex<Vec<(Alert, bool)>>);

#[async_trait]
impl Alerts for Raised {
    async fn pending(&self, limit: usize) -> Result<Vec<Alert>> {
        let raised = self.0.lock().unwrap();
        Ok(raised.iter().filter(|(_, taken)| !taken).take(limit).map(|(alert, _)| alert.clone()).collect())
    }

    async fn claim(&self, alert: &Alert, _: Timestamp) -> Result<bool> {
        let mut raised = self.0.lock().unwrap();
        let free = raised.iter_mut().find(|(each, taken)| each == alert && !taken);
        Ok(free.map(|(_, taken)| *taken = true).is_some())
    }

    async fn give_back(&self, alert: &Alert) -> Result<()> {
        self.0.lock().unwrap().iter_mut().filter(|(each, _)| each == alert).for_each(|(_, taken)| *taken = false);
        Ok(())
    }
}

/// Notes what it is told, unless it is deaf.
#[derive(Debug, Default)]
struct Told {
    of: Mutex<Vec<Alert>>,
    deaf: AtomicBool,
}

#[async_trait]
impl AlertSink for Told {
    async fn fire(&self, alert: &Alert) -> Result<()> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "nobody listens"));
        }
        // Another worker may come in between.
        tokio::task::yield_now().await;
        self.of.lock().unwrap().push(alert.clone());
        Ok(())
    }
}

fn world(count: i64) -> (Arc<Raised>, Arc<Told>, AlertWorker, AlertWorker) {
    let window = |day: i64| Window {
        subject: Subject::Plan("pro".into()),
        unit: Unit::Calls,
        span: Span::Day,
        starts_at: Timestamp::from_second(day * 86_400).unwrap(),
    };
    let raised: Vec<_> = (0..count).map(|day| (alert(&window(day)), false)).collect();
    let (raised, told) = (Arc::new(Raised(Mutex::new(raised))), Arc::new(Told::default()));
    let worker = || AlertWorker::new(raised.clone(), told.clone(), Arc::new(ManualClock::default()));
    let (one, other) = (worker(), worker());
    (raised, told, one, other)
}

#[tokio::test]
async fn two_workers_tell_of_each_alert_once() {
    let (_, told, one, other) = world(50);
    let (first, second) = tokio::join!(one.tick(), other.tick());
    assert_eq!(first.unwrap() + second.unwrap(), 50);
    assert_eq!((one.tick().await.unwrap(), told.of.lock().unwrap().len()), (0, 50));
}

#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let (_, told, worker, _) = world(2);
    told.deaf.store(true, Ordering::SeqCst);
    assert_eq!(worker.tick().await.unwrap_err().kind(), ErrorKind::Unavailable);
    told.deaf.store(false, Ordering::SeqCst);
    assert_eq!(worker.tick().await.unwrap(), 2);
    assert_eq!(told.of.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_runs_until_it_is_stopped() {
    let (raised, told, worker, _) = world(1);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    tokio::time::sleep(AlertWorker::EVERY * 2).await;
    assert_eq!(told.of.lock().unwrap().len(), 1);
    let again = raised.0.lock().unwrap()[0].0.clone();
    raised.give_back(&again).await.unwrap();
    tokio::time::sleep(AlertWorker::EVERY * 2).await;
    assert_eq!(told.of.lock().unwrap().len(), 2);
    stop.cancel();
    running.await.unwrap();
}
