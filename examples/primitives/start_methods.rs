//! The three ways in which a process can come into being, what each sees and how long each takes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use procession_primitives::{Process, StartMethod};

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn main() -> procession_primitives::Result<()> {
    procession_primitives::init();

    COUNTER.store(7, Ordering::Relaxed);
    Process::spawn(|()| (), ())?.join()?; // the first use starts the supervisor
    for method in StartMethod::all() {
        let begun = Instant::now();
        let process = Process::builder()
            .start_method(method)
            .name("reader")
            .spawn(|()| COUNTER.load(Ordering::Relaxed), ())?;
        let counter = process.join()?;
        println!(
            "{method:?}: the counter is {counter}, after {:?}",
            begun.elapsed()
        );
    }

    // A forked process has all memory, so its closure may capture.
    let words = ["captured", "by", "reference"];
    let process = Process::builder().fork(|| words.join(" "))?;
    println!("Fork: {}", process.join()?);
    Ok(())
}
