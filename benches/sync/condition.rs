//! A round trip by a condition.

use std::time::Duration;

use procession_sync::{Condition, Mutex};

use crate::workloads::partner::{Line, Partner, serve};

type Turn = (Mutex<u64>, Condition);

/// Waits until it is the turn of `parity`, and passes it on.
fn pass((turn, changed): &Turn, parity: u64) {
    let mut turn = turn.lock().expect("nobody died");
    let mine = changed.wait_for(&mut turn, |turn| **turn % 2 == parity);
    mine.expect("nobody died");
    *turn += 1;
    changed.notify().expect("it is ours");
}

fn pass_often((line, turn): (Line, Turn)) {
    serve(line, Some(1), |rounds| {
        (0..rounds).for_each(|_| pass(&turn, 1))
    });
}

/// There and back, each side on its CPU.
pub(crate) fn round_trip() -> impl FnMut(u64) -> Duration {
    let turn: Turn = (
        Mutex::new(0).expect("a mutex"),
        Condition::new().expect("a condition"),
    );
    let partner = Partner::new(pass_often, turn.clone());
    move |rounds| partner.beside(rounds, || (0..rounds).for_each(|_| pass(&turn, 0)))
}
