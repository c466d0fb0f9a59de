//! Stands for the file of that name: modelled states need no promise.

macro_rules! shared_state {
    ($state:ty) => {};
}

pub(crate) use shared_state;
