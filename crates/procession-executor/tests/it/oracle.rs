//! What the storm submits, and the one right outcome of each.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use procession_executor::{Executor, Phase, ProcessPoolExecutor, TaskError};
use procession_testkit::dice::dice;
use procession_testkit::{ledger, pause};
use serde::{Deserialize, Serialize};

/// How long an item may take where it is timed.
pub(crate) const LIMIT: Duration = Duration::from_millis(3);

/// How often an item is tried again where it is.
pub(crate) const RETRIES: u32 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u32,
    /// How long it takes.
    pub(crate) nanos: u32,
    /// Bytes of the value.
    pub(crate) size: u32,
}

pub(crate) type Parcel = (u32, Vec<u8>);
pub(crate) type Outcome = Result<Parcel, TaskError>;

pub(crate) fn deliver(order: Order) -> Parcel {
    ledger::note(order.id);
    pause(Duration::from_nanos(u64::from(order.nanos)));
    (order.id, vec![order.id as u8; order.size as usize])
}

pub(crate) fn orders(count: u32, nanos: u64) -> Vec<Order> {
    let first = ledger::recycle(count);
    let order = |id| Order {
        id,
        nanos: dice(nanos) as u32,
        size: dice([20, 300, 50_000][dice(3) as usize]) as u32,
    };
    (first..first + count).map(order).collect()
}

/// An executor, and what has become of its futures.
pub(crate) struct Reign {
    pub(crate) executor: ProcessPoolExecutor,
    /// Somebody ends it, or has.
    pub(crate) ended: AtomicBool,
    pub(crate) called_back: Arc<AtomicU32>,
    pub(crate) to_be_called: AtomicU32,
    /// Tasks whose futures were dropped.
    loose: Mutex<Vec<u32>>,
}

impl Reign {
    pub(crate) fn new() -> Arc<Reign> {
        let mut builder = ProcessPoolExecutor::builder().workers(1 + dice(3) as usize);
        if dice(3) == 0 {
            builder = builder.max_tasks_per_child(1 + dice(100));
        }
        if dice(3) == 0 {
            builder = builder.max_pending(1 + dice(100) as usize);
        }
        if dice(3) == 0 {
            builder = builder.idle_timeout(Duration::from_micros(dice(3000)));
        }
        Arc::new(Reign {
            executor: builder.build().unwrap(),
            ended: AtomicBool::new(false),
            called_back: Arc::default(),
            to_be_called: AtomicU32::new(0),
            loose: Mutex::default(),
        })
    }

    pub(crate) fn let_go(&self, id: u32) {
        self.loose.lock().unwrap().push(id);
    }

    /// Nobody has it any more.
    pub(crate) fn judge(self, tally: &Tally) {
        self.executor.shutdown();
        let (called, expected) = (&self.called_back, self.to_be_called.into_inner());
        assert_eq!(called.load(Ordering::Acquire), expected, "callbacks");
        drop(self.executor);
        let loose = self.loose.into_inner().unwrap();
        for id in &loose {
            let runs = ledger::get(*id);
            assert!(runs <= 1, "{id} ran {runs} times");
        }
        tally
            .dropped
            .fetch_add(loose.len() as u64, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) submitted: AtomicU64,
    pub(crate) ok: AtomicU64,
    pub(crate) died: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The one right outcome of `order`. `hit`: what the call said that was to cancel it, and how
/// often it may have run if it did.
#[track_caller]
pub(crate) fn judge(
    order: &Order,
    outcome: &Outcome,
    hit: Option<(bool, u32)>,
    attempts: u32,
    reign: &Reign,
    tally: &Tally,
) {
    let runs = ledger::get(order.id);
    let ended = reign.ended.load(Ordering::Acquire);
    assert!(runs <= attempts, "{order:?} ran {runs} times");
    let kind = match outcome {
        Ok((id, body)) => {
            assert_eq!(*id, order.id);
            assert_eq!(*body, vec![order.id as u8; order.size as usize]);
            assert!(runs >= 1 && hit.is_none_or(|hit| !hit.0), "{order:?}");
            &tally.ok
        }
        Err(TaskError::WorkerDied(death)) => {
            let ends = (death.signal(), death.exit_code());
            assert_eq!(ends, (Some(9), None), "{death}");
            assert!(hit.is_none_or(|hit| !hit.0), "{order:?}");
            assert!(attempts == 1 || ended, "{order:?} is tried again");
            match death.phase() {
                Phase::Decoding if attempts == 1 => assert_eq!(runs, 0, "{order:?}"),
                Phase::Encoding => assert!(runs >= 1, "{order:?}"),
                Phase::Running | Phase::Decoding => {}
                phase => panic!("an item died {phase}"),
            }
            &tally.died
        }
        Err(TaskError::TimedOut(after)) => {
            assert_eq!(*after, LIMIT);
            &tally.timed_out
        }
        Err(TaskError::Cancelled) => {
            let (was_hit, most) = hit.unwrap_or_default();
            assert!(was_hit || ended, "{order:?}: nobody has cancelled it");
            // An item that was to be tried again had run before.
            let most = most.max(attempts - 1);
            assert!(runs <= most, "{order:?} ran {runs} times, by {hit:?}");
            &tally.cancelled
        }
        Err(TaskError::Closed) => {
            assert!(ended, "{order:?}: nobody has ended the executor");
            assert!(runs < attempts, "{order:?} ran {runs} times, and is closed");
            &tally.closed
        }
        Err(error) => panic!("{order:?}: {error:?}"),
    };
    kind.fetch_add(1, Ordering::Relaxed);
}
