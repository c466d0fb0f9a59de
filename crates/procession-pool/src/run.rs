//! The typed part of a worker's life: decode an item, call the function, encode its value.
//!
//! Each function here is an instance that a call names together with the user's function: see
//! [`Code`].
//!
//! # Safety
//!
//! Turns code addresses into functions. A [`Code`] is made only in this file, which pairs each
//! trampoline with functions of the types that the trampoline expects; both are resolved in the
//! same build.
#![allow(unsafe_code, reason = "calls functions by address")]

use std::any::Any;
use std::mem::needs_drop;

use procession_primitives::{
    CodeAddress, DecodeError, Phase, boarding, catch, decode_number, decode_unguarded,
    fn_from_address,
};
use procession_sync::{Part, Plain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::args::Args;
use crate::entry::Entry;
use crate::raw::{self, Encoded};
use crate::record::Tag;
use crate::task::Task;

/// The addresses of a task's functions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Functions {
    main: usize,
    make: usize,
}

/// Runs a task.
pub(crate) type Trampoline = fn(Functions, &mut Task<'_>, &mut States);

/// What a task runs, as workers find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code([[u64; 2]; 3]);

/// The same function, for a call in this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    call: fn(usize, &[u8]) -> Result<Encoded, TaskError>,
    main: usize,
}

impl Here {
    pub(crate) fn of<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Here {
        Here {
            call: call_here::<A, R>,
            main: function as usize,
        }
    }

    pub(crate) fn of_star<T: Args + DeserializeOwned, R: Serialize>(
        function: T::Function<R>,
    ) -> Here {
        Here {
            call: call_star_here::<T, R>,
            main: T::address(function),
        }
    }

    pub(crate) fn call(&self, item: &[u8]) -> Result<Encoded, TaskError> {
        (self.call)(self.main, item)
    }
}

fn call_here<A: DeserializeOwned, R: Serialize>(
    main: usize,
    item: &[u8],
) -> Result<Encoded, TaskError> {
    // SAFETY: as `Here::of` paired it.
    let function: fn(A) -> R = unsafe { fn_from_address(main) };
    raw::call(item, function)
}

fn call_star_here<T: Args + DeserializeOwned, R: Serialize>(
    main: usize,
    item: &[u8],
) -> Result<Encoded, TaskError> {
    // SAFETY: as `Here::of_star` paired it.
    let function: T::Function<R> = unsafe { T::function::<R>(main) };
    raw::call(item, |item| T::call::<R>(function, item))
}

/// What the code at `address` is called in all processes of this build.
fn name(address: usize) -> Result<[u64; 2], TaskError> {
    CodeAddress::of(address)
        .map(CodeAddress::to_words)
        .map_err(|error| TaskError::Function(Box::new(error)))
}

impl Code {
    fn new(trampoline: Trampoline, functions: Functions) -> Result<Code, TaskError> {
        Ok(Code([
            name(trampoline as usize)?,
            name(functions.main)?,
            match functions.make {
                0 => [0; 2],
                make => name(make)?,
            },
        ]))
    }

    /// `function` for each item.
    pub(crate) fn of<A: DeserializeOwned, R: Serialize>(
        function: fn(A) -> R,
    ) -> Result<Code, TaskError> {
        let main = function as usize;
        Self::new(run_items::<A, R>, Functions { main, make: 0 })
    }

    /// `function` for each item, which is a tuple of its arguments.
    pub(crate) fn of_star<T: Args + DeserializeOwned, R: Serialize>(
        function: T::Function<R>,
    ) -> Result<Code, TaskError> {
        let main = T::address(function);
        Self::new(run_star::<T, R>, Functions { main, make: 0 })
    }

    /// `function` for each item, with the call's context.
    pub(crate) fn of_with<C, A, R>(function: fn(&C, A) -> R) -> Result<Code, TaskError>
    where
        C: DeserializeOwned + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        let main = function as usize;
        Self::new(run_with::<C, A, R>, Functions { main, make: 0 })
    }

    /// `function` for each item, with a state that `make` makes in each worker.
    pub(crate) fn of_init<S, A, R>(
        make: fn() -> S,
        function: fn(&mut S, A) -> R,
    ) -> Result<Code, TaskError>
    where
        S: 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        let (main, make) = (function as usize, make as usize);
        Self::new(run_init::<S, A, R>, Functions { main, make })
    }

    /// `function` for each item, which is a part of an array.
    pub(crate) fn of_slice<T: Plain, R: Serialize>(
        function: fn(&[T]) -> R,
    ) -> Result<Code, TaskError> {
        let main = function as usize;
        Self::new(run_slice::<T, R>, Functions { main, make: 0 })
    }

    /// As [`of_slice`](Self::of_slice), to change the elements.
    pub(crate) fn of_slice_mut<T: Plain>(function: fn(&mut [T])) -> Result<Code, TaskError> {
        let main = function as usize;
        Self::new(run_slice_mut::<T>, Functions { main, make: 0 })
    }

    /// No function.
    pub(crate) fn none() -> Code {
        Code([[0; 2]; 3])
    }

    pub(crate) fn words(self) -> [[u64; 2]; 3] {
        self.0
    }

    /// What another process has named: looked for, and refused, when it is run.
    pub(crate) fn from_words(words: [[u64; 2]; 3]) -> Code {
        Code(words)
    }
}

