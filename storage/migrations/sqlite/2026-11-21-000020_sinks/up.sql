-- How far each sink has come with what each journal has settled: `seq` records are passed. For finding the next one:
-- `settlement` is the last that is passed as a whole, and `ends` the number of its last record. Of several processes the
-- one that has claimed a row delivers.
CREATE TABLE sink_cursors (
    sink          TEXT    NOT NULL,
    node          BLOB    NOT NULL CHECK (length(node) = 16),
    seq           INTEGER NOT NULL,
    settlement    INTEGER NOT NULL,
    ends          INTEGER NOT NULL,
    claimed_by    BLOB    NOT NULL CHECK (length(claimed_by) = 16),
    claimed_until INTEGER NOT NULL,
    PRIMARY KEY (sink, node),
    CHECK (ends <= seq)
) STRICT, WITHOUT ROWID;

-- The records that a sink will never take.
CREATE TABLE sink_dead_letters (
    sink   TEXT    NOT NULL,
    call   BLOB    NOT NULL CHECK (length(call) = 16),
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (sink, call)
) STRICT, WITHOUT ROWID;
