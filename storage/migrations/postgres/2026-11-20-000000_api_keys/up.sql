-- API keys.
CREATE TABLE api_keys (
    id             uuid        NOT NULL PRIMARY KEY,
    account        uuid        NOT NULL,
    name           text        NOT NULL,
    display_prefix text        NOT NULL,
    plan           text        NOT NULL,
    permission     text        NOT NULL CHECK (permission IN ('read_only', 'read_write', 'manage')),
    operations     jsonb       NOT NULL,
    models         jsonb       NOT NULL,
    allowed_ips    jsonb       NOT NULL,
    limits         jsonb       NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz
);

-- The order of an account's list; ids sort by the time they were made at.
CREATE UNIQUE INDEX api_keys_of_account ON api_keys (account, id);

-- What keys are found by: the keyed hashes of their secrets, which are never stored themselves. A key that
-- was given a new secret has several until the older ones end.
CREATE TABLE api_key_secrets (
    hash    bytea NOT NULL PRIMARY KEY CHECK (octet_length(hash) = 32),
    key     uuid  NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    ends_at timestamptz
);

CREATE INDEX api_key_secrets_of_key ON api_key_secrets (key);