/// What calls keep in a worker between two of their tasks, the latest last.
#[derive(Default)]
pub(crate) struct States(Vec<(u64, Box<dyn Any>)>);

/// Calls whose state a worker keeps at once.
const KEPT: usize = 4;

impl States {
    fn take<S: 'static>(&mut self, call: u64) -> Option<Box<S>> {
        let at = self.0.iter().position(|(of, _)| *of == call)?;
        self.0.remove(at).1.downcast().ok()
    }

    fn put<S: 'static>(&mut self, call: u64, state: Option<Box<S>>) {
        if let Some(state) = state {
            self.0.push((call, state));
        }
        if self.0.len() > KEPT {
            let oldest = self.0.remove(0);
            // The user's drop.
            let _ = catch(|| drop(oldest));
        }
    }
}

/// The functions of a task whose code words are `words`.
pub(crate) fn resolve(words: [[u64; 2]; 3]) -> Result<(Trampoline, Functions), String> {
    let [trampoline, main, make] = words.map(|words| match words {
        [0, 0] => Ok(0),
        _ => CodeAddress::from_words(words)
            .resolve()
            .map_err(|error| error.to_string()),
    });
    let functions = Functions {
        main: main?,
        make: make?,
    };
    let trampoline = Some(trampoline?).filter(|&address| address != 0);
    let trampoline = trampoline.ok_or("there is no function")?;
    // SAFETY: named in `Code::new` from a value of this type, in the same build.
    Ok((unsafe { fn_from_address(trampoline) }, functions))
}

fn run_items<A: DeserializeOwned, R: Serialize>(
    functions: Functions,
    task: &mut Task<'_>,
    _: &mut States,
) {
    // SAFETY: as `Code::of` named it.
    let function: fn(A) -> R = unsafe { fn_from_address(functions.main) };
    run_each(task, |item| Ok(function(item)));
}

fn run_star<T: Args + DeserializeOwned, R: Serialize>(
    functions: Functions,
    task: &mut Task<'_>,
    _: &mut States,
) {
    // SAFETY: as `Code::of_star` named it.
    let function: T::Function<R> = unsafe { T::function::<R>(functions.main) };
    run_each(task, |item| Ok(T::call::<R>(function, item)));
}

fn run_with<C, A, R>(functions: Functions, task: &mut Task<'_>, states: &mut States)
where
    C: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: as `Code::of_with` named it.
    let function: fn(&C, A) -> R = unsafe { fn_from_address(functions.main) };
    let call = task.call();
    let encoded = task.context();
    let mut context = states.take::<C>(call);
    run_each(task, |item| {
        let context = match &mut context {
            Some(context) => context,
            none => none.insert(Box::new(decode_unguarded(encoded)?)),
        };
        Ok(function(context, item))
    });
    states.put(call, context);
}

fn run_init<S, A, R>(functions: Functions, task: &mut Task<'_>, states: &mut States)
where
    S: 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: as `Code::of_init` named it.
    let function: fn(&mut S, A) -> R = unsafe { fn_from_address(functions.main) };
    // SAFETY: as above.
    let make: fn() -> S = unsafe { fn_from_address(functions.make) };
    let call = task.call();
    let mut state = states.take::<S>(call);
    run_each(task, |item| {
        // Taken out: a panic leaves none behind, since nobody knows what it is like then.
        let mut own = match state.take() {
            Some(state) => state,
            None => Box::new(make()),
        };
        let value = function(&mut own, item);
        state = Some(own);
        Ok(value)
    });
    states.put(call, state);
}

fn run_slice<T: Plain, R: Serialize>(functions: Functions, task: &mut Task<'_>, _: &mut States) {
    // SAFETY: as `Code::of_slice` named it.
    let function: fn(&[T]) -> R = unsafe { fn_from_address(functions.main) };
    run_each(task, |mut part: Part<T>| Ok(function(part.as_mut_slice())));
}

fn run_slice_mut<T: Plain>(functions: Functions, task: &mut Task<'_>, _: &mut States) {
    // SAFETY: as `Code::of_slice_mut` named it.
    let function: fn(&mut [T]) = unsafe { fn_from_address(functions.main) };
    run_each(task, |mut part: Part<T>| {
        function(part.as_mut_slice());
        Ok(())
    });
}

