//! What may lie in shared memory as it is.

use bytemuck::AnyBitPattern;

/// Plain data: types of which every bit pattern is a value, without pointers and destructors.
///
/// Numbers, arrays of them, and structs that derive [`bytemuck::Pod`] or
/// [`bytemuck::AnyBitPattern`]. A process that is killed while it writes can leave any bytes
/// behind, which is why `bool`, `char`, references and enums are not among them.
///
/// # Examples
///
/// ```
/// use procession_sync::{Mutex, bytemuck};
///
/// #[derive(Clone, Copy, bytemuck::AnyBitPattern)]
/// # #[bytemuck(crate = "procession_sync::bytemuck")]
/// struct Account {
///     id: u64,
///     balance: i64,
/// }
///
/// let account = Mutex::new(Account { id: 7, balance: 0 })?;
/// account.lock().unwrap().balance += 10;
/// # Ok::<(), procession_sync::Error>(())
/// ```
///
/// ```compile_fail
/// let shared = procession_sync::Mutex::new(String::from("has a pointer"));
/// ```
pub trait Plain: AnyBitPattern + Send + Sync {}

impl<T: AnyBitPattern + Send + Sync> Plain for T {}
