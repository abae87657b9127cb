//! Who calls.

use std::net::IpAddr;
use std::sync::Arc;

use crate::id::AccountId;
use crate::key::ApiKey;
use crate::plan::Plan;

/// Who makes a call, as found out once at the door: the only thing that authentication hands on.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key it presented, which held when it was checked.
    pub key: Arc<ApiKey>,
    /// The plan that its calls are under.
    pub plan: Arc<Plan>,
    /// Where it calls from, where that is known.
    pub ip: Option<IpAddr>,
    /// What it says it is; not to be trusted.
    pub user_agent: Option<Arc<str>>,
}

impl Caller {
    /// A caller with this key under this plan; where it calls from and what it says it is are not
    /// known. In a server, Authenticate finds all of it out.
    pub fn new(key: impl Into<Arc<ApiKey>>, plan: impl Into<Arc<Plan>>) -> Self {
        Self { key: key.into(), plan: plan.into(), ip: None, user_agent: None }
    }

    /// The account that pays.
    pub fn account(&self) -> AccountId {
        self.key.account
    }
}
