-- The books: usage, quotas and ledger, which one transaction moves together.

-- What is agreed with an account. One without a row has the usual terms.
CREATE TABLE account_terms (
    account BLOB NOT NULL PRIMARY KEY CHECK (length(account) = 16),
    terms   TEXT NOT NULL CHECK (json_valid(terms))
) STRICT, WITHOUT ROWID;

-- What is charged, by which prices, in which posting. `flags`: 1 streamed, 2 estimated, 4 recovered, 8 prepaid, 16 waived.
-- A name of what served and the time to the first event are only shown, and go into `detail`.
ALTER TABLE usage_records ADD COLUMN organisation BLOB;
ALTER TABLE usage_records ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN charge INTEGER;
ALTER TABLE usage_records ADD COLUMN price_version TEXT;
ALTER TABLE usage_records ADD COLUMN posting BLOB;
ALTER TABLE usage_records DROP COLUMN stream;
ALTER TABLE usage_records DROP COLUMN estimated;
ALTER TABLE usage_records DROP COLUMN served_model;
ALTER TABLE usage_records DROP COLUMN first_event_us;

-- The details of a posting.
CREATE INDEX usage_records_of_posting ON usage_records (posting, call);

-- Counted by months of the calendar, and for accounts and keys only: `windows` counts anything by any period.
DROP TABLE quota_holds;
DROP TABLE quota_windows;

-- What is counted for whom: `settled` was used, `leased` is with processes that may use it without asking. Never more of
-- both than `most` (or, of what is paid in, `granted`) is handed out; a smaller `most` may be below what is used.
-- A period is a row: nothing is ever set back.
CREATE TABLE windows (
    subject     TEXT    NOT NULL,
    unit        TEXT    NOT NULL,
    span        TEXT    NOT NULL CHECK (span IN ('minute', 'day', 'month', 'lifetime')),
    starts_at   INTEGER NOT NULL,
    ends_at     INTEGER,
    most        INTEGER,
    granted     INTEGER NOT NULL DEFAULT 0,
    settled     INTEGER NOT NULL DEFAULT 0,
    leased      INTEGER NOT NULL DEFAULT 0,
    recalled_at INTEGER,
    PRIMARY KEY (subject, unit, span, starts_at)
) STRICT, WITHOUT ROWID;

-- Who has borrowed how much of a window.
CREATE TABLE leases (
    run       BLOB    NOT NULL CHECK (length(run) = 16),
    subject   TEXT    NOT NULL,
    unit      TEXT    NOT NULL,
    span      TEXT    NOT NULL,
    starts_at INTEGER NOT NULL,
    amount    INTEGER NOT NULL,
    PRIMARY KEY (run, subject, unit, span, starts_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX leases_of_window ON leases (subject, unit, span, starts_at);

-- The processes that borrow.
CREATE TABLE runs (
    run     BLOB    NOT NULL PRIMARY KEY CHECK (length(run) = 16),
    node    BLOB    NOT NULL CHECK (length(node) = 16),
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each journal was taken over, and how often.
CREATE TABLE journals (
    node    BLOB    NOT NULL PRIMARY KEY CHECK (length(node) = 16),
    segment INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    seq     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The stretches that were taken over: for each journal a gapless series, in the order in which they were committed.
CREATE TABLE settlements (
    node      BLOB    NOT NULL,
    seq       INTEGER NOT NULL,
    posting   BLOB    NOT NULL UNIQUE,
    calls     INTEGER NOT NULL,
    booked_at INTEGER NOT NULL,
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- The ledger. Debits are positive, credits negative; the lines of a posting sum to nothing in each currency.
CREATE TABLE postings (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind         TEXT    NOT NULL,
    source       TEXT    NOT NULL UNIQUE,
    effective_at INTEGER NOT NULL,
    booked_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE posting_lines (
    posting  BLOB    NOT NULL REFERENCES postings (id),
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL CHECK (length(currency) = 3),
    nanos    INTEGER NOT NULL,
    PRIMARY KEY (posting, account, currency)
) STRICT, WITHOUT ROWID;

CREATE INDEX posting_lines_of_account ON posting_lines (account, posting);

-- Written once and never changed: what was wrong is put right by another posting.
CREATE TRIGGER postings_stay BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER postings_remain BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER posting_lines_stay BEFORE UPDATE ON posting_lines
    BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER posting_lines_remain BEFORE DELETE ON posting_lines
    BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;

-- The sums of the lines, kept with them.
CREATE TABLE balances (
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    nanos    INTEGER NOT NULL,
    PRIMARY KEY (account, currency)
) STRICT, WITHOUT ROWID;

-- Usage summed by time: quarters of an hour, hours and days of UTC.
CREATE TABLE usage_rollups (
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

-- A window has passed so many percent of what it allows; said once.
CREATE TABLE quota_alerts (
    subject   TEXT    NOT NULL,
    unit      TEXT    NOT NULL,
    span      TEXT    NOT NULL,
    starts_at INTEGER NOT NULL,
    percent   INTEGER NOT NULL,
    settled   INTEGER NOT NULL,
    most      INTEGER NOT NULL,
    raised_at INTEGER NOT NULL,
    fired_at  INTEGER,
    PRIMARY KEY (subject, unit, span, starts_at, percent)
) STRICT, WITHOUT ROWID;
