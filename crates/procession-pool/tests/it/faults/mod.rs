//! The list of faults.

mod product;
mod sending;
mod start;

use procession_testkit::Case;
use procession_testkit::program::Run;

pub(crate) const PROGRAMS: &[(&str, Run)] = start::PROGRAMS;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = product::cases();
    cases.extend(start::cases());
    cases.extend(sending::cases());
    cases
}
