//! A queue, somebody who sleeps at it, and a victim.

use std::cell::RefCell;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{GetError, PutError, Queue, Receiver, Sender};
use procession_testkit::{Case, sweep};

use crate::item::{Item, advance, item};
use crate::support::{await_objects, await_waiters, family};
use crate::{next, parts, title};

/// Who else is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Nobody,
    /// Asleep, since the queue is empty.
    Consumer,
    /// Asleep with `LATE`, since the queue is full.
    Producer,
}

/// What the victim's call does to the queue, all or nothing or one of a few states between.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// So many of these messages are there.
    Puts(&'static [u32], &'static [usize]),
    /// So many are gone.
    Gets(&'static [usize]),
    Closes,
}

/// One call to sweep over.
#[derive(Debug, Clone, Copy)]
struct Scene {
    victim: fn((Queue<Item>, u32)),
    effect: Effect,
    capacity: usize,
    /// What is in there before.
    before: &'static [u32],
    at_the_end: bool,
    peer: Peer,
    /// Nobody has the queue when the victim is dead: it goes as the victim has left it.
    abandoned: bool,
}

/// The message of the peer that sleeps.
const LATE: u32 = 900;
/// The last message.
const END: u32 = 990;

macro_rules! victims {
    ($($name:ident: |$queue:ident| $prepared:expr, |$value:ident| $call:expr;)*) => {
        $(fn $name(($queue, tracer): (Queue<Item>, u32)) {
            let $value = $prepared;
            sweep::begin(tracer);
            let _ = $call;
            sweep::end();
        })*
    };
}

const WAIT: Duration = Duration::from_millis(60);

victims! {
    put_short: |queue| item(100), |value| queue.put(value);
    put_words: |queue| item(103), |value| queue.put(value);
    put_long: |queue| item(101), |value| queue.put(value);
    put_handle: |queue| item(102), |value| queue.put(value);
    put_many: |queue| [100, 103, 101, 104].map(item), |values| queue.put_many(values);
    put_in_vain: |queue| item(100), |value| queue.put_timeout(value, WAIT);
    get: |queue| (), |_value| queue.get();
    get_many: |queue| (), |_value| queue.get_many(2);
    get_in_vain: |queue| (), |_value| queue.get_timeout(WAIT);
    close: |queue| (), |_value| queue.close();
}

