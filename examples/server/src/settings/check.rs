//! Settings that are right each for itself, and without effect or use beside the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aihub_core::model::{FixedCatalogue, ModelKind};
use aihub_core::plan::{ModelAccess, Plan};
use aihub_core::{Catalogue as _, Departures, Timestamp};
use aihub_providers::catalogue::{Entry, Vendor};

use super::{Catalogue, Departure, Settings, SettingsError, load};

/// Threads above this number only wait for each other.
const MOST_WORKERS: usize = 1_024;

/// A century: calendars end, and a key that is to outlive its owner holds for ever.
const MOST_DAYS: u32 = 36_500;

/// More than a Postgres server takes.
const MOST_CONNECTIONS: usize = 10_000;

/// A pebibyte: no disk has more.
const MOST_MIB: u64 = 1 << 30;
/// A year: what is kept is every answer under a key.
const MOST_HOURS: u64 = 8_760;

/// More than this is kept of no answer: it is in memory while it runs, and one value in a database.
const MOST_ANSWER_BYTES: usize = 64 << 20;

type Checked = Result<(), SettingsError>;

fn wrong(setting: &str, value: impl std::fmt::Debug, right: impl std::fmt::Display) -> SettingsError {
    SettingsError(format!("the setting `{setting}` = {value:?} is wrong: {right}"))
}

/// What the settings say of each other.
pub(super) fn settings(settings: &Settings) -> Checked {
    if settings.server.workers > MOST_WORKERS {
        let right = format!("it has to be at most {MOST_WORKERS}; 0 is one for each core");
        return Err(wrong("server.workers", settings.server.workers, right));
    }
    if settings.keys.expire_after_days > MOST_DAYS {
        let right = format!("it has to be at most {MOST_DAYS}; 0 is for ever");
        return Err(wrong("keys.expire_after_days", settings.keys.expire_after_days, right));
    }
    let store = &settings.store;
    if store.connections > MOST_CONNECTIONS {
        let right = format!("it has to be at most {MOST_CONNECTIONS}");
        return Err(wrong("store.connections", store.connections, right));
    }
    if store.url.starts_with("postgres") && settings.keys.pepper.is_none() && settings.keys.pepper_file.is_empty() {
        let message = "keys in Postgres are hashed under a secret that every replica needs: set AIHUB_KEYS__PEPPER (at \
                       least 32 characters, such as `openssl rand -hex 32` prints), or `keys.pepper_file`";
        return Err(SettingsError(message.to_owned()));
    }
    let journal = &settings.journal;
    if journal.most_mib < journal.segment_mib.saturating_mul(2) {
        let right = "it has to be at least twice `journal.segment_mib`: one is written, and one is in reserve";
        return Err(wrong("journal.most_mib", journal.most_mib, right));
    }
    if journal.most_mib > MOST_MIB {
        return Err(wrong("journal.most_mib", journal.most_mib, format!("it has to be at most {MOST_MIB}")));
    }
    if settings.redis.cache_keys && settings.redis.url.is_none() {
        let right = "there is no Redis to keep them in: set `redis.url` (REDIS_URL) as well";
        return Err(wrong("redis.cache_keys", true, right));
    }
    idempotency(settings)?;
    // Also where no secret is read yet: found out now rather than at the first one.
    settings.secrets.keys.as_ref().map(crate::ring::check).transpose()?;
    settings.plans.iter().try_for_each(|(name, plan)| self::plan(name, plan))?;
    plan_exists("the setting `keys.default_plan`", &settings.keys.default_plan, &settings.plans)
}

fn idempotency(settings: &Settings) -> Checked {
    let set = &settings.idempotency;
    if set.keep_hours > MOST_HOURS {
        return Err(wrong("idempotency.keep_hours", set.keep_hours, format!("it has to be at most {MOST_HOURS}")));
    }
    if Duration::from_hours(set.keep_hours) <= Duration::from_millis(settings.upstream.answer_timeout_ms) {
        let right = "a key has to be kept for longer than answers take (`upstream.answer_timeout_ms`), or its repeat is \
                     charged again";
        return Err(wrong("idempotency.keep_hours", set.keep_hours, right));
    }
    if set.max_answer_bytes > MOST_ANSWER_BYTES {
        let right = format!("it has to be at most {MOST_ANSWER_BYTES}");
        return Err(wrong("idempotency.max_answer_bytes", set.max_answer_bytes, right));
    }
    Ok(())
}

/// Whether `name`, which `what` says, is a plan.
pub(crate) fn plan_exists(what: &str, name: &str, plans: &BTreeMap<String, Plan>) -> Checked {
    if plans.contains_key(name) {
        return Ok(());
    }
    let known: Vec<_> = plans.keys().map(String::as_str).collect();
    Err(SettingsError(format!("{what} = {name:?} names no plan; there are {}", known.join(", "))))
}

fn plan(name: &str, plan: &Plan) -> Checked {
    let setting = |field: &str| format!("plans.{name}.{field}");
    if !plan.name.is_empty() && plan.name != name {
        return Err(wrong(&setting("name"), &plan.name, format!("the plan is called `{name}` by its table")));
    }
    if plan.requests_per_minute == Some(0) {
        return Err(wrong(&setting("requests_per_minute"), 0, "it has to be at least 1; leave it out for no limit"));
    }
    if plan.default_output_tokens == 0 {
        return Err(wrong(&setting("default_output_tokens"), 0, "it has to be at least 1"));
    }
    if let Some((place, flaw)) = plan.quotas.iter().enumerate().find_map(|(at, rule)| Some((at, rule.flaw()?))) {
        return Err(wrong(&setting(&format!("quotas[{place}]")), &plan.quotas[place], flaw));
    }
    if plan.monthly_money.is_some_and(|most| most.nanos() < 0) {
        return Err(wrong(&setting("monthly_money"), plan.monthly_money, "it has to be 0 or more"));
    }
    match &plan.models {
        ModelAccess::Only(ids) if ids.is_empty() => {
            Err(wrong(&setting("models.only"), ids, "it has to name at least one model"))
        }
        _ => Ok(()),
    }
}

