//! Functions the model may call, their names, and whether it must.

use std::collections::BTreeMap;

use aihub_core::chat::{Tool, ToolChoice};
use aihub_core::{Error, Result};
use serde_json::Value;

use super::level::Traits;
use super::schema::cleaned;
use super::wire::{self, FunctionCallingConfig, FunctionDeclaration, ToolConfig};

/// The longest name of a function.
const LONGEST_NAME: usize = 128;

/// Names of functions on the way there and back: what the vendor does not allow in a name is
/// replaced, and put back in the answer.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_sent: BTreeMap<String, String>,
}

impl Names {
    /// The name under which the vendor knows `own`.
    pub(super) fn sent(&mut self, own: &str) -> String {
        if allowed(own) && self.by_sent.get(own).is_none_or(|known| known == own) {
            if !self.by_sent.contains_key(own) {
                self.by_sent.insert(own.to_owned(), own.to_owned());
            }
            return own.to_owned();
        }
        let base: String = own.chars().take(LONGEST_NAME - 4).map(|c| if fits(c) { c } else { '_' }).collect();
        let base =
            if base.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { base } else { format!("_{base}") };
        let mut sent = base.clone();
        for number in 2.. {
            match self.by_sent.get(&sent) {
                Some(known) if known == own => return sent,
                Some(_) => sent = format!("{base}_{number}"),
                None => break,
            }
        }
        self.by_sent.insert(sent.clone(), own.to_owned());
        sent
    }

    /// The caller's name for what the vendor calls `sent`. The vendor sometimes puts the name of
    /// its own namespace before it.
    pub(super) fn own<'a>(&'a self, sent: &'a str) -> &'a str {
        let bare = || sent.strip_prefix("default_api:").or_else(|| sent.strip_prefix("default_api."));
        let known = self.by_sent.get(sent).or_else(|| self.by_sent.get(bare()?));
        known.map_or(sent, String::as_str)
    }
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}

fn allowed(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= LONGEST_NAME
        && name.chars().all(fits)
}

/// The tools and how they are to be used, in the vendor's words.
pub(super) fn tools(
    tools: Vec<Tool>,
    choice: Option<ToolChoice>,
    search: bool,
    traits: Traits,
    names: &mut Names,
) -> Result<(Vec<wire::Tool>, Option<ToolConfig>)> {
    let mut strict = false;
    let mut declared: Vec<FunctionDeclaration> = Vec::with_capacity(tools.len());
    for (at, tool) in tools.into_iter().enumerate() {
        let Some(function) = tool.function.filter(|_| tool.kind == "function") else {
            return Err(Error::unsupported_parameter(
                format!("tools[{at}].type"),
                format!("Tools of type `{}` are not supported with this model", tool.kind),
            ));
        };
        let name = names.sent(&function.name);
        if declared.iter().any(|known| known.name == name) {
            return Err(Error::invalid(
                format!("tools[{at}].function.name"),
                format!("Two functions are named `{}`", function.name),
            ));
        }
        let parameters_json_schema = match function.parameters {
            None | Some(Value::Null) => None,
            Some(schema @ Value::Object(_)) => {
                Some(cleaned(schema)).filter(|schema| *schema != Value::Object(serde_json::Map::new()))
            }
            Some(_) => {
                return Err(Error::invalid(
                    format!("tools[{at}].function.parameters"),
                    "The parameters of a function are a JSON schema object",
                ));
            }
        };
        strict |= function.strict == Some(true) && traits.validates();
        declared.push(FunctionDeclaration { name, description: function.description, parameters_json_schema });
    }
    if search && !declared.is_empty() && !traits.mixes() {
        return Err(Error::unsupported_parameter(
            "web_search_options",
            "This model cannot search the web and call functions in one request: leave one out",
        ));
    }
    let config = if declared.is_empty() { None } else { calling(choice, strict, &declared, names)? };
    let mixed = search && !declared.is_empty();
    let config = (config.is_some() || mixed)
        .then_some(ToolConfig { function_calling_config: config, include_server_side_tool_invocations: mixed });
    let mut out = Vec::with_capacity(2);
    if !declared.is_empty() {
        // All functions in one tool object: spread over several, the vendor takes only one.
        out.push(wire::Tool { function_declarations: declared, google_search: None });
    }
    if search {
        out.push(wire::Tool { google_search: Some(serde_json::Map::new()), ..wire::Tool::default() });
    }
    Ok((out, config))
}

