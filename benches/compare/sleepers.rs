//! Many that sleep for the same thing (B20): what it costs to wake one of them, and all.

use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use procession_bench::{Trial, median};
use procession_primitives::Process;
use procession_sync::{Atomic, Condition, Mutex, Queue};

/// How many have begun, and how often one was woken.
type Counts = (Atomic<u64>, Atomic<u64>);

/// Wakes so many, of so many that there are.
type Wake<'a> = &'a dyn Fn(u64, u64);

/// A part of B20.
pub(crate) fn sleepers(trial: &Trial) {
    let threads = [1, 10, 100, 1_000];
    let processes = &threads[..trial.size(4, 3)];
    sweep(trial, "Queue", "threads", &threads, |count| queue(1, count));
    sweep(trial, "Queue", "processes", processes, |count| {
        queue(count, 1)
    });
    sweep(trial, "Condition", "threads", &threads, condition);
}

/// Microseconds to wake one, and of each if all are woken.
fn sweep(trial: &Trial, what: &str, whom: &str, counts: &[u64], run: impl Fn(u64) -> [f64; 2]) {
    let mut all = [Vec::new(), Vec::new()];
    let words = ["one", "all"];
    for &count in counts {
        for ((values, word), value) in all.iter_mut().zip(words).zip(run(count)) {
            values.push(value);
            let workload = format!("{what}, {word} of n sleeping {whom} woken");
            let record = trial.record(&workload, "us/wake-up", value);
            trial.emit(record.at(whom, count as f64));
        }
    }
    for (values, word) in all.iter().zip(words) {
        let unit = format!("us/wake-up ({what}, {word} of n {whom})");
        trial.emit(trial.spread(&unit, values));
    }
}

fn counts() -> Counts {
    let number = || Atomic::new(0).expect("a number");
    (number(), number())
}

/// Wakes one and all, again and again.
fn measure((begun, woken): &Counts, count: u64, wake: Wake<'_>) -> [f64; 2] {
    while begun.load(Ordering::Relaxed) < count {
        sleep(Duration::from_millis(1));
    }
    let time = |of: u64| {
        // By then they have gone to sleep.
        sleep(Duration::from_micros(500 + 50 * count));
        let until = woken.load(Ordering::Relaxed) + of;
        let start = Instant::now();
        wake(of, count);
        // Acquire: what was done before it was counted has been done.
        while woken.load(Ordering::Acquire) < until {
            // Who was woken may want this CPU.
            thread::yield_now();
        }
        start.elapsed().as_secs_f64() * 1e6 / of as f64
    };
    let times = |rounds, of| median(&(0..rounds).map(|_| time(of)).collect::<Vec<_>>());
    [times(50, 1), times(10, count)]
}

/// Runs `sleeper` in so many threads.
fn threads(count: u64, counts: &Counts, sleeper: impl Fn(&mut dyn FnMut()) + Sync) {
    let (begun, woken) = counts;
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                begun.fetch_add(1, Ordering::Relaxed);
                // Release: goes with the load that waits for it.
                sleeper(&mut || _ = woken.fetch_add(1, Ordering::Release));
            });
        }
    });
}

fn take((queue, counts, count): (Queue<u64>, Counts, u64)) {
    threads(count, &counts, |woken| {
        while queue.get().is_ok() {
            woken();
        }
    });
}

fn queue(processes: u64, threads: u64) -> [f64; 2] {
    let queue = Queue::new().expect("a queue");
    let counts = counts();
    let argument = || (queue.clone(), counts.clone(), threads);
    let processes: Vec<_> = (0..processes)
        .map(|_| Process::spawn(take, argument()).expect("a process starts"))
        .collect();
    let sleepers = processes.len() as u64 * threads;
    let values = measure(&counts, sleepers, &|count, _| match count {
        1 => queue.put(7).expect("room"),
        _ => _ = queue.put_many(0..count).expect("room"),
    });
    queue.close().expect("it is ours");
    for process in processes {
        process.join().expect("it ends");
    }
    values
}

/// Wake-ups that are due, and how many wait.
type State = Mutex<[u64; 2]>;

/// Due for ever.
const END: u64 = u64::MAX;

fn wait((state, changed, counts, count): (State, Condition, Counts, u64)) {
    threads(count, &counts, |woken| {
        loop {
            let mut state = state.lock().expect("nobody died");
            state[1] += 1;
            let due = changed.wait_for(&mut state, |state| state[0] > 0);
            due.expect("nobody died");
            if state[0] == END {
                return;
            }
            *state = [state[0] - 1, state[1] - 1];
            drop(state);
            woken();
        }
    });
}

fn condition(threads: u64) -> [f64; 2] {
    let state: State = Mutex::new([0, 0]).expect("a mutex");
    let changed = Condition::new().expect("a condition");
    let counts = counts();
    let argument = (state.clone(), changed.clone(), counts.clone(), threads);
    let process = Process::spawn(wait, argument).expect("a process starts");
    let wake = |count: u64, all: u64| {
        state.lock().expect("nobody died")[0] = count;
        if count == all {
            changed.notify_all().expect("it is ours");
        } else {
            changed.notify().expect("it is ours");
        }
    };
    let values = measure(&counts, threads, &wake);
    wake(END, END);
    process.join().expect("it ends");
    values
}
