//! Limits as they are sold, and the windows that they mean for one caller.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Span};
use super::window::{Limit, Most, Subject, Unit, Window};
use crate::caller::Caller;
use crate::money::Money;
use crate::terms::Funding;
use crate::time::Timestamp;

/// Whose use a rule counts together.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Each key for itself.
    Key,
    /// All keys of an account.
    #[default]
    Account,
    /// All accounts of an organisation; nobody is limited by it who is in none.
    Organisation,
    /// Everybody on the plan.
    Plan,
    /// An account's calls of the models that [`Quota::model`] names.
    Model,
}

/// A rule: how much a scope may use in a span of time, of each unit that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Whose use is counted together.
    #[serde(default)]
    pub scope: Scope,
    /// How long it counts.
    pub per: Span,
    /// Calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Tokens, in and out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// Whether use beyond it is counted and charged, instead of refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overage: bool,
    /// The models of the scope `model`: an id, or with `*` at its end every id that starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Quota {
    /// A rule that limits nothing yet.
    pub const fn new(scope: Scope, per: Span) -> Self {
        Self { scope, per, calls: None, tokens: None, money: None, overage: false, model: None }
    }

    /// Why the rule cannot mean anything, if it cannot.
    pub fn flaw(&self) -> Option<&'static str> {
        if self.calls.is_none() && self.tokens.is_none() && self.money.is_none() {
            return Some("it limits nothing: name `calls`, `tokens` or `money`");
        }
        if self.money.is_some_and(|money| money.nanos() < 0) {
            return Some("money has to be 0 or more");
        }
        if (self.scope == Scope::Model) != self.model.is_some() {
            return Some("`model` names the models of the scope `model`, and of no other");
        }
        None
    }

    /// Whether calls of the model with this id count.
    fn covers(&self, model: &str) -> bool {
        self.model.as_deref().is_none_or(|pattern| match pattern.strip_suffix('*') {
            Some(start) => model.starts_with(start),
            None => pattern == model,
        })
    }

    fn subject(&self, caller: &Caller) -> Option<Subject> {
        Some(match self.scope {
            Scope::Key => Subject::Key(caller.key.id),
            Scope::Account => Subject::Account(caller.account()),
            Scope::Organisation => Subject::Organisation(caller.key.terms.organisation?),
            Scope::Plan => Subject::Plan(caller.plan.name.as_str().into()),
            Scope::Model => Subject::Model(caller.account(), self.model.as_deref()?.into()),
        })
    }
}

/// Every limit that a call of `model` by `caller`, admitted at `at`, has to pass: those of its key first, then those
/// of its account's terms, those of its plan, and what is paid in. A window that several rules limit is there once
/// for each.
pub fn limits(caller: &Caller, model: &str, at: Timestamp) -> Vec<Limit> {
    found(caller, Some(model), at)
}

/// The same, whatever the model: also the limits that only some models have.
pub fn all_limits(caller: &Caller, at: Timestamp) -> Vec<Limit> {
    found(caller, None, at)
}

fn found(caller: &Caller, model: Option<&str>, at: Timestamp) -> Vec<Limit> {
    let (key, terms, plan) = (&caller.key.limits, &caller.key.terms, &caller.plan);
    let mut found = Found { caller, model, at, calendar: &terms.calendar, limits: Vec::new() };
    let monthly = |scope, calls, tokens, money| Quota { calls, tokens, money, ..Quota::new(scope, Span::Month) };
    found.add("key", &monthly(Scope::Key, key.monthly_calls, key.monthly_tokens, key.monthly_money));
    terms.quotas.iter().for_each(|rule| found.add("account", rule));
    found.add("plan", &monthly(Scope::Account, plan.monthly_calls, plan.monthly_tokens, plan.monthly_money));
    plan.quotas.iter().for_each(|rule| found.add("plan", rule));
    if let Funding::Prepaid(currency) = terms.funding {
        let period = found.calendar.period(Span::Lifetime, at);
        let window = Window {
            subject: Subject::Account(caller.account()),
            unit: Unit::Money(currency),
            span: Span::Lifetime,
            starts_at: period.starts_at,
        };
        let source = Cow::Borrowed("prepaid_balance");
        found.limits.push(Limit { window, ends_at: None, most: Most::Prepaid, overage: false, source });
    }
    found.limits
}

struct Found<'a> {
    caller: &'a Caller,
    model: Option<&'a str>,
    at: Timestamp,
    calendar: &'a Calendar,
    limits: Vec<Limit>,
}

