-- The alerts that nobody was told of yet: always few, however many there were.
CREATE INDEX quota_alerts_pending ON quota_alerts (raised_at) WHERE fired_at IS NULL;

-- Most questions are about all keys of an account, or about its models. For them the same is summed once more, over keys,
-- operations and statuses: in rows whose width begins with `model_`, and whose key, operation and status say nothing.
ALTER TABLE usage_rollups DROP CONSTRAINT usage_rollups_width_check;
ALTER TABLE usage_rollups ADD CONSTRAINT usage_rollups_width_check
    CHECK (width IN ('quarter', 'hour', 'day', 'model_quarter', 'model_hour', 'model_day'));

INSERT INTO usage_rollups
SELECT account, 'model_' || width, starts_at, '00000000-0000-0000-0000-000000000000'::uuid, model, '', 0, currency, sum(calls), sum(prompt_tokens),
    sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(charge), sum(cost), sum(duration_us)
FROM usage_rollups GROUP BY account, width, starts_at, model, currency;
