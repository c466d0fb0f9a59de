//! The storm of the queues for as long as one likes: `--test queue_storm -- --seconds N`.
//!
//! Producers and consumers are killed at random and replaced. Each producer writes down what it is
//! about to put and what it has put, each consumer what it has received, all in memory that
//! outlives them; then the books must balance.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::{Family, Process};
use procession_sync::{GetError, Lock, Queue, Receiver, Sender};
use procession_testkit::dice::dice;
use procession_testkit::{
    Runner, eventually, heap_is_back, heap_units, ledger, os, pause, runner, storm,
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

const PRODUCERS: u32 = 3;
const CONSUMERS: u32 = 3;

/// Most messages of one producer and those that follow it.
const MOST: u32 = 400_000;

/// Most that a consumer takes at once, and so loses.
const BATCH: usize = 16;

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let cases = storm::rounds(storm::seconds(), blow).collect();
    Runner::new(cases).with_ledger().run()
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    by: u32,
    number: u32,
    text: String,
    lock: Option<Lock>,
}

/// Words of the ledger about one producer: the next number, and for each number whether it was
/// put, and how often it was received.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Book(u32);

impl Book {
    fn new() -> Book {
        Book(ledger::reserve(1 + 2 * MOST))
    }

    fn next(self) -> u32 {
        self.0
    }

    fn put(self, number: u32) -> u32 {
        self.0 + 1 + 2 * number
    }

    fn received(self, number: u32) -> u32 {
        self.put(number) + 1
    }
}

type Produces = (Sender<Note>, u32, Book, u32);
type Consumes = (Receiver<Note>, Vec<Book>);

/// Puts until it is killed, or `stop` is set.
fn produce((queue, by, book, stop): Produces) {
    let note = |number| Note {
        by,
        number,
        text: "n".repeat(match dice(50) {
            0 => 8000 + dice(400) as usize,
            1 => 100_000,
            _ => dice(300) as usize,
        }),
        lock: (dice(30) == 0).then(|| Lock::new().unwrap()),
    };
    while ledger::get(stop) == 0 {
        let first = ledger::get(book.next());
        let count = if dice(4) == 0 { dice(40) as u32 } else { 1 };
        let end = first + count;
        if end >= MOST {
            return;
        }
        ledger::set(book.next(), end);
        match count {
            1 => queue.put(note(first)).unwrap(),
            _ => _ = queue.put_many((first..end).map(note)).unwrap(),
        }
        (first..end).for_each(|number| ledger::set(book.put(number), 1));
        if dice(20) == 0 {
            pause(Duration::from_micros(dice(300)));
        }
    }
}

/// Receives until it is killed, or the queue has its end. Says how much that was.
fn consume((queue, books): Consumes) -> u64 {
    let mut last = vec![None; books.len()];
    let mut count = 0;
    loop {
        let notes = match dice(3) {
            0 => queue.get().map(|note| vec![note]),
            1 => queue.get_many(BATCH),
            _ => match queue.get_timeout(Duration::from_micros(dice(2000))) {
                Err(GetError::TimedOut) => continue,
                got => got.map(|note| vec![note]),
            },
        };
        let notes = match notes {
            Ok(notes) => notes,
            Err(GetError::Closed) => return count,
            Err(error) => panic!("{error}"),
        };
        // At once: what is not written down is lost with this process.
        for note in &notes {
            ledger::note(books[note.by as usize].received(note.number));
        }
        for note in notes {
            let last = &mut last[note.by as usize];
            assert!(last.is_none_or(|last| last < note.number), "out of order");
            *last = Some(note.number);
            assert!(note.text.bytes().all(|byte| byte == b'n'), "torn");
            if let Some(lock) = note.lock {
                drop(lock.acquire().unwrap());
            }
            count += 1;
        }
        if dice(30) == 0 {
            pause(Duration::from_micros(dice(500)));
        }
    }
}

/// Whom to kill, by place.
struct Targets(Mutex<Vec<Option<u32>>>);

impl Targets {
    fn set(&self, place: usize, pid: Option<u32>) {
        self.0.lock().unwrap()[place] = pid;
    }

