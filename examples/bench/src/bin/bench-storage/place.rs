//! The databases, empty at first, and what is put into them past the stores: a million keys one by one would take
//! longer than everything that is measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reports::{CALLS, COMBINATIONS, DAYS, FIRST as FIRST_QUARTER};
use aihub_bench::Failure;
use aihub_core::{AccountId, KeyId, Timestamp};
use aihub_storage::{Database, Migrate, PoolSettings};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use tokio_postgres::NoTls;

/// When the first of the many keys was made: before all others, so that it is the first of the list.
const FIRST: u64 = 1_500_000_000_000;

/// The id of one of the many keys, counted from 1: of version 7, and in their order.
pub(crate) fn filled(place: usize) -> KeyId {
    let place = place as u128;
    KeyId::from_uuid(uuid::Uuid::from_u128(((u128::from(FIRST) + place) << 80) | (0x7000_8000 << 48) | place))
}

/// A database to be measured.
pub(crate) trait Place: Sync {
    const NAME: &str;

    fn database(&self) -> &Database;

    /// Adds so many keys to the account that has one already, alike but for name, id and secret.
    fn fill(&self, keys: usize) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes the sums of ten million calls of this account.
    fn fill_rollups(&self, account: AccountId) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Has the database look at what it holds, as it does by itself within minutes.
    fn settle(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Long enough for a disk that somebody else keeps busy.
fn patient() -> PoolSettings {
    PoolSettings { statement: Duration::from_mins(1), ..PoolSettings::default() }
}

pub(crate) struct Sqlite {
    database: Database,
    file: PathBuf,
}

impl Sqlite {
    pub(crate) async fn make(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join("bench.db");
        Ok(Self { database: Database::sqlite(&file, patient(), Migrate::Run).await?, file })
    }

    async fn execute(&self, sql: String) -> Result<(), Failure> {
        let file = self.file.to_str().ok_or("the folder's name is not UTF-8")?.to_owned();
        let done = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
            Ok(SqliteConnection::establish(&file)?.batch_execute(&sql)?)
        });
        done.await?
    }
}

impl Place for Sqlite {
    const NAME: &str = "SQLite";

    fn database(&self) -> &Database {
        &self.database
    }