pub(crate) fn cases() -> Vec<Case> {
    use Effect::{Closes, Gets, Puts};
    use Peer::{Consumer, Nobody, Producer};

    let mut cases = Vec::new();
    let mut add = |name: &str, victim, effect, before: &'static [u32], peer| {
        let scene = Scene {
            victim,
            effect,
            capacity: if peer == Producer { before.len() } else { 8 },
            before,
            at_the_end: name.ends_with("wraps"),
            peer,
            abandoned: name.ends_with("abandoned"),
        };
        for part in parts() {
            let title = title(&format!("sweep::{name}"), part);
            cases.push(Case::new(title, move || run(scene, part)));
        }
    };
    const BATCH: Effect = Puts(&[100, 103, 101, 104], &[0, 2, 3, 4]);
    add("put", put_short, Puts(&[100], &[0, 1]), &[1, 2], Nobody);
    add(
        "put_to_a_sleeper",
        put_short,
        Puts(&[100], &[0, 1]),
        &[],
        Consumer,
    );
    add("put_wraps", put_words, Puts(&[103], &[0, 1]), &[], Nobody);
    add("put_long", put_long, Puts(&[101], &[0, 1]), &[1], Nobody);
    add(
        "put_long_to_a_sleeper",
        put_long,
        Puts(&[101], &[0, 1]),
        &[],
        Consumer,
    );
    add(
        "put_long_wraps",
        put_long,
        Puts(&[101], &[0, 1]),
        &[],
        Nobody,
    );
    add("put_handle", put_handle, Puts(&[102], &[0, 1]), &[], Nobody);
    add("put_many", put_many, BATCH, &[3], Nobody);
    add("put_many_to_a_sleeper", put_many, BATCH, &[], Consumer);
    add("put_in_vain", put_in_vain, Gets(&[0]), &[1, 11], Producer);
    add("get", get, Gets(&[0, 1]), &[10, 20], Nobody);
    add("get_the_last", get, Gets(&[0, 1]), &[10], Nobody);
    add(
        "get_from_a_sleeper",
        get,
        Gets(&[0, 1]),
        &[10, 20],
        Producer,
    );
    add("get_wraps", get, Gets(&[0, 1]), &[13, 23], Nobody);
    add("get_long", get, Gets(&[0, 1]), &[11, 21], Nobody);
    add(
        "get_long_from_a_sleeper",
        get,
        Gets(&[0, 1]),
        &[11],
        Producer,
    );
    add("get_long_wraps", get, Gets(&[0, 1]), &[11, 10], Nobody);
    add("get_handle", get, Gets(&[0, 1]), &[12, 10], Nobody);
    add("get_many", get_many, Gets(&[0, 2]), &[10, 13, 20], Nobody);
    add(
        "get_many_from_a_sleeper",
        get_many,
        Gets(&[0, 2]),
        &[10, 13, 20],
        Producer,
    );
    add("get_in_vain", get_in_vain, Gets(&[0]), &[], Consumer);
    add(
        "put_long_abandoned",
        put_long,
        Puts(&[101], &[0, 1]),
        &[1],
        Nobody,
    );
    add(
        "put_handle_abandoned",
        put_handle,
        Puts(&[102], &[0, 1]),
        &[],
        Nobody,
    );
    add("get_long_abandoned", get, Gets(&[0, 1]), &[11, 21], Nobody);
    add(
        "get_handle_abandoned",
        get,
        Gets(&[0, 1]),
        &[12, 10],
        Nobody,
    );
    add("close", close, Closes, &[1, 2], Nobody);
    add("close_on_a_consumer", close, Closes, &[], Consumer);
    add("close_on_a_producer", close, Closes, &[1], Producer);
    cases
}

/// One victim's surroundings.
struct Stage {
    queue: Queue<Item>,
    /// So that it has no end while nobody has put or taken anything.
    sides: (Sender<Item>, Receiver<Item>),
    peer: Option<JoinHandle<Vec<u32>>>,
    objects: usize,
}

/// What the peer that takes does: until the last message, or the end.
fn take_all(queue: &Queue<Item>) -> Vec<u32> {
    let mut found = Vec::new();
    loop {
        match queue.get() {
            Ok(item) => found.push(item.checked()),
            Err(GetError::Closed) => return found,
            Err(error) => panic!("{error}"),
        }
        if found.last() == Some(&END) {
            found.pop();
            return found;
        }
    }
}

impl Stage {
    fn set(scene: Scene) -> Stage {
        let objects = family().object_count();
        let queue = Queue::bounded(scene.capacity).unwrap();
        if scene.at_the_end {
            advance(&queue);
        }
        for id in scene.before {
            queue.put(item(*id)).unwrap();
        }
        let sides = (queue.sender(), queue.receiver());
        let same = queue.clone();
        let peer = match scene.peer {
            Peer::Nobody => None,
            Peer::Consumer => Some(thread::spawn(move || take_all(&same))),
            Peer::Producer => Some(thread::spawn(move || match same.put(item(LATE)) {
                Ok(()) => vec![LATE],
                Err(PutError::Closed(_)) => vec![],
                Err(error) => panic!("{error}"),
            })),
        };
        if peer.is_some() {
            await_waiters(&queue, 1);
        }
        Stage {
            queue,
            sides,
            peer,
            objects,
        }
    }

