//! Models as they are sold, and the upstreams that serve them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::price::PriceBook;

/// What a model is asked to do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    serde::Serialize,
    serde::Deserialize,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelKind {
    /// Chat completions.
    Chat,
    /// Embeddings.
    Embedding,
}

/// One upstream's offer to serve a model: where, under which name, at which price.
///
/// Without a price there is no offer: what is not priced is not sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name of the provider, as in [`Provider::name`](crate::Provider::name).
    pub provider: Arc<str>,
    /// The name of the model in that vendor's words.
    pub model: Arc<str>,
    /// What the vendor charges, and since when. While nothing is in force, the offer is not sold.
    pub prices: Arc<PriceBook>,
}

impl Offer {
    /// The offer of the provider of this name to serve what it calls `model`, at `prices`: a book of them, or one
    /// [`PriceList`](crate::PriceList) that always holds.
    pub fn new(provider: impl Into<Arc<str>>, model: impl Into<Arc<str>>, prices: impl Into<PriceBook>) -> Self {
        Self { provider: provider.into(), model: model.into(), prices: Arc::new(prices.into()) }
    }
}

/// A model as callers see it.
///
/// [`Model::chat`] and [`Model::embedding`] make one; what differs from their defaults is written
/// beside them:
///
/// ```
/// use aihub_core::{Model, Offer, PriceList};
///
/// # fn main() -> aihub_core::Result<()> {
/// let offer = Offer::new("gemini", "gemini-2.5-flash", PriceList::flat("0.30", "2.50")?);
/// let model = Model { context_tokens: 1_048_576, reasoning: true, ..Model::chat("google/gemini-2.5-flash", [offer]) };
/// assert_eq!(model.name, "google/gemini-2.5-flash");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The public id, such as `google/gemini-2.5-flash`.
    pub id: Arc<str>,
    /// The name for people.
    pub name: String,
    /// What it is asked to do.
    pub kind: ModelKind,
    /// Whether the smallest plans reach it.
    pub basic: bool,
    /// The most tokens that prompt and answer may have together.
    pub context_tokens: u64,
    /// The most tokens an answer may have, where that is known.
    pub max_output_tokens: Option<u64>,
    /// What it reads: `text`, `image`, `audio`, `video`, `file`.
    pub input_modalities: Vec<String>,
    /// What it writes: `text`, `image`, `audio`, `embedding`.
    pub output_modalities: Vec<String>,
    /// Whether it thinks before it answers.
    pub reasoning: bool,
    /// Who serves it, cheapest first.
    pub offers: Vec<Offer>,
    /// The ids of other models to try, in order, when no offer of this one works.
    pub fallbacks: Vec<String>,
}

impl Model {
    /// What [`Model::context_tokens`] is until it is set.
    const CONTEXT_TOKENS: u64 = 8_192;

    /// A model that chats, served by `offers`, cheapest first.
    ///
    /// Its name is its id; it reads and writes text and does not think; the smallest plans do not reach
    /// it; its context is 8192 tokens, since to promise too little costs a caller less than to promise
    /// what the vendor refuses; the length of an answer is not known; there are no fallbacks.
    pub fn chat(id: impl Into<Arc<str>>, offers: impl IntoIterator<Item = Offer>) -> Self {
        let id = id.into();
        Self {
            name: id.to_string(),
            id,
            kind: ModelKind::Chat,
            basic: false,
            context_tokens: Self::CONTEXT_TOKENS,
            max_output_tokens: None,
            input_modalities: vec!["text".to_owned()],
            output_modalities: vec!["text".to_owned()],
            reasoning: false,
            offers: offers.into_iter().collect(),
            fallbacks: Vec::new(),
        }
    }

    /// A model that embeds, served by `offers`, cheapest first. The defaults are those of
    /// [`Model::chat`], but that it writes embeddings.
    pub fn embedding(id: impl Into<Arc<str>>, offers: impl IntoIterator<Item = Offer>) -> Self {
        let output_modalities = vec!["embedding".to_owned()];
        Self { kind: ModelKind::Embedding, output_modalities, ..Self::chat(id, offers) }
    }
}

/// What is for sale.
pub trait Catalogue: Debug + Send + Sync + 'static {
    /// The model of this public id or alias.
    fn find(&self, id: &str) -> Option<Arc<Model>>;

    /// Every model, sorted by id; aliases are not repeated.
    fn list(&self) -> Vec<Arc<Model>>;
}

/// A catalogue that never changes.
#[derive(Debug, Clone, Default)]
pub struct FixedCatalogue {
    models: Vec<Arc<Model>>,
    by_id: HashMap<String, Arc<Model>, RandomState>,
}

impl FixedCatalogue {
    /// A catalogue of `models`, where `aliases` are further ids (alias, id). An alias of an unknown
    /// id is left out; a model wins over an alias of the same name.
    pub fn new(models: impl IntoIterator<Item = Model>, aliases: &[(String, String)]) -> Self {
        let mut models: Vec<_> = models.into_iter().map(Arc::new).collect();
        models.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_id: HashMap<_, _, _> =
            models.iter().map(|model| (model.id.to_string(), Arc::clone(model))).collect();
        for (alias, id) in aliases {
            if let Some(model) = by_id.get(id).cloned() {
                by_id.entry(alias.clone()).or_insert(model);
            }
        }
        Self { models, by_id }
    }
}

impl Catalogue for FixedCatalogue {
    fn find(&self, id: &str) -> Option<Arc<Model>> {
        self.by_id.get(id).cloned()
    }

    fn list(&self) -> Vec<Arc<Model>> {
        self.models.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::PriceList;

    #[test]
    fn a_model_is_found_by_its_id_and_its_alias() {
        let prices = PriceList::flat("1", "2").unwrap();
        let chat = Model::chat("v/chat", [Offer::new("vendor", "c", prices)]);
        let embedding = Model::embedding("v/embedding", []);
        assert_eq!((chat.kind, &*chat.output_modalities), (ModelKind::Chat, &["text".to_owned()][..]));
        assert_eq!((embedding.kind, &*embedding.output_modalities[0]), (ModelKind::Embedding, "embedding"));
        let aliases = [("old".to_owned(), "v/chat".to_owned()), ("lost".to_owned(), "v/gone".to_owned())];
        let catalogue = FixedCatalogue::new([embedding, chat.clone()], &aliases);
        assert_eq!(catalogue.find("old").as_deref(), Some(&chat));
        assert_eq!(catalogue.find("lost"), None);
        assert_eq!(catalogue.list().iter().map(|model| &*model.id).collect::<Vec<_>>(), ["v/chat", "v/embedding"]);
    }
}
