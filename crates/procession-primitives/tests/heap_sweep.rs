//! Kills a process at every so many instructions of the heap's operations, and checks the heap.
//!
//! The victim is stepped with `ptrace` through an allocation, a growth, a second allocation and
//! two frees, and killed after `k` instructions, for many `k`. Afterwards the heap must be whole,
//! nothing of the victim's may be left in it, and it must go on serving. `HEAP_SWEEP_STRIDE=1`
//! kills at every instruction.
#![allow(unsafe_code, reason = "traces the victim")]

use procession_primitives::{Block, Family, Process};

const BLOCK: usize = 64 << 10;

/// What the victim does while it is stepped.
fn victim(tracer: i32) {
    let Ok(family) = Family::current() else {
        return;
    };
    let hole = Block::new(family, 3 * BLOCK);
    let beside = Block::new(family, BLOCK);
    drop(hole);
    // SAFETY: lets the test trace this process where the system asks for that, and stops.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer) };
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGSTOP) };
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
    // Without the rest of a process's end, which is not what is swept.
    // SAFETY: ends this process.
    unsafe { libc::_exit(0) };
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for the traced process.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    if waited == pid { status } else { 0 }
}

fn ptrace(request: libc::c_uint, pid: i32) -> bool {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: requests without data, on a process that this one traces or is allowed to.
    unsafe { libc::ptrace(request, pid, none, none) != -1 }
}

fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Lets a victim go `steps` instructions and kills it. False if it had ended before.
fn kill_after(steps: u32) -> Option<bool> {
    let victim = Process::spawn(victim, std::process::id() as i32).expect("a process starts");
    let pid = victim.pid() as i32;
    while !is_stopped(pid) {
        assert!(victim.is_alive(), "the victim stops itself first");
        std::thread::yield_now();
    }
    if !ptrace(libc::PTRACE_ATTACH, pid) {
        victim.kill().expect("it can be killed");
        return None;
    }
    wait(pid);
    let mut alive = true;
    for _ in 0..steps {
        ptrace(libc::PTRACE_SINGLESTEP, pid);
        if libc::WIFEXITED(wait(pid)) {
            alive = false;
            break;
        }
    }
    victim.kill().expect("it can be killed");
    // A tracer reaps too; the parent gets the status afterwards.
    while alive && !libc::WIFSIGNALED(wait(pid)) {}
    victim.wait();
    Some(alive)
}

#[test]
fn the_heap_survives_a_kill_at_any_instruction() {
    let stride = std::env::var("HEAP_SWEEP_STRIDE")
        .ok()
        .and_then(|s| s.parse().ok());
    let family = Family::current().expect("a family");
    let before = family.arena().heap_report(family);
    let mut steps = 0;
    let mut kills = 0;
    loop {
        match kill_after(steps) {
            None => {
                println!("SKIPPED: this system does not allow tracing");
                return;
            }
            Some(false) => break,
            Some(true) => kills += 1,
        }
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
        // By default a hundred kills or so, densest where the first allocation is.
        steps += stride.unwrap_or(1 + steps / 16);
    }
    println!("{kills} kills over {steps} instructions");
    assert!(kills > 20, "the victim was stepped");
    let after = family.arena().heap_report(family);
    assert!(
        after.spanned < 200,
        "killed processes' memory is used again: {after:?}"
    );
}
