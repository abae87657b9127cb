use super::*;

#[test]
fn a_writer_says_who_speaks_once_and_why_it_stops_last() {
    let mut writer = ChunkWriter::new("a-1", "m-1", 7);
    let wire = |chunk: ChatChunk| serde_json::to_value(chunk).unwrap();
    let choice = |delta: Value, reason: Value| {
        serde_json::json!({
            "id": "a-1", "object": "chat.completion.chunk", "created": 7, "model": "m-1",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        })
    };
    let first = choice(serde_json::json!({"role": "assistant", "content": "a"}), Value::Null);
    assert_eq!(wire(writer.text("a")), first);
    assert_eq!(wire(writer.text("b")), choice(serde_json::json!({"content": "b"}), Value::Null));
    assert_eq!(wire(writer.finish("stop")), choice(serde_json::json!({}), "stop".into()));
}

#[test]
fn a_whole_answer_has_its_fixed_words() {
    let whole = Completion::new("a-1", "m-1", 7, vec![Choice::text("hi", "length")]);
    let wire = serde_json::to_value(whole).unwrap();
    assert_eq!(wire["object"], "chat.completion");
    assert_eq!(wire["choices"][0]["message"]["role"], "assistant");
    assert_eq!((&wire["choices"][0]["finish_reason"], wire.get("usage")), (&"length".into(), None));
}

#[test]
fn commonplace_deviations_are_read() {
    let bare: Completion = serde_json::from_str(r#"{"choices":[{"message":{"content":"hi"}}],"usage":{}}"#).unwrap();
    assert_eq!(bare.choices[0].message.content.as_deref(), Some("hi"));
    assert_eq!(bare.usage, Some(UsageWire::default()));
    let nulls: Completion = serde_json::from_str(
        r#"{"id":null,"object":null,"created":1.5e3,"model":null,"choices":[{"index":"1","finish_reason":null,
            "message":{"role":null,"content":null,"tool_calls":null,"annotations":null,"images":null}}],
            "usage":{"prompt_tokens":10.0,"completion_tokens":2,"prompt_tokens_details":null,
            "completion_tokens_details":{"reasoning_tokens":null}}}"#,
    )
    .unwrap();
    let usage = nulls.usage.unwrap();
    assert_eq!((nulls.created, nulls.choices[0].index), (1_500, 1));
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (10, 2));
    let chunk: ChatChunk = serde_json::from_str(
        r#"{"id":null,"created":"7","choices":[{"delta":null},{"index":true,"delta":{"tool_calls":null}}]}"#,
    )
    .unwrap();
    assert_eq!((chunk.created, chunk.choices.len(), chunk.choices[1].index), (7, 2, 0));
    let empty: ChatChunk = serde_json::from_str(r#"{"choices":null}"#).unwrap();
    assert!(empty.choices.is_empty());
}
