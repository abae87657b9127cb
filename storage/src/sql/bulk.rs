//! Writing many rows at once, in the middle of a transaction: the one thing that each database has a way of its own for.
//!
//! What diesel makes of a list of rows was refused on both: a statement as long as the list, which is prepared anew every
//! time, and limited to 65,535 values on one and 32,766 on the other.

#[cfg(feature = "postgres")]
pub(super) mod postgres;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;

use diesel::QueryResult;

/// A row that is written with others, made by [`bulk!`].
pub(super) trait Bulk: Sized + Send + Sync + 'static {
    /// Writes them in one statement with an array for each column; how many were written.
    ///
    /// COPY is faster still, but knows no ON CONFLICT: it would need a table of its own to copy into.
    #[cfg(feature = "postgres")]
    fn postgres(
        rows: &[Self],
        conn: &mut super::connection::Postgres,
    ) -> impl Future<Output = QueryResult<usize>> + Send;

    /// Writes one, with a statement that is prepared once.
    #[cfg(feature = "sqlite")]
    fn sqlite(&self, conn: &mut diesel::SqliteConnection) -> QueryResult<usize>;
}

/// A connection that writes many rows.
pub(super) trait Put {
    /// Writes `rows`, in their order; how many were written, and not there already.
    fn put<B: Bulk>(&mut self, rows: Vec<B>) -> impl Future<Output = QueryResult<usize>> + Send;
}

/// Makes a [`Bulk`] of a row: its table, its columns with their types and where the row has them, and what is to be done
/// with a row that is there.
macro_rules! bulk {
    ($row:ty, $table:literal, $conflict:literal, { $($name:literal: $kind:ty = $($field:ident).+;)* }) => {
        impl $crate::sql::bulk::Bulk for $row {
            #[cfg(feature = "postgres")]
            async fn postgres(rows: &[Self], conn: &mut $crate::sql::connection::Postgres) -> diesel::QueryResult<usize> {
                static STATEMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
                    $crate::sql::bulk::postgres::statement($table, &[$($name),*], $conflict)
                });
                let statement = diesel::sql_query(STATEMENT.as_str()).into_boxed::<diesel::pg::Pg>();
                $(
                    let column: Vec<_> = rows.iter().map(|row| &row.$($field).+).collect();
                    let statement = statement.bind::<diesel::sql_types::Array<$kind>, _>(column);
                )*
                diesel_async::RunQueryDsl::execute(statement, conn).await
            }

            #[cfg(feature = "sqlite")]
            fn sqlite(&self, conn: &mut diesel::SqliteConnection) -> diesel::QueryResult<usize> {
                // diesel's own statement is found among the prepared ones by its text, which is written anew for every
                // row; this one is found by its type.
                struct One<'a>(&'a $row);
                impl diesel::query_builder::QueryId for One<'_> {
                    type QueryId = One<'static>;
                    const HAS_STATIC_QUERY_ID: bool = true;
                }
                impl diesel::RunQueryDsl<diesel::SqliteConnection> for One<'_> {}
                impl diesel::query_builder::QueryFragment<diesel::sqlite::Sqlite> for One<'_> {
                    fn walk_ast<'b>(
                        &'b self,
                        mut out: diesel::query_builder::AstPass<'_, 'b, diesel::sqlite::Sqlite>,
                    ) -> diesel::QueryResult<()> {
                        let names: &[&str] = &[$($name),*];
                        out.push_sql(concat!("INSERT INTO ", $table, " ("));
                        $crate::sql::bulk::sqlite::list(names, &mut out);
                        out.push_sql(") VALUES (");
                        let mut first = true;
                        $(
                            out.push_sql($crate::sql::bulk::sqlite::comma(&mut first));
                            out.push_bind_param::<$kind, _>(&self.0.$($field).+)?;
                        )*
                        out.push_sql(concat!(") ON CONFLICT ", $conflict));
                        Ok(())
                    }
                }
                diesel::RunQueryDsl::execute(One(self), conn)
            }
        }
    };
}
pub(super) use bulk;
