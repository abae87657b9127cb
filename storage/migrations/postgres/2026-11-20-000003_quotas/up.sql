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
