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
