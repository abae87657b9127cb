-- Requests that may be sent again, under the keys that their callers gave them, until they expire. `ended` says
-- how: NULL is running, or interrupted from `running_until` on; only an `answer` has a status, headers and a body.
-- Keys are told apart by their bytes, as they are everywhere else.
CREATE TABLE idempotency_keys (
    account       uuid             NOT NULL,
    key           text COLLATE "C" NOT NULL,
    fingerprint   bytea            NOT NULL CHECK (octet_length(fingerprint) = 32),
    request       uuid             NOT NULL,
    begun_at      timestamptz      NOT NULL,
    running_until timestamptz      NOT NULL,
    expires_at    timestamptz      NOT NULL,
    ended         text             CHECK (ended IN ('answer', 'too_large', 'interrupted')),
    status        integer,
    headers       jsonb,
    body          bytea,
    PRIMARY KEY (account, key),
    CHECK ((ended IS NOT DISTINCT FROM 'answer') = (status IS NOT NULL AND headers IS NOT NULL AND body IS NOT NULL))
);

-- The order in which they are forgotten.
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
