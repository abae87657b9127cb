DELETE FROM usage_rollups WHERE width LIKE 'model%';
ALTER TABLE usage_rollups DROP CONSTRAINT usage_rollups_width_check;
ALTER TABLE usage_rollups ADD CONSTRAINT usage_rollups_width_check CHECK (width IN ('quarter', 'hour', 'day'));
DROP INDEX quota_alerts_pending;
