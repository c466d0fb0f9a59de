//! Locks and queues between processes (B6, B7, B8, B10), through their public interface, beside
//! what else there is: threads, pipes, the C library, Python.
//!
//! The last table is of trials in turns: ours, each peer, ours again. Names of peers say what they
//! are; those that are not installed are named as missing.

mod bulk;
mod contest;
mod crowd;
mod floor;
mod lock;
mod partner;
mod pipe;
mod pthread;
mod python;
mod queue;

use contest::Contest;

fn main() {
    procession_sync::init();
    let mut contest = Contest::new();
    queue::single(&mut contest);
    queue::batches(&mut contest);
    queue::two_by_two(&mut contest);
    queue::round_trip(&mut contest);
    bulk::messages(&mut contest);
    lock::uncontended(&mut contest);
    lock::contended(&mut contest);
    lock::others(&mut contest);
    lock::condition(&mut contest);
    contest.finish();
    if contest.wants(crowd::NAME) {
        crowd::print();
    }
}
