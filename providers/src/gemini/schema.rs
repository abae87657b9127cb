//! JSON schemas as callers send them, reduced to what the vendor's JSON-schema fields take
//! (`parametersJsonSchema`, `responseJsonSchema`).
//!
//! Keywords that the vendor does not know make the whole request a 400, so that what cannot be
//! said is left out: a looser schema answers, a refused one does not. The older fields
//! (`parameters`, `responseSchema`) are not used: they know neither references nor
//! `additionalProperties`, which nearly every client sends.

use serde_json::{Map, Value, json};

/// What passes with its value as it is.
const PLAIN: [&str; 11] =
    ["$ref", "type", "format", "title", "description", "default", "enum", "minItems", "maxItems", "minimum", "maximum"];

/// The schema as the vendor takes it.
pub(super) fn cleaned(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => Value::Object(object(fields, true)),
        // `true` and `false` are schemas too; the vendor knows only objects.
        _ => json!({}),
    }
}

fn inner(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => Value::Object(object(fields, false)),
        _ => json!({}),
    }
}

fn list(schemas: Vec<Value>) -> Value {
    schemas.into_iter().map(inner).collect()
}

fn named(schemas: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    schemas.into_iter().map(|(name, schema)| (name, inner(schema)))
}

fn object(fields: Map<String, Value>, root: bool) -> Map<String, Value> {
    let mut fields = merged(fields);
    if !root && let Some(reference) = fields.get("$ref").cloned() {
        // Inside a schema a reference stands alone, or the vendor refuses it.
        return Map::from_iter([("$ref".to_owned(), renamed(reference))]);
    }
    let nullable = fields.remove("nullable") == Some(Value::Bool(true));
    let mut clean = Map::new();
    for (keyword, value) in fields {
        let (keyword, value) = match (keyword.as_str(), value) {
            ("$ref", value) => (keyword, renamed(value)),
            ("const", value) => ("enum".to_owned(), json!([value])),
            // `definitions` is the same thing's name in older drafts.
            ("$defs" | "definitions", Value::Object(own)) => {
                if let Value::Object(defs) = clean.entry("$defs").or_insert_with(|| json!({})) {
                    defs.extend(named(own));
                }
                continue;
            }
            ("properties", Value::Object(own)) => (keyword, named(own).collect()),
            // A list of items is how older drafts said `prefixItems`.
            ("items", Value::Array(all)) => ("prefixItems".to_owned(), list(all)),
            ("prefixItems" | "anyOf" | "oneOf", Value::Array(all)) => (keyword, list(all)),
            ("items" | "additionalProperties", value @ Value::Object(_)) => (keyword, inner(value)),
            ("additionalProperties" | "required", value) => (keyword, value),
            ("exclusiveMinimum", value) => {
                bound(&mut clean, "minimum", &value, 1);
                continue;
            }
            ("exclusiveMaximum", value) => {
                bound(&mut clean, "maximum", &value, -1);
                continue;
            }
            (known, value) if PLAIN.contains(&known) => (keyword, value),
            _ => continue,
        };
        clean.insert(keyword, value);
    }
    finish(&mut clean, nullable);
    clean
}

/// What depends on several keywords at once.
fn finish(clean: &mut Map<String, Value>, nullable: bool) {
    if let Some(Value::Array(mut required)) = clean.remove("required") {
        // A required property that is not listed is a 400 here, and legal elsewhere.
        if let Some(Value::Object(properties)) = clean.get("properties") {
            required.retain(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
        }
        if !required.is_empty() {
            clean.insert("required".to_owned(), required.into());
        }
    }
    if is_array(clean.get("type")) && !clean.contains_key("items") && !clean.contains_key("prefixItems") {
        clean.insert("items".to_owned(), json!({}));
    }
    if nullable {
        match clean.get_mut("type") {
            Some(Value::String(kind)) => {
                let both = json!([kind, "null"]);
                clean.insert("type".to_owned(), both);
            }
            Some(Value::Array(kinds)) if !kinds.contains(&json!("null")) => kinds.push(json!("null")),
            _ => {}
        }
    }
}

fn is_array(kind: Option<&Value>) -> bool {
    match kind {
        Some(Value::String(kind)) => kind == "array",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "array"),
        _ => false,
    }
}

