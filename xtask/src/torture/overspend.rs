//! Many connections of several servers use up one key.

use super::Options;
use crate::Result;

pub(super) fn run(_options: &Options) -> Result<String> {
    Err("not yet".into())
}
