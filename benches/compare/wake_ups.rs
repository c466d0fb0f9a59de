//! Wake-ups of one process, again and again (B20).

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use procession_bench::Trial;
use procession_sync::{Atomic, Queue};

use crate::workloads::partner::{Line, Partner, serve};

/// By then whoever waits has gone to sleep.
const PAUSE: Duration = Duration::from_micros(60);

/// A queue, and how many messages were taken from it.
type Counted = (Queue<u64>, Atomic<u64>);

fn take((line, (queue, taken)): (Line, Counted)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            queue.get().expect("a message");
            // Release: goes with the load that waits for it.
            taken.fetch_add(1, Ordering::Release);
        }
    });
}

/// A process sleeps until there is a message, again and again.
pub(crate) fn wake_ups(trial: &Trial) {
    let queue = Queue::new().expect("a queue");
    let taken = Atomic::new(0_u64).expect("a number");
    let partner = Partner::new(take, (queue.clone(), taken.clone()));
    let mut values = Vec::new();
    for power in 2..=trial.size(5, 4) {
        let wake_ups = 10_u64.pow(power);
        let mut spent = Duration::ZERO;
        partner.beside(wake_ups, || {
            for _ in 0..wake_ups {
                let start = Instant::now();
                while start.elapsed() < PAUSE {
                    spin_loop();
                }
                spent += deliver(&queue, &taken);
            }
        });
        let micros = spent.as_secs_f64() * 1e6 / wake_ups as f64;
        values.push(micros);
        let record = trial.record("Queue, consumer asleep, by wake-ups", "us/wake-up", micros);
        trial.emit(record.at("wake-ups", wake_ups as f64));
    }
    trial.emit(trial.spread("us/wake-up", &values));
}

/// How long it takes until the other process has taken a message.
fn deliver(queue: &Queue<u64>, taken: &Atomic<u64>) -> Duration {
    let before = taken.load(Ordering::Relaxed);
    let start = Instant::now();
    queue.put(7).expect("somebody takes it");
    // Acquire: what was done before it was counted has been done.
    while taken.load(Ordering::Acquire) == before {
        spin_loop();
    }
    start.elapsed()
}
