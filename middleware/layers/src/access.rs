//! [`Access`]: may this caller use this model? Turns a [`Call`] into a [`Routed`] call.
//!
//! ```
//! # mod world { #![allow(dead_code)] include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/world.rs")); }
//! use aihub_core::{ChatRequest, Error};
//! use aihub_layers::{AccessLayer, Routed};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), aihub_core::Error> {
//! # let (catalogue, call) = (world::catalogue(), world::call());
//! let vendor = service_fn(|routed: Routed<ChatRequest>| async move {
//!     println!("{} has {} offers", routed.model.id, routed.offers().count());
//!     Ok::<_, Error>(world::answer())
//! });
//! let service = AccessLayer::new(catalogue).layer(vendor);
//! service.oneshot(call).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where it stands
//!
//! Below Meter, so that refusals are recorded, too; above everything that needs to know the model:
//! Quota (its prices), Fallback (its offers). Those take [`Routed`], so that a stack without Access
//! does not compile rather than sell what a plan does not include.
//!
//! # A wrong order
//!
//! Access around Meter does not compile: what it hands on is no [`Call`] any more. It would lose
//! every refused call, and a customer who asks why his calls fail would find nothing in his usage.

use std::sync::Arc;
use std::task::{Context, Poll};

use aihub_core::key::Permission;
use aihub_core::price::Priced;
use aihub_core::{Call, Caller, Catalogue, Error, ErrorKind, Model, Offer, Operation};
use futures_util::future::{Either, Ready, ready};
use tower::{Layer, Service};

/// A call whose model is known and permitted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Routed<O> {
    /// The call.
    pub call: Call<O>,
    /// The model it asks for.
    pub model: Arc<Model>,
    /// Other models to try when no offer of it works, in order: those of
    /// [`Model::fallbacks`] that exist, do the same and are permitted to this caller.
    pub fallbacks: Vec<Arc<Model>>,
    /// The most output tokens of one choice that are paid for, where that is less than the caller
    /// named or it named nothing; set by Quota.
    pub max_output_tokens: Option<u64>,
}

impl<O: Operation> Routed<O> {
    /// `call` on its way to what `catalogue` has for it, as [`Access`] finds it: for whoever asks where a call would go
    /// without making it.
    ///
    /// # Errors
    ///
    /// Those that the call would be refused with: there is no such model, or the caller may not use it so.
    pub fn find(catalogue: &dyn Catalogue, call: Call<O>) -> Result<Self, Error> {
        route(catalogue, call)
    }
}

impl<O> Routed<O> {
    /// `call`, to be served by `model` alone.
    pub fn new(call: Call<O>, model: Arc<Model>) -> Self {
        Self { call, model, fallbacks: Vec::new(), max_output_tokens: None }
    }

    /// Every model that may come to serve the call, the one asked for first.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        std::iter::once(&self.model).chain(&self.fallbacks)
    }

    /// Every offer that may come to serve the call, in the order in which they are tried: those with a price in force
    /// when it was admitted. Without a price there is nothing to hold, and so nothing is sold.
    pub fn offers(&self) -> impl Iterator<Item = (&Arc<Model>, &Offer)> {
        self.priced().map(|(model, offer, _)| (model, offer))
    }

    /// As [`Routed::offers`], with the prices that the call is held for and charged by.
    pub fn priced(&self) -> impl Iterator<Item = (&Arc<Model>, &Offer, &Arc<Priced>)> {
        let at = self.call.received_at;
        self.models().flat_map(move |model| {
            model.offers.iter().filter_map(move |offer| Some((model, offer, offer.prices.at(at)?)))
        })
    }
}

/// Makes [`Access`].
#[derive(Debug, Clone)]
pub struct AccessLayer {
    catalogue: Arc<dyn Catalogue>,
}

impl AccessLayer {
    /// Access to the models of `catalogue`.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self { catalogue }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner, catalogue: Arc::clone(&self.catalogue) }
    }
}

/// Refuses what the catalogue does not have or the caller may not use. See the [module](self).
#[derive(Debug, Clone)]
pub struct Access<S> {
    inner: S,
    catalogue: Arc<dyn Catalogue>,
}

