//! The promises of [`Provider`](aihub_core::Provider), proved for every vendor against a loopback
//! server that plays it.

mod lookup;
mod play;

use std::sync::Arc;

use aihub_core::conformance::{self, provider::ProviderFixture};
use aihub_core::{Clock, ManualClock, Offer, PriceList, Provider};
use aihub_providers::UpstreamSettings;
use aihub_providers::gemini::{Gemini, GeminiSettings};
use aihub_providers::openai::OpenAi;
use aihub_providers::openrouter::OpenRouter;

fn offer(provider: &str, model: &str) -> Offer {
    Offer::new(provider, model, PriceList::flat("0", "0").expect("prices"))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::default())
}

/// A fixture of the provider that `build` makes for the address of a playing vendor.
async fn fixture(build: impl FnOnce(&str) -> Arc<dyn Provider>, chat: &str, embedding: &str) -> ProviderFixture {
    let vendor = play::Vendor::start().await;
    let provider = build(&vendor.address);
    let name = provider.name().to_owned();
    let asked = Arc::clone(&vendor.asked);
    ProviderFixture::new(provider, offer(&name, chat), move || *asked.lock().expect("a lock"))
        .with_embedding(offer(&name, embedding))
        .keeping(vendor)
}

mod gemini {
    use super::*;

    async fn made() -> ProviderFixture {
        let build = |address: &str| {
            let mut settings = GeminiSettings::new(vec!["a key".into()]);
            settings.upstream.base_url = format!("{address}/v1beta");
            Arc::new(Gemini::new(settings, clock()).expect("a provider")) as Arc<dyn Provider>
        };
        fixture(build, "gemini-2.5-flash", "gemini-embedding-001").await
    }

    conformance::provider!(made());
}

mod openrouter {
    use super::*;

    async fn made() -> ProviderFixture {
        let build = |address: &str| {
            let settings = UpstreamSettings::new(format!("{address}/v1"), vec!["a key".into()]);
            Arc::new(OpenRouter::new("openrouter", &settings, clock()).expect("a provider")) as Arc<dyn Provider>
        };
        fixture(build, "vendor/model", "vendor/embedding").await.with_generation(play::GENERATION)
    }

    conformance::provider!(made());
}

mod openai {
    use super::*;

    async fn made() -> ProviderFixture {
        let build = |address: &str| {
            let settings = UpstreamSettings::new(format!("{address}/v1"), vec!["a key".into()]);
            Arc::new(OpenAi::new("local", &settings, clock()).expect("a provider")) as Arc<dyn Provider>
        };
        fixture(build, "model", "embedding").await
    }

    conformance::provider!(made());
}
