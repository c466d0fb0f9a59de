//! A path in a process that goes one instruction at a time.

use std::env;
use std::fs::{self, DirEntry};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio, id};
use std::thread;

use procession_testkit::trace::Traced;
use procession_testkit::{procfs, sweep};

/// The C library chooses its functions by the CPU; these are the same for all.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX512F,-AVX512VL,\
    -AVX512BW,-ERMS,-FSRM";

/// Before the name of a path: to do it, and be stepped.
pub(crate) const FLAG: &str = "--stepped";

/// What the process prints that came to its end.
const END: &str = "end";

/// In the program of a path: what follows in this thread is stepped.
pub(crate) fn begin() {
    settle();
    println!("{}", id());
    sweep::begin(parent_id());
}

/// What is stepped comes to its end, and the process, too.
pub(crate) fn end() -> ! {
    println!("{END}");
    sweep::end()
}

/// Waits until all other threads sleep: the pool's keeper does whatever it finds when it starts.
pub(crate) fn settle() {
    let is_asleep = |task: DirEntry| {
        // Ours is the one that runs. One that is gone is quiet.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        task.file_name() == *id().to_string() || !status.contains("State:\tR")
    };
    let is_settled = || {
        let mut tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
        tasks.all(|task| task.is_ok_and(is_asleep))
    };
    while !is_settled() {
        thread::yield_now();
    }
}

/// In the program of a path: another process, which begins by [`sweep::begin`], is stepped
/// to its end.
pub(crate) fn other(pid: u32) -> u32 {
    println!("{pid}");
    parent_id()
}

/// Waits until the stepping is over.
pub(crate) fn wait() {
    let _ = io::stdin().lines().next();
}

/// Starts path `name` and counts what it takes.
pub(crate) fn steps(name: &str, repetitions: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut program = Command::new(program)
        .args([FLAG, name, &repetitions.to_string()])
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = program.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let pid = lines.next().and_then(|line| line.parse().ok());
    let steps = pid.ok_or("it names no process".to_owned()).and_then(count);
    drop(program.stdin.take());
    // Not by its status: whoever traces a process may have waited for it already.
    let ended = lines.any(|line| line == END);
    let _ = program.wait();
    match steps {
        Ok(_) if !ended => Err("it did not come to its end".to_owned()),
        steps => steps,
    }
}

/// Steps a process that is about to stop itself to its end.
fn count(pid: u32) -> Result<u64, String> {
    loop {
        match procfs::state_and_parent(pid) {
            None | Some(('Z', _)) => return Err("it did not stop first".to_owned()),
            Some(('T', _)) => break,
            Some(_) => thread::yield_now(),
        }
    }
    // Its thread is tied to a CPU.
    let stepping = thread::spawn(move || {
        let traced = Traced::attach(pid).ok_or("the system does not allow tracing")?;
        let mut steps = 0;
        while traced.step() {
            steps += 1;
        }
        Ok(steps)
    });
    let stepped = stepping.join();
    stepped.unwrap_or_else(|_| Err("the stepping panicked".to_owned()))
}
