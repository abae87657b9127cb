//! `aihub secrets`: secrets and their master keys by hand.

use std::io::Read as _;
use std::sync::Arc;

use aihub_core::page::PageRequest;
use aihub_core::secret::{LONGEST_SECRET, SecretSlice};
use aihub_core::{Clock, Error, ErrorKind, SecretName, SecretOwner, SecretStore, SystemClock};
use aihub_storage::secret::{Place, Rotated, SealedRows, Sealing};
use aihub_storage::sql::SqlRows;
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use crate::cli::{Owner, Secrets};
use crate::settings::{Settings, SettingsError};
use crate::{Stop, ring, store};

pub(crate) async fn run(command: Secrets, settings: &Settings) -> Result<(), Stop> {
    if let Secrets::NewKey = command {
        println!("{}", ring::next_entry(settings)?.expose_secret());
        return Ok(());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let Some(database) = store::open(settings, &clock).await?.database else {
        let message = "secrets in `memory:` would be gone when this command ends: set DATABASE_URL to a file, such as sqlite://aihub.db";
        return Err(SettingsError(message.to_owned()).into());
    };
    let rows = SqlRows::new(database);
    match command {
        Secrets::Set { owner, name, exact } => {
            let ring = ring::read(settings, &rows).await?;
            let plain = from_standard_input(exact)?;
            Sealing::over(rows, ring).put(owner.into(), &name, &plain).await?;
            println!("{name} is set");
            Ok(())
        }
        // Neither of them reads a value: both work without the master keys, also to clear up after their loss.
        Secrets::List { owner } => list(owner.into(), &rows).await,
        Secrets::Remove { owner, name } => remove(owner.into(), name, &rows).await,
        Secrets::Rotate => {
            let ring = ring::read(settings, &rows).await?;
            let newest = ring.newest();
            report(newest, &Sealing::over(rows, ring).rotate().await?)
        }
        Secrets::NewKey => Ok(()),
    }
}

impl From<Owner> for SecretOwner {
    fn from(owner: Owner) -> Self {
        owner.account.map_or(Self::House, Self::Account)
    }
}

/// The value of a secret. Never an argument: every user of the machine sees those of all processes.
fn from_standard_input(exact: bool) -> Result<SecretSlice<u8>, Stop> {
    // Room for all that is read, so that the buffer does not grow and leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_SECRET + 64));
    let read = std::io::stdin().lock().take(LONGEST_SECRET as u64 + 3).read_to_end(&mut bytes);
    read.map_err(|error| Stop::Io { what: "the secret could not be read from standard input".to_owned(), error })?;
    let mut plain = bytes.as_slice();
    if !exact {
        plain = plain.strip_suffix(b"\n").unwrap_or(plain);
        plain = plain.strip_suffix(b"\r").unwrap_or(plain);
    }
    if plain.is_empty() {
        return Err(SettingsError("nothing came on standard input, from which the secret is read".to_owned()).into());
    }
    Ok(plain.to_vec().into())
}

async fn list(owner: SecretOwner, rows: &impl SealedRows) -> Result<(), Stop> {
    let mut after = None;
    loop {
        let page = rows.names(owner, PageRequest { after, limit: PageRequest::<SecretName>::MOST }).await?;
        for name in &page.rows {
            println!("{name}");
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn remove(owner: SecretOwner, name: SecretName, rows: &impl SealedRows) -> Result<(), Stop> {
    let place = Place { owner, name };
    if !rows.remove(&place).await? {
        let message = format!("{owner} has no secret {}: `aihub secrets list` shows those there are", place.name);
        return Err(Error::new(ErrorKind::NotFound, message).into());
    }
    println!("{} is removed", place.name);
    Ok(())
}

/// Says what was done; an error while any key but the newest is needed, so that a script does not throw it away.
fn report(newest: u32, rotated: &Rotated) -> Result<(), Stop> {
    let left: u64 = rotated.left.values().sum();
    println!("rewrapped  {}", rotated.rewrapped);
    println!("kept       {}", rotated.kept);
    println!("left       {left}");
    if left == 0 {
        return Ok(());
    }
    let parts = rotated.left.iter().map(|(version, number)| match version {
        Some(version) => format!("{number} under master key {version}"),
        None => format!("{number} in no format that is known"),
    });
    let message = format!(
        "not every secret is under master key {newest}: {} still; the log names them and says why",
        parts.collect::<Vec<_>>().join(", ")
    );
    Err(Error::new(ErrorKind::Conflict, message).into())
}
