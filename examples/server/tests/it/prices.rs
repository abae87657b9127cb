//! Prices by hand, with their dates.

use serde_json::json;

use crate::hub::aihub;

const MODEL: &str = "openai/gpt-5.4-mini";

fn listed(prompt: &str, completion: &str) -> String {
    json!({"data": [{"id": MODEL, "pricing": {"prompt": prompt, "completion": completion, "input_cache_read": "0.000000075"}},
        {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}}]})
    .to_string()
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
