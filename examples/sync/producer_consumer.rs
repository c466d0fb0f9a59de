//! A fast producer and a slow consumer: a bounded queue makes the producer wait.

use std::thread::sleep;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{Queue, Receiver, Result, init};

const MESSAGES: u32 = 60;

/// Takes one message in 2 ms, until there will be no more. Returns them, and the longest queue.
fn consume(queue: Receiver<String>) -> (Vec<String>, usize) {
    let (mut got, mut longest) = (Vec::new(), 0);
    loop {
        longest = longest.max(queue.len());
        match queue.get() {
            Ok(message) => got.push(message),
            Err(error) if error.is_end() => return (got, longest), // all senders are gone
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(2));
    }
}

fn main() -> Result<()> {
    init();

    let (sender, receiver) = Queue::bounded(10)?.split();
    let consumer = Process::spawn(consume, receiver)?;

    let (mut waits, mut longest_wait) = (0, Duration::ZERO);
    for n in 0..MESSAGES {
        let begun = Instant::now();
        sender.put(format!("message {n}"))?; // waits while 10 are there
        let wait = begun.elapsed();
        waits += u32::from(wait > Duration::from_millis(1));
        longest_wait = longest_wait.max(wait);
    }
    drop(sender); // the end of the stream

    let (got, longest) = consumer.join()?;
    println!("the producer waited {waits} times, at most {longest_wait:.1?}");
    println!(
        "the consumer got {} messages; at most {longest} were there",
        got.len()
    );
    assert!((0..MESSAGES).eq(got.iter().map(|text| text[8..].parse().unwrap_or(MESSAGES))));
    assert_eq!(longest, 10);
    assert!(waits > 0);
    Ok(())
}
