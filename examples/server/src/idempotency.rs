//! `Idempotency-Key` on every POST that is paid for or makes something: the layer, what it keeps, what the
//! document says of it.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::{Clock, IdempotencyStore};
use aihub_layers::IdempotencyLayer;
use axum::body::Body;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, Required, ResponseBuilder};

use crate::settings::Settings;

const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// How many expired keys are forgotten at once: few enough that their bodies hold nobody up.
const BATCH: usize = 100;

/// The layer, and the store that it keeps answers in.
#[derive(Debug)]
pub(crate) struct Idempotency {
    pub(crate) layer: IdempotencyLayer<Body>,
    store: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
}

impl Idempotency {
    pub(crate) fn new(store: Arc<dyn IdempotencyStore>, clock: &Arc<dyn Clock>, settings: &Settings) -> Self {
        let set = &settings.idempotency;
        let layer = IdempotencyLayer::new(Arc::clone(&store), Arc::clone(clock), Body::new)
            .with_keep(Duration::from_hours(set.keep_hours))
            .with_max_bytes(set.max_answer_bytes)
            .with_linger(Duration::from_secs(set.read_on_s));
        Self { layer, store, clock: Arc::clone(clock) }
    }

    /// Forgets what has expired, now and then until `stop`. Every replica does: what one has forgotten is
    /// nothing to the others.
    pub(crate) fn forget_until(&self, stop: CancellationToken) {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                while let Ok(forgotten) = store.sweep(clock.now(), BATCH).await.inspect_err(|error| {
                    tracing::warn!(?error, "expired idempotency keys could not be forgotten; trying again later");
                }) && forgotten >= BATCH as u64
                {}
            }
        });
    }
}

/// Says of every POST what the layer does with it: it stands before all of them.
pub(crate) fn document(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let Some(Operation { parameters, responses, .. }) = &mut item.post else { continue };
        parameters.get_or_insert_default().push(parameter().into());
        let answers = [
            ("409", "The request under this `Idempotency-Key` still runs, was interrupted, or had too large an answer"),
            ("422", "This `Idempotency-Key` was used for another request"),
        ];
        for (status, description) in answers {
            let error = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorEnvelope"))).build();
            let response = ResponseBuilder::new().description(description).content("application/json", error);
            responses.responses.insert(status.to_owned(), response.build().into());
        }
    }
}

fn parameter() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A name of the caller's for this request, such as a UUID. Sent again under the same key, the same request \
             gets the same answer, streams too, and is charged once; the answer then has `idempotent-replayed: true`. \
             With a key, a caller who loses its connection finds the whole answer when it comes back.",
        ))
        .schema(Some(text))
        .build()
}