impl<S, O> Service<Call<O>> for Access<S>
where
    O: Operation,
    S: Service<Routed<O>, Response = O::Reply, Error = Error>,
{
    type Response = O::Reply;
    type Error = Error;
    // No box: there is nothing to wait for here, and nothing to do afterwards.
    type Future = Either<S::Future, Ready<Result<O::Reply, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<O>) -> Self::Future {
        match route(&*self.catalogue, call) {
            Ok(routed) => Either::Left(self.inner.call(routed)),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

fn route<O: Operation>(catalogue: &dyn Catalogue, call: Call<O>) -> Result<Routed<O>, Error> {
    if call.caller.key.permission < Permission::ReadWrite {
        return Err(Error::new(ErrorKind::Forbidden, "This API key may only read: use one that may make calls")
            .with_code("key_is_read_only"));
    }
    if !call.caller.key.operations.permits(O::KIND) {
        let message = format!("This API key may not be used for {}: use one that may", O::KIND);
        return Err(Error::new(ErrorKind::Forbidden, message).with_code("operation_not_allowed"));
    }
    let Some(model) = catalogue.find(call.operation.model()) else { return Err(unknown(call.operation.model())) };
    if model.kind != O::KIND {
        return Err(Error::invalid(
            "model",
            format!("`{}` is a model for {}, not for {}", model.id, model.kind, O::KIND),
        )
        .with_code("model_not_supported"));
    }
    if !permits(&call.caller, &model) {
        return Err(forbidden(&call.caller, &model));
    }
    let mut routed = Routed::new(call, model);
    for id in &routed.model.fallbacks {
        if let Some(other) = catalogue.find(id)
            && other.kind == O::KIND
            && other.id != routed.model.id
            && permits(&routed.call.caller, &other)
        {
            routed.fallbacks.push(other);
        }
    }
    Ok(routed)
}

fn permits(caller: &Caller, model: &Model) -> bool {
    caller.plan.models.permits(model) && caller.key.models.permits(model)
}

#[cold]
fn unknown(asked: &str) -> Error {
    // Cut short: the name is the caller's and may be as long as the body it came in.
    let shown: String = asked.chars().take(100).collect();
    Error::new(ErrorKind::NotFound, format!("There is no model `{shown}`: ask for the list of models"))
        .with_code("model_not_found")
        .with_param("model")
}

#[cold]
fn forbidden(caller: &Caller, model: &Model) -> Error {
    let message = if caller.plan.models.permits(model) {
        format!("This API key does not reach the model `{}`: use another model or another key", model.id)
    } else {
        format!(
            "The plan `{}` does not include the model `{}`: use another model or another plan",
            caller.plan.name, model.id
        )
    };
    Error::new(ErrorKind::Forbidden, message).with_code("model_not_allowed").with_param("model")
}

#[cfg(test)]
mod tests {
    use aihub_core::ChatRequest;
    use aihub_core::key::OperationAccess;
    use aihub_core::model::{FixedCatalogue, ModelKind};
    use aihub_core::plan::ModelAccess;

    use super::*;
    use crate::world;

    /// `m` falls back to: a dear one, one for embeddings, one that does not exist, itself, a basic one.
    fn catalogue() -> FixedCatalogue {
        let mut m = world::model("m", vec![world::offer("first", "1")]);
        m.fallbacks = ["dear", "embedding", "gone", "m", "basic"].map(String::from).to_vec();
        let mut dear = world::model("dear", Vec::new());
        dear.basic = false;
        let mut embedding = world::model("embedding", Vec::new());
        embedding.kind = ModelKind::Embedding;
        FixedCatalogue::new([m, dear, embedding, world::model("basic", Vec::new())], &[("alias".into(), "m".into())])
    }

    fn route(
        model: &str,
        change: impl FnOnce(&mut aihub_core::ApiKey, &mut aihub_core::Plan),
    ) -> Result<Routed<ChatRequest>, Error> {
        let (mut key, mut plan) = (world::key(), world::plan());
        change(&mut key, &mut plan);
        let caller = Caller::new(key, plan);
        let body = world::BODY.replacen("\"m\"", &format!("\"{model}\""), 1);
        let request = ChatRequest::parse(body.into()).unwrap();
        super::route(&catalogue(), Call::new(Arc::new(caller), request, &aihub_core::ManualClock::default()))
    }

    #[test]
    fn carries_the_model_and_the_fallbacks_that_are_permitted() {
        let ids = |routed: Routed<ChatRequest>| routed.models().map(|model| model.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(route("alias", |_, _| {}).unwrap()), ["m", "dear", "basic"]);
        assert_eq!(ids(route("m", |_, plan| plan.models = ModelAccess::Basic).unwrap()), ["m", "basic"]);
        assert_eq!(ids(route("m", |key, _| key.models = ModelAccess::Only(vec!["m".into()])).unwrap()), ["m"]);
    }

    #[test]
    fn what_has_no_price_in_force_when_the_call_is_admitted_is_not_offered() {
        let mut routed = route("m", |_, _| {}).unwrap();
        let from = routed.call.received_at;
        let book = aihub_core::PriceBook::new([(from, world::prices("1"))]).unwrap();
        let mut coming = world::model("m", vec![world::offer("first", "1"), Offer::new("second", "m-1", book)]);
        coming.fallbacks = Vec::new();
        (routed.model, routed.fallbacks) = (Arc::new(coming), Vec::new());
        assert_eq!(routed.offers().count(), 2);
        routed.call.received_at = from - aihub_core::jiff::SignedDuration::from_micros(1);
        let names: Vec<_> = routed.offers().map(|(_, offer)| &*offer.provider).collect();
        assert_eq!(names, ["first"], "a price of the next microsecond is no price");
    }

    #[test]
    fn refusals_say_what_is_in_the_way() {
        let nothing = || ModelAccess::Only(Vec::new());
        let cases = [
            (route("unknown", |_, _| {}), ErrorKind::NotFound, "model_not_found", Some("model")),
            (route("embedding", |_, _| {}), ErrorKind::Invalid, "model_not_supported", Some("model")),
            (route("m", |_, plan| plan.models = nothing()), ErrorKind::Forbidden, "model_not_allowed", Some("model")),
            (route("m", |key, _| key.models = nothing()), ErrorKind::Forbidden, "model_not_allowed", Some("model")),
            (
                route("m", |key, _| key.permission = Permission::ReadOnly),
                ErrorKind::Forbidden,
                "key_is_read_only",
                None,
            ),
            (
                route("m", |key, _| key.operations = OperationAccess::Only(vec![ModelKind::Embedding])),
                ErrorKind::Forbidden,
                "operation_not_allowed",
                None,
            ),
        ];
        for (routed, kind, code, param) in cases {
            let error = routed.unwrap_err();
            assert_eq!((error.kind(), error.code(), error.param()), (kind, code, param));
        }
        assert!(route(&"x".repeat(100_000), |_, _| {}).unwrap_err().message().len() < 300);
    }
}
