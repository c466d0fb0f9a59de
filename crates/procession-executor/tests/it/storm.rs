//! The storm: futures are submitted, cancelled, killed, awaited and dropped by several threads at
//! random, and executors ended, while workers are killed. An oracle checks every outcome.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use procession_executor::{Executor, Future, ReturnWhen, TaskError, as_completed, wait};
use procession_testkit::dice::dice;
use procession_testkit::{Case, heap_is_back, heap_units, pause, storm};

use crate::common::{Count, check_usable, poll_with};
use crate::oracle::{LIMIT, Order, Outcome, Parcel, RETRIES, Reign, Tally, deliver, judge, orders};
use crate::ways::block_on_all;

const CALLERS: usize = 5;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("storm::five_seconds", || blow(5))]
}

struct World {
    reign: RwLock<Arc<Reign>>,
    past: Mutex<Vec<Arc<Reign>>>,
    tally: Tally,
}

/// A storm of so many seconds.
pub(crate) fn blow(seconds: u64) {
    let before = heap_units();
    let world = World {
        reign: RwLock::new(Reign::new()),
        past: Mutex::default(),
        tally: Tally::default(),
    };
    let kills = storm::blow(seconds, CALLERS, |_| call(&world), || world.targets());
    let World { reign, past, tally } = world;
    let last = reign.into_inner().unwrap();
    check_usable(&last.executor);
    let mut reigns = past.into_inner().unwrap();
    reigns.push(last);
    for reign in reigns {
        Arc::into_inner(reign).expect("the last one").judge(&tally);
    }
    println!("  ({kills} kills, {tally:?})");
    let kinds = [
        &tally.ok,
        &tally.died,
        &tally.cancelled,
        &tally.timed_out,
        &tally.closed,
        &tally.dropped,
    ];
    let kinds = kinds.map(|kind| kind.load(Ordering::Relaxed));
    // Who submits while the executor ends is seldom there in a short one.
    let [.., closed, _] = kinds;
    let blown = kinds.iter().filter(|kind| **kind > 0).count();
    assert!(
        blown + usize::from(closed == 0) == kinds.len(),
        "not much of a storm"
    );
    assert_eq!(kinds.iter().sum::<u64>(), tally.submitted.into_inner());
    heap_is_back("the memory is back", before);
}

impl World {
    fn reign(&self) -> Arc<Reign> {
        let reign = self.reign.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&reign)
    }

    fn targets(&self) -> Vec<u32> {
        self.reign().executor.pool().worker_pids()
    }

    /// Ends the executor in one of the ways there are. Others still submit to it.
    fn change_reign(&self) {
        let old = std::mem::replace(&mut *self.reign.write().unwrap(), Reign::new());
        old.ended.store(true, Ordering::Release);
        for _ in 0..1 + dice(3) {
            match dice(4) {
                0 => old.executor.kill_workers(),
                1 => old.executor.shutdown_now(),
                2 => {
                    let _ = old
                        .executor
                        .shutdown_timeout(Duration::from_micros(dice(2000)));
                }
                _ => old.executor.shutdown_no_wait(),
            }
        }
        let mut past = self.past.lock().unwrap();
        past.push(old);
        let is_over = |reign: &mut Arc<Reign>| Arc::strong_count(reign) == 1;
        let over: Vec<_> = past.extract_if(.., is_over).collect();
        drop(past);
        for reign in over {
            Arc::into_inner(reign)
                .expect("the last one")
                .judge(&self.tally);
        }
    }
}

fn call(world: &World) {
    let reign = world.reign();
    let caller = Caller {
        reign: &reign,
        tally: &world.tally,
    };
    let count = 1 + dice(60) as u32;
    match dice(25) {
        0..4 => caller.results(count),
        4..7 => caller.awaits(count),
        7..10 => caller.takes_as_completed(count),
        10..12 => caller.waits(count),
        12..15 => caller.cancels_and_kills(count),
        15..17 => caller.drops(count),
        17..19 => caller.is_called_back(count),
        19 => caller.maps(),
        20 => caller.maps_unordered(),
        21 => caller.has_no_time(),
        22 | 23 => caller.tries_again(count),
        _ if dice(2) == 0 => {
            drop(reign);
            world.change_reign();
        }
        _ => {}
    }
}

/// One of those who submit and judge.
struct Caller<'a> {
    reign: &'a Reign,
    tally: &'a Tally,
}

