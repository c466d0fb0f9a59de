//! Functions of several arguments, for `starmap`.
//!
//! # Safety
//!
//! Turns code addresses back into functions, for `run.rs`.
#![allow(unsafe_code, reason = "calls functions by address")]

use procession_primitives::fn_from_address;

/// The arguments of a function: a tuple of two to eight.
///
/// [`starmap`](crate::View::starmap) takes a function of as many arguments as its items have.
pub trait Args: Sized + private::Sealed {
    /// A function of these arguments.
    type Function<R>: Copy;

    #[doc(hidden)]
    fn address<R>(function: Self::Function<R>) -> usize;

    /// # Safety
    ///
    /// `address` is that of a `Self::Function<R>` of this build.
    #[doc(hidden)]
    unsafe fn function<R>(address: usize) -> Self::Function<R>;

    #[doc(hidden)]
    fn call<R>(function: Self::Function<R>, arguments: Self) -> R;
}

mod private {
    pub trait Sealed {}
}

macro_rules! args {
    ($($name:ident)+) => {
        impl<$($name),+> private::Sealed for ($($name,)+) {}

        impl<$($name),+> Args for ($($name,)+) {
            type Function<R> = fn($($name),+) -> R;

            fn address<R>(function: Self::Function<R>) -> usize {
                function as usize
            }

            unsafe fn function<R>(address: usize) -> Self::Function<R> {
                // SAFETY: as promised by the caller.
                unsafe { fn_from_address(address) }
            }

            fn call<R>(function: Self::Function<R>, arguments: Self) -> R {
                #[allow(non_snake_case, reason = "a name for each type")]
                let ($($name,)+) = arguments;
                function($($name),+)
            }
        }
    };
}

args!(A B);
args!(A B C);
args!(A B C D);
args!(A B C D E);
args!(A B C D E F);
args!(A B C D E F G);
args!(A B C D E F G H);
