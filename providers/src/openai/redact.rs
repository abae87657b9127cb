//! A vendor's message without what is not the caller's to see: secrets, accounts, addresses, prices.

/// What stands in the place of what was taken out.
const HIDDEN: &str = "[…]";

/// What is read of a message at most, in characters, and what is shown of it.
const MOST_READ: usize = 4_000;
const MOST_SHOWN: usize = 500;

/// `text` in one line, as far as it may be shown.
pub(super) fn redact(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_READ).collect();
    let mut shown = String::with_capacity(text.len().min(4 * MOST_SHOWN));
    let mut words = text.split_inclusive(ends_word).map(parts).peekable();
    let mut last = "";
    while let Some((word, end)) = words.next() {
        // `2.50 USD` as well as `USD 2.50`.
        let amount = is_number(word) && (is_money(last) || words.peek().is_some_and(|(next, _)| is_money(next)));
        let hidden = amount || last.eq_ignore_ascii_case("bearer") || is_hidden(word);
        shown.push_str(if hidden { HIDDEN } else { word });
        shown.extend(end);
        last = word;
    }
    shown.trim().chars().take(MOST_SHOWN).collect()
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || "\"'`()[]{}<>,;|".contains(c)
}

/// A word, and the character that ended it.
fn parts(word: &str) -> (&str, Option<char>) {
    word.char_indices()
        .next_back()
        .filter(|(_, c)| ends_word(*c))
        .map_or((word, None), |(at, c)| (&word[..at], Some(c)))
}

fn is_hidden(word: &str) -> bool {
    let address = word.contains("://")
        || word.starts_with("www.")
        || ["openrouter.ai", "openai.com", "googleapis.com", "google.com"].iter().any(|host| word.contains(host))
        || word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let price = word.strip_prefix(['$', '€', '£']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    address || price || word.split(['=', ':', '/']).any(is_secret)
}

/// Whether it looks like a key or the id of an account. `user_location` does not.
fn is_secret(word: &str) -> bool {
    let word = word.trim_matches(['.', '!', '?', '*']);
    let after = |prefix: &&str| word.strip_prefix(*prefix);
    let keys = ["sk-", "sk_", "AIza", "gsk_", "xai-", "eyJ"];
    let accounts = ["org-", "org_", "user-", "user_", "proj_", "proj-", "key-", "key_", "acct_", "pk-"];
    let opaque = |rest: &str| rest.len() >= 6 && rest.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase());
    let long = || {
        word.len() >= 32
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && word.bytes().filter(u8::is_ascii_digit).count() >= 6
    };
    keys.iter().find_map(after).is_some_and(|rest| rest.len() >= 4)
        || accounts.iter().find_map(after).is_some_and(opaque)
        || long()
}

fn is_number(word: &str) -> bool {
    let word = word.trim_end_matches('.');
    word.starts_with(|c: char| c.is_ascii_digit()) && word.parse::<f64>().is_ok()
}

fn is_money(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    ["usd", "eur", "dollar", "dollars", "cents", "credit", "credits"].iter().any(|unit| word.eq_ignore_ascii_case(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_accounts_addresses_and_prices_are_taken_out() {
        for (said, shown) in [
            ("Incorrect key: sk-or-v1-0123abcd.", "Incorrect key: […]"),
            ("key=AIzaSyA0123456789 is bad", "[…] is bad"),
            (r#"{"user_id":"user_2abCdEf9"}"#, r#"{"user_id":"[…]"}"#),
            ("in organization org-AbCdEf123 (x)", "in organization […] (x)"),
            ("write to ops@example.com, please", "write to […], please"),
            ("see https://openrouter.ai/settings/credits now", "see […] now"),
            ("go to openrouter.ai/keys", "go to […]"),
            ("costs $0.15 or 2.50 USD or EUR 3", "costs […] or […] USD or EUR […]"),
            ("Bearer 12345", "Bearer […]"),
            ("trace 0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f", "trace […]"),
        ] {
            assert_eq!(redact(said), shown);
        }
    }

    #[test]
    fn what_helps_the_caller_stays() {
        for said in [
            "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (8000 of \
             text input, 1000 in the output). Please reduce the length of either one.",
            "Invalid value for 'web_search_options.user_location': expected one of ['approximate'].",
            "tools[0].function.parameters: schema must be of type 'object', got 'array' at messages[12].content[0]",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
        ] {
            assert_eq!(redact(said), said);
        }
        assert_eq!(redact(&"ä".repeat(9_000)).chars().count(), MOST_SHOWN);
        assert_eq!(redact("two\nlines"), "two lines");
    }
}
