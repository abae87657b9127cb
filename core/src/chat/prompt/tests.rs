use super::*;

fn read(messages: &str) -> Result<Prompt, String> {
    PromptSeed.deserialize(&mut serde_json::Deserializer::from_str(messages)).map_err(|error| error.to_string())
}

fn part(part: &str) -> Result<Prompt, String> {
    read(&format!(r#"[{{"role":"user","content":["a",{part}]}}]"#).replace(r#""a","#, ""))
}

#[test]
fn everything_that_is_sent_weighs_something() {
    let prompt = read(
        r#"[{"role":"assistant","content":null,"name":null,"reasoning_content":"12345",
        "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c1","content":"ok"}]"#,
    );
    let prompt = prompt.unwrap();
    assert_eq!((prompt.messages, prompt.text_tokens, prompt.media), (2, 4 + (1 + 2 + 2) + (2 + 1), 0));
    let video = part(r#"{"type":"video_url","video_url":{"url":"https://x/y"}}"#).unwrap();
    assert_eq!(video.text_tokens, tokens::count(r#"{"url":"https://x/y"}"#));
}

#[test]
fn an_escape_weighs_what_it_stands_for() {
    let plain = read(r#"[{"role":"user","content":"Größe 每天\tx"}]"#).unwrap();
    let escaped = read(r#"[{"role":"user","content":"Gr\u00f6\u00dfe \u6bcf\u5929\tx"}]"#).unwrap();
    assert_eq!(plain, escaped);
    assert_eq!(plain.text_tokens, tokens::count("Größe 每天\tx"));
}

#[test]
fn media_weigh_by_what_they_are() {
    let data = "A".repeat(400_000); // 300 kB
    for (json, tokens) in [
        (format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#), 1_120),
        (format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#), 1_200),
        (format!(r#"{{"type":"file","file":{{"file_data":"data:application/pdf;base64,{data}"}}}}"#), 18_000),
        (format!(r#"{{"type":"file","file":{{"file_data":"data:text/csv;base64,{data}"}}}}"#), 100_000),
        (r#"{"type":"file","file":{"file_id":"f"}}"#.to_owned(), 1_120),
    ] {
        let prompt = part(&json).unwrap();
        assert_eq!((prompt.media, prompt.media_tokens, prompt.text_tokens), (1, tokens, 0), "{}", &json[..40]);
    }
    assert_eq!([decoded("QQ=="), decoded("QUI"), decoded("QUJD")], [Ok(1), Ok(2), Ok(3)]);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let error = part(r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,@@"}}"#).unwrap_err();
    assert!(error.starts_with("`messages[0].content[0].image_url.url` does not hold valid base64"), "{error}");
    let twice = read(r#"[{"role":"user","content":"a","content":"b"}]"#).unwrap_err();
    assert!(twice.starts_with("`messages[0]` has `content` twice"), "{twice}");
    let deep = format!(r#"[{{"role":"user","x":{}{}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&deep).unwrap_err().contains("more than 128 levels"));
}

#[test]
fn requests_are_refused_in_plain_words() {
    let told = |messages: &str| {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        crate::ChatRequest::parse(body.into()).unwrap_err().message().to_owned()
    };
    let content = "`messages[0].content` has to be a string or a list of parts";
    assert_eq!(told(r#"[{"role":"user","content":7}]"#), content);
    assert_eq!(told(r#"[["user","hi"]]"#), "`messages` has to be an object for each message, not a list");
    assert_eq!(told(r#"{"role":"user"}"#), "`messages` has to be a list, not an object");
    assert_eq!(told(r#"[{"content":"hi"}]"#), "`messages[0]` lacks `role`");
    let input = crate::EmbedRequest::parse(r#"{"model":"m","input":{}}"#.into()).unwrap_err();
    assert_eq!(input.message(), "`input` has to be a string, a list of strings, or tokens as numbers");
}
