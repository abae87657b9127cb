-- How far each sink has come with what each journal has settled: `seq` records are passed. For finding the next one:
-- `settlement` is the last that is passed as a whole, and `ends` the number of its last record. Of several processes the
-- one that has claimed a row delivers.
CREATE TABLE sink_cursors (
    sink          text   NOT NULL,
    node          uuid   NOT NULL,
    seq           bigint NOT NULL,
    settlement    bigint NOT NULL,
    ends          bigint NOT NULL,
    claimed_by    uuid   NOT NULL,
    claimed_until timestamptz NOT NULL,
    PRIMARY KEY (sink, node),
    CHECK (ends <= seq)
);

-- The records that a sink will never take.
CREATE TABLE sink_dead_letters (
    sink   text NOT NULL,
    call   uuid NOT NULL,
    reason text NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (sink, call)
);
