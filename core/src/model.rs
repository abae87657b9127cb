//! Models as they are sold, and the upstreams that serve them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::price::PriceList;

/// What a model is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    /// What the vendor charges.
    pub prices: Arc<PriceList>,
}

/// A model as callers see it.
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
    by_id: HashMap<String, Arc<Model>>,
}

impl FixedCatalogue {
    /// A catalogue of `models`, where `aliases` are further ids (alias, id). An alias of an unknown
    /// id is left out; a model wins over an alias of the same name.
    pub fn new(models: impl IntoIterator<Item = Model>, aliases: &[(String, String)]) -> Self {
        let mut models: Vec<_> = models.into_iter().map(Arc::new).collect();
        models.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_id: HashMap<_, _> = models.iter().map(|model| (model.id.to_string(), Arc::clone(model))).collect();
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
