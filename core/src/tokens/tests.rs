use super::*;

/// A text without sense: `length` characters of `alphabet`, always the same ones.
fn senseless(alphabet: &str, length: usize) -> String {
    let mut state = 0x9e37_79b9_u32;
    let characters = alphabet.as_bytes();
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(characters[(state >> 16) as usize % characters.len()])
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Texts, and how far above the true count the estimate may be, in percent of it: of `o200k_base`, and of `cl100k_base`
/// with its factor.
fn samples() -> Vec<(&'static str, String, u64, u64)> {
    let written = [
        ("english", include_str!("samples/english.txt"), 130, 190),
        ("french", include_str!("samples/french.txt"), 120, 150),
        ("german", include_str!("samples/german.txt"), 115, 130),
        ("code", include_str!("samples/code.txt"), 145, 220),
        ("json", include_str!("samples/json.txt"), 135, 200),
        ("chinese", include_str!("samples/chinese.txt"), 125, 125),
        ("japanese", include_str!("samples/japanese.txt"), 110, 130),
        ("korean", include_str!("samples/korean.txt"), 125, 115),
        ("russian", include_str!("samples/russian.txt"), 125, 110),
        ("arabic", include_str!("samples/arabic.txt"), 165, 110),
        ("hindi", include_str!("samples/hindi.txt"), 230, 110),
        ("emoji", include_str!("samples/emoji.txt"), 115, 145),
    ];
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let made = [
        ("base64", senseless(&format!("{letters}0123456789+/"), 2_000), 110, 155),
        ("hexadecimal", senseless("0123456789abcdef", 2_000), 115, 170),
        ("digits", senseless("0123456789", 2_000), 155, 230),
        ("blank", format!("a{}b{}c", " ".repeat(1_000), "\n".repeat(1_000)), 120, 290),
        ("indented", "\n        let x = 1;\n            y += 2;\n\t\t\tz();".repeat(20), 120, 180),
        ("table", "| 12.50 | 2026-11-20 | ok |\n".repeat(40), 105, 160),
        ("capitals", "THE LAZY DOG SLEEPS, AND HTTP SAYS NOTHING. ".repeat(15), 160, 230),
    ];
    let written = written.map(|(name, text, newer, older)| (name, text.to_owned(), newer, older));
    written.into_iter().chain(made).collect()
}

#[test]
fn real_vocabularies_count_no_more_and_not_far_less() {
    let newer = tiktoken_rs::o200k_base_singleton();
    let older = tiktoken_rs::cl100k_base_singleton();
    for (name, text, most_newer, most_older) in samples() {
        let counted = count(&text);
        for (family, vocabulary, most) in [(Family::O200k, newer, most_newer), (Family::Cl100k, older, most_older)] {
            let (estimate, truth) = (family.tokens(counted), vocabulary.encode_ordinary(&text).len() as u64);
            let percent = estimate * 100 / truth;
            assert!((99..=most).contains(&percent), "{name}, {family:?}: {estimate} for {truth}, {percent} %");
        }
    }
}

#[test]
fn whatever_is_there_counts_and_no_more_than_its_bytes() {
    assert_eq!(count(""), 0);
    for text in [" ", "\n", "a", "1", "€", "\u{0}"] {
        assert!((1..=text.len() as u64).contains(&count(text)), "{text:?}");
    }
    assert_eq!(count("Hello, world!"), 5);
}

#[test]
fn a_family_is_told_by_the_name_of_the_model() {
    for (model, family) in [
        ("openai/gpt-5.4-mini", Family::O200k),
        ("gpt-4o", Family::O200k),
        ("openai/gpt-4-turbo", Family::Cl100k),
        ("text-embedding-3-small", Family::Cl100k),
        ("anthropic/claude-sonnet-5.5", Family::Anthropic),
        ("gemini-2.5-flash", Family::Google),
        ("google/gemma-4-31b-it", Family::Google),
        ("qwen/qwen3-coder", Family::Open),
        ("somebody/elses", Family::Other),
        ("", Family::Other),
    ] {
        assert_eq!(Family::of(model), family, "{model}");
    }
    assert_eq!([Family::Google.tokens(0), Family::Google.tokens(1), Family::Google.tokens(101)], [0, 2, 122]);
    assert_eq!(Family::Other.tokens(u64::MAX), u64::MAX);
}
