-- The books: usage, quotas and ledger, which one transaction moves together.

-- What is agreed with an account. One without a row has the usual terms.
CREATE TABLE account_terms (
    account uuid NOT NULL PRIMARY KEY,
    terms   jsonb NOT NULL
);

-- What is charged, by which prices, in which posting. `flags`: 1 streamed, 2 estimated, 4 recovered, 8 prepaid, 16 waived.
-- A name of what served and the time to the first event are only shown, and go into `detail`.
ALTER TABLE usage_records ADD COLUMN organisation uuid;
ALTER TABLE usage_records ADD COLUMN flags integer NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN charge bigint;
ALTER TABLE usage_records ADD COLUMN price_version text;
ALTER TABLE usage_records ADD COLUMN posting uuid;
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
    subject     text    NOT NULL,
    unit        text    NOT NULL,
    span        text    NOT NULL CHECK (span IN ('minute', 'day', 'month', 'lifetime')),
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz,
    most        bigint,
    granted     bigint NOT NULL DEFAULT 0,
    settled     bigint NOT NULL DEFAULT 0,
    leased      bigint NOT NULL DEFAULT 0,
    recalled_at timestamptz,
    PRIMARY KEY (subject, unit, span, starts_at)
);

-- Who has borrowed how much of a window.
CREATE TABLE leases (
    run       uuid    NOT NULL,
    subject   text    NOT NULL,
    unit      text    NOT NULL,
    span      text    NOT NULL,
    starts_at timestamptz NOT NULL,
    amount    bigint NOT NULL,
    PRIMARY KEY (run, subject, unit, span, starts_at)
);

CREATE INDEX leases_of_window ON leases (subject, unit, span, starts_at);

-- The processes that borrow.
CREATE TABLE runs (
    run     uuid    NOT NULL PRIMARY KEY,
    node    uuid    NOT NULL,
    seen_at timestamptz NOT NULL
);

-- How far each journal was taken over, and how often.
CREATE TABLE journals (
    node    uuid    NOT NULL PRIMARY KEY,
    segment bigint NOT NULL,
    place   bigint NOT NULL,
    seq     bigint NOT NULL
);

-- The stretches that were taken over: for each journal a gapless series, in the order in which they were committed.
CREATE TABLE settlements (
    node      uuid    NOT NULL,
    seq       bigint NOT NULL,
    posting   uuid    NOT NULL UNIQUE,
    calls     bigint NOT NULL,
    booked_at timestamptz NOT NULL,
    PRIMARY KEY (node, seq)
);

-- The ledger. Debits are positive, credits negative; the lines of a posting sum to nothing in each currency.
CREATE TABLE postings (
    id           uuid    NOT NULL PRIMARY KEY,
    kind         text    NOT NULL,
    source       text    NOT NULL UNIQUE,
    effective_at timestamptz NOT NULL,
    booked_at    timestamptz NOT NULL
);

CREATE TABLE posting_lines (
    posting  uuid    NOT NULL REFERENCES postings (id),
    account  text    NOT NULL,
    currency text    NOT NULL CHECK (length(currency) = 3),
    nanos    bigint NOT NULL,
    PRIMARY KEY (posting, account, currency)
);

CREATE INDEX posting_lines_of_account ON posting_lines (account, posting);

-- Written once and never changed: what was wrong is put right by another posting.
CREATE FUNCTION ledger_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only added to';
END $$;

CREATE TRIGGER postings_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_only_added_to();
CREATE TRIGGER posting_lines_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON posting_lines
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_only_added_to();

-- No transaction is committed with a posting that does not balance.
CREATE FUNCTION posting_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM posting_lines WHERE posting = NEW.id GROUP BY currency HAVING sum(nanos) <> 0) THEN
        RAISE EXCEPTION 'the posting % does not balance', NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER postings_balance AFTER INSERT ON postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION posting_balances();

-- The sums of the lines, kept with them.
CREATE TABLE balances (
    account  text    NOT NULL,
    currency text    NOT NULL,
    nanos    bigint NOT NULL,
    PRIMARY KEY (account, currency)
);

-- Usage summed by time: quarters of an hour, hours and days of UTC.
CREATE TABLE usage_rollups (
    account           uuid    NOT NULL,
    width             text    NOT NULL CHECK (width IN ('quarter', 'hour', 'day')),
    starts_at         timestamptz NOT NULL,
    key               uuid    NOT NULL,
    model             text    NOT NULL,
    operation         text    NOT NULL,
    status            integer NOT NULL,
    currency          text    NOT NULL,
    calls             bigint NOT NULL,
    prompt_tokens     bigint NOT NULL,
    cached_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    reasoning_tokens  bigint NOT NULL,
    charge            bigint NOT NULL,
    cost              bigint NOT NULL,
    duration_us       bigint NOT NULL,
    PRIMARY KEY (account, width, starts_at, key, model, operation, status, currency)
);

-- A window has passed so many percent of what it allows; said once.
CREATE TABLE quota_alerts (
    subject   text    NOT NULL,
    unit      text    NOT NULL,
    span      text    NOT NULL,
    starts_at timestamptz NOT NULL,
    percent   integer NOT NULL,
    settled   bigint NOT NULL,
    most      bigint NOT NULL,
    raised_at timestamptz NOT NULL,
    fired_at  timestamptz,
    PRIMARY KEY (subject, unit, span, starts_at, percent)
);
