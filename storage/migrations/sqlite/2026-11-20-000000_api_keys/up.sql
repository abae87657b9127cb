-- API keys.
CREATE TABLE api_keys (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account        BLOB    NOT NULL CHECK (length(account) = 16),
    name           TEXT    NOT NULL,
    display_prefix TEXT    NOT NULL,
    plan           TEXT    NOT NULL,
    permission     TEXT    NOT NULL CHECK (permission IN ('read_only', 'read_write', 'manage')),
    operations     TEXT    NOT NULL CHECK (json_valid(operations)),
    models         TEXT    NOT NULL CHECK (json_valid(models)),
    allowed_ips    TEXT    NOT NULL CHECK (json_valid(allowed_ips)),
    limits         TEXT    NOT NULL CHECK (json_valid(limits)),
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    revoked_at     INTEGER,
    last_used_at   INTEGER
) STRICT;

-- The order of an account's list; ids sort by the time they were made at.
CREATE UNIQUE INDEX api_keys_of_account ON api_keys (account, id);

-- What keys are found by: the keyed hashes of their secrets, which are never stored themselves. A key that
-- was given a new secret has several until the older ones end.
CREATE TABLE api_key_secrets (
    hash    BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    key     BLOB NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    ends_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_secrets_of_key ON api_key_secrets (key);