    fn kill_one(&self) -> bool {
        let targets = self.0.lock().unwrap();
        let target = targets[dice(targets.len() as u64) as usize];
        if let Some(pid) = target {
            os::send(pid, Signal::KILL);
        }
        target.is_some()
    }
}

/// Exponentially distributed, as the times between independent events are.
fn interval() -> Duration {
    let mean = 100 + dice(4900);
    let uniform = (dice(1 << 20) + 1) as f64 / (1 << 20) as f64;
    Duration::from_micros((mean as f64 * -uniform.ln()) as u64)
}

fn blow(seconds: u64) {
    let family = Family::current().unwrap();
    let (units, objects) = (heap_units(), family.object_count());
    let capacity = [1, 2, 5, 50, 1000][dice(5) as usize];
    let queue = Queue::bounded(capacity).unwrap();
    let books: Vec<Book> = (0..PRODUCERS).map(|_| Book::new()).collect();
    let stop = ledger::reserve(1);
    let targets = Targets(Mutex::new(vec![None; (PRODUCERS + CONSUMERS) as usize]));
    let (calm, consumers_killed) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut kills, mut received) = (0_u64, 0);
    thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|by| {
                let (queue, targets) = (&queue, &targets);
                let book = books[by as usize];
                scope.spawn(move || {
                    while ledger::get(stop) == 0 && ledger::get(book.next()) + 100 < MOST {
                        let argument = (queue.sender(), by, book, stop);
                        let process = Process::spawn(produce, argument).unwrap();
                        targets.set(by as usize, Some(process.pid()));
                        process.wait();
                        targets.set(by as usize, None);
                        judge(process);
                    }
                })
            })
            .collect();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|number| {
                let (queue, targets, books) = (&queue, &targets, &books);
                let killed = &consumers_killed;
                scope.spawn(move || {
                    let place = (PRODUCERS + number) as usize;
                    loop {
                        let argument = (queue.receiver(), books.clone());
                        let process = Process::spawn(consume, argument).unwrap();
                        targets.set(place, Some(process.pid()));
                        process.wait();
                        targets.set(place, None);
                        match judge(process) {
                            Some(count) => return count,
                            None => _ = killed.fetch_add(1, Ordering::Relaxed),
                        }
                    }
                })
            })
            .collect();
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !calm.load(Ordering::Relaxed) {
                thread::sleep(interval());
                kills += u64::from(targets.kill_one());
            }
            kills
        });
        let until = Instant::now() + Duration::from_secs(seconds);
        thread::sleep(until - Instant::now());
        // The producers end under fire, the consumers in peace.
        ledger::set(stop, 1);
        producers.into_iter().for_each(|one| one.join().unwrap());
        calm.store(true, Ordering::Relaxed);
        kills = killer.join().unwrap();
        queue.close().unwrap();
        for one in consumers {
            received += one.join().unwrap();
        }
    });
    assert!(queue.is_empty());
    let killed = consumers_killed.into_inner();
    let (put, lost) = balance(&books);
    assert!(
        lost <= killed * BATCH as u32,
        "{lost} lost, {killed} consumers killed"
    );
    drop(queue);
    eventually("the objects are freed", || match family.object_count() {
        now if now == objects => Ok(()),
        now => Err(format!("{now} objects, {objects} before")),
    });
    heap_is_back("the memory is back", units);
    println!(
        "  (room for {capacity}, {put} put, {lost} lost with {killed} consumers, {kills} kills, \
         {received} received by those that were left)"
    );
}

/// What the process has returned; `None` if it was killed. Panics if it has panicked.
fn judge<R: Serialize + serde::de::DeserializeOwned>(process: Process<R>) -> Option<R> {
    match process.join() {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("killed") || text.contains("signal"), "{text}");
            None
        }
    }
}

/// How many messages were put, and how many of those nobody has received.
fn balance(books: &[Book]) -> (u32, u32) {
    let (mut put, mut lost) = (0, 0);
    for (by, book) in books.iter().enumerate() {
        for number in 0..ledger::get(book.next()) {
            let known = ledger::get(book.put(number));
            let received = ledger::get(book.received(number));
            assert!(
                received <= 1,
                "message {number} of {by} came {received} times"
            );
            put += known;
            lost += u32::from(known == 1 && received == 0);
        }
    }
    (put, lost)
}
