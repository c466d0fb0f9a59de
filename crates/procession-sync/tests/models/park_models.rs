//! `park` and the news: nobody sleeps for somebody who is dead.

use crate::primitive::{AtomicU32, FAMILY, Holder, MemberId, Ordering, wake};
use crate::scene::{Fault, PLAIN, killed, member, must_fail, share};

const SET: u32 = 1;
const SLEEPERS: u32 = 2;

/// Waits until `flag` is set or `other` is dead. Whether it was set.
fn wait_for(flag: &AtomicU32, other: MemberId) -> bool {
    loop {
        let news = FAMILY.news();
        let seen = flag.load(Ordering::Acquire);
        if seen & SET != 0 {
            return true;
        }
        if !FAMILY.is_alive(other) {
            // It may have set the flag before it died.
            return flag.load(Ordering::Acquire) & SET != 0;
        }
        let marked = seen | SLEEPERS;
        let order = Ordering::Relaxed;
        if seen == marked || flag.compare_exchange(seen, marked, order, order).is_ok() {
            FAMILY.park(flag, marked, news, None);
        }
    }
}

/// One sets a flag for which `sleepers` wait, and is killed on the way.
fn set_and_die(sleepers: u32) -> impl Fn() + Clone {
    move || {
        let flag = share::<AtomicU32>();
        let setter = FAMILY.holder().member();
        let threads: Vec<_> = (1..=sleepers)
            .map(|slot| {
                let flag = flag.clone();
                member(slot, move || wait_for(&flag, setter))
            })
            .collect();
        let set = || {
            if flag.swap(SET, Ordering::Release) & SLEEPERS != 0 {
                wake(&flag, u32::MAX);
            }
        };
        killed(set, |_| ());
        let was_set = flag.load(Ordering::Relaxed) & SET != 0;
        for thread in threads {
            assert_eq!(thread.join().unwrap(), was_set);
        }
    }
}

/// The supervisor reports the death of one that two wait for, each in a way of its own.
fn broadcast() {
    let dead = Holder::from_word(1 << 32 | 6).expect("a member").member();
    let threads = [1, 2].map(|slot| {
        let flag = share::<AtomicU32>();
        member(slot, move || wait_for(&flag, dead))
    });
    FAMILY.bury(dead);
    for thread in threads {
        assert!(!thread.join().unwrap());
    }
}

#[test]
fn a_death_wakes_all() {
    PLAIN.check(broadcast);
}

#[test]
fn killed_between_the_store_and_the_wake() {
    PLAIN.check_kills(set_and_die(1));
    PLAIN.check_kills(set_and_die(2));
}

#[test]
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::DeathWithoutNews).check(broadcast);
    });
}
