-- Secrets, encrypted: each under a key of its own, which is kept beside it, encrypted under a master key that
-- is not in the database. Both say in which format they are, and so no length is checked here. The owner is
-- `house` or the id of an account.
CREATE TABLE secrets (
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    value       BLOB NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
