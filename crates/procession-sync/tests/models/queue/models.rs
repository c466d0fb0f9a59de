//! The queue: what was put is taken once, in order, and nobody sleeps for what is there.
#![allow(unsafe_code, reason = "makes a ring as the shipped files do")]

use std::cell::RefCell;
use std::rc::Rc;

use super::bytes::Bytes;
use super::core::{Core, Message, Nothing, Patience, Refused, State, Taken, next_frame};
use super::memory::Memory;
use super::ring::Frame;
use crate::primitive::{Instant, Object, Ordering};
use crate::scene::{Fault, HAND_OVER, PLAIN, Scene, killed, member, must_fail};

/// A queue, and what was taken out of it.
#[derive(Clone)]
struct Line {
    core: Core,
    taken: Rc<RefCell<Vec<u64>>>,
}

const FOREVER: Patience = Patience::Until(None);

impl Line {
    fn new(capacity: u64) -> Line {
        let state = State::default();
        state.capacity.store(capacity, Ordering::Relaxed);
        state.max_bytes.store(u64::MAX, Ordering::Relaxed);
        // SAFETY: the model makes its own words.
        let memory = unsafe { Memory::new(std::ptr::null_mut(), 16) };
        let object = Object::new(state);
        Line {
            core: Core { object, memory },
            taken: Rc::default(),
        }
    }

    fn try_put(&self, value: u64) -> Result<(), Refused> {
        let header = Frame::Inline(8).to_word().to_ne_bytes();
        let frame = [header, value.to_ne_bytes()].concat();
        // As a user's put does: first the short way.
        let family = self.core.object.family().ok_or(Refused::Foreign)?;
        if self.core.put_at_once(family, &frame, 1) {
            return Ok(());
        }
        self.core.put(Message::Frames(&frame, 1), FOREVER, || false)
    }

    fn put(&self, value: u64) {
        assert_eq!(self.try_put(value), Ok(()));
    }

    /// Takes one. Whether there was one, unless the queue was closed or time has passed.
    fn take(&self, deadline: Option<Instant>) -> bool {
        let mut bytes = Bytes::new();
        let patience = Patience::Until(deadline);
        // As a user's get does: first the short way.
        let outcome = match self.core.take_at_once(1, &|_, _| (), &mut bytes) {
            Some(count) => Ok(Taken::Frames(count)),
            None => self.core.take(1, patience, |_, _| (), || false, &mut bytes),
        };
        match outcome {
            Ok(_) => {
                let payload = next_frame(&mut &bytes[..]).map(|frame| frame.to_vec());
                let value = payload.expect("a whole frame").try_into().expect("8 bytes");
                self.taken.borrow_mut().push(u64::from_ne_bytes(value));
                true
            }
            Err(Nothing::Closed | Nothing::TimedOut) => false,
            Err(error) => unreachable!("{error:?}"),
        }
    }

    fn close(&self) {
        self.core.close().unwrap();
    }

    /// What was taken, sorted.
    fn all(&self) -> Vec<u64> {
        let mut all = self.taken.borrow().clone();
        all.sort_unstable();
        all
    }
}

/// `puts` times one value from each of `producers`, for `consumers` that take as many together.
fn traffic(producers: u32, puts: u64, consumers: u32) -> impl Fn() + Clone {
    move || {
        let line = Line::new(1);
        let producer = |slot| {
            let line = line.clone();
            let first = u64::from(slot) * 10;
            member(slot, move || {
                (first..first + puts).for_each(|value| line.put(value))
            })
        };
        let takes = u64::from(producers) * puts / u64::from(consumers);
        let consumer = |slot| {
            let line = line.clone();
            member(slot, move || {
                (0..takes).for_each(|_| assert!(line.take(None)))
            })
        };
        let threads: Vec<_> = (1..=producers)
            .map(producer)
            .chain((producers + 1..producers + consumers).map(consumer))
            .collect();
        (0..takes).for_each(|_| assert!(line.take(None)));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let put = (1..=u64::from(producers)).flat_map(|slot| slot * 10..slot * 10 + puts);
        assert_eq!(line.all(), put.collect::<Vec<_>>());
        if producers + consumers == 2 {
            assert!(line.taken.borrow().is_sorted(), "out of order");
        }
    }
}

