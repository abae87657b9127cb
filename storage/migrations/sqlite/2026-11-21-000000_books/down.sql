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
DROP INDEX usage_records_of_posting;
ALTER TABLE usage_records DROP COLUMN posting;
ALTER TABLE usage_records DROP COLUMN price_version;
ALTER TABLE usage_records DROP COLUMN charge;
ALTER TABLE usage_records DROP COLUMN flags;
ALTER TABLE usage_records DROP COLUMN organisation;
ALTER TABLE usage_records ADD COLUMN stream INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN served_model TEXT;
ALTER TABLE usage_records ADD COLUMN first_event_us INTEGER;

-- What accounts and keys have used and hold in each month; `subject` is the id of either.
CREATE TABLE quota_windows (
    subject        BLOB    NOT NULL CHECK (length(subject) = 16),
    month          INTEGER NOT NULL,
    calls_settled  INTEGER NOT NULL DEFAULT 0,
    calls_held     INTEGER NOT NULL DEFAULT 0,
    tokens_settled INTEGER NOT NULL DEFAULT 0,
    tokens_held    INTEGER NOT NULL DEFAULT 0,
    nanos_settled  INTEGER NOT NULL DEFAULT 0,
    nanos_held     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subject, month)
) STRICT, WITHOUT ROWID;

-- What calls that run hold in their month. A call that has ended has none.
CREATE TABLE quota_holds (
    call    BLOB    NOT NULL PRIMARY KEY CHECK (length(call) = 16),
    account BLOB    NOT NULL CHECK (length(account) = 16),
    key     BLOB    NOT NULL CHECK (length(key) = 16),
    month   INTEGER NOT NULL,
    calls   INTEGER NOT NULL,
    tokens  INTEGER NOT NULL,
    nanos   INTEGER NOT NULL,
    asked   TEXT    NOT NULL CHECK (json_valid(asked))
) STRICT, WITHOUT ROWID;
