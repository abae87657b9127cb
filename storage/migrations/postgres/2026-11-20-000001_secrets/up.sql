-- Secrets, encrypted: each under a key of its own, which is kept beside it, encrypted under a master key that
-- is not in the database. Both say in which format they are, and so no length is checked here. The owner is
-- `house` or the id of an account.
-- In the order of their bytes, as they are everywhere else: a collation of a language sorts them otherwise.
CREATE TABLE secrets (
    owner       text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    wrapped_key bytea            NOT NULL,
    value       bytea            NOT NULL,
    PRIMARY KEY (owner, name)
);
