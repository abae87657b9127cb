//! How limits stand, and whom is told when little of one is left.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::quota::Window;
use crate::time::Timestamp;

/// A window has passed so many percent of what it allows. Raised in the settlement that took it there, and no second time
/// in the same window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which one.
    pub window: Window,
    /// Which threshold.
    pub percent: u16,
    /// What was used then, in the window's unit.
    pub settled: i64,
    /// What it allowed then.
    pub most: i64,
    /// When.
    pub raised_at: Timestamp,
}

/// A window as the books have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub window: Window,
    /// What was used, in the window's unit.
    pub settled: i64,
    /// What processes hold of it for calls that run, or that they may admit without asking.
    pub leased: i64,
    /// What was paid in, where that is the limit.
    pub granted: i64,
    /// The thresholds that it has passed, lowest first.
    pub alerts: Vec<Alert>,
}

/// Tells how windows stand.
#[async_trait]
pub trait Standings: Debug + Send + Sync + 'static {
    /// These windows, in their order. One that nobody has used under a limit yet has what was used of it before.
    ///
    /// Errors: [`Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer. Changes nothing, so it may be
    /// dropped and repeated.
    async fn standings(&self, windows: &[Window]) -> Result<Vec<Standing>>;
}

/// Alerts that are raised and that nobody was told of yet.
#[async_trait]
pub trait Alerts: Debug + Send + Sync + 'static {
    /// The oldest of them. Changes nothing.
    async fn pending(&self, limit: usize) -> Result<Vec<Alert>>;

    /// Takes one over; `false` when somebody else has. Of all who ask, on any number of replicas, one is told `true`.
    ///
    /// Cancellation: it may be taken over, and nobody is told of it; it is still among the [`Standing`]s.
    async fn claim(&self, alert: &Alert, at: Timestamp) -> Result<bool>;

    /// Gives one back that could not be told: it is pending again. Idempotent.
    async fn give_back(&self, alert: &Alert) -> Result<()>;
}

/// Tells somebody of an alert: the log, a webhook, a mail.
#[async_trait]
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// Tells of it.
    ///
    /// Errors: it is told again later.
    async fn fire(&self, alert: &Alert) -> Result<()>;
}

const _: fn(&dyn Standings, &dyn Alerts, &dyn AlertSink) = |_, _, _| {};
