//! How a reply ends, and who is told.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::error::ErrorKind;
use crate::model::Offer;
use crate::money::Money;
use crate::usage::{Outcome, Usage};

/// Who served a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// The offer that was taken; set by the layer that dispatched the attempt.
    pub offer: Option<Offer>,
    /// The model that answered, in the vendor's words: may be a dated name of the one asked for.
    pub model: Option<Arc<str>>,
    /// The vendor's own id of the answer, by which its cost can be asked for later.
    pub generation: Option<Arc<str>>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// In which way.
    pub outcome: Outcome,
    /// What was used; marked estimated where the vendor did not say.
    pub usage: Usage,
    /// What the vendor counted for parts of its work that never reached the caller.
    pub discarded: Usage,
    /// What the vendor says it charges; absent is unknown, never zero.
    pub vendor_cost: Option<Money>,
    /// The last finish reason, in `OpenAI`'s words.
    pub finish_reason: Option<Arc<str>>,
    /// What went wrong, if something did.
    pub error: Option<ErrorKind>,
    /// Who served it.
    pub served: Served,
    /// Whether the caller is let off: it is not charged whatever was used.
    pub waived: bool,
}

impl Ending {
    /// An ending of this outcome and usage, with everything else unknown.
    pub fn new(outcome: Outcome, usage: Usage) -> Self {
        Self {
            outcome,
            usage,
            discarded: Usage::default(),
            vendor_cost: None,
            finish_reason: None,
            error: None,
            served: Served::default(),
            waived: false,
        }
    }
}

/// Is told once how a call ended. The future it gives back, if there is anything to wait for, is
/// awaited before the last piece of the answer is handed on; when the reply was dropped, the future
/// runs on by itself on the runtime.
pub type Hook = Box<dyn FnOnce(&Ending) -> Option<BoxFuture<'static, ()>> + Send>;

/// Is told how far a reply has come, before each piece of it is handed on: who serves it, and a look at what was used
/// up to now. It is asked at every piece, and has to be quick.
pub type Marker = Box<dyn FnMut(&Served, &dyn Fn() -> Usage) + Send>;

/// Hooks in the order in which they were attached: the layer nearest to the vendor first.
#[derive(Default)]
pub(crate) struct Hooks(Vec<Hook>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hooks({})", self.0.len())
    }
}

impl Hooks {
    pub(crate) fn push(&mut self, hook: Hook) {
        self.0.push(hook);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells every hook; `None` when there is none to wait for.
    pub(crate) fn tell(&mut self, ending: &Ending) -> Option<BoxFuture<'static, ()>> {
        // Every hook is told at once; what they give back is waited for in turn.
        std::mem::take(&mut self.0).into_iter().filter_map(|hook| hook(ending)).reduce(|first, second| {
            Box::pin(async move {
                first.await;
                second.await;
            })
        })
    }
}

/// Lets `work` run on although whoever awaited it is gone.
pub(crate) fn run_on(work: Option<BoxFuture<'static, ()>>) {
    if let (Some(work), Ok(runtime)) = (work, tokio::runtime::Handle::try_current()) {
        runtime.spawn(work);
    }
}
