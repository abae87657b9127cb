//! One sample: a vendor that answers as recorded, the real provider, a call as the gateway makes it.

use std::path::Path;
use std::sync::Arc;

use aihub_core::price::{Price, PriceList, Rates};
use aihub_core::{
    AccountId, ApiKey, Attempt, Call, Caller, ChatRequest, Clock, Currency, EmbedRequest, ManualClock, Money, Offer,
    Operation, Plan, Provider,
};
use aihub_providers::UpstreamSettings;
use aihub_providers::gemini::{Gemini, GeminiSettings};
use aihub_providers::openrouter::OpenRouter;
use serde_json::{Value, json};

use super::expect::{self, ensure};
use super::index::{Expect, Sample};
use super::outcome::Outcome;
use super::server::{Answer, Server};
use super::{compare, reverse};

/// What the providers authenticate with.
const KEY: &str = "vendor-key-of-the-test";

type Done = Result<(), String>;

/// Runs a sample.
pub(crate) fn sample(folder: &Path, sample: &Sample) -> Done {
    let expect = sample.expected()?;
    let read = |file: &str| std::fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"));
    let response = read(&sample.response_file)?;
    let request: Option<Value> = match &sample.request_file {
        Some(file) => Some(serde_json::from_slice(&read(file)?).map_err(|error| format!("{file}: {error}"))?),
        None => None,
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let recorded =
            Answer { status: sample.http_status, headers: sample.headers.clone(), body: response.clone().into() };
        let run = Run { sample, expect, request, response, recorded };
        let path = sample.endpoint.split('?').next().unwrap_or_default();
        match (sample.upstream.as_str(), path.rsplit(['/', ':']).next().unwrap_or_default()) {
            ("gemini", "generateContent" | "streamGenerateContent") | ("openrouter", "completions") => run.chat().await,
            ("gemini", "countTokens") => run.count().await,
            ("gemini", "batchEmbedContents" | "embedContent") | ("openrouter", "embeddings") => run.embed().await,
            (_, "models") => run.models().await,
            ("openrouter", "generation") => run.generation().await,
            ("openrouter", "key") => run.key().await,
            other => Err(format!("nothing here knows {other:?}")),
        }
    })
}

/// The vendor's provider, as the gateway builds it, at `address`.
fn provider(upstream: &str, address: &str) -> Result<Arc<dyn Provider>, String> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    match upstream {
        "gemini" => {
            let mut settings = GeminiSettings::new(vec![KEY.into()]);
            settings.upstream.base_url = format!("{address}/v1beta");
            // Recordings were made with the vendor's own client, which may name its caches.
            settings.cached_content = true;
            Gemini::new(settings, clock)
                .map(|gemini| Arc::new(gemini) as Arc<dyn Provider>)
                .map_err(|error| error.to_string())
        }
        "openrouter" => openrouter(address, clock).map(|openrouter| Arc::new(openrouter) as Arc<dyn Provider>),
        other => Err(format!("no provider of `{other}`")),
    }
}

fn openrouter(address: &str, clock: Arc<dyn Clock>) -> Result<OpenRouter, String> {
    let settings = UpstreamSettings::new(format!("{address}/api/v1"), vec![KEY.into()]);
    let openrouter = OpenRouter::new("openrouter", &settings, clock).map_err(|error| error.to_string())?;
    // Recordings use tools with fees.
    Ok(openrouter.with_paid_extras())
}

struct Run<'a> {
    sample: &'a Sample,
    expect: Expect,
    request: Option<Value>,
    response: Vec<u8>,
    recorded: Answer,
}

