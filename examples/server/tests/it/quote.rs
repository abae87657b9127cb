//! What a request would cost at most, and what it costs then.

use serde_json::{Value, json};

use crate::hub::{Hub, chat};

const MODEL: &str = "openai/gpt-5.4-mini";
const EMBEDDING: &str = "openai/text-embedding-3-small";
const QUOTE: &str = "/api/v1/developer/quote";

fn nanos(money: &Value) -> i64 {
    let amount = money["amount"].as_str().unwrap_or_else(|| panic!("no amount: {money}"));
    aihub_core::Money::parse(amount, aihub_core::Currency::USD).unwrap().nanos()
}

#[tokio::test]
async fn no_call_is_charged_more_than_it_was_quoted() {
    let hub = Hub::start_with(&[("AIHUB_PLANS__PRO__MARKUP", "20%")]);
    let key = hub.key("pro");
    let mut bounded = chat(MODEL, &"The quick brown fox, 2026-11-20. ".repeat(50));
    (bounded["max_tokens"], bounded["n"]) = (30.into(), 2.into());
    let calls = [
        ("/v1/chat/completions", chat(MODEL, "hi")),
        ("/v1/chat/completions", chat("google/gemini-2.5-flash", "Wie geht es dir? 你好")),
        ("/v1/chat/completions", bounded),
        ("/v1/chat/completions", chat(MODEL, "[[usage prompt 15 completion 4096]]")),
        ("/api/v1/developer/chat", json!({"model": MODEL, "message": "hi", "max_tokens": 9})),
        ("/v1/embeddings", json!({"model": EMBEDDING, "input": ["one text", "another text"]})),
    ];
    let mut quotes = Vec::new();
    for (path, body) in &calls {
        let (status, quote) = hub.post(QUOTE, &key, body).await;
        assert_eq!(status, 200, "{quote}");
        let (status, answer) = hub.post(path, &key, body).await;
        assert_eq!(status, 200, "{answer}");
        quotes.push(quote);
    }
    let records = hub.stop_and_read_records();
    assert_eq!(records.len(), calls.len(), "a quote leaves no record");
    for (quote, record) in quotes.iter().zip(&records) {
        assert!(nanos(&quote["most"]) >= nanos(&record["charge"]), "{quote} {record}");
        let offers = quote["offers"].as_array().unwrap();
        assert!(offers.iter().any(|offer| offer["price_version"] == record["price_version"]), "{quote} {record}");
        assert!(offers.iter().all(|offer| nanos(&offer["most"]) <= nanos(&quote["most"])), "{quote}");
        assert_eq!((&quote["markup"], &quote["model"]), (&record["markup"], &record["model"]));
    }
    assert_eq!((&quotes[2]["max_output_tokens"], &quotes[2]["choices"]), (&json!(30), &json!(2)));
    assert_eq!(quotes[0]["max_output_tokens"], 4_096, "the plan's, where the request names none");
    // The vendor took the whole answer that was quoted: 4096 × 4.5 dollars a million and the prompt, with a fifth more.
    assert!(nanos(&quotes[3]["most"]) - nanos(&records[3]["charge"]) < 100_000, "{} {}", quotes[3], records[3]);
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_as_the_call_would_be() {
    let hub = Hub::start();
    let (free, pro) = (hub.key("free"), hub.key("pro"));
    for (key, body) in [
        (&pro, chat("no/such", "hi")),
        (&pro, chat(EMBEDDING, "hi")),
        (&free, chat("openai/gpt-6-astra", "hi")),
        (&pro, json!({"model": MODEL, "messages": []})),
    ] {
        let (quoted, why) = hub.post(QUOTE, key, &body).await;
        let (called, reason) = hub.post("/v1/chat/completions", key, &body).await;
        assert_eq!(quoted, called, "{why} {reason}");
        assert_eq!(
            (&why["error"]["code"], &why["error"]["message"]),
            (&reason["error"]["code"], &reason["error"]["message"])
        );
    }
    let (status, _) = hub.post(QUOTE, "", &chat(MODEL, "hi")).await;
    assert_eq!(status, 401, "a quote needs a key");
    assert_eq!(hub.stop_and_read_records().len(), 3, "those of the calls; what cannot be read is no call");
}