impl Caller<'_> {
    fn order(&self, count: u32, nanos: u64) -> Vec<Order> {
        let submitted = &self.tally.submitted;
        submitted.fetch_add(u64::from(count), Ordering::Relaxed);
        orders(count, nanos)
    }

    fn submit(&self, count: u32, nanos: u64) -> (Vec<Order>, Vec<Future<Parcel>>) {
        let orders = self.order(count, nanos);
        let submit = |order: &Order| self.reign.executor.submit(deliver, *order);
        let futures = orders.iter().map(submit).collect();
        (orders, futures)
    }

    #[track_caller]
    fn judge(&self, order: &Order, outcome: &Outcome) {
        judge(order, outcome, None, 1, self.reign, self.tally);
    }

    fn results(&self, count: u32) {
        let (orders, futures) = self.submit(count, 200_000);
        for (order, future) in orders.iter().zip(futures) {
            self.judge(order, &future.result());
        }
    }

    fn awaits(&self, count: u32) {
        let (orders, futures) = self.submit(count, 200_000);
        for (order, outcome) in orders.iter().zip(block_on_all(futures)) {
            self.judge(order, &outcome);
        }
    }

    fn takes_as_completed(&self, count: u32) {
        let (orders, futures) = self.submit(count, 100_000);
        let ids: Vec<u64> = futures.iter().map(Future::id).collect();
        let mut seen = 0;
        for future in as_completed(futures) {
            let at = ids.iter().position(|id| *id == future.id()).unwrap();
            self.judge(&orders[at], &future.try_result().expect("completed"));
            seen += 1;
        }
        assert_eq!(seen, count, "one outcome per future");
    }

    fn waits(&self, count: u32) {
        let (orders, futures) = self.submit(count, 100_000);
        let ids: Vec<u64> = futures.iter().map(Future::id).collect();
        let when = [ReturnWhen::FirstCompleted, ReturnWhen::FirstException][dice(2) as usize];
        let (done, not_done) = wait(futures, when);
        assert!(!done.is_empty() && done.iter().all(Future::done));
        for future in done.into_iter().chain(not_done) {
            let at = ids.iter().position(|id| *id == future.id()).unwrap();
            self.judge(&orders[at], &future.result());
        }
    }

    fn cancels_and_kills(&self, count: u32) {
        let (orders, futures) = self.submit(count, 300_000);
        pause(Duration::from_nanos(dice(2_000_000)));
        // What it says, and how often the task may have run if that is true.
        let hit = |future: &Future<Parcel>| match dice(6) {
            0 => Some((future.kill(), 1)),
            1 => Some((future.cancel(), 0)),
            _ => None,
        };
        let hits: Vec<_> = futures.iter().map(hit).collect();
        for ((order, future), hit) in orders.iter().zip(futures).zip(hits) {
            if let Some((true, _)) = hit {
                assert!(future.done() && future.cancelled());
            }
            judge(order, &future.result(), hit, 1, self.reign, self.tally);
        }
    }

    /// In all the ways there are.
    fn drops(&self, count: u32) {
        let (orders, futures) = self.submit(count, 200_000);
        for (order, mut future) in orders.iter().zip(futures) {
            match dice(6) {
                0 => drop(future.cancel_on_drop()),
                1 => drop(future.kill_on_drop()),
                2 => {
                    let (_count, waker) = Count::new();
                    let _ = poll_with(&mut future, &waker);
                }
                3 => drop(future.result_timeout(Duration::from_micros(dice(300)))),
                4 => drop(as_completed([future]).timeout(Duration::ZERO).next()),
                _ => {}
            }
            self.reign.let_go(order.id);
        }
    }

    fn is_called_back(&self, count: u32) {
        let (orders, futures) = self.submit(count, 200_000);
        self.reign.to_be_called.fetch_add(count, Ordering::Relaxed);
        for (order, future) in orders.iter().zip(futures) {
            let called = Arc::clone(&self.reign.called_back);
            let handle = self.reign.executor.handle().clone();
            future.add_done_callback(move |_| {
                if dice(10) == 0 {
                    drop(handle.submit(|n: u32| n, 1));
                }
                called.fetch_add(1, Ordering::Release);
            });
            self.reign.let_go(order.id);
        }
    }

    fn maps(&self) {
        let asked = 1 + dice(100) as usize;
        let orders = orders(100, 50_000);
        let view = self.reign.executor.chunksize(1 + dice(12) as usize);
        let outcomes = view.map(deliver, orders.clone()).take(asked);
        let mut found = 0;
        for (order, outcome) in orders.iter().zip(outcomes) {
            self.judge(order, &outcome);
            found += 1;
        }
        assert_eq!(found, asked, "one outcome per item");
        self.tally
            .submitted
            .fetch_add(found as u64, Ordering::Relaxed);
    }

    /// Of which item an error is, is not told.
    fn maps_unordered(&self) {
        let orders = self.order(100, 50_000);
        let view = self.reign.executor.chunksize(1 + dice(12) as usize);
        let outcomes: Vec<_> = view.map_unordered(deliver, orders.clone()).collect();
        assert_eq!(outcomes.len(), 100, "one outcome per item");
        let mut ids = Vec::new();
        for outcome in outcomes {
            match &outcome {
                Ok((id, _)) => {
                    let order = orders.iter().find(|order| order.id == *id);
                    self.judge(order.expect("one of these"), &outcome);
                    ids.push(*id);
                }
                // As a task that has run once, or never.
                Err(TaskError::WorkerDied(_)) => {
                    self.tally.died.fetch_add(1, Ordering::Relaxed);
                }
                Err(TaskError::Cancelled | TaskError::Closed) => {
                    assert!(self.reign.ended.load(Ordering::Acquire));
                    self.tally.closed.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "each once");
    }

    fn has_no_time(&self) {
        let orders = self.order(15, 4_000_000);
        let timed = self.reign.executor.timeout(LIMIT);
        let submit = |order: &Order| timed.submit(deliver, *order);
        let futures: Vec<_> = orders.iter().map(submit).collect();
        for (order, future) in orders.iter().zip(futures) {
            self.judge(order, &future.result());
        }
    }

    fn tries_again(&self, count: u32) {
        let orders = self.order(count, 100_000);
        let again = self.reign.executor.retries(RETRIES);
        let submit = |order: &Order| again.submit(deliver, *order);
        let futures: Vec<_> = orders.iter().map(submit).collect();
        for (order, future) in orders.iter().zip(futures) {
            let outcome = future.result();
            judge(order, &outcome, None, 1 + RETRIES, self.reign, self.tally);
        }
    }
}
