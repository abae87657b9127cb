#![doc = include_str!("../README.md")]

mod alert;
mod ask;
mod door;
mod export;
mod limit;
mod routes;
mod view;
mod worker;

use std::sync::Arc;

use aihub_core::Clock;
use aihub_core::commerce::{Standings, UsageQuery};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use alert::LogAlerts;
pub use worker::AlertWorker;

/// What callers are told of their use.
///
/// Every answer is about the account of the key that asks. No route takes an account, so none can be asked for another's.
#[derive(Debug, Clone)]
pub struct Analytics(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    usage: Arc<dyn UsageQuery>,
    standings: Arc<dyn Standings>,
    clock: Arc<dyn Clock>,
}

impl Analytics {
    /// Reports over these.
    pub fn new(usage: Arc<dyn UsageQuery>, standings: Arc<dyn Standings>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Parts { usage, standings, clock }))
    }

    /// The routes, with their documentation. They expect the extension that
    /// [`Authenticate`](aihub_layers::Authenticate) sets, and leave their errors to [`Rescue`](aihub_layers::Rescue).
    pub fn router(self) -> OpenApiRouter {
        Self::routes().with_state(self)
    }

    /// The documentation of the routes alone.
    pub fn documentation() -> utoipa::openapi::OpenApi {
        Self::routes().into_openapi()
    }

    fn routes() -> OpenApiRouter<Self> {
        OpenApiRouter::new()
            .routes(routes!(routes::usage))
            .routes(routes!(routes::calls))
            .routes(routes!(routes::call))
            .routes(routes!(routes::export))
            .routes(routes!(routes::limits))
    }
}
