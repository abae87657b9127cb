//! `aihub accounts`.

use std::sync::Arc;

use aihub_core::commerce::{Books as _, Posting};
use aihub_core::quota::{Calendar, Quota, Scope, Span};
use aihub_core::{AccountId, Clock, Currency, Funding, Money, SystemClock, Terms, TermsStore as _};
use aihub_storage::{Database, Migrate, SqlBooks, SqlTerms};

use crate::cli::{self, Accounts};
use crate::settings::{Settings, SettingsError};
use crate::{Stop, store};

pub(crate) async fn run(command: Accounts, settings: &Settings) -> Result<(), Stop> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let stores = store::opened(settings, Migrate::Run, &clock).await?;
    let Some(database) = stores.database else {
        let message = "the setting `store.url` (DATABASE_URL) is `memory:`, whose accounts nobody else can reach";
        return Err(SettingsError(message.to_owned()).into());
    };
    match command {
        Accounts::Show { account } => show(&database, account).await,
        Accounts::Set(change) => {
            let store = SqlTerms::new(database.clone());
            let terms = changed(Terms::clone(&*store.terms(change.account).await?), &change)?;
            store.set_terms(change.account, terms).await?;
            show(&database, change.account).await
        }
        Accounts::TopUp { account, amount, reference } => {
            let posting = Posting::top_up(account, amount, "manual", &reference, clock.now())?;
            if !SqlBooks::new(database.clone()).post(posting).await? {
                println!("`{reference}` was booked before, and is not booked again");
            }
            show(&database, account).await
        }
    }
}

fn changed(mut terms: Terms, change: &cli::Terms) -> Result<Terms, Stop> {
    if change.time_zone.is_some() || change.anchor_day.is_some() {
        let zone = change.time_zone.clone().unwrap_or_else(|| terms.calendar.zone_name().to_owned());
        let day = change.anchor_day.unwrap_or(terms.calendar.anchor_day());
        terms.calendar = Calendar::of(&zone, day)?;
    }
    terms.organisation = change.organisation.or(terms.organisation);
    terms.funding = match (change.prepaid, change.postpaid) {
        (Some(currency), _) => Funding::Prepaid(currency),
        (None, true) => Funding::Postpaid,
        (None, false) => terms.funding,
    };
    if let Some(amount) = &change.monthly_money {
        let of_money = |rule: &Quota| rule.scope == Scope::Account && rule.per == Span::Month && rule.money.is_some();
        terms.quotas.retain(|rule| !of_money(rule));
        if amount != "none" {
            let money = serde_json::from_value::<Money>(amount.as_str().into());
            let money = money.map_err(|error| SettingsError(format!("--monthly-money {amount}: {error}")))?;
            terms.quotas.push(Quota { money: Some(money), ..Quota::new(Scope::Account, Span::Month) });
        }
    }
    Ok(terms)
}

async fn show(database: &Database, account: AccountId) -> Result<(), Stop> {
    let terms = SqlTerms::new(database.clone()).terms(account).await?;
    println!("account       {account}");
    if let Some(organisation) = terms.organisation {
        println!("organisation  {organisation}");
    }
    println!("months        from day {} in {}", terms.calendar.anchor_day(), terms.calendar.zone_name());
    for rule in &terms.quotas {
        println!("limit         {}", serde_json::to_string(rule).unwrap_or_default());
    }
    match terms.funding {
        Funding::Postpaid => println!("pays          afterwards"),
        Funding::Prepaid(currency) => {
            println!("pays          before, in {currency}");
            println!("left          {}", left(database, account, currency).await?);
        }
    }
    Ok(())
}

async fn left(database: &Database, account: AccountId, currency: Currency) -> Result<Money, Stop> {
    Ok(SqlBooks::new(database.clone()).paid_in(account, currency).await?)
}