impl Run<'_> {
    async fn chat(self) -> Done {
        let mut answers = vec![self.recorded.clone()];
        if self.expect.must_continue == Some(true) {
            answers.push(self.rest());
        }
        let server = Server::start(answers).await;
        let provider = provider(&self.sample.upstream, &server.address)?;
        let (body, model) = self.body();
        let request = ChatRequest::parse(body.to_string().into()).map_err(|error| format!("the request: {error:?}"))?;
        let outcome = Outcome::of(provider.chat(attempt(request, &model)).await).await?;
        let asked = server.asked();
        compare::headers(&self.sample.upstream, &asked, KEY)?;
        if let Some(recorded) = &self.request {
            let sent = serde_json::from_slice(&asked[0].body).map_err(|error| format!("what was sent: {error}"))?;
            match self.sample.upstream.as_str() {
                "gemini" => compare::gemini(recorded, sent)?,
                _ => compare::openrouter(&body, sent)?,
            }
        }
        let uri = asked[0].uri.to_string();
        ensure!(self.sample.endpoint == uri, "asked {uri}");
        if self.expect.must_continue == Some(true) {
            return self.continued(&outcome, &asked);
        }
        expect::chat(&self.expect, &outcome, asked.len() as u64, &self.response)
    }

    /// The caller's request: what was recorded, in the caller's dialect.
    fn body(&self) -> (Value, String) {
        let path = self.sample.endpoint.split('?').next().unwrap_or_default();
        let native = path.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
        let gemini = self.sample.upstream == "gemini";
        let mut body = match &self.request {
            Some(recorded) if gemini => reverse::chat(recorded),
            Some(recorded) => recorded.clone(),
            None => json!({"messages": [{"role": "user", "content": "An answer, please."}]}),
        };
        let model =
            if gemini { native.to_owned() } else { body["model"].as_str().unwrap_or("vendor/model").to_owned() };
        body["model"] = json!(if gemini { format!("google/{native}") } else { model.clone() });
        if self.sample.stream || !gemini && body.get("stream").is_some() {
            body["stream"] = json!(self.sample.stream);
        }
        (body, model)
    }

    /// The rest of an answer that is to be continued.
    fn rest(&self) -> Answer {
        let rest = json!({
            "candidates": [{"content": {"parts": [{"text": " and the rest"}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 22, "candidatesTokenCount": 3, "totalTokenCount": 25},
        });
        let body = if self.sample.stream { format!("data: {rest}\r\n\r\n") } else { rest.to_string() };
        Answer { body: body.into(), ..self.recorded.clone() }
    }

    fn continued(&self, outcome: &Outcome, asked: &[super::server::Asked]) -> Done {
        ensure!(asked.len() == 2, "asked {} times", asked.len());
        let [first, second] =
            [&asked[0].body, &asked[1].body].map(|body| serde_json::from_slice::<Value>(body).unwrap_or_default());
        let token = second["continuationToken"].as_str().unwrap_or("no token").to_owned();
        ensure!(String::from_utf8_lossy(&self.response).contains(&format!("\"{token}\"")), "the token is `{token}`");
        ensure!(first["contents"] == second["contents"], "the second request is another one");
        ensure!(outcome.error.is_none(), "failed: {:?}", outcome.error);
        let choice = outcome.choices.get(&0).ok_or("no choice")?;
        ensure!(
            choice.content.as_deref().is_some_and(|text| text.ends_with(" and the rest") && text.len() > 13),
            "{:?}",
            choice.content
        );
        ensure!(choice.finish_reasons == ["stop"], "{:?}", choice.finish_reasons);
        let usage = outcome.usage().unwrap_or_default();
        ensure!(
            usage.prompt_tokens() > 22 && usage.completion_tokens() > 3,
            "the usage of the hops was not added: {usage:?}"
        );
        Ok(())
    }

    async fn count(self) -> Done {
        let server = Server::start(vec![self.recorded.clone()]).await;
        let (body, model) = self.body();
        let request = ChatRequest::parse(body.to_string().into()).map_err(|error| error.to_string())?;
        let counted = provider(&self.sample.upstream, &server.address)?.count_tokens(attempt(request, &model)).await;
        let counted = counted.map_err(|error| format!("{error:?}"))?;
        ensure!(self.expect.total_tokens == Some(counted), "{counted} tokens");
        if let Some(recorded) = &self.request {
            let mut sent: Value = serde_json::from_slice(&server.asked()[0].body).map_err(|error| error.to_string())?;
            // Ours is the longer form, which counts instructions and tools too; it names the model.
            let mut request = sent["generateContentRequest"].take();
            let named = request.as_object_mut().and_then(|request| request.remove("model"));
            ensure!(named == Some(json!(format!("models/{model}"))), "model {named:?}");
            compare::gemini(recorded, request)?;
        }
        Ok(())
    }

    async fn embed(self) -> Done {
        // Where the answer has no usage, the provider counts by another request.
        let count = Answer { body: r#"{"totalTokens":2}"#.into(), ..self.recorded.clone() };
        let server = Server::start(vec![self.recorded.clone(), count]).await;
        let recorded = self.request.as_ref().ok_or("an embedding without a request")?;
        let gemini = self.sample.upstream == "gemini";
        let mut body = if gemini { reverse::embed(recorded) } else { recorded.clone() };
        let model = self.sample.endpoint.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or_default();
        let model = if gemini { model.to_owned() } else { body["model"].as_str().unwrap_or_default().to_owned() };
        body["model"] = json!(model);
        let request = EmbedRequest::parse(body.to_string().into()).map_err(|error| error.to_string())?;
        let reply = provider(&self.sample.upstream, &server.address)?.embed(attempt(request, &model)).await;
        let reply = reply.map_err(|error| format!("{error:?}"))?;
        let answer: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        let vectors = answer["data"].as_array().map_or(0, Vec::len);
        ensure!(self.expect.embeddings == Some(vectors), "{vectors} embeddings");
        ensure!(!reply.usage.is_zero(), "an embedding that used nothing");
        let sent: Value = serde_json::from_slice(&server.asked()[0].body).map_err(|error| error.to_string())?;
        ensure!(sent == *recorded, "sent {sent}");
        Ok(())
    }

    async fn models(self) -> Done {
        let end = Answer { body: r#"{"models":[],"data":[]}"#.into(), ..self.recorded.clone() };
        let server = Server::start(vec![self.recorded.clone(), end]).await;
        let listed =
            provider(&self.sample.upstream, &server.address)?.models().await.map_err(|error| format!("{error:?}"))?;
        ensure!(
            !listed.is_empty() && listed.iter().all(|listing| !listing.id.starts_with("models/")),
            "listed {listed:?}"
        );
        ensure!(self.expect.models.is_none_or(|count| count == listed.len()), "{} models", listed.len());
        if let Some(expected) = &self.expect.sellable_by_list {
            let mut sellable: Vec<_> =
                listed.iter().filter(|listing| listing.prices.is_some()).map(|listing| &listing.id).collect();
            sellable.sort();
            ensure!(sellable.iter().eq(&expected.iter().collect::<Vec<_>>()), "sellable {sellable:?}");
        }
        Ok(())
    }

    async fn generation(self) -> Done {
        let server = Server::start(vec![self.recorded.clone()]).await;
        let openrouter = openrouter(&server.address, Arc::new(ManualClock::default()))?;
        let id = self.sample.endpoint.split("id=").nth(1).unwrap_or_default();
        let found = openrouter.lookup(id).await.map_err(|error| format!("{error:?}"))?;
        let generation = found.ok_or("no record")?;
        let expected = self.expect.cost_usd.as_deref().map(|text| Money::parse(text, Currency::USD)).transpose();
        ensure!(generation.cost == expected.map_err(|error| error.to_string())?, "cost {:?}", generation.cost);
        let body: Value = serde_json::from_slice(&self.recorded.body).map_err(|error| error.to_string())?;
        let tokens =
            body["data"]["native_tokens_prompt"].as_u64().zip(body["data"]["native_tokens_completion"].as_u64());
        let counted = generation.usage.map(|usage| (usage.prompt_tokens(), usage.completion_tokens()));
        ensure!(counted == tokens, "counted {counted:?}");
        let uri = server.asked()[0].uri.to_string();
        ensure!(uri == self.sample.endpoint, "asked {uri}");
        Ok(())
    }

    async fn key(self) -> Done {
        let server = Server::start(vec![self.recorded.clone()]).await;
        let openrouter = openrouter(&server.address, Arc::new(ManualClock::default()))?;
        let state = openrouter.key_state().await.map_err(|error| format!("{error:?}"))?;
        ensure!(state.usage.is_some(), "{state:?}");
        Ok(())
    }
}

/// An attempt as the gateway makes it, of a caller without limits.
fn attempt<O: Operation>(operation: O, model: &str) -> Attempt<O> {
    let clock = ManualClock::default();
    let plan = Plan::unlimited("samples");
    let key = ApiKey::new(AccountId::new(clock.now()), "samples", &plan.name, clock.now());
    let caller = Arc::new(Caller::new(key, plan));
    let price = |text| Price::per_million(text).expect("a price");
    let mut rates = Rates::flat(price("1"), price("2"));
    rates.search = price("14000");
    let offer = Offer::new("samples", model, PriceList::new(Currency::USD, rates, Vec::new()));
    Attempt::new(Call::new(caller, operation, &clock), offer)
}
