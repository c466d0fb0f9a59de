//! A process is killed with a lock held: the next one is told, repairs the data and goes on.

use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{Event, LockError, Mutex, Result, init};

/// Two accounts with 100 in all, except while somebody moves money.
type Accounts = Mutex<[i64; 2]>;

/// Takes money from the first account, and is killed before it gets to the second one.
fn careless((accounts, half_way): (Accounts, Event)) {
    let mut accounts = accounts.lock().expect("nobody has died yet");
    accounts[0] -= 30;
    half_way.set();
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn main() -> Result<()> {
    init();

    let (accounts, half_way) = (Accounts::new([100, 0])?, Event::new()?);
    let process = Process::spawn(careless, (accounts.clone(), half_way.clone()))?;
    half_way.wait();
    process.kill()?;

    match accounts.lock() {
        Err(LockError::OwnerDied(mut guard)) => {
            println!("the owner died with {:?}", *guard);
            assert_eq!(*guard, [70, 0]);
            guard[1] = 100 - guard[0]; // the move is completed
            guard.mark_consistent(); // else the next one gets `LockError::Inconsistent`
        }
        other => return Err(format!("the death goes unnoticed: {other:?}").into()),
    }

    let guard = accounts.lock().unwrap(); // all is well again
    println!("repaired: {:?}", *guard);
    assert_eq!(*guard, [70, 30]);
    Ok(())
}
