//! Kills a process at every so many instructions of the heap's operations, and checks the heap.
//!
//! The victim is stepped with `ptrace` through an allocation, a growth, a second allocation and
//! two frees, and killed after `k` instructions, for many `k`. Afterwards the heap must be whole,
//! nothing of the victim's may be left in it, and it must go on serving. `SWEEP_STRIDE=1`
//! kills at every instruction.

use procession_primitives::{Block, Family, Process};
use procession_testkit::sweep;

const BLOCK: usize = 64 << 10;

/// What the victim does while it is stepped.
fn victim(tracer: u32) {
    let Ok(family) = Family::current() else {
        return;
    };
    let hole = Block::new(family, 3 * BLOCK);
    let beside = Block::new(family, BLOCK);
    drop(hole);
    sweep::begin(tracer);
    let Ok(mut block) = Block::new(family, BLOCK) else {
        return;
    };
    let _ = block.grow(2 * BLOCK, 8);
    let Ok(mut last) = Block::new(family, 5 * BLOCK) else {
        return;
    };
    let _ = last.grow(7 * BLOCK, 8);
    drop(block);
    drop(last);
    drop(beside);
    sweep::end();
}

#[test]
fn the_heap_survives_a_kill_at_any_instruction() {
    let stride = std::env::var("SWEEP_STRIDE")
        .ok()
        .and_then(|s| s.parse().ok());
    let family = Family::current().expect("a family");
    let before = family.arena().heap_report(family);
    let start = || Process::spawn(victim, std::process::id()).expect("a process starts");
    // By default a hundred kills or so, densest where the first allocation is.
    let next = |steps| steps + stride.unwrap_or(1 + steps / 16);
    let swept = sweep::victims(start, next, |steps| {
        let after = family.arena().heap_report(family);
        assert!(after.whole, "killed after {steps} instructions: {after:?}");
        assert_eq!(
            after.used, before.used,
            "killed after {steps} instructions: {after:?}"
        );
        let blocks: Vec<_> = (1..5)
            .map(|n| Block::new(family, n * BLOCK).expect("memory"))
            .collect();
        let mut places: Vec<_> = blocks
            .iter()
            .map(|b| (b.offset(), b.len() as u64))
            .collect();
        places.sort_unstable();
        let apart = places
            .windows(2)
            .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
        assert!(
            apart,
            "killed after {steps} instructions: blocks overlap: {places:x?}"
        );
    });
    let Some(swept) = swept else {
        println!("SKIPPED: this system does not allow tracing");
        return;
    };
    println!("{} kills over {} instructions", swept.kills, swept.steps);
    assert!(swept.kills > 20, "the victim was stepped");
    let after = family.arena().heap_report(family);
    assert!(
        after.spanned < 200,
        "killed processes' memory is used again: {after:?}"
    );
}
