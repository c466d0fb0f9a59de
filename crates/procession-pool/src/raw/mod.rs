//! Tasks as bytes: what the layers above stand on.
//!
//! Programs have no use for this module: a [`Pool`](crate::Pool) does the same with types. An executor
//! that is built on top of a pool, or that sends tasks to pools elsewhere, knows functions by
//! [`Function`], and items and values by their encoded bytes.
//!
//! # Examples
//!
//! ```
//! use procession_pool::raw::{Function, Items};
//!
//! let double = Function::of(|n: u32| 2 * n)?;
//! let mut items = Items::new();
//! items.push(&4u32)?;
//! for item in items.iter() {
//!     let value = double.call(item)?;
//!     assert_eq!(value.decode::<u32>()?, 8);
//! }
//! # Ok::<(), procession_pool::Error>(())
//! ```

mod encoded;
mod function;
mod policy;
mod port;
mod slot;

pub use encoded::{Encoded, Items};
pub use function::Function;
pub(crate) use function::call;
pub use policy::{Policy, RetryIf};
pub use port::{Agreement, Port};
pub(crate) use slot::Deal;
pub use slot::{Done, Slot};
