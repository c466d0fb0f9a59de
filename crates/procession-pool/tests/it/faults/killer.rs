//! F49 and beyond: a killer at random moments, short. The long forms are in the storm.

use procession_testkit::{Case, cases};

use crate::faults::killer as faults;
use crate::support::storm::{self, Through};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults: f49_poisson_killer, everything_at_once].into()
}

fn f49_poisson_killer() {
    for through in [Through::Map, Through::Imap, Through::Submit] {
        storm::poisson(through, 1000);
    }
}

fn everything_at_once() {
    storm::clash(3);
}
