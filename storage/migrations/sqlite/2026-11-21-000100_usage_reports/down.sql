DELETE FROM usage_rollups WHERE width LIKE 'model%';

CREATE TABLE usage_rollups_anew (
    account           BLOB    NOT NULL CHECK (length(account) = 16),
    width             TEXT    NOT NULL CHECK (width IN ('quarter', 'hour', 'day')),
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

DROP INDEX quota_alerts_pending;