/// Brings the branches of `allOf` into the schema itself: what it says first wins, properties and
/// required names are joined.
fn merged(mut fields: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(branches)) = fields.remove("allOf") else { return fields };
    for branch in branches {
        let Value::Object(branch) = branch else { continue };
        for (keyword, value) in merged(branch) {
            match (fields.get_mut(&keyword), value) {
                (Some(Value::Object(own)), Value::Object(more)) if keyword == "properties" => {
                    for (name, schema) in more {
                        own.entry(name).or_insert(schema);
                    }
                }
                (Some(Value::Array(own)), Value::Array(more)) if keyword == "required" => own.extend(more),
                (Some(_), _) => {}
                (None, value) => {
                    fields.insert(keyword, value);
                }
            }
        }
    }
    fields
}

/// The inclusive form of an exclusive bound: exact for whole numbers, as near as can be said for
/// others.
fn bound(clean: &mut Map<String, Value>, keyword: &str, value: &Value, step: i64) {
    let inclusive = match value.as_i64() {
        Some(whole) => Value::from(whole.saturating_add(step)),
        None if value.is_number() => value.clone(),
        None => return,
    };
    clean.entry(keyword.to_owned()).or_insert(inclusive);
}

fn renamed(reference: Value) -> Value {
    match reference.as_str().and_then(|reference| reference.strip_prefix("#/definitions/")) {
        Some(name) => format!("#/$defs/{name}").into(),
        None => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keywords_go_and_known_ones_stay() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "strict": true, "title": "T",
            "additionalProperties": false, "required": ["a", "ghost"], "not": {}, "if": {}, "propertyNames": {},
            "properties": {
                "a": {"type": ["string", "null"], "minLength": 1, "pattern": "x", "examples": ["x"], "default": null},
                "not": {"const": 3},
                "list": {"type": "array"},
                "n": {"type": "integer", "exclusiveMinimum": 0, "nullable": true},
            },
        });
        assert_eq!(
            cleaned(schema),
            json!({
                "type": "object", "title": "T", "additionalProperties": false, "required": ["a"],
                "properties": {
                    "a": {"type": ["string", "null"], "default": null},
                    "not": {"enum": [3]},
                    "list": {"type": "array", "items": {}},
                    "n": {"type": ["integer", "null"], "minimum": 1},
                },
            })
        );
    }

    #[test]
    fn references_stand_alone_and_point_to_defs() {
        let schema = json!({
            "$ref": "#/definitions/Node", "title": "Node",
            "definitions": {"Node": {"type": "object", "properties": {
                "next": {"$ref": "#/definitions/Node", "description": "the next one"},
                "many": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            }}},
        });
        assert_eq!(
            cleaned(schema),
            json!({
                "$ref": "#/$defs/Node", "title": "Node",
                "$defs": {"Node": {"type": "object", "properties": {
                    "next": {"$ref": "#/$defs/Node"},
                    "many": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                }}},
            })
        );
    }

    #[test]
    fn all_of_is_joined() {
        let schema = json!({
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
            ],
            "properties": {"c": {"items": [{"type": "string"}], "type": "array"}},
        });
        assert_eq!(
            cleaned(schema),
            json!({
                "type": "object", "required": ["a", "b"],
                "properties": {
                    "a": {"type": "string"}, "b": {"type": "integer"},
                    "c": {"type": "array", "prefixItems": [{"type": "string"}]},
                },
            })
        );
        assert_eq!(cleaned(json!(true)), json!({}));
    }
}
