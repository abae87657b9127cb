-- The alerts that nobody was told of yet: always few, however many there were.
CREATE INDEX quota_alerts_pending ON quota_alerts (raised_at) WHERE fired_at IS NULL;

-- Most questions are about all keys of an account, or about its models. For them the same is summed once more, over keys,
-- operations and statuses: in rows whose width begins with `model_`, and whose key, operation and status say nothing.
CREATE TABLE usage_rollups_anew (
    account           BLOB    NOT NULL CHECK (length(account) = 16),
    width             TEXT    NOT NULL CHECK (width IN ('quarter', 'hour', 'day', 'model_quarter', 'model_hour',
                                                       'model_day')),
    starts_at         INTEGER NOT NULL,
    key               BLOB    NOT NULL CHECK (length(key) = 16),
    model             TEXT    NOT NULL,
    operation         TEXT    NOT NULL,
    status            INTEGER NOT NULL,
    currency          TEXT    NOT NULL,
    calls             INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens  INTEGER NOT NULL,
    charge            INTEGER NOT NULL,
    cost              INTEGER NOT NULL,
    duration_us       INTEGER NOT NULL,
    PRIMARY KEY (account, width, starts_at, key, model, operation, status, currency)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_rollups_anew SELECT * FROM usage_rollups;
DROP TABLE usage_rollups;
ALTER TABLE usage_rollups_anew RENAME TO usage_rollups;

INSERT INTO usage_rollups
SELECT account, 'model_' || width, starts_at, zeroblob(16), model, '', 0, currency, sum(calls), sum(prompt_tokens),
    sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(charge), sum(cost), sum(duration_us)
FROM usage_rollups GROUP BY account, width, starts_at, model, currency;
