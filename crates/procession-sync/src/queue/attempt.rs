//! Puts and gets that come back instead of sleeping: for futures.

use std::marker::PhantomData;
use std::time::Instant;

use procession_primitives::Object;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bytes::Bytes;
use super::core::{Core, Message, Patience, Sleeper};
use super::encode::{Apart, Large, decode_one, encode_behind};
use super::put;
use super::take::Take;
use super::values::{HAS_GOT, HAS_PUT, nothing, refusal};
use super::{GetError, PutError, Queue, Receiver, Sender};
use crate::primitive::{AtomicU32, Family, News};

/// Where to wait, and since when.
pub(crate) type Wait<'a> = (&'static Family, &'a AtomicU32, News);

/// A get that may have to be tried several times.
pub(crate) struct Getting<'a, T> {
    core: &'a Core,
    receivers: &'a Object,
    sleeper: Sleeper,
    item: PhantomData<fn() -> T>,
}

/// A put that may have to be tried several times.
pub(crate) struct Putting<'a, T> {
    core: &'a Core,
    senders: &'a Object,
    sleeper: Sleeper,
    value: Option<T>,
    encoded: Option<Encoded>,
}

/// What the value became.
enum Encoded {
    Frames(Vec<u8>),
    Large(Large),
}

const FOREVER: Patience = Patience::Until(None::<Instant>);

fn awake() -> Sleeper {
    Sleeper {
        // A future does not look for a while: others have the thread.
        looked: true,
        ..Sleeper::default()
    }
}

macro_rules! getting {
    ($name:ident) => {
        impl<T: DeserializeOwned> $name<T> {
            pub(crate) fn getting(&self) -> Getting<'_, T> {
                Getting {
                    core: &self.core,
                    receivers: &self.receivers,
                    sleeper: awake(),
                    item: PhantomData,
                }
            }
        }
    };
}

macro_rules! putting {
    ($name:ident) => {
        impl<T: Serialize> $name<T> {
            pub(crate) fn putting(&self, value: T) -> Putting<'_, T> {
                Putting {
                    core: &self.core,
                    senders: &self.senders,
                    sleeper: awake(),
                    value: Some(value),
                    encoded: None,
                }
            }
        }
    };
}

getting!(Queue);
getting!(Receiver);
putting!(Queue);
putting!(Sender);

impl<'a, T: DeserializeOwned> Getting<'a, T> {
    /// Tries once. An error says where to wait.
    pub(crate) fn attempt(&mut self) -> Result<Result<T, GetError>, Wait<'a>> {
        let core = self.core;
        let Some(family) = core.object.family() else {
            return Ok(Err(GetError::Foreign));
        };
        core.mark(HAS_GOT);
        let mut bytes = Bytes::new();
        loop {
            let deserted = || core.no_senders(Some(self.receivers));
            let sleeper = &mut self.sleeper;
            let take = core.try_take(
                family,
                (1, FOREVER),
                &|_, _| {},
                deserted,
                &mut bytes,
                sleeper,
            );
            match take {
                Take::Again => {}
                Take::Sleep(news) => return Err((family, &core.state().tail.sleepers, news)),
                Take::Done(Err(error)) => return Ok(Err(nothing(error))),
                Take::Done(Ok(taken)) => {
                    return Ok(decode_one(&bytes, taken).map_err(GetError::Decode));
                }
            }
        }
    }
}

impl<'a, T: Serialize> Putting<'a, T> {
    /// Tries once. An error says where to wait.
    ///
    /// # Panics
    ///
    /// If it was done before.
    pub(crate) fn attempt(&mut self) -> Result<Result<(), PutError<T>>, Wait<'a>> {
        let value = self.value.take().expect("not polled after it was ready");
        let core = self.core;
        let Some(family) = core.object.family() else {
            return Ok(Err(PutError::Foreign(value)));
        };
        let encoded = match self.encoded.take() {
            Some(encoded) => encoded,
            None => {
                let mut frames = Bytes::new();
                match encode_behind(family, &value, &mut frames).map_err(|apart| *apart) {
                    Ok(()) => Encoded::Frames(frames.to_vec()),
                    Err(Apart::Large(large)) => Encoded::Large(large),
                    Err(Apart::Failed(error)) => return Ok(Err(PutError::Encode(value, error))),
                }
            }
        };
        core.mark(HAS_PUT);
        let frames;
        let mut message = match encoded {
            Encoded::Frames(bytes) => {
                frames = bytes;
                Message::Frames(&frames, 1)
            }
            Encoded::Large(large) => Message::Large(large),
        };
        if core.is_too_large(&message) {
            return Ok(Err(PutError::TooLarge(value)));
        }
        loop {
            let deserted = || core.no_receivers(Some(self.senders));
            match core.try_put(family, message, FOREVER, deserted, &mut self.sleeper) {
                put::Put::Done(done) => return Ok(done.map_err(|why| refusal(why, value))),
                put::Put::Again(back) => message = back,
                put::Put::Sleep(back, news) => {
                    self.encoded = Some(match back {
                        Message::Frames(bytes, _) => Encoded::Frames(bytes.to_vec()),
                        Message::Large(large) => Encoded::Large(large),
                    });
                    self.value = Some(value);
                    return Err((family, &core.state().head.sleepers, news));
                }
            }
        }
    }
}

impl<T> Drop for Getting<'_, T> {
    fn drop(&mut self) {
        self.core.stop_taking(&mut self.sleeper);
    }
}

impl<T> Drop for Putting<'_, T> {
    fn drop(&mut self) {
        self.core.stop_putting(&mut self.sleeper);
    }
}
