//! A value that is valid for a JSON schema: the smallest that keeps every rule it can read.

use serde_json::{Map, Value, json};

/// Below this depth optional parts are left out, so that a recursive schema ends.
const DEPTH: usize = 6;

/// A value for this schema, JSON schema or `OpenAPI` subset.
pub(crate) fn example(schema: &Value) -> Value {
    Generator { root: schema }.value(schema, "value", 0)
}

struct Generator<'a> {
    root: &'a Value,
}

impl Generator<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if let Some(target) = schema["$ref"].as_str() {
            // `#/$defs/x` is a JSON pointer behind a hash; `#` is the root.
            let target = self.root.pointer(target.trim_start_matches('#'));
            return target.map_or(Value::Null, |target| self.value(target, name, depth + 1));
        }
        if let Some(fixed) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return fixed.clone();
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(variants) = schema[word].as_array() {
                let null = |variant: &&Value| kind(variant) == "null";
                let deep = depth > DEPTH;
                let chosen = variants.iter().find(|variant| null(variant) == deep).or(variants.first());
                return chosen.map_or(Value::Null, |chosen| self.value(chosen, name, depth + 1));
            }
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut merged = Map::new();
            for part in all {
                if let Value::Object(part) = self.value(part, name, depth + 1) {
                    merged.extend(part);
                }
            }
            return merged.into();
        }
        match kind(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => json!(integer(schema)),
            "number" => json!(number(schema, 0.5)),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => json!(text(schema, name)),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object();
        let wanted =
            properties.into_iter().flatten().filter(|(name, _)| depth <= DEPTH || required.contains(&name.as_str()));
        wanted.map(|(name, schema)| (name.clone(), self.value(schema, name, depth + 1))).collect::<Map<_, _>>().into()
    }

    fn array(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if let Some(items) = schema["prefixItems"].as_array() {
            return items.iter().map(|item| self.value(item, name, depth + 1)).collect();
        }
        let least = size(schema, "minItems").unwrap_or(usize::from(depth <= DEPTH));
        let most = size(schema, "maxItems").unwrap_or(usize::MAX);
        (0..least.min(most)).map(|_| self.value(&schema["items"], name, depth + 1)).collect()
    }
}

/// The type in lower case; of a list the first that is not null.
fn kind(schema: &Value) -> String {
    let word = match &schema["type"] {
        Value::String(word) => word,
        Value::Array(words) => words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    word.to_lowercase()
}

#[expect(clippy::cast_possible_truncation, reason = "a bound beyond an i64 is met by its end")]
fn integer(schema: &Value) -> i64 {
    number(schema, 1.0).round() as i64
}

fn number(schema: &Value, default: f64) -> f64 {
    let lowest = schema["minimum"].as_f64().or(schema["exclusiveMinimum"].as_f64().map(|bound| bound + 1.0));
    let highest = schema["maximum"].as_f64().or(schema["exclusiveMaximum"].as_f64().map(|bound| bound - 1.0));
    let value = lowest.map_or(default, |lowest| default.max(lowest));
    highest.map_or(value, |highest| value.min(highest))
}

fn text(schema: &Value, name: &str) -> String {
    let text = match schema["format"].as_str() {
        Some("date-time") => "2026-11-20T12:00:00Z",
        Some("date") => "2026-11-20",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uuid") => "01890a5d-ac96-774b-bcce-b302099a8057",
        Some("uri" | "url") => "https://example.com/",
        _ => name,
    };
    let mut text: String = text.chars().take(size(schema, "maxLength").unwrap_or(usize::MAX)).collect();
    while text.chars().count() < size(schema, "minLength").unwrap_or(0) {
        text.push('x');
    }
    text
}

/// The `OpenAPI` subset writes sizes as strings at times.
fn size(schema: &Value, word: &str) -> Option<usize> {
    let value = &schema[word];
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|size| size.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_of_an_object_is_there() {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string", "minLength": 6}, "age": {"type": "integer", "minimum": 18},
            "share": {"type": "number", "maximum": 0.25}, "kind": {"enum": ["b", "a"]}, "on": {"type": "boolean"},
        }});
        assert_eq!(example(&schema), json!({"name": "namexx", "age": 18, "share": 0.25, "kind": "b", "on": true}));
    }

    #[test]
    fn references_and_alternatives_are_followed() {
        let schema = json!({"$defs": {"day": {"type": "string", "format": "date"}}, "type": "object", "properties": {
            "days": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/day"}},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        }});
        assert_eq!(example(&schema), json!({"days": ["2026-11-20", "2026-11-20"], "note": "note"}));
    }

    #[test]
    fn a_recursive_schema_ends() {
        let schema = json!({"type": "object", "properties": {
            "label": {"type": "string"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        }, "required": ["label", "next"]});
        let mut node = &example(&schema);
        let mut depth = 0;
        while !node.is_null() {
            assert_eq!(node["label"], "label");
            node = &node["next"];
            depth += 1;
        }
        assert!(depth > 1);
    }

    #[test]
    fn types_may_be_lists_and_in_capitals() {
        assert_eq!(example(&json!({"type": ["null", "integer"]})), json!(1));
        assert_eq!(example(&json!({"type": "ARRAY", "items": {"type": "BOOLEAN"}})), json!([true]));
    }
}
