//! Prices by hand, with their dates.

use aihub_core::{Charge, Markup, Usage};
use aihub_providers::catalogue::{self, Vendor};
use serde_json::{Value, json};

use crate::hub::{Hub, aihub, chat};

const MODEL: &str = "openai/gpt-5.4-mini";

fn listed(prompt: &str, completion: &str) -> String {
    json!({"data": [{"id": MODEL, "pricing": {"prompt": prompt, "completion": completion, "input_cache_read": "0.000000075"}},
        {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}}]})
    .to_string()
}

/// Prices change between two calls of a month. What is left of it, its records and the catalogue, says its charges again.
#[tokio::test]
async fn a_month_with_two_prices_is_rated_again_by_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.json");
    let environment = [("AIHUB_CATALOGUE__FILE", own.to_str().unwrap()), ("AIHUB_PLANS__PRO__MARKUP", "12.5%")];
    let mut month: Vec<Value> = Vec::new();
    for price in ["0.0000008", "0.0000009"] {
        std::fs::write(folder.path().join("list.json"), listed(price, "0.0000045")).unwrap();
        let import = aihub(folder.path(), &["prices", "import", "list.json"]).envs(environment).output().unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        let hub = Hub::start_with(&environment);
        let key = hub.key("pro");
        hub.post("/v1/chat/completions", &key, &chat(MODEL, "hi [[usage prompt 1001 completion 103 cached 7]]")).await;
        month.extend(hub.stop_and_read_records());
    }
    assert_ne!(month[0]["charge"], month[1]["charge"]);
    let entries = catalogue::read(&std::fs::read_to_string(own).unwrap()).unwrap();
    let openrouter = [("openrouter".into(), Vendor::OpenRouter)];
    let offer = entries[0].model(&openrouter, aihub_core::Timestamp::MAX).unwrap().unwrap().offers.remove(0);
    for record in &month {
        let prices = offer.prices.version(record["price_version"].as_str().unwrap()).unwrap();
        let usage: Usage = serde_json::from_value(record["usage"].clone()).unwrap();
        let markup: Markup = serde_json::from_value(record["markup"].clone()).unwrap();
        let again = Charge::of(&prices.list, &usage, markup, false, None);
        assert_eq!(serde_json::to_value(again.cost).unwrap(), record["cost"]);
        assert_eq!(serde_json::to_value(again.charge).unwrap(), record["charge"]);
    }
}

#[test]
fn an_import_is_tried_first_and_what_is_refused_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = folder.path().join("own.json");
    let run = |prices: &str, more: &[&str]| {
        std::fs::write(folder.path().join("list.json"), prices).unwrap();
        let output = aihub(folder.path(), &[&["prices", "import", "list.json"], more].concat())
            .env("AIHUB_CATALOGUE__FILE", "own.json")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&listed("0.0000008", "0.0000045"), &["--dry-run"]);
    assert!(
        code == Some(0) && said.contains("0.75 in, 4.5 out USD/M -> 0.8 in") && said.contains("1 accepted"),
        "{said}"
    );
    assert!(!catalogue.exists(), "a dry run writes nothing");
    let (code, said) = run(&listed("-1", "0.0000045"), &[]);
    assert!(code == Some(1) && said.contains("missing, negative or no number"), "{said}");
    let (code, said) = run(&listed("0.0000008", "0.000045"), &[]);
    assert!(code == Some(1) && said.contains("output moves from 4.5 to 45, by more than 25 %"), "{said}");
    assert!(!catalogue.exists(), "what is refused is not written");
    let (code, said) = run(&listed("0.0000008", "0.0000045"), &["--valid-from", "2026-01-01T00:00:00Z"]);
    assert!(code == Some(64) && said.contains("is past"), "{said}");
    let (code, said) = run(&listed("0.0000008", "0.000045"), &["--accept-drift", MODEL]);
    assert!(code == Some(0) && said.contains("restart them"), "{said}");
    let (code, said) = run(&listed("0.0000008", "0.000045"), &[]);
    assert!(code == Some(0) && said.contains("0 accepted, 0 refused, 1 unchanged, 1 of models"), "{said}");
    let shown = aihub(folder.path(), &["prices", "list"])
        .env("AIHUB_CATALOGUE__FILE", "own.json")
        .env("OPENROUTER_API_KEY", "sk-or-test")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with(MODEL)).unwrap();
    assert!(line.contains("pv_") && line.contains("0.8 in, 45 out USD/M"), "{line}");
}
