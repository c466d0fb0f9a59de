//! Tasks that threads wait for.

use procession_pool::Priority;

use super::{Queue, REVOKED, TURN};
use crate::executor::Executor;
use crate::manual::Manual;

#[test]
fn urgent_ones_come_first_but_not_always() {
    let (manual, handle) = Manual::new();
    let mut queue = Queue::default();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        for n in 0..TURN {
            drop(handle.priority(priority).submit(|n: u32| n, n));
            queue.push(manual.take(0));
        }
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.pop())
        .map(|task| (task.policy.priority, task.done.id()))
        .collect();
    let turn = TURN as usize;
    assert_eq!(order.len(), 3 * turn);
    assert!(
        order[..turn - 1]
            .iter()
            .all(|task| task.0 == Priority::High)
    );
    assert_eq!(order[turn - 1].0, Priority::Low);
    assert_eq!(order[turn].0, Priority::High);
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let ids = order.iter().filter(|task| task.0 == priority);
        assert!(ids.is_sorted_by_key(|task| task.1));
    }
}

#[test]
fn cancelled_ones_are_swept_now_and_then() {
    let (manual, handle) = Manual::new();
    let mut queue = Queue::default();
    let tasks = 10 * REVOKED;
    let mut ids = Vec::new();
    for n in 0..tasks {
        ids.push(handle.submit(|n: u32| n, n as u32).id());
        queue.push(manual.take(0));
    }
    let mut swept = Vec::new();
    for id in &ids[..tasks - 1] {
        let mut tasks = queue.lines[1].iter();
        let task = tasks.find(|task| task.done.id() == *id).unwrap();
        assert!(task.done.revoke());
        swept.extend(queue.revoked());
    }
    assert!(queue.len() <= REVOKED + 1, "{} left", queue.len());
    assert_eq!(swept.len() + queue.len(), tasks);
    assert!(swept.iter().all(|task| task.done.is_cancelled()));
    let left = queue.drain();
    assert!(left.iter().any(|task| task.done.id() == ids[tasks - 1]));
    assert_eq!(queue.len(), 0);
}
