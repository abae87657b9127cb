-- What was used: one row for each call, written once and never changed.
--
-- Times are the instants at which calls were admitted, durations are microseconds, money is whole nano-units
-- (10^-9) of the currency beside it. What is summed, grouped or searched by has a column; `detail` is a document
-- with what is only shown.
-- Names of operations and outcomes have no CHECK: a name that one forgot would refuse records for ever, and
-- with each its batch.
CREATE TABLE usage_records (
    call            BLOB    NOT NULL CHECK (length(call) = 16),
    at              INTEGER NOT NULL,
    account         BLOB    NOT NULL CHECK (length(account) = 16),
    key             BLOB    NOT NULL CHECK (length(key) = 16),
    plan            TEXT    NOT NULL,
    operation       TEXT    NOT NULL,
    stream          INTEGER NOT NULL CHECK (stream IN (0, 1)),
    model           TEXT    NOT NULL,
    provider        TEXT,
    served_model    TEXT,
    input           INTEGER NOT NULL,
    cache_read      INTEGER NOT NULL,
    cache_write     INTEGER NOT NULL,
    audio_input     INTEGER NOT NULL,
    image_input     INTEGER NOT NULL,
    tool_input      INTEGER NOT NULL,
    output          INTEGER NOT NULL,
    reasoning       INTEGER NOT NULL,
    audio_output    INTEGER NOT NULL,
    image_output    INTEGER NOT NULL,
    searches        INTEGER NOT NULL,
    estimated       INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    cost            INTEGER,
    cost_currency   TEXT    CHECK (length(cost_currency) = 3),
    vendor_cost     INTEGER,
    vendor_currency TEXT    CHECK (length(vendor_currency) = 3),
    outcome         TEXT    NOT NULL,
    status          INTEGER NOT NULL,
    duration_us     INTEGER NOT NULL,
    first_event_us  INTEGER,
    detail          TEXT    NOT NULL CHECK (json_valid(detail)),
    -- By the call alone there is but one row: its id is unique, and its time does not change however often it
    -- is delivered. The time is part of the key as it is in Postgres, so that both take the same rows.
    PRIMARY KEY (call, at),
    CHECK ((cost IS NULL) = (cost_currency IS NULL)),
    CHECK ((vendor_cost IS NULL) = (vendor_currency IS NULL))
) STRICT, WITHOUT ROWID;

-- The order of an account's list, and what its sums are taken of.
CREATE INDEX usage_records_of_account ON usage_records (account, at, call);

-- The same of a key.
CREATE INDEX usage_records_of_key ON usage_records (key, at, call);
