//! Reads a request by the table of fields. Whatever else is in it is a 400, as Google's JSON reader does it.

use serde_json::{Map, Value};

use super::fields::{
    Fields,
    Kind::{self, Flag, Free, Integer, Many, Message, Number, Schema, Text},
};

/// Keywords of the `OpenAPI` subset whose values are plain.
const KEYWORDS: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "default",
    "minItems",
    "maxItems",
    "enum",
    "propertyOrdering",
    "required",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "example",
];

/// One thing that is wrong, in Google's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) description: String,
}

/// The request with camelCase names and without nulls; or all that is wrong with it.
pub(super) fn read(value: &Value, kind: &'static Kind) -> Result<Value, Vec<Violation>> {
    let mut violations = Vec::new();
    let read = walk(value, kind, "", &mut violations);
    if violations.is_empty() { Ok(read) } else { Err(violations) }
}

fn walk(value: &Value, kind: &'static Kind, path: &str, violations: &mut Vec<Violation>) -> Value {
    let expected = match (kind, value) {
        (Free, _) => return value.clone(),
        (Text, Value::String(_)) | (Number, Value::Number(_)) | (Flag, Value::Bool(_)) => {
            return value.clone();
        }
        (Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
            return value.clone();
        }
        (Message(fields), Value::Object(object)) => {
            return message(object, fields, path, violations);
        }
        (Many(kind), Value::Array(list)) => {
            let items = list.iter().enumerate();
            return items.map(|(index, item)| walk(item, kind, &format!("{path}[{index}]"), violations)).collect();
        }
        // proto3 JSON reads one value as a list of one.
        (Many(kind), Value::Object(_) | Value::String(_)) => {
            return Value::Array(vec![walk(value, kind, &format!("{path}[0]"), violations)]);
        }
        (Schema, Value::Object(schema)) => return self::schema(schema, path, violations),
        (Text, _) => "TYPE_STRING",
        (Number, _) => "TYPE_FLOAT",
        (Integer, _) => "TYPE_INT32",
        (Flag, _) => "TYPE_BOOL",
        (Message(_) | Schema | Many(_), _) => "TYPE_MESSAGE",
    };
    violations.push(Violation {
        field: path.to_owned(),
        description: format!("Invalid value at '{path}' ({expected}), {value}"),
    });
    Value::Null
}

fn message(object: &Map<String, Value>, fields: &'static Fields, path: &str, violations: &mut Vec<Violation>) -> Value {
    let mut read = Map::new();
    for (name, value) in object {
        let camel = camel(name);
        let Some((_, kind)) = fields.iter().find(|(known, _)| *known == camel) else {
            violations.push(unknown(name, path));
            continue;
        };
        if !value.is_null() {
            let value = walk(value, kind, &join(path, &camel), violations);
            read.insert(camel, value);
        }
    }
    read.into()
}

/// A schema keeps its names; only what the subset lacks is refused.
fn schema(schema: &Map<String, Value>, path: &str, violations: &mut Vec<Violation>) -> Value {
    let mut read = Map::new();
    for (name, value) in schema {
        let camel = camel(name);
        let below = join(path, &camel);
        let value = match camel.as_str() {
            "items" => walk(value, &Schema, &below, violations),
            "anyOf" => walk(value, &Many(&Schema), &below, violations),
            "properties" => {
                let properties = value.as_object().into_iter().flatten().enumerate();
                let read = properties.map(|(index, (name, property))| {
                    (name.clone(), walk(property, &Schema, &format!("{below}[{index}].value"), violations))
                });
                read.collect::<Map<_, _>>().into()
            }
            "type" if value.is_array() => {
                violations.push(Violation {
                    field: path.to_owned(),
                    description: format!(
                        "Invalid JSON payload received. Unknown name \"type\" at '{path}': Proto field is not repeating, \
                         cannot start list."
                    ),
                });
                continue;
            }
            known if KEYWORDS.contains(&known) => value.clone(),
            _ => {
                violations.push(unknown(name, path));
                continue;
            }
        };
        read.insert(camel, value);
    }
    let array = read.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("array"));
    if array && !read.contains_key("items") {
        let field = join(path, "items");
        violations.push(Violation { description: format!("{field}: missing field."), field });
    }
    read.into()
}

fn unknown(name: &str, path: &str) -> Violation {
    let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    Violation {
        field: path.to_owned(),
        description: format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field."),
    }
}

fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    // A leading `$` or underscore is no field of anything; keep it so that it is refused by its name.
    parts.fold(first, |camel, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        camel + &head.into_iter().chain(letters).collect::<String>()
    })
}

/// Paths are in snake case, whatever the request used.
fn join(path: &str, camel: &str) -> String {
    let mut snake = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    if path.is_empty() { snake } else { format!("{path}.{snake}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::fields::GENERATE, *};

    fn complaint(value: &Value) -> String {
        read(value, &GENERATE).unwrap_err().remove(0).description
    }

    #[test]
    fn both_spellings_are_read_as_one() {
        let snake = json!({"system_instruction": {"parts": [{"text": "x"}]}, "generation_config": {"top_p": 0.5}});
        let camel = json!({"systemInstruction": {"parts": [{"text": "x"}]}, "generationConfig": {"topP": 0.5}});
        assert_eq!(read(&snake, &GENERATE).unwrap(), camel);
    }

    #[test]
    fn a_field_that_is_not_known_is_named_with_its_place() {
        assert_eq!(
            complaint(&json!({"stream": true})),
            "Invalid JSON payload received. Unknown name \"stream\": Cannot find field."
        );
        let tools = json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {
            "type": "object", "additionalProperties": false}}]}]});
        assert_eq!(
            complaint(&tools),
            "Invalid JSON payload received. Unknown name \"additionalProperties\" at \
             'tools[0].function_declarations[0].parameters': Cannot find field."
        );
    }

    #[test]
    fn json_schema_fields_take_everything() {
        let schema = json!({"type": ["object", "null"], "additionalProperties": false, "$defs": {}});
        assert!(read(&json!({"generationConfig": {"responseJsonSchema": schema}}), &GENERATE).is_ok());
        assert!(read(&json!({"generationConfig": {"responseSchema": schema}}), &GENERATE).is_err());
    }

    #[test]
    fn a_wrong_type_is_refused() {
        let wrong = json!({"generationConfig": {"maxOutputTokens": "many"}});
        assert_eq!(complaint(&wrong), "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), \"many\"");
    }
}