/// What the settings say of models, of which `known` are all and `sold` those of enabled providers.
pub(crate) fn models(settings: &Settings, known: &[Entry], sold: &FixedCatalogue) -> Checked {
    let catalogue = &settings.catalogue;
    aliases(catalogue, known)?;
    fallbacks(catalogue, known)?;
    default_model(catalogue, known, sold)?;
    for (name, plan) in &settings.plans {
        let ModelAccess::Only(ids) = &plan.models else { continue };
        let reaches = |id: &str| match id.strip_suffix('*') {
            Some(prefix) => known.iter().any(|entry| entry.id.starts_with(prefix)),
            None => find(known, id).is_some(),
        };
        if let Some(id) = ids.iter().find(|id| !reaches(id)) {
            return Err(wrong(&format!("plans.{name}.models.only"), id, NO_MODEL));
        }
    }
    Ok(())
}

const NO_MODEL: &str = "it is no model; those there are stand in `models.json` and in `catalogue.file`";

fn find<'a>(known: &'a [Entry], id: &str) -> Option<&'a Entry> {
    known.iter().find(|entry| entry.id == id)
}

fn aliases(catalogue: &Catalogue, known: &[Entry]) -> Checked {
    for (alias, id) in &catalogue.aliases {
        let setting = format!("catalogue.aliases.{alias}");
        if find(known, alias).is_some() {
            return Err(wrong(&setting, id, "a model has this name already, and goes before the alias"));
        }
        if find(known, id).is_none() {
            return Err(wrong(&setting, id, NO_MODEL));
        }
    }
    Ok(())
}

fn fallbacks(catalogue: &Catalogue, known: &[Entry]) -> Checked {
    for (id, others) in &catalogue.fallbacks {
        let setting = format!("catalogue.fallbacks.{id}");
        let Some(entry) = find(known, id) else {
            return Err(wrong(
                &setting,
                others,
                format!("`{id}` is no model; an alias has the fallbacks of its model"),
            ));
        };
        for other in others {
            match find(known, other) {
                None => return Err(wrong(&setting, other, NO_MODEL)),
                Some(other) if other.id == entry.id => {
                    return Err(wrong(&setting, &other.id, "a model is no fallback of itself"));
                }
                Some(other) if other.kind != entry.kind => {
                    let right = format!("its kind is `{}`, and that of `{id}` is `{}`", other.kind, entry.kind);
                    return Err(wrong(&setting, &other.id, right));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// The shipped default may be a model of a vendor that is not enabled: nobody asked for it.
fn default_model(catalogue: &Catalogue, known: &[Entry], sold: &FixedCatalogue) -> Checked {
    let id = &catalogue.default_model;
    let refused = |right: &str| Err(wrong("catalogue.default_model", id, right));
    if id.is_empty() {
        return Ok(());
    }
    let Some(entry) = find(known, catalogue.aliases.get(id).unwrap_or(id)) else { return refused(NO_MODEL) };
    if entry.kind != ModelKind::Chat.to_string() {
        return refused("the developer form chats, and this model does not");
    }
    if sold.find(id).is_none() && !sold.list().is_empty() && !load::is_default("catalogue.default_model", id) {
        return refused("no enabled provider serves it: name another one, or set the key of its vendor");
    }
    Ok(())
}

/// What is done when callers leave. A rule that no call comes to has no effect; those that are shipped may have none where
/// the models are others.
pub(crate) fn departures(settings: &Settings, known: &[Entry], at: Timestamp) -> Result<Departures, SettingsError> {
    let rules = &settings.upstream.departures;
    let refused = |at: usize, right: &str| wrong(&format!("upstream.departures[{at}]"), rules[at].about(), right);
    let made = rules.iter().enumerate().map(|(at, rule)| rule.rule().map_err(|right| refused(at, &right)));
    let table: Vec<_> = made.collect::<Result<_, _>>()?;
    let table = Departures::from_iter(table);
    if load::default::<Vec<Departure>>("upstream.departures").as_ref() == Some(rules) {
        return Ok(table);
    }
    let providers: Vec<_> =
        settings.providers.iter().map(|(name, provider)| (Arc::from(&**name), provider.kind)).collect();
    let mut unused: BTreeSet<_> = (0..rules.len()).collect();
    for model in known.iter().filter_map(|entry| entry.model(&providers, at).ok().flatten()) {
        for offer in &model.offers {
            for stream in [false, true].into_iter().filter(|stream| !stream || model.kind == ModelKind::Chat) {
                unused.retain(|at| table.rule(offer, stream) != Some(*at));
            }
        }
    }
    match unused.first() {
        None => Ok(table),
        Some(at) => Err(refused(
            *at,
            "no call comes to it: no model of this provider is called so, or the rules before it \
                                      match all of them",
        )),
    }
}

/// Providers of a dialect sell only what is offered in their name.
pub(crate) fn offers(known: &[Entry], enabled: &[(Arc<str>, Vendor)]) -> Checked {
    let sells = |name: &str| known.iter().any(|entry| entry.offers.contains_key(name));
    match enabled.iter().find(|(name, vendor)| *vendor == Vendor::OpenAi && !sells(name)) {
        Some((name, _)) => Err(SettingsError(format!(
            "the setting `providers.{name}` has no effect: no model of `catalogue.file` has an offer of `{name}`"
        ))),
        None => Ok(()),
    }
}
