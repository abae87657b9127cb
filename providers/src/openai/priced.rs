//! The fields by which a caller changes what the vendor charges, one table per dialect.
//!
//! A call is held for at the price of its offer. What would change that price behind the hold is
//! refused before anything is sent, unless the operator prices it otherwise (`with_paid_extras()`).

use std::sync::LazyLock;

use aihub_core::json::Object;
use aihub_core::{Error, Result};
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A field with a price of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Priced {
    name: &'static str,
    /// Which of its values have a price.
    when: When,
    /// What it does to the price, for the caller.
    why: &'static str,
}

/// Which values of a field have a price of their own.
#[derive(Debug, Clone, Copy)]
enum When {
    /// All but `null`.
    Given,
    /// All texts but these.
    Beyond(&'static [&'static str]),
    /// A list with a tool that is neither a function nor a custom tool of the caller's.
    VendorTool,
    /// A time to live other than the vendor's five minutes, wherever in the request it stands.
    LongCache,
}

const fn priced(name: &'static str, when: When, why: &'static str) -> Priced {
    Priced { name, when, why }
}

const TIER: Priced = priced("service_tier", When::Beyond(&["auto", "default"]), "each tier has prices of its own");
const SEARCH: Priced = priced("web_search_options", When::Given, "searches are charged by the piece");
const TOOLS: Priced = priced("tools", When::VendorTool, "tools that the vendor runs have fees of their own");
const CACHE: Priced =
    priced("cache_control", When::LongCache, "caching for longer than five minutes has a price of its own");
const MODELS: Priced = priced("models", When::Given, "it names other models, with other prices");

/// What any upstream of the dialect may charge for.
pub(crate) const OPENAI: &[Priced] = &[TIER, SEARCH, TOOLS, CACHE];

/// What `OpenRouter` charges for, or shows of the operator's account.
pub(crate) const OPENROUTER: &[Priced] = &[
    TIER,
    SEARCH,
    TOOLS,
    CACHE,
    MODELS,
    priced("route", When::Given, "it chooses among models with other prices"),
    priced("preset", When::Given, "it stands for other models and fields"),
    priced("plugins", When::Given, "plugins have fees of their own"),
    priced("transforms", When::Given, "it changes the prompt that is charged"),
    priced("speed", When::Beyond(&["standard"]), "faster answers have prices of their own"),
    priced("debug", When::Given, "it shows what this service agreed with the vendor"),
];

/// The fields that a hold is made from, or that are set here: the caller's spelling must be ours.
const HELD: [&str; 9] =
    ["model", "messages", "input", "n", "max_tokens", "max_completion_tokens", "stream", "stream_options", "provider"];

/// Refuses fields with a price of their own, unless `permitted`, and always those that some readers
/// take for another field.
pub(crate) fn check(object: &Object, table: &[Priced], permitted: bool) -> Result<()> {
    let judge = |field: &Priced| {
        if permitted || !field.when.holds(object, field.name)? {
            return Ok(());
        }
        let message = format!("`{0}` is not sold here as it is given: {1}. Leave it out", field.name, field.why);
        Err(Error::unsupported_parameter(field.name, message))
    };
    for name in object.names() {
        if let Some(known) = misspelt(name, table) {
            return Err(Error::invalid(name, format!("`{name}` is not a field: write `{known}`")));
        }
        table.iter().find(|field| field.name == name).map_or(Ok(()), judge)?;
    }
    // Also where it is not at the top.
    table.iter().filter(|field| matches!(field.when, When::LongCache)).try_for_each(judge)
}

impl When {
    fn holds(self, object: &Object, name: &str) -> Result<bool> {
        Ok(match self {
            Self::Given => object.has(name),
            Self::Beyond(free) => object.read::<String>(name)?.is_some_and(|value| !free.contains(&&*value)),
            Self::VendorTool => object.read::<Vec<Tool>>(name)?.iter().flatten().any(Tool::is_the_vendors),
            Self::LongCache => may_say_ttl(object.bytes()) && caches_long(&object.decode()?, name),
        })
    }
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default, rename = "type")]
    kind: Option<Kind>,
    #[serde(default)]
    function: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Function,
    Custom,
    #[serde(other)]
    Vendors,
}

impl Tool {
    /// Only what the caller runs itself is known to be free: vendors name their tools as they like.
    fn is_the_vendors(&self) -> bool {
        match self.kind {
            Some(Kind::Function | Kind::Custom) => false,
            Some(Kind::Vendors) => true,
            None => self.function.is_none(),
        }
    }
}

