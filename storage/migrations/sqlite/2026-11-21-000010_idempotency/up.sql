-- Requests that may be sent again, under the keys that their callers gave them, until they expire. `ended` says
-- how: NULL is running, or interrupted from `running_until` on; only an `answer` has a status, headers and a body.
-- With a rowid, unlike the other tables: a body is longer than a page, and would part the keys beside it.
CREATE TABLE idempotency_keys (
    account       BLOB    NOT NULL CHECK (length(account) = 16),
    key           TEXT    NOT NULL,
    fingerprint   BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    request       BLOB    NOT NULL CHECK (length(request) = 16),
    begun_at      INTEGER NOT NULL,
    running_until INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended         TEXT    CHECK (ended IN ('answer', 'too_large', 'interrupted')),
    status        INTEGER,
    headers       TEXT    CHECK (json_valid(headers)),
    body          BLOB,
    PRIMARY KEY (account, key),
    CHECK ((ended IS 'answer') = (status IS NOT NULL AND headers IS NOT NULL AND body IS NOT NULL))
) STRICT;

-- The order in which they are forgotten.
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
