//! What a plan adds to the price of the vendor.

use serde_json::{Value, json};

use crate::hub::{Hub, chat};

const MODEL: &str = "openai/gpt-5.4-mini";

#[tokio::test]
async fn a_plan_with_a_markup_charges_and_shows_it() {
    let hub = Hub::start_with(&[("AIHUB_PLANS__PRO__MARKUP", "20%")]);
    let (key, plain) = (hub.key("pro"), hub.key("enterprise"));
    let asked = chat(MODEL, "hi [[usage prompt 1000 completion 100]]");
    hub.post("/v1/chat/completions", &key, &asked).await;
    hub.post("/v1/chat/completions", &plain, &asked).await;
    for path in ["/v1/models", "/api/v1/developer/models"] {
        let price = async |key: &str| {
            let body = crate::hub::read(hub.send(hub.request("GET", path, key), "").await).await;
            let list: Value = serde_json::from_slice(&body).unwrap();
            let models = list["data"].as_array().unwrap();
            let model = models.iter().find(|model| model["id"] == MODEL).unwrap();
            let pricing = &model["pricing"];
            [&pricing["input_per_million"], &pricing["cached_input_per_million"], &pricing["output_per_million"]]
                .map(|price| price.as_str().unwrap().to_owned())
        };
        assert_eq!(price(&key).await, ["0.9", "0.09", "5.4"], "{path}");
        assert_eq!(price(&plain).await, ["0.75", "0.075", "4.5"], "{path}");
    }
    let records = hub.stop_and_read_records();
    // 1000 × 0.75 + 100 × 4.5 dollars a million, and a fifth more.
    assert_eq!((&records[0]["cost"]["amount"], &records[0]["charge"]["amount"]), (&json!("0.0012"), &json!("0.00144")));
    assert_eq!(records[0]["markup"], "20%");
    assert_eq!(records[1]["charge"], records[1]["cost"]);
    assert_eq!(
        records[0]["price_version"], records[1]["price_version"],
        "the version is of the price, not of the plan"
    );
}
