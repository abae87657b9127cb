DROP TABLE quota_alerts;
DROP TABLE usage_rollups;
DROP TABLE balances;
DROP TABLE posting_lines;
DROP TABLE postings;
DROP TABLE settlements;
DROP TABLE journals;
DROP TABLE runs;
DROP TABLE leases;
DROP TABLE windows;
DROP TABLE account_terms;
DROP FUNCTION posting_balances();
DROP FUNCTION ledger_is_only_added_to();
DROP INDEX usage_records_of_posting;
ALTER TABLE usage_records DROP COLUMN posting;
ALTER TABLE usage_records DROP COLUMN price_version;
ALTER TABLE usage_records DROP COLUMN charge;
ALTER TABLE usage_records DROP COLUMN flags;
ALTER TABLE usage_records DROP COLUMN organisation;
ALTER TABLE usage_records ADD COLUMN stream boolean NOT NULL DEFAULT false;
ALTER TABLE usage_records ADD COLUMN estimated boolean NOT NULL DEFAULT false;
ALTER TABLE usage_records ADD COLUMN served_model text;
ALTER TABLE usage_records ADD COLUMN first_event_us bigint;

-- What accounts and keys have used and hold in each month; `subject` is the id of either.
CREATE TABLE quota_windows (
    subject        uuid        NOT NULL,
    month          timestamptz NOT NULL,
    calls_settled  bigint      NOT NULL DEFAULT 0,
    calls_held     bigint      NOT NULL DEFAULT 0,
    tokens_settled bigint      NOT NULL DEFAULT 0,
    tokens_held    bigint      NOT NULL DEFAULT 0,
    nanos_settled  bigint      NOT NULL DEFAULT 0,
    nanos_held     bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (subject, month)
);

-- What calls that run hold in their month. A call that has ended has none.
CREATE TABLE quota_holds (
    call    uuid        NOT NULL PRIMARY KEY,
    account uuid        NOT NULL,
    key     uuid        NOT NULL,
    month   timestamptz NOT NULL,
    calls   bigint      NOT NULL,
    tokens  bigint      NOT NULL,
    nanos   bigint      NOT NULL,
    asked   jsonb       NOT NULL
);