/// Whether some key may be `ttl`: as it is, or with letters escaped, as nobody writes who has
/// nothing to hide. Spares nearly every request the walk.
fn may_say_ttl(body: &[u8]) -> bool {
    static PLAIN: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(r#""ttl""#));
    static ESCAPED: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(r"\u00"));
    PLAIN.find(body).is_some() || ESCAPED.find_iter(body).any(|at| matches!(body.get(at + 4), Some(b'4'..=b'7')))
}

fn caches_long(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| caches_long(value, name)),
        Value::Object(fields) => fields.iter().any(|(field, value)| {
            let long = field == name && value.get("ttl").is_some_and(|ttl| !ttl.is_null() && ttl != "5m");
            long || caches_long(value, name)
        }),
        _ => false,
    }
}

/// A field's name as readers without case see it (Go's `encoding/json` also folds two letters from
/// beyond ASCII).
fn fold(name: &str) -> String {
    let plain = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(plain).collect()
}

/// The known field that this name differs from only in case.
fn misspelt(name: &str, table: &[Priced]) -> Option<&'static str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return None;
    }
    let folded = fold(name);
    let mut known = HELD.into_iter().chain(table.iter().map(|field| field.name));
    known.find(|known| *known == folded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(body: &str, table: &[Priced], permitted: bool) -> Result<()> {
        check(&Object::scan(body.to_owned().into()).unwrap(), table, permitted)
    }

    #[test]
    fn what_changes_the_price_is_refused_unless_permitted() {
        let long = json!({"type": "ephemeral", "ttl": "1h"});
        let part = json!([{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": long}]}]);
        for (field, value, everywhere) in [
            ("service_tier", json!("priority"), true),
            ("web_search_options", json!({}), true),
            ("tools", json!([{"type": "function", "function": {}}, {"type": "openrouter:web_search"}]), true),
            ("tools", json!([{"type": "web_search_preview"}]), true),
            ("tools", json!([{"google_search": {}}]), true),
            ("cache_control", long.clone(), true),
            ("messages", part, true),
            ("models", json!(["x"]), false),
            ("route", json!("fallback"), false),
            ("preset", json!("x"), false),
            ("plugins", json!([]), false),
            ("transforms", json!([]), false),
            ("speed", json!("fast"), false),
            ("debug", json!({"echo_upstream_body": true}), false),
        ] {
            let body = json!({"model": "m", field: value}).to_string();
            let error = checked(&body, OPENROUTER, false).unwrap_err();
            let param = if field == "messages" { "cache_control" } else { field };
            assert_eq!((error.param(), error.code()), (Some(param), "unsupported_parameter"), "{body}");
            assert!(error.may_fail_over() && !error.is_upstream_fault(), "{body}");
            assert_eq!(checked(&body, OPENAI, false).is_err(), everywhere, "{body}");
            checked(&body, OPENROUTER, true).unwrap();
        }
    }

    #[test]
    fn escapes_hide_nothing() {
        for body in [
            r#"{"tools":[{"type":"\u006fpenrouter:web_search"}]}"#,
            r#"{"tools":[{"\u0074ype":"openrouter:web_search"}]}"#,
            r#"{"service_tier":"\u0070riority"}"#,
            r#"{"messages":[{"content":[{"c\u0061che_control":{"t\u0074l":"1h"}}]}]}"#,
            r#"{"messages":[{"content":[{"cache_control":{"ttl":"\u0031h"}}]}]}"#,
        ] {
            assert_eq!(checked(body, OPENAI, false).unwrap_err().code(), "unsupported_parameter", "{body}");
        }
    }

    #[test]
    fn another_spelling_of_a_field_is_refused_always() {
        for name in ["Model", "MESSAGES", "Input", "N", "Max_Tokens", "max_toKens", "meſſages", "Tools", "Provider"] {
            let body = json!({"model": "m", name: null}).to_string();
            for permitted in [false, true] {
                let error = checked(&body, OPENAI, permitted).unwrap_err();
                assert_eq!((error.param(), error.may_fail_over()), (Some(name), false), "{body}");
            }
        }
        checked(r#"{"model":"m","Custom":1}"#, OPENAI, false).unwrap();
    }

    #[test]
    fn what_costs_nothing_more_passes() {
        for body in [
            json!({"service_tier": "auto", "speed": "standard", "models": null, "debug": null}),
            json!({"tools": [{"type": "function", "function": {}}, {"type": "custom"}, {"function": {}}]}),
            json!({"cache_control": {"type": "ephemeral"}, "messages": [{"content": "the \"ttl\" is \"1h\""}]}),
            json!({"messages": [{"content": [{"cache_control": {"type": "ephemeral", "ttl": "5m"}}]}]}),
        ] {
            checked(&body.to_string(), OPENROUTER, false).unwrap();
        }
    }
}
