//! Real servers, as `cargo xtask services` starts them. A server that is not there is a failure: a suite that
//! skips proves nothing.

const START: &str = "start servers with `cargo xtask services`, or run `cargo xtask test`";

/// What a variable says of the servers.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: {START}"))
}

/// Where Postgres is, with the right to make schemas and databases.
#[cfg(feature = "postgres")]
pub(crate) fn postgres() -> String {
    variable("AIHUB_TEST_POSTGRES_URL")
}
