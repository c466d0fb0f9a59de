//! The closure captures `factor`.

use procession_primitives::Process;

fn main() {
    let factor = 3;
    let _process = Process::spawn(|n: u64| n * factor, 10);
}