fn run_each<A: DeserializeOwned, R: Serialize>(
    task: &mut Task<'_>,
    mut function: impl FnMut(A) -> Result<R, DecodeError>,
) {
    boarding(|| {
        loop {
            // One guard for many items: a panic leaves the loop, is recorded, and the loop goes on.
            let ended = catch(|| {
                loop {
                    run_numbers(task, &mut function);
                    let Some(entry) = task.begin() else { return };
                    let item = match entry {
                        Entry::Record(_, bytes) => decode_unguarded::<A>(bytes),
                        Entry::Number(number) => decode_number(number),
                    };
                    let item = match item {
                        Ok(item) => item,
                        Err(error) => {
                            task.fail(Tag::ItemDecode, &error);
                            continue;
                        }
                    };
                    task.enter(Phase::Running);
                    match function(item) {
                        Ok(value) => {
                            task.enter(Phase::Encoding);
                            task.finish(&value);
                        }
                        Err(error) => task.fail(Tag::ItemDecode, &error),
                    }
                }
            });
            match ended {
                Ok(()) => return,
                // Without an item in progress it was the drop of a value that is already recorded.
                Err(panic) => task.panicked(panic),
            }
        }
    });
}

/// Goes through numbers that are followed by numbers, which is all that some calls have: nine tenths
/// of what an item takes is to look what it is.
#[inline]
fn run_numbers<A: DeserializeOwned, R: Serialize>(
    task: &mut Task<'_>,
    function: &mut impl FnMut(A) -> Result<R, DecodeError>,
) {
    if needs_drop::<R>() {
        // A panic of a drop would come between two items.
        return;
    }
    let Some(mut numbers) = task.numbers() else {
        return;
    };
    while let Some((number, place)) = numbers.begin() {
        let value = decode_number(number).and_then(|item| {
            numbers.enter(Phase::Running);
            function(item)
        });
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let item = numbers.item();
                task.went(item, true);
                return task.fail(Tag::ItemDecode, &error);
            }
        };
        numbers.enter(Phase::Encoding);
        if !numbers.finish(place, &value) {
            let item = numbers.item();
            task.went(item, true);
            return task.finish(&value);
        }
    }
    let item = numbers.item();
    task.went(item, false);
}

/// What an initialiser returns.
pub trait Initialized: private::Sealed {}

mod private {
    pub trait Sealed {
        fn text(self) -> Result<(), String>;
    }
}

impl Initialized for () {}
impl private::Sealed for () {
    fn text(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: std::fmt::Display> Initialized for Result<(), E> {}
impl<E: std::fmt::Display> private::Sealed for Result<(), E> {
    fn text(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Runs the function at an address on an encoded argument.
type Prepare = fn(usize, &[u8]) -> Result<Result<(), String>, DecodeError>;

/// A function that every worker runs once, as the worker finds it: trampoline and function.
pub(crate) type Hook = [[u64; 2]; 2];

/// Names an initialiser.
pub(crate) fn hook<A: DeserializeOwned, R: Initialized>(
    function: fn(A) -> R,
) -> Result<Hook, TaskError> {
    let prepare: Prepare = prepare::<A, R>;
    Ok([name(prepare as usize)?, name(function as usize)?])
}

/// Names a finaliser.
pub(crate) fn last_hook<R: Initialized>(function: fn() -> R) -> Result<Hook, TaskError> {
    let finish: Prepare = finish::<R>;
    Ok([name(finish as usize)?, name(function as usize)?])
}

fn finish<R: Initialized>(
    function: usize,
    _argument: &[u8],
) -> Result<Result<(), String>, DecodeError> {
    // SAFETY: as `last_hook` named it.
    let function: fn() -> R = unsafe { fn_from_address(function) };
    Ok(private::Sealed::text(function()))
}

fn prepare<A: DeserializeOwned, R: Initialized>(
    function: usize,
    argument: &[u8],
) -> Result<Result<(), String>, DecodeError> {
    // SAFETY: as `hook` named it.
    let function: fn(A) -> R = unsafe { fn_from_address(function) };
    Ok(private::Sealed::text(function(decode_unguarded(argument)?)))
}

/// Runs a [`Hook`].
pub(crate) fn run_hook(hook: Hook, argument: &[u8]) -> Result<Result<(), String>, DecodeError> {
    let [prepare, function] = hook.map(|words| CodeAddress::from_words(words).resolve());
    let addresses = prepare.and_then(|prepare| Ok((prepare, function?)));
    let (prepare, function) = match addresses {
        Ok(found) => found,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // SAFETY: named in `hook` from a value of this type, in the same build.
    let prepare: Prepare = unsafe { fn_from_address(prepare) };
    prepare(function, argument)
}
