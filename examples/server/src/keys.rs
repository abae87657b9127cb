//! `aihub keys`: keys by hand.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::key::{KeyLimits, NewSecret, OperationAccess};
use aihub_core::page::PageRequest;
use aihub_core::plan::ModelAccess;
use aihub_core::{AccountId, ApiKey, Clock, KeyId, KeyStore, NewKey, Pepper, SystemClock};

use crate::cli::{Create, Keys};
use crate::settings::{Settings, SettingsError, check};
use crate::store::{self, Shared};
use crate::{Stop, pepper};

pub(crate) async fn run(command: Keys, settings: &Settings) -> Result<(), Stop> {
    if settings.store.url.starts_with("memory:") {
        let message = "keys in `memory:` would be gone when this command ends: set DATABASE_URL to a file, such as sqlite://aihub.db";
        return Err(SettingsError(message.to_owned()).into());
    }
    if let Keys::Create(Create { plan: Some(plan), .. }) = &command {
        check::plan_exists("--plan", plan, &settings.plans)?;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let stores = store::open(settings, &clock).await?;
    let pepper = pepper::read(settings, stores.database.as_ref()).await?;
    let store = Shared::over(stores.keys, settings).await?.keys;
    match command {
        Keys::Create(create) => create_key(create, settings, &pepper, &*store, &*clock).await,
        Keys::List { account } => list(account, &*store).await,
        Keys::Rotate { account, overlap_hours, id } => {
            let overlap = Duration::from_hours(overlap_hours.into());
            let (new, secret) = NewSecret::issue("live", &pepper, clock.now(), overlap);
            let until = new.overlap_until;
            let key = store.rotate(account, id, new).await?;
            println!("key      {} ({})", key.id, key.name);
            println!("before   holds until {until}");
            println!("Keep it now: it is shown only this once.");
            println!("{}", secret.reveal());
            Ok(())
        }
        Keys::Revoke { account, id } => {
            store.revoke(account, id, clock.now()).await?;
            println!("{id} is revoked");
            Ok(())
        }
    }
}

async fn create_key(
    create: Create,
    settings: &Settings,
    pepper: &Pepper,
    store: &dyn KeyStore,
    clock: &dyn Clock,
) -> Result<(), Stop> {
    let plan = create.plan.unwrap_or_else(|| settings.keys.default_plan.clone());
    let now = clock.now();
    let account = create.account.unwrap_or_else(|| AccountId::new(now));
    let days = create.expires_in_days.unwrap_or(settings.keys.expire_after_days);
    let lifetime = Duration::from_secs(u64::from(days) * 86_400);
    let expires_at = (!lifetime.is_zero()).then(|| now + lifetime);
    let key = ApiKey {
        permission: create.permission,
        operations: if create.operations.is_empty() {
            OperationAccess::All
        } else {
            OperationAccess::Only(create.operations)
        },
        models: if create.models.is_empty() { ModelAccess::All } else { ModelAccess::Only(create.models) },
        allowed_ips: create.networks,
        limits: KeyLimits {
            requests_per_minute: create.requests_per_minute,
            monthly_calls: create.monthly_calls,
            monthly_money: create.monthly_money,
            monthly_tokens: create.monthly_tokens,
        },
        expires_at,
        ..ApiKey::new(account, create.name, plan, now)
    };
    let (new, secret) = NewKey::issue("live", pepper, key);
    let key = &new.key;
    println!("key      {} ({})", key.id, key.name);
    println!("account  {account}");
    println!("plan     {}", key.plan);
    match key.expires_at {
        Some(end) => println!("expires  {end}"),
        None => println!("expires  never"),
    }
    store.insert(new).await?;
    println!("Keep it now: it is shown only this once.");
    println!("{}", secret.reveal());
    Ok(())
}

async fn list(account: AccountId, store: &dyn KeyStore) -> Result<(), Stop> {
    let mut page = PageRequest::first(PageRequest::<KeyId>::MOST);
    loop {
        let found = store.list(account, page).await?;
        for key in &found.rows {
            let state = match (key.revoked_at, key.expires_at) {
                (Some(at), _) => format!("revoked {at}"),
                (None, Some(end)) => format!("until {end}"),
                (None, None) => "for ever".to_owned(),
            };
            let used = key.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
            println!("{}  {}  {}  {}  {state}  {used}", key.id, key.display_prefix, key.plan, key.name);
        }
        match found.next {
            Some(after) => page.after = Some(after),
            None => return Ok(()),
        }
    }
}
