-- What was used: one row for each call, written once and never changed.
--
-- Times are the instants at which calls were admitted, durations are microseconds, money is whole nano-units
-- (10^-9) of the currency beside it. What is summed, grouped or searched by has a column; `detail` is a document
-- with what is only shown.
-- Names of operations and outcomes have no CHECK: a name that one forgot would refuse records for ever, and
-- with each its batch.
CREATE TABLE usage_records (
    call            uuid        NOT NULL,
    at              timestamptz NOT NULL,
    account         uuid        NOT NULL,
    key             uuid        NOT NULL,
    plan            text        NOT NULL,
    operation       text        NOT NULL,
    stream          boolean     NOT NULL,
    model           text        NOT NULL,
    provider        text,
    served_model    text,
    input           bigint      NOT NULL,
    cache_read      bigint      NOT NULL,
    cache_write     bigint      NOT NULL,
    audio_input     bigint      NOT NULL,
    image_input     bigint      NOT NULL,
    tool_input      bigint      NOT NULL,
    output          bigint      NOT NULL,
    reasoning       bigint      NOT NULL,
    audio_output    bigint      NOT NULL,
    image_output    bigint      NOT NULL,
    searches        bigint      NOT NULL,
    estimated       boolean     NOT NULL,
    cost            bigint,
    cost_currency   text        CHECK (length(cost_currency) = 3),
    vendor_cost     bigint,
    vendor_currency text        CHECK (length(vendor_currency) = 3),
    outcome         text        NOT NULL,
    status          integer     NOT NULL,
    duration_us     bigint      NOT NULL,
    first_event_us  bigint,
    detail          jsonb       NOT NULL,
    -- By the call alone there is but one row: its id is unique, and its time does not change however often it
    -- is delivered. The time is part of the key because a table that Postgres divides by time demands that of
    -- every unique key.
    PRIMARY KEY (call, at),
    CHECK ((cost IS NULL) = (cost_currency IS NULL)),
    CHECK ((vendor_cost IS NULL) = (vendor_currency IS NULL))
);

-- The order of an account's list, and what its sums are taken of.
CREATE INDEX usage_records_of_account ON usage_records (account, at, call);

-- The same of a key.
CREATE INDEX usage_records_of_key ON usage_records (key, at, call);
