//! Telling of limits that near their end.

use aihub_core::Result;
use aihub_core::commerce::{Alert, AlertSink};
use async_trait::async_trait;

use crate::limit::shown;

/// Tells the log: one line `quota alert`, with what it is about in fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAlerts;

#[async_trait]
impl AlertSink for LogAlerts {
    async fn fire(&self, alert: &Alert) -> Result<()> {
        let window = &alert.window;
        tracing::warn!(
            subject = %window.subject,
            unit = %window.unit,
            span = %window.span,
            starts_at = %window.starts_at,
            percent = alert.percent,
            used = shown(window.unit, alert.settled),
            limit = shown(window.unit, alert.most),
            raised_at = %alert.raised_at,
            "quota alert"
        );
        Ok(())
    }
}