impl Found<'_> {
    fn add(&mut self, whose: &'static str, rule: &Quota) {
        if self.model.is_some_and(|model| !rule.covers(model)) {
            return;
        }
        let Some(subject) = rule.subject(self.caller) else { return };
        let period = self.calendar.period(rule.per, self.at);
        let count = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);
        let units = [
            rule.calls.map(|most| (Unit::Calls, "calls", count(most))),
            rule.tokens.map(|most| (Unit::Tokens, "tokens", count(most))),
            rule.money.map(|most| (Unit::Money(most.currency()), "money", most.nanos())),
        ];
        for (unit, name, most) in units.into_iter().flatten() {
            let window = Window { subject: subject.clone(), unit, span: rule.per, starts_at: period.starts_at };
            self.limits.push(Limit {
                window,
                ends_at: period.ends_at,
                most: Most::Fixed(most),
                overage: rule.overage,
                source: source(whose, rule, name),
            });
        }
    }
}

/// `plan_monthly_calls`; where the scope is not the one that the rule's place suggests, it is said, too.
fn source(whose: &'static str, rule: &Quota, unit: &'static str) -> Cow<'static, str> {
    let usual = if whose == "key" { Scope::Key } else { Scope::Account };
    match (whose, rule.per, unit) {
        ("plan", Span::Month, "calls") if rule.scope == usual => Cow::Borrowed("plan_monthly_calls"),
        ("key", Span::Month, "calls") => Cow::Borrowed("key_monthly_calls"),
        _ => {
            let per = match rule.per {
                Span::Minute => "minutely",
                Span::Day => "daily",
                Span::Month => "monthly",
                Span::Lifetime => "lifetime",
            };
            let scope = if rule.scope == usual { String::new() } else { format!("{}_", rule.scope) };
            Cow::Owned(format!("{whose}_{scope}{per}_{unit}"))
        }
    }
}

/// The windows of `limits`, each once.
pub fn windows(limits: &[Limit]) -> Arc<[Window]> {
    let mut windows: Vec<Window> = limits.iter().map(|limit| limit.window.clone()).collect();
    windows.sort_unstable();
    windows.dedup();
    windows.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, OrganisationId};
    use crate::key::{ApiKey, KeyLimits};
    use crate::money::Currency;
    use crate::plan::Plan;
    use crate::terms::Terms;

    #[test]
    fn every_rule_that_covers_a_call_is_a_limit_of_it() {
        let at: Timestamp = "2026-11-21T16:00:00Z".parse().unwrap();
        let mut key = ApiKey::new(AccountId::new(at), "key", "pro", at);
        key.limits = KeyLimits { monthly_calls: Some(5), ..KeyLimits::default() };
        let organisation = OrganisationId::new(at);
        key.terms = Arc::new(Terms {
            organisation: Some(organisation),
            calendar: Calendar::of("UTC", 20).unwrap(),
            funding: Funding::Prepaid(Currency::USD),
            quotas: vec![Quota { tokens: Some(9), ..Quota::new(Scope::Organisation, Span::Day) }],
        });
        let google = Quota { model: Some("google/*".into()), calls: Some(3), ..Quota::new(Scope::Model, Span::Minute) };
        let plan = Plan { monthly_calls: Some(7), quotas: vec![google], ..Plan::unlimited("pro") };
        let caller = Caller::new(key, plan);
        let named = |model| {
            let limits = limits(&caller, model, at);
            limits.into_iter().map(|limit| (limit.source.into_owned(), limit.window)).collect::<Vec<_>>()
        };
        let found = named("google/gemini");
        let names: Vec<_> = found.iter().map(|(source, _)| source.as_str()).collect();
        assert_eq!(
            names,
            [
                "key_monthly_calls",
                "account_organisation_daily_tokens",
                "plan_monthly_calls",
                "plan_model_minutely_calls",
                "prepaid_balance"
            ]
        );
        assert_eq!(found[0].1.starts_at.to_string(), "2026-11-20T00:00:00Z");
        assert_eq!(found[1].1.subject, Subject::Organisation(organisation));
        assert_eq!(named("openai/gpt").len(), 4);
        assert_eq!(all_limits(&caller, at), limits(&caller, "google/gemini", at));
    }

    #[test]
    fn a_rule_without_a_meaning_says_why() {
        let rule = Quota::new(Scope::Account, Span::Day);
        assert!(rule.flaw().unwrap().contains("nothing"));
        assert!(Quota { calls: Some(1), model: Some("m".into()), ..rule.clone() }.flaw().is_some());
        assert!(Quota { calls: Some(1), scope: Scope::Model, ..rule.clone() }.flaw().is_some());
        assert_eq!(Quota { calls: Some(1), ..rule }.flaw(), None);
    }
}
