use super::*;

fn scan(text: &'static str) -> Result<Object> {
    Object::scan(Bytes::from_static(text.as_bytes()))
}

fn edited(text: &'static str, name: &str, json: &'static str) -> String {
    let parts = scan(text).unwrap().edit().set(name, json).finish();
    String::from_utf8(parts.into_bytes().to_vec()).unwrap()
}

#[test]
fn replaces_and_adds_without_touching_the_rest() {
    assert_eq!(edited(r#"{"a": 1 , "b":{"a":2}}"#, "a", "9"), r#"{"a": 9 , "b":{"a":2}}"#);
    assert_eq!(edited("{\"a\":1}\n", "c", "true"), "{\"a\":1,\"c\":true}\n");
    assert_eq!(edited("{ }", "c", "1"), r#"{ "c":1}"#);
}

#[test]
fn an_untouched_object_is_the_same_bytes() {
    let object = scan(r#"{"a":1}"#).unwrap();
    let same = object.edit().finish().into_bytes();
    assert_eq!(same.as_ptr(), object.bytes().as_ptr());
}

#[test]
fn refuses_what_two_readers_may_read_differently() {
    for text in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"a"}"#,
        r#"{"mod\u0065l":"a","model":"a"}"#,
        r#"{"\ud800":1}"#,
        "[1]",
        "{\"a\":1} x",
        "{\"a\":\n",
        "",
        "{\"a\":1,}",
    ] {
        assert!(scan(text).is_err(), "{text} passed");
    }
}

#[test]
fn reads_a_field_or_says_which_is_wrong() {
    let object = scan(r#"{"n":2,"s":"x","z":null}"#).unwrap();
    assert_eq!(object.read::<u32>("n").unwrap(), Some(2));
    assert_eq!(object.read::<u32>("z").unwrap(), None);
    assert_eq!(object.read::<u32>("s").unwrap_err().param(), Some("s"));
}

#[test]
fn escaped_names_are_what_they_mean() {
    let object = scan(r#"{"caf\u00e9":1,"mod\u0065l" : "a"}"#).unwrap();
    assert_eq!((object.get("café"), object.get("model")), (Some("1"), Some(r#""a""#)));
    assert_eq!(edited(r#"{"caf\u00e9":1}"#, "café", "2"), r#"{"caf\u00e9":2}"#);
    assert_eq!(edited("{}", "a\u{7f}\"\n", "2"), "{\"a\u{7f}\\\"\\n\":2}");
}

#[test]
fn the_last_value_that_is_set_holds() {
    let object = scan(r#"{"a":1}"#).unwrap();
    let parts = object.edit().set("a", "2").set("b", "3").set("a", "4").set("b", "5").set("c", "6").finish();
    assert_eq!(parts.into_bytes(), r#"{"a":4,"b":5,"c":6}"#);
}

#[test]
fn the_seeded_field_is_one_like_the_others() {
    for (text, changed) in [
        (r#"{"m": [1, 2] }"#, r#"{"m": 0 }"#),
        ("{\"a\":1,\"m\"\n:\t[1],\r\n \"b\":2}\n", "{\"a\":1,\"m\"\n:\t0,\r\n \"b\":2}\n"),
        (r#"{"m":["a,"]," ":":"}"#, r#"{"m":0," ":":"}"#),
    ] {
        let seed = std::marker::PhantomData::<Vec<serde_json::Value>>;
        let (object, value) = Object::scan_with(Bytes::from_static(text.as_bytes()), "m", seed).unwrap();
        assert_eq!(object.read::<Vec<serde_json::Value>>("m").unwrap(), value, "{text}");
        assert_eq!(object.edit().set("m", "0").finish().into_bytes(), changed);
    }
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |levels: usize| {
        let text = format!(r#"{{"a":{}"x[\"["{}}}"#, "[".repeat(levels), "]".repeat(levels));
        Object::scan(text.into())
    };
    nested(128).unwrap().read::<serde_json::Value>("a").unwrap_err();
    nested(127).unwrap().read::<serde_json::Value>("a").unwrap();
    for levels in [129, 100_000] {
        let error = nested(levels).unwrap_err();
        assert!(error.message().contains("more than 128 levels"), "{error}");
    }
}

#[test]
fn faults_are_told_in_plain_words() {
    let object = scan(r#"{"n":-1,"s":"x","l":[],"o":{},"b":true,"f":1.5}"#).unwrap();
    let told = |error: Error| error.message().to_owned();
    assert_eq!(told(object.read::<u32>("s").unwrap_err()), "`s` has to be a whole number, not a string");
    assert_eq!(told(object.read::<u32>("n").unwrap_err()), "`n` has to be a whole number from 0 to 4294967295");
    assert_eq!(told(object.read::<u64>("f").unwrap_err()), "`f` has to be a whole number, not a fraction");
    assert_eq!(told(object.read::<bool>("o").unwrap_err()), "`o` has to be `true` or `false`, not an object");
    assert_eq!(told(object.read::<String>("l").unwrap_err()), "`l` has to be a string, not a list");
    assert_eq!(told(object.read::<Vec<u8>>("b").unwrap_err()), "`b` has to be a list, not a boolean");
    assert_eq!(told(scan("[]").unwrap_err()), "The body has to be JSON: an object, not a list");
    let gzip = Object::scan(Bytes::from_static(&[0x1f, 0x8b, 8, 0])).unwrap_err();
    assert!(gzip.message().contains("ompressed") && gzip.kind() == ErrorKind::UnsupportedMedia);
    let gzip = decode::<serde_json::Value>(&[0x1f, 0x8b, 8, 0]).unwrap_err();
    assert_eq!(gzip.kind(), ErrorKind::UnsupportedMedia);
}
