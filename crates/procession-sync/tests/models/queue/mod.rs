//! The shipped files of the queue, with a modelled memory, and nothing in blocks.

#[path = "../../../src/queue/bytes.rs"]
pub(crate) mod bytes;
#[path = "../../../src/queue/core.rs"]
pub(crate) mod core;
#[path = "../../../src/queue/end.rs"]
pub(crate) mod end;
#[path = "../../../src/queue/pace.rs"]
pub(crate) mod pace;
#[path = "../../../src/queue/put.rs"]
pub(crate) mod put;
#[path = "../../../src/queue/ring.rs"]
pub(crate) mod ring;
#[path = "../../../src/queue/take.rs"]
pub(crate) mod take;

pub(crate) mod memory;
mod models;

/// Stands for the file of that name.
pub(crate) mod encode {
    use crate::primitive::Block;

    #[derive(Debug)]
    pub(crate) struct Large {
        pub(crate) block: Block,
        pub(crate) len: usize,
        pub(crate) carrier: bool,
    }
}
