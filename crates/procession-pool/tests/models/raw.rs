//! `raw`, as the shipped files know it.

#[path = "../../src/raw/policy.rs"]
mod policy;
#[path = "../../src/raw/slot.rs"]
mod slot;

pub(crate) use policy::RetryIf;
pub(crate) use slot::{Deal, Done, Slot};
