DROP INDEX quota_alerts_pending;
