//! Four processes count in one shared value; the lock makes each step one.

use procession_primitives::Process;
use procession_sync::{Lock, Result, Value, init};

/// Reading and writing are two steps: without the lock, steps of others would be lost.
fn count((lock, value): (Lock, Value<u64>)) {
    for _ in 0..1000 {
        let _held = lock.acquire().unwrap();
        let seen = value.get().unwrap();
        value.set(seen + 1).unwrap();
    }
}

fn main() -> Result<()> {
    init();

    let (lock, value) = (Lock::new()?, Value::new(0)?);
    let processes = (0..4)
        .map(|_| Process::spawn(count, (lock.clone(), value.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    for process in processes {
        process.join()?;
    }
    let total = value.get().unwrap();
    println!("4 processes have counted to {total}");
    assert_eq!(total, 4000);
    Ok(())
}