    /// What was in the queue: whoever sleeps comes back.
    fn contents(&mut self, scene: Scene) -> Vec<u32> {
        let queue = &self.queue;
        let Some(peer) = self.peer.take() else {
            return drain(queue);
        };
        if scene.peer == Peer::Consumer {
            match queue.put(item(END)) {
                Ok(()) | Err(PutError::Closed(_)) => return peer.join().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        let mut found = Vec::new();
        while found.last() != Some(&LATE) {
            match queue.get() {
                Ok(item) => found.push(item.checked()),
                Err(GetError::Closed) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let late = peer.join().unwrap();
        assert!(found.ends_with(&late));
        found.truncate(found.len() - late.len());
        found
    }

    /// Panics if the call is not there as a whole, or not at all; how much of it is.
    fn judge(&mut self, scene: Scene) -> usize {
        let closed = self.queue.is_closed();
        let found = self.contents(scene);
        let before = scene.before;
        let (states, done) = match scene.effect {
            Effect::Puts(ids, states) => {
                let (old, new) = found.split_at(before.len().min(found.len()));
                assert_eq!(old, before);
                assert!(ids.starts_with(new), "{found:?}");
                (states, new.len())
            }
            Effect::Gets(states) => {
                assert!(before.ends_with(&found), "{found:?}");
                (states, before.len() - found.len())
            }
            Effect::Closes => {
                assert_eq!(found, before);
                (&[0, 1][..], usize::from(closed))
            }
        };
        assert!(states.contains(&done), "{done} of {:?}", scene.effect);
        done
    }

    /// Nobody comes to repair anything, and all memory is back.
    fn abandon(self) {
        drop((self.queue, self.sides));
        await_objects("the objects are freed", self.objects);
    }

    /// Puts and takes once more, and all memory is back.
    fn finish(self) {
        let Stage {
            queue,
            sides,
            objects,
            ..
        } = self;
        for id in [500, 501, 502, 503] {
            if queue.is_closed() {
                assert!(matches!(queue.put(item(id)), Err(PutError::Closed(_))));
                assert!(matches!(queue.get(), Err(GetError::Closed)));
            } else {
                queue.put(item(id)).unwrap();
                assert_eq!(queue.get().unwrap().checked(), id);
            }
        }
        assert!(queue.is_empty() && !queue.is_full());
        // Its own three.
        await_objects("handles in lost messages are forgotten", objects + 3);
        drop((queue, sides));
        await_objects("the objects are freed", objects);
    }
}

fn drain(queue: &Queue<Item>) -> Vec<u32> {
    let mut found = Vec::new();
    loop {
        match queue.try_get() {
            Ok(item) => found.push(item.checked()),
            Err(GetError::Empty | GetError::Closed) => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(scene: Scene, part: Option<(u64, u64)>) {
    let stage = RefCell::new(None);
    let before = procession_testkit::heap_units();
    let start = || {
        let set = Stage::set(scene);
        let argument = (set.queue.clone(), std::process::id());
        stage.replace(Some(set));
        Process::spawn(scene.victim, argument).unwrap()
    };
    let mut least = (0, 0);
    let judge = |steps: u64| {
        let mut stage: Stage = stage.take().unwrap();
        if scene.abandoned {
            stage.abandon();
            procession_testkit::heap_is_back("the memory is back", before);
            return 0;
        }
        let done = stage.judge(scene);
        stage.finish();
        procession_testkit::heap_is_back("the memory is back", before);
        // The same call takes about as many instructions each time.
        let slack = steps / 8 + 500;
        let undone = done < least.0 && steps > least.1 + slack;
        assert!(
            !undone,
            "{done} after {steps} instructions, {least:?} before"
        );
        if done > least.0 {
            least = (done, steps);
        }
        done
    };
    let judge = RefCell::new(judge);
    let swept = sweep::victims(start, next(part), |steps| _ = judge.borrow_mut()(steps));
    let Some(swept) = swept else {
        stage.take().unwrap().peer = None;
        println!("  (skipped: tracing is not allowed here)");
        return;
    };
    // The last one was not killed.
    let all = judge.borrow_mut()(u64::MAX / 2);
    let expected = match scene.effect {
        _ if scene.abandoned => 0,
        Effect::Puts(ids, _) => ids.len(),
        Effect::Gets(states) => states[states.len() - 1],
        Effect::Closes => 1,
    };
    assert_eq!(all, expected);
    assert!(swept.kills > 4, "the victim was stepped");
    println!(
        "  ({} kills among {} instructions)",
        swept.kills, swept.steps
    );
}
