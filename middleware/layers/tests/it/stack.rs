//! The stack in the documented order, and a world around it.

use std::sync::Arc;
use std::time::Duration;

use aihub_core::{
    BillingSink, Call, ChatRequest, Clock, DepartureRule, Departures, Drains, Error, ManualClock, OnDeparture,
    Operation, Provider, QuotaPolicy,
};
use aihub_layers::{
    AccessLayer, BreakerLayer, DepartureLayer, FallbackLayer, MeterHandle, MeterLayer, Providers, QuotaLayer,
    RetryPolicy, ShedLayer, TimeoutLayer, Upstream,
};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;
use tower::util::BoxCloneSyncService;

use crate::world::{self, Books, Purse, Scripted};

pub(crate) type Stack<O> = BoxCloneSyncService<Call<O>, <O as Operation>::Reply, Error>;

/// Everything that a call meets on its way.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) books: Arc<Books>,
    pub(crate) purse: Arc<Purse>,
    pub(crate) shed: ShedLayer,
    pub(crate) first: Arc<Scripted>,
    pub(crate) second: Arc<Scripted>,
    /// What is done when the caller leaves, of either vendor.
    pub(crate) then: OnDeparture,
    pub(crate) drains: Drains,
}

impl World {
    pub(crate) fn new(first: Arc<Scripted>, second: Arc<Scripted>) -> Self {
        Self {
            clock: world::clock(),
            books: Arc::default(),
            purse: Arc::new(Purse::of(1_000_000)),
            shed: ShedLayer::new(1_000),
            first,
            second,
            then: OnDeparture::Cancel,
            drains: Drains::default(),
        }
    }

    pub(crate) fn stack<O: Operation>(&self) -> (Stack<O>, MeterHandle) {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let vendors: [Arc<dyn Provider>; 2] = [Arc::clone(&self.first) as _, Arc::clone(&self.second) as _];
        let (meter, handle) = MeterLayer::start(Arc::clone(&self.books) as Arc<dyn BillingSink>, Arc::clone(&clock));
        let rule =
            |name: &str| DepartureRule { provider: name.into(), model: "*".to_owned(), stream: None, then: self.then };
        let departures = Departures::from_iter(["first", "second"].map(rule));
        let stack = ServiceBuilder::new()
            .layer(DepartureLayer::new(departures, self.drains.clone()))
            .layer(meter)
            .layer(AccessLayer::new(world::catalogue()))
            .layer(self.shed.clone())
            .layer(QuotaLayer::new(Arc::clone(&self.purse) as Arc<dyn QuotaPolicy>))
            .layer(FallbackLayer::new())
            .layer(BreakerLayer::new(clock))
            .layer(RetryLayer::new(RetryPolicy::new().with_seed(1)))
            .layer(TimeoutLayer::new(Duration::from_secs(30)))
            .service(Upstream::new(Providers::from_iter(vendors)));
        (BoxCloneSyncService::new(stack), handle)
    }

    pub(crate) fn call(&self) -> Call<ChatRequest> {
        self.call_of(world::request(""))
    }

    pub(crate) fn call_of<O: Operation>(&self, request: O) -> Call<O> {
        Call::new(world::caller(), request, &*self.clock)
    }
}
