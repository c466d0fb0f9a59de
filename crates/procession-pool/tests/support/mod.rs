//! What the pool's cross-process tests share, beyond what those of all layers do.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod agent;
pub(crate) mod failpoint;
pub(crate) mod kills;
pub(crate) mod storm;
pub(crate) mod sweep;
pub(crate) mod usable;
