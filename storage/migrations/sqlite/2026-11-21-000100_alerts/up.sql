-- The alerts that nobody was told of yet: always few, however many there were.
CREATE INDEX quota_alerts_pending ON quota_alerts (raised_at) WHERE fired_at IS NULL;
