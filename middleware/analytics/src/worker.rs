//! Taking alerts from where they were raised to who tells of them.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::commerce::{AlertSink, Alerts};
use aihub_core::{Clock, Result};
use tokio_util::sync::CancellationToken;

/// Tells of alerts that were raised. Any number of replicas may run one: each alert is taken over by one of them.
///
/// An alert is taken over before it is told of, and given back when that fails. A process that is killed in between takes its
/// line with it; the alert is still shown with its limit. The other order was refused: it would tell of one alert several
/// times.
#[derive(Debug)]
pub struct AlertWorker {
    alerts: Arc<dyn Alerts>,
    sink: Arc<dyn AlertSink>,
    clock: Arc<dyn Clock>,
}

impl AlertWorker {
    /// How often it looks.
    pub const EVERY: Duration = Duration::from_secs(2);

    /// How long it leaves a store or a sink alone that fails.
    const PAUSE: Duration = Duration::from_secs(30);

    /// How many are looked at at once.
    const BATCH: usize = 100;

    /// A worker that takes from `alerts` and tells `sink`.
    pub fn new(alerts: Arc<dyn Alerts>, sink: Arc<dyn AlertSink>, clock: Arc<dyn Clock>) -> Self {
        Self { alerts, sink, clock }
    }

    /// Tells of what there is, up to a hundred; how many this one has told of.
    ///
    /// # Errors
    ///
    /// Those of the store and of the sink. What could not be told of is pending again.
    pub async fn tick(&self) -> Result<usize> {
        let mut told = 0;
        for alert in self.alerts.pending(Self::BATCH).await? {
            if !self.alerts.claim(&alert, self.clock.now()).await? {
                continue;
            }
            if let Err(error) = self.sink.fire(&alert).await {
                self.alerts.give_back(&alert).await?;
                return Err(error);
            }
            told += 1;
        }
        Ok(told)
    }

    /// Ticks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut away = false;
        while !stop.is_cancelled() {
            let ticked = self.tick().await;
            if let Err(error) = &ticked
                && !away
            {
                tracing::warn!(?error, "alerts of quotas could not be told of; trying again");
            }
            away = ticked.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(if away { Self::PAUSE } else { Self::EVERY }) => {}
            }
        }
    }
}
