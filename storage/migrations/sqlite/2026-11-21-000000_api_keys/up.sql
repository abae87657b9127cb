-- API keys: found by the keyed hash of the secret, which is never stored itself.
CREATE TABLE api_keys (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    hash           BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    account        BLOB    NOT NULL CHECK (length(account) = 16),
    name           TEXT    NOT NULL,
    display_prefix TEXT    NOT NULL,
    plan           TEXT    NOT NULL,
    permission     TEXT    NOT NULL CHECK (permission IN ('read_only', 'read_write', 'manage')),
    models         TEXT    NOT NULL CHECK (json_valid(models)),
    allowed_ips    TEXT    NOT NULL CHECK (json_valid(allowed_ips)),
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    revoked_at     INTEGER
) STRICT;

-- The order of an account's list; ids sort by the time they were made at.
CREATE UNIQUE INDEX api_keys_of_account ON api_keys (account, id);