fn calling(
    choice: Option<ToolChoice>,
    strict: bool,
    declared: &[FunctionDeclaration],
    names: &mut Names,
) -> Result<Option<FunctionCallingConfig>> {
    let mut known = |own: &str| {
        let sent = names.sent(own);
        if declared.iter().any(|function| function.name == sent) {
            return Ok(sent);
        }
        Err(Error::invalid("tool_choice", format!("`tool_choice` names `{own}`, which is none of `tools`")))
    };
    let (mode, allowed) = match choice {
        None => (if strict { "VALIDATED" } else { "AUTO" }, Vec::new()),
        Some(ToolChoice::Mode(mode)) => match mode.as_str() {
            "none" => ("NONE", Vec::new()),
            "required" | "any" => ("ANY", Vec::new()),
            "auto" => (if strict { "VALIDATED" } else { "AUTO" }, Vec::new()),
            _ => {
                return Err(Error::invalid(
                    "tool_choice",
                    "`tool_choice` is `none`, `auto`, `required` or names a function",
                ));
            }
        },
        Some(ToolChoice::Named { function }) => ("ANY", vec![known(&function.name)?]),
        Some(ToolChoice::Allowed { allowed_tools }) => {
            let allowed = allowed_tools.tools.iter().filter_map(|tool| tool.function.as_ref());
            let allowed = allowed.map(|function| known(&function.name)).collect::<Result<Vec<_>>>()?;
            // `AUTO` takes no list; `VALIDATED` is the mode that may call and may answer.
            (if allowed_tools.mode == "required" { "ANY" } else { "VALIDATED" }, allowed)
        }
    };
    // `AUTO` is what the vendor does anyway.
    Ok((mode != "AUTO").then_some(FunctionCallingConfig { mode, allowed_function_names: allowed }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(model: &str, list: Value, choice: Value, search: bool) -> Result<Value> {
        let list = serde_json::from_value(list).unwrap();
        let choice = serde_json::from_value(choice).unwrap();
        let (tools, config) = tools(list, choice, search, Traits::of(model), &mut Names::default())?;
        Ok(json!([tools, config]))
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    #[test]
    fn names_go_there_and_back() {
        let mut names = Names::default();
        for own in ["get_weather", "a b", "a_b", "a,b", "1st", "été", "mcp.tool:x-y", &"n".repeat(200)] {
            let sent = names.sent(own);
            assert!(allowed(&sent), "{sent}");
            assert_eq!(names.own(&sent), own);
            assert_eq!(names.sent(own), sent, "the same name goes out the same way");
        }
        assert_eq!(names.own("default_api:get_weather"), "get_weather");
        assert_eq!(names.own("unheard_of"), "unheard_of");
    }

    #[test]
    fn choices_become_modes() {
        let both = json!([function("f"), function("g")]);
        for (choice, expected) in [
            (json!(null), json!(null)),
            (json!("auto"), json!(null)),
            (json!("none"), json!({"functionCallingConfig": {"mode": "NONE"}})),
            (json!("required"), json!({"functionCallingConfig": {"mode": "ANY"}})),
            (function("g"), json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}})),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("f")]}}),
                json!({"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}}),
            ),
        ] {
            assert_eq!(told("gemini-2.5-flash", both.clone(), choice.clone(), false).unwrap()[1], expected, "{choice}");
        }
        assert_eq!(told("gemini-2.5-flash", json!([]), json!("required"), false).unwrap(), json!([[], null]));
    }

    #[test]
    fn what_the_model_cannot_do_is_refused() {
        let error = |list, choice, search| told("gemini-2.5-flash", list, choice, search).unwrap_err();
        assert_eq!(
            error(json!([function("f"), function("f")]), json!(null), false).param(),
            Some("tools[1].function.name")
        );
        assert_eq!(error(json!([{"type": "custom", "custom": {}}]), json!(null), false).param(), Some("tools[0].type"));
        assert_eq!(error(json!([function("f")]), function("h"), false).param(), Some("tool_choice"));
        assert_eq!(error(json!([function("f")]), json!(null), true).param(), Some("web_search_options"));
        let mixed = told("gemini-3.5-flash", json!([function("f")]), json!(null), true).unwrap();
        assert_eq!(mixed[1], json!({"includeServerSideToolInvocations": true}));
        assert_eq!(mixed[0], json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]));
    }
}