/// One puts a value and closes, for `consumers` that take until it is closed.
fn close(consumers: u32) -> impl Fn() + Clone {
    move || {
        let line = Line::new(1);
        let consumer = |slot| {
            let line = line.clone();
            member(slot, move || while line.take(None) {})
        };
        let threads: Vec<_> = (1..=consumers).map(consumer).collect();
        line.put(7);
        line.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(line.all(), [7]);
    }
}

/// Two wait for room; it is closed, perhaps after one place has come free.
fn close_full(takes: bool) -> impl Fn() + Clone {
    move || {
        let line = Line::new(1);
        line.put(0);
        let producer = |slot| {
            let line = line.clone();
            member(slot, move || line.try_put(slot.into()).is_ok())
        };
        let threads = [1, 2].map(producer);
        if takes {
            assert!(line.take(None));
        }
        line.close();
        let done = threads.map(|thread| thread.join().unwrap());
        while line.take(None) {}
        let put = (1..)
            .zip(done)
            .filter_map(|(value, put)| put.then_some(value));
        assert_eq!(line.all(), [0].into_iter().chain(put).collect::<Vec<_>>());
    }
}

/// One that puts is killed; its next generation puts, too, and closes.
fn killed_producer(consumers: u32) -> impl Fn() + Clone {
    move || {
        let line = Line::new(1);
        let consumer = |slot| {
            let line = line.clone();
            member(slot, move || while line.take(None) {})
        };
        let threads: Vec<_> = (1..=consumers).map(consumer).collect();
        killed(|| line.put(1), |_| ());
        line.put(2);
        line.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!([&[1, 2][..], &[2]].contains(&&line.all()[..]));
    }
}

/// One that takes is killed; another one takes the rest.
fn killed_consumer() {
    let line = Line::new(1);
    let its = line.clone();
    let producer = member(1, move || {
        its.put(1);
        its.put(2);
        its.close();
    });
    let its = line.clone();
    let consumer = member(2, move || while its.take(None) {});
    killed(|| assert!(line.take(None) || line.all() == [1, 2]), |_| ());
    producer.join().unwrap();
    consumer.join().unwrap();
    // One may have died with what it took.
    assert!([&[1, 2][..], &[1], &[2]].contains(&&line.all()[..]));
}

/// Two wait for one value, one of them not for ever.
fn time_out() {
    let line = Line::new(1);
    let [a, b] = [line.clone(), line.clone()];
    let timed = member(1, move || {
        if a.take(Some(Instant::LATER)) {
            a.put(1);
        }
    });
    let patient = member(2, move || assert!(b.take(None)));
    let time = member(3, || crate::primitive::FAMILY.pass_time());
    line.put(1);
    timed.join().unwrap();
    patient.join().unwrap();
    time.join().unwrap();
}

fn both(check: impl Fn(Scene)) {
    check(PLAIN);
    check(HAND_OVER);
}

#[test]
fn one_to_one() {
    both(|scene| scene.check(traffic(1, 2, 1)));
}

#[test]
fn two_to_one() {
    both(|scene| scene.check(traffic(2, 1, 1)));
}

#[test]
fn two_to_one_each_twice() {
    PLAIN.fewer().check(traffic(2, 2, 1));
}

#[test]
fn one_to_two() {
    both(|scene| scene.check(traffic(1, 2, 2)));
}

#[test]
fn one_closes() {
    both(|scene| scene.check(close(1)));
    PLAIN.check(close(2));
}

#[test]
fn one_closes_a_full_queue() {
    both(|scene| scene.check(close_full(false)));
    both(|scene| scene.check(close_full(true)));
}

#[test]
fn the_producer_is_killed() {
    PLAIN.check_kills(killed_producer(1));
}

#[test]
fn the_producer_of_two_is_killed() {
    PLAIN.fewer().check_kills(killed_producer(2));
}

#[test]
fn a_consumer_is_killed() {
    PLAIN.fewer().check_kills(killed_consumer);
}

#[test]
fn a_consumer_gives_up() {
    PLAIN.check(time_out);
}

#[test]
fn a_commit_without_order_is_found() {
    must_fail("Causality violation", || {
        PLAIN.with(Fault::CommitsRelaxed).check(traffic(1, 1, 1));
    });
}

#[test]
fn a_missing_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::Unfenced).check(traffic(1, 2, 1))
    });
}

#[test]
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::DeathWithoutNews)
            .check_kills(killed_producer(1));
    });
}
