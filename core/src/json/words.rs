//! What is wrong with a value, in the words of whoever wrote the request and not of this program.

/// Completes a sentence that starts with the field's name.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = bare(&text);
    if let Some(wanted) = wanted(error) {
        return format!("has to be {wanted}");
    }
    match text.strip_prefix("missing field ") {
        Some(field) => format!("lacks {field}"),
        // What a type of ours expects, by `#[serde(expecting)]`.
        None if text.starts_with("a ") || text.starts_with('`') => format!("has to be {text}"),
        None => format!("is wrong: {text}"),
    }
}

/// What was wanted and what was there, when it was a value of another type.
pub(super) fn wanted(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let (there, wanted) = bare(&text).split_once(", expected ")?;
    if there.starts_with("invalid length ") {
        return Some(type_name(wanted).to_owned());
    }
    if there.starts_with("invalid value: integer ") {
        return Some(
            range(wanted).map_or_else(|| type_name(wanted).to_owned(), |range| format!("a whole number {range}")),
        );
    }
    let there = match there.strip_prefix("invalid type: ")?.split([' ', ',']).next()? {
        "map" => "an object",
        "sequence" => "a list",
        "string" => "a string",
        "integer" => "a number",
        "floating" => "a fraction",
        "boolean" => "a boolean",
        other => other,
    };
    Some(format!("{}, not {there}", type_name(wanted)))
}

fn bare(text: &str) -> &str {
    text.split(" at line ").next().unwrap_or(text)
}

fn type_name(wanted: &str) -> &str {
    match wanted.split(' ').next().unwrap_or(wanted) {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => {
            "a whole number"
        }
        "f32" | "f64" => "a number",
        "struct" | "internally" | "map" => "an object",
        "tuple" => "a list",
        "string" => "a string",
        _ => match wanted {
            "a boolean" => "`true` or `false`",
            "a borrowed string" | "string or map" => "a string",
            "a sequence" => "a list",
            "a map" => "an object",
            other => other,
        },
    }
}

fn range(wanted: &str) -> Option<&'static str> {
    Some(match wanted {
        "u8" => "from 0 to 255",
        "u16" => "from 0 to 65535",
        "u32" => "from 0 to 4294967295",
        "u64" | "usize" => "from 0 on",
        _ => return None,
    })
}
