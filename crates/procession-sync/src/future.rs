//! Waiting in async programs: for an event, and at both ends of a queue.
//!
//! # Safety
//!
//! Names words of kept objects for longer than the handle: the arena is never unmapped.
#![allow(unsafe_code, reason = "names a word for longer than the handle")]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::primitive::{AtomicU32, Family, News};
use crate::queue::{Getting, Putting};
use crate::reactor::{self, Watch};
use crate::{GetError, PutError, Queue, Receiver, Sender};

/// The word at which a future waits.
///
/// It is in an object that the future's handle keeps; and the memory is never unmapped, should
/// the watching thread look at it a moment longer.
fn outlive(word: &AtomicU32) -> &'static AtomicU32 {
    // SAFETY: the arena stays mapped as long as the process, and the word is an atomic.
    unsafe { &*std::ptr::from_ref(word) }
}

/// Waits for an [`Event`]: see [`Event::wait_async`].
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait<'a> {
    event: &'a Event,
    start: u32,
    watch: Option<Watch>,
}

impl Event {
    /// Waits until the event is set, without blocking the thread: for async programs, with any
    /// runtime or none.
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, sync::Arc, task::{Context, Poll, Wake}, thread};
    /// # struct Unpark(thread::Thread);
    /// # impl Wake for Unpark { fn wake(self: Arc<Self>) { self.0.unpark() } }
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let waker = Arc::new(Unpark(thread::current())).into();
    /// #     let mut future = pin!(future);
    /// #     loop {
    /// #         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
    /// #             Poll::Ready(value) => return value,
    /// #             Poll::Pending => thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// use procession_primitives::Process;
    /// use procession_sync::{Event, Queue};
    ///
    /// let (ready, queue) = (Event::new()?, Queue::<u32>::bounded(1)?);
    /// let child = Process::spawn(|(ready, queue): (Event, Queue<u32>)| {
    ///     ready.set();
    ///     for n in 0..100 {
    ///         queue.put(n).unwrap();
    ///     }
    /// }, (ready.clone(), queue.clone()))?;
    /// block_on(async {
    ///     ready.wait_async().await;
    ///     for n in 0..100 {
    ///         assert_eq!(queue.get_async().await, Ok(n));
    ///     }
    /// });
    /// child.join()?;
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    ///
    /// As [`wait`](Event::wait), it also ends if the event was set for a moment only, from the
    /// call on.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves nothing behind.
    pub fn wait_async(&self) -> EventWait<'_> {
        EventWait {
            event: self,
            start: self.ticket(),
            watch: None,
        }
    }
}

impl Future for EventWait<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let (object, word) = self.event.parts();
        let Some(family) = object.family() else {
            return Poll::Ready(self.event.is_set());
        };
        let news = family.news();
        match self.event.poll(self.start) {
            None => Poll::Ready(true),
            Some(expected) => {
                let word = outlive(word);
                let watch = reactor::watch(family, word, expected, news, context.waker());
                self.watch = Some(watch);
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for EventWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait").finish_non_exhaustive()
    }
}

/// Waits at an end of a queue.
#[derive(Default)]
struct Waiting(Option<Watch>);

impl Waiting {
    fn watch(
        &mut self,
        family: &'static Family,
        word: &AtomicU32,
        news: News,
        waker: &Context<'_>,
    ) {
        self.0 = None;
        self.0 = Some(reactor::watch(
            family,
            outlive(word),
            1,
            news,
            waker.waker(),
        ));
    }
}

/// Takes a message: see [`Queue::get_async`].
#[must_use = "futures do nothing unless awaited"]
pub struct Get<'a, T> {
    getting: Getting<'a, T>,
    waiting: Waiting,
}

/// Puts a message: see [`Queue::put_async`].
#[must_use = "futures do nothing unless awaited"]
pub struct Put<'a, T> {
    putting: Putting<'a, T>,
    waiting: Waiting,
}

macro_rules! get_async {
    ($name:ident) => {
        impl<T: DeserializeOwned> $name<T> {
            /// Takes the first message, without blocking the thread: for async programs, with any
            /// runtime or none. Otherwise as [`get`](Self::get).
            ///
            /// # Cancellation
            ///
            /// Dropping the future takes no message.
            pub fn get_async(&self) -> Get<'_, T> {
                Get {
                    getting: self.getting(),
                    waiting: Waiting::default(),
                }
            }
        }
    };
}

macro_rules! put_async {
    ($name:ident) => {
        impl<T: Serialize> $name<T> {
            /// Puts `value`, without blocking the thread: for async programs, with any runtime or
            /// none. Otherwise as [`put`](Self::put). The value is encoded when the future is
            /// first polled.
            ///
            /// # Cancellation
            ///
            /// Dropping the future before it is ready puts nothing; the value is dropped.
            pub fn put_async(&self, value: T) -> Put<'_, T> {
                Put {
                    putting: self.putting(value),
                    waiting: Waiting::default(),
                }
            }
        }
    };
}

get_async!(Queue);
get_async!(Receiver);
put_async!(Queue);
put_async!(Sender);

impl<T: DeserializeOwned> Future for Get<'_, T> {
    type Output = Result<T, GetError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.getting.attempt() {
            Ok(done) => Poll::Ready(done),
            Err((family, word, news)) => {
                this.waiting.watch(family, word, news, context);
                Poll::Pending
            }
        }
    }
}

impl<T: Serialize> Future for Put<'_, T> {
    type Output = Result<(), PutError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.putting.attempt() {
            Ok(done) => Poll::Ready(done),
            Err((family, word, news)) => {
                this.waiting.watch(family, word, news, context);
                Poll::Pending
            }
        }
    }
}

// The values are not pinned: nothing refers to them.
impl<T> Unpin for Get<'_, T> {}
impl<T> Unpin for Put<'_, T> {}

impl<T> fmt::Debug for Get<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Put<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").finish_non_exhaustive()
    }
}