    async fn fill(&self, keys: usize) -> Result<(), Failure> {
        self.execute(format!(
            "PRAGMA busy_timeout = 60000; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN IMMEDIATE;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {keys})
             INSERT INTO api_keys (id, account, name, display_prefix, plan, permission, operations, models, allowed_ips,
                 limits, created_at)
             SELECT unhex(printf('%012x70008000%012x', {FIRST} + i, i)), account, 'key ' || i, display_prefix, plan,
                 permission, operations, models, allowed_ips, limits, created_at
             FROM n, (SELECT * FROM api_keys LIMIT 1);
             INSERT INTO api_key_secrets (hash, key)
             SELECT randomblob(32), id FROM api_keys WHERE name LIKE 'key %' ORDER BY id;
             COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .await
    }

    async fn fill_rollups(&self, account: AccountId) -> Result<(), Failure> {
        let account = account.as_uuid().simple();
        let last = DAYS * 96 * COMBINATIONS - 1;
        let wider = wider("starts_at / (SECONDS * 1000000) * (SECONDS * 1000000)", "zeroblob(16)");
        self.execute(format!(
            "PRAGMA busy_timeout = 60000; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN IMMEDIATE;
             WITH RECURSIVE all_of_them(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM all_of_them WHERE n < {last})
             INSERT INTO usage_rollups
             SELECT unhex('{account}'), 'quarter', ({FIRST_QUARTER} + n / {COMBINATIONS} * 900) * 1000000,
                 unhex(printf('%032x', n / 36 % 5)), 'vendor/model-' || (n / 6 % 6),
                 CASE n / 3 % 2 WHEN 0 THEN 'chat' ELSE 'embedding' END,
                 CASE n % 3 WHEN 0 THEN 200 WHEN 1 THEN 429 ELSE 500 END,
                 'USD', {CALLS}, 9000, 4000, 3000, 1000, 2500000, 2000000, 40000000
             FROM all_of_them;
             {wider}
             COMMIT; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .await
    }

    async fn settle(&self) -> Result<(), Failure> {
        self.execute("PRAGMA busy_timeout = 60000; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);".to_owned()).await
    }
}

pub(crate) struct Postgres {
    database: Database,
    server: String,
    schema: String,
}

impl Postgres {
    pub(crate) async fn make(server: &str) -> Result<Self, Failure> {
        let schema = format!("bench_{}", uuid::Uuid::now_v7().simple());
        execute(server, &format!("CREATE SCHEMA {schema}")).await?;
        let database = Database::postgres(&within(server, &schema), patient(), Migrate::Run).await?;
        Ok(Self { database, server: server.to_owned(), schema })
    }

    pub(crate) async fn drop_schema(self) -> Result<(), Failure> {
        execute(&self.server, &format!("DROP SCHEMA {} CASCADE", self.schema)).await
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        execute(&within(&self.server, &self.schema), sql).await
    }
}

impl Place for Postgres {
    const NAME: &str = "Postgres";

    fn database(&self) -> &Database {
        &self.database
    }

    async fn fill(&self, keys: usize) -> Result<(), Failure> {
        self.execute(&format!(
            "INSERT INTO api_keys (id, account, name, display_prefix, plan, permission, operations, models, allowed_ips,
                 limits, created_at)
             SELECT (lpad(to_hex({FIRST} + i), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid, account,
                 'key ' || i, display_prefix, plan, permission, operations, models, allowed_ips, limits, created_at
             FROM generate_series(1, {keys}) AS i, (SELECT * FROM api_keys LIMIT 1) AS one;
             INSERT INTO api_key_secrets (hash, key)
             SELECT sha256(uuid_send(id)), id FROM api_keys WHERE name LIKE 'key %' ORDER BY id;"
        ))
        .await
    }

    async fn fill_rollups(&self, account: AccountId) -> Result<(), Failure> {
        let account = account.as_uuid();
        let last = DAYS * 96 * COMBINATIONS - 1;
        let calls = CALLS.replace("(n % 24 < 7)", "(n % 24 < 7)::int");
        let wider = wider(
            "to_timestamp(floor(extract(epoch FROM starts_at) / SECONDS) * SECONDS)",
            "'00000000-0000-0000-0000-000000000000'::uuid",
        );
        self.execute(&format!(
            "INSERT INTO usage_rollups
             SELECT '{account}', 'quarter', to_timestamp({FIRST_QUARTER} + n / {COMBINATIONS} * 900),
                 lpad(to_hex(n / 36 % 5), 32, '0')::uuid, 'vendor/model-' || (n / 6 % 6),
                 CASE n / 3 % 2 WHEN 0 THEN 'chat' ELSE 'embedding' END,
                 CASE n % 3 WHEN 0 THEN 200 WHEN 1 THEN 429 ELSE 500 END,
                 'USD', {calls}, 9000, 4000, 3000, 1000, 2500000, 2000000, 40000000
             FROM generate_series(0, {last}) AS n;
             {wider}"
        ))
        .await?;
        self.execute("VACUUM ANALYZE usage_rollups").await?;
        self.execute("CHECKPOINT").await
    }

    async fn settle(&self) -> Result<(), Failure> {
        self.execute("VACUUM ANALYZE api_keys").await?;
        self.execute("VACUUM ANALYZE api_key_secrets").await?;
        self.execute("VACUUM ANALYZE usage_records").await?;
        self.execute("CHECKPOINT").await
    }
}

/// Hours and days from the quarters, and all of them by model alone, as settling makes them; `start` is when those of so many seconds begin.
fn wider(start: &str, nothing: &str) -> String {
    let one = |width: &str, seconds: &str| {
        let start = start.replace("SECONDS", seconds);
        format!(
            "INSERT INTO usage_rollups
             SELECT account, '{width}', {start}, key, model, operation, status, currency, sum(calls), sum(prompt_tokens),
                 sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(charge), sum(cost),
                 sum(duration_us)
             FROM usage_rollups WHERE width = 'quarter' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;"
        )
    };
    one("hour", "3600")
        + &one("day", "86400")
        + &format!(
            "INSERT INTO usage_rollups
             SELECT account, 'model_' || width, starts_at, {nothing}, model, '', 0, currency, sum(calls),
                 sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens), sum(charge),
                 sum(cost), sum(duration_us)
             FROM usage_rollups GROUP BY account, width, starts_at, model, currency;"
        )
}

fn within(server: &str, schema: &str) -> String {
    let more = if server.contains('?') { '&' } else { '?' };
    format!("{server}{more}options=-csearch_path%3D{schema}")
}

async fn execute(url: &str, sql: &str) -> Result<(), Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driving = tokio::spawn(connection);
    client.batch_execute(sql).await?;
    drop(client);
    Ok(driving.await??)
}

/// An instant that is `millis` after one in the middle of a month.
pub(crate) fn at(millis: i64) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_millisecond(1_790_000_000_000 + millis)?)
}
