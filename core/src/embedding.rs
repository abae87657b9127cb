//! Embeddings: a request kept as its bytes, a reply ready to be forwarded.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::call::{Attempt, Demand, Operation, Reply};
use crate::error::{Error, Result};
use crate::json::Object;
use crate::model::{ModelKind, Offer};
use crate::money::Money;
use crate::provider::Provider;
use crate::reply::{Ending, Hook, Served};
use crate::tokens;
use crate::usage::{Outcome, Usage};

/// What is embedded.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a string, a list of strings, or tokens as numbers")]
pub enum EmbedInput {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One text as tokens of the model's vocabulary.
    Tokens(Vec<u32>),
    /// Several texts as tokens.
    TokenLists(Vec<Vec<u32>>),
}

/// How the vectors are written in the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedEncoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian 32-bit floats in base 64: what the official SDKs ask for by themselves.
    Base64,
}

#[derive(Debug, Deserialize)]
struct Fields {
    model: String,
    input: EmbedInput,
    dimensions: Option<u32>,
    #[serde(default)]
    encoding_format: Option<EmbedEncoding>,
}

/// A request for embeddings in the `OpenAI` dialect (`POST /v1/embeddings`).
#[derive(Debug, Clone)]
pub struct EmbedRequest(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    object: Object,
    fields: Fields,
}

impl EmbedRequest {
    /// Reads a request body.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) with the field that is wrong: no input, more than
    /// 2048 inputs, wrong types, malformed JSON.
    pub fn parse(body: Bytes) -> Result<Self> {
        let object = Object::scan(body)?;
        let fields: Fields = object.decode()?;
        let inputs = match &fields.input {
            EmbedInput::Text(text) => usize::from(!text.is_empty()),
            EmbedInput::Texts(texts) => texts.len(),
            EmbedInput::Tokens(tokens) => usize::from(!tokens.is_empty()),
            EmbedInput::TokenLists(lists) => lists.len(),
        };
        if inputs == 0 {
            return Err(Error::invalid("input", "There is nothing to embed: `input` is empty"));
        }
        if inputs > 2048 {
            return Err(Error::invalid("input", "At most 2048 inputs fit in one request: send several"));
        }
        Ok(Self(Arc::new(Parsed { object, fields })))
    }

    /// The request as it came.
    pub fn object(&self) -> &Object {
        &self.0.object
    }

    /// What is embedded.
    pub fn input(&self) -> &EmbedInput {
        &self.0.fields.input
    }

    /// The length of the vectors asked for.
    pub fn dimensions(&self) -> Option<u32> {
        self.0.fields.dimensions
    }

    /// How the vectors are to be written.
    pub fn encoding(&self) -> EmbedEncoding {
        self.0.fields.encoding_format.unwrap_or_default()
    }
}

impl Operation for EmbedRequest {
    type Reply = EmbedReply;

    const KIND: ModelKind = ModelKind::Embedding;

    fn model(&self) -> &str {
        &self.0.fields.model
    }

    fn demand(&self) -> Demand {
        let prompt_tokens = match &self.0.fields.input {
            EmbedInput::Text(text) => tokens::count(text),
            EmbedInput::Texts(texts) => texts.iter().map(|text| tokens::count(text)).sum(),
            EmbedInput::Tokens(tokens) => tokens.len() as u64,
            EmbedInput::TokenLists(lists) => lists.iter().map(|list| list.len() as u64).sum(),
        };
        Demand { prompt_tokens, output_tokens: Some(0), choices: 1 }
    }

    fn streams(&self) -> bool {
        false
    }

    fn dispatch(provider: &dyn Provider, attempt: Attempt<Self>) -> BoxFuture<'_, Result<EmbedReply>> {
        provider.embed(attempt)
    }
}

/// Embeddings, as the `OpenAI` API answers them.
#[derive(Debug, Clone)]
pub struct EmbedReply {
    /// The body of the answer.
    pub body: Bytes,
    /// What was used.
    pub usage: Usage,
    /// What the vendor says it charges; absent is unknown.
    pub vendor_cost: Option<Money>,
    /// Who served it.
    pub served: Served,
}

impl Reply for EmbedReply {
    fn served(&self) -> &Served {
        &self.served
    }

    fn set_offer(&mut self, offer: Offer) {
        self.served.offer = Some(offer);
    }

    async fn watch(self, hook: Hook) -> Self {
        let mut ending = Ending::new(Outcome::Completed, self.usage);
        ending.vendor_cost = self.vendor_cost;
        ending.served = self.served.clone();
        if let Some(work) = hook(&ending) {
            work.await;
        }
        self
    }
}
