//! What every store of keys does alike.

use aihub_core::key::KeyChange;
use aihub_core::{ApiKey, Error, ErrorKind};

pub(crate) fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "There is no such API key: list your keys to see their ids")
        .with_code("api_key_not_found")
}

pub(crate) fn taken() -> Error {
    Error::new(ErrorKind::Conflict, "This API key is kept already: make another one")
}

pub(crate) fn revoked() -> Error {
    Error::new(ErrorKind::Conflict, "This API key was revoked: make a new one").with_code("api_key_revoked")
}

pub(crate) fn apply(key: &mut ApiKey, change: KeyChange) {
    let KeyChange { name, plan, permission, operations, models, allowed_ips, limits, expires_at, .. } = change;
    key.name = name.unwrap_or_else(|| std::mem::take(&mut key.name));
    key.plan = plan.unwrap_or_else(|| std::mem::take(&mut key.plan));
    key.permission = permission.unwrap_or(key.permission);
    key.operations = operations.unwrap_or_else(|| std::mem::take(&mut key.operations));
    key.models = models.unwrap_or_else(|| std::mem::take(&mut key.models));
    key.allowed_ips = allowed_ips.unwrap_or_else(|| std::mem::take(&mut key.allowed_ips));
    key.limits = limits.unwrap_or(key.limits);
    key.expires_at = expires_at.unwrap_or(key.expires_at);
}
