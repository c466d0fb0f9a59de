//! What goes in and what comes back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use procession_primitives::{
    DecodeError, EncodeError, Phase, ProcessError, SendFd, StartError, StartMethod,
};
use procession_testkit::os;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{death, quiet, with};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Number(i128),
    Named {
        text: String,
        inner: Option<Box<Shape>>,
    },
    Map(BTreeMap<String, Vec<(u8, f64, char)>>),
}

fn shapes() -> Vec<Shape> {
    let map = (0..500)
        .map(|n| (format!("key {n}"), vec![(n as u8, f64::from(n), 'ß'); 20]))
        .collect();
    let inner = Some(Box::new(Shape::Map(map)));
    let text = "a text\0 with everything \u{10ffff}".to_owned();
    let (nothing, number) = (Shape::Nothing, Shape::Number(i128::MIN));
    vec![nothing, number, Shape::Named { text, inner }]
}

/// Bytes that are encoded in one piece.
#[derive(PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Blob(bytes.to_vec()))
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8 ^ (n >> 16) as u8).collect()
}

pub(super) fn values_come_back(method: StartMethod) {
    fn give<R: Serialize + DeserializeOwned>(method: StartMethod, function: fn(()) -> R) -> R {
        with(method).spawn(function, ()).unwrap().join().unwrap()
    }
    fn twice<T: Clone>(one: T) -> (T, T) {
        (one.clone(), one)
    }
    give(method, |()| ());
    assert_eq!(give(method, |()| u128::MAX), u128::MAX);
    assert_eq!(
        give(method, |()| Vec::<String>::new()),
        Vec::<String>::new()
    );
    assert_eq!(
        give(method, |()| Err::<(), _>("no".to_owned())),
        Err("no".to_owned())
    );
    assert_eq!(give(method, |()| shapes()), shapes());
    // The same function for two types is two functions.
    let numbers = with(method).spawn(twice::<u8>, 7).unwrap();
    let texts = with(method)
        .spawn(twice::<String>, "seven".to_owned())
        .unwrap();
    assert_eq!(numbers.join().unwrap(), (7, 7));
    assert_eq!(
        texts.join().unwrap(),
        ("seven".to_owned(), "seven".to_owned())
    );
}

pub(super) fn arguments_arrive(method: StartMethod) {
    let process = with(method)
        .spawn(|shapes: Vec<Shape>| shapes, shapes())
        .unwrap();
    assert_eq!(process.join().unwrap(), shapes());
    // Around the sizes at which the way changes: inline, packet, shared memory.
    for len in [0, 1, 32_767, 32_768, 32_769, 65_536, 65_537, 1 << 20] {
        let process = with(method)
            .spawn(|bytes: Vec<u8>| bytes, pattern(len))
            .unwrap();
        assert!(
            process.join().unwrap() == pattern(len),
            "{len} bytes changed"
        );
    }
}

pub(super) fn arguments_of_64_mebibytes(method: StartMethod) {
    let len = 64 << 20;
    let there = with(method)
        .spawn(|blob: Blob| blob.0.len(), Blob(vec![7; len]))
        .unwrap();
    assert_eq!(there.join().unwrap(), len);
    let both = with(method)
        .spawn(|blob: Blob| blob, Blob(pattern(len)))
        .unwrap();
    assert!(both.join().unwrap().0 == pattern(len));
    // As most will write it, byte by byte.
    let vector = with(method)
        .spawn(|bytes: Vec<u8>| bytes.len(), vec![7; len])
        .unwrap();
    assert_eq!(vector.join().unwrap(), len);
}

pub(super) fn results_of_64_mebibytes(method: StartMethod) {
    let process = with(method)
        .spawn(|len| Blob(pattern(len)), 64 << 20)
        .unwrap();
    assert!(process.join().unwrap().0 == pattern(64 << 20));
}

/// Cannot be encoded.
#[derive(Clone, Copy, Deserialize)]
enum Stubborn {
    Refuses,
    Panics,
    Dies,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refuses => Err(S::Error::custom("stubborn as a mule")),
            Self::Panics => panic!("too stubborn to be encoded"),
            Self::Dies => {
                os::raise(libc::SIGKILL);
                unreachable!()
            }
        }
    }
}

pub(super) fn arguments_that_cannot_be_encoded(method: StartMethod) {
    let refused = with(method).spawn(|_: Stubborn| (), Stubborn::Refuses);
    let is_refusal = matches!(refused, Err(StartError::Argument(EncodeError::Failed(_))));
    assert!(is_refusal, "{refused:?}");
    let panicked =
        procession_primitives::quietly(|| with(method).spawn(|_: Stubborn| (), Stubborn::Panics));
    let Err(StartError::Argument(EncodeError::Panicked(panic))) = panicked else {
        panic!("{panicked:?}")
    };
    assert_eq!(panic.message(), "too stubborn to be encoded");
}

pub(super) fn values_that_cannot_be_encoded(method: StartMethod) {
    let refused = quiet(method).spawn(|()| Stubborn::Refuses, ()).unwrap();
    let status = refused.wait();
    assert_eq!(status.code(), Some(101));
    assert!(matches!(refused.join(), Err(ProcessError::ValueEncode(_))));
    let panicked = quiet(method).spawn(|()| Stubborn::Panics, ()).unwrap();
    let Err(ProcessError::ValueEncode(why)) = panicked.join() else {
        panic!("no error")
    };
    assert!(why.contains("too stubborn to be encoded"), "{why}");
    let died = quiet(method).spawn(|()| Stubborn::Dies, ()).unwrap();
    let Err(ProcessError::Died(death)) = died.join() else {
        panic!("no death")
    };
    assert_eq!(death.signal(), Some(libc::SIGKILL));
    assert_eq!(death.phase(), Phase::Encoding);
}

/// Can be decoded where it was made, and nowhere else.
#[derive(Serialize)]
struct Homesick {
    home: u32,
    manner: u8,
}

impl Homesick {
    fn new(manner: u8) -> Homesick {
        let home = std::process::id();
        Homesick { home, manner }
    }
}

impl<'de> Deserialize<'de> for Homesick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (home, manner) = <(u32, u8)>::deserialize(deserializer)?;
        if home == std::process::id() {
            return Ok(Homesick { home, manner });
        }
        match manner {
            0 => Err(D::Error::custom("far from home")),
            1 => panic!("too far from home"),
            2 => std::process::exit(0),
            3 => os::exit_at_once(42),
            _ => {
                os::raise(libc::SIGSEGV);
                unreachable!()
            }
        }
    }
}

pub(super) fn arguments_that_cannot_be_decoded(method: StartMethod) {
    let refused = quiet(method)
        .spawn(|_: Homesick| (), Homesick::new(0))
        .unwrap();
    assert_eq!(refused.wait().code(), Some(101));
    let is_refusal = |error| matches!(error, ProcessError::ArgumentDecode(DecodeError::Failed(_)));
    assert!(refused.join().is_err_and(is_refusal));
    let panicked = quiet(method)
        .spawn(|_: Homesick| (), Homesick::new(1))
        .unwrap();
    let Err(ProcessError::ArgumentDecode(DecodeError::Panicked(panic))) = panicked.join() else {
        panic!("no panic")
    };
    assert_eq!(panic.message(), "too far from home");
    assert!(panic.location().file().ends_with("arguments.rs"));
}

pub(super) fn deaths_while_decoding(method: StartMethod) {
    let causes = [
        (2, Some(0), None),
        (3, Some(42), None),
        (4, None, Some(libc::SIGSEGV)),
    ];
    for (manner, code, signal) in causes {
        let process = quiet(method)
            .spawn(|_: Homesick| (), Homesick::new(manner))
            .unwrap();
        let death = death(process.join());
        assert_eq!((death.exit_code(), death.signal()), (code, signal));
        assert_eq!(death.phase(), Phase::Decoding);
    }
}

pub(super) fn values_that_cannot_be_decoded(method: StartMethod) {
    let refused = with(method).spawn(|()| Homesick::new(0), ()).unwrap();
    assert!(refused.wait().success());
    let is_refusal = |error| matches!(error, ProcessError::ValueDecode(DecodeError::Failed(_)));
    assert!(refused.join().is_err_and(is_refusal));
    let panicked = with(method).spawn(|()| Homesick::new(1), ()).unwrap();
    let joined = procession_primitives::quietly(|| panicked.join());
    let Err(ProcessError::ValueDecode(DecodeError::Panicked(panic))) = joined else {
        panic!("no panic")
    };
    assert_eq!(panic.message(), "too far from home");
}

/// The words of a `Serialize` or `Deserialize` that refuses are in the error.
pub(super) fn reasons_for_values(method: StartMethod) {
    let refused = with(method).spawn(|()| Stubborn::Refuses, ()).unwrap();
    let why = refused.join().err().unwrap().to_string();
    assert!(why.contains("stubborn as a mule"), "it only says: {why}");
}

/// As above, for arguments.
pub(super) fn reasons_for_arguments(method: StartMethod) {
    let refused = with(method).spawn(|_: Stubborn| (), Stubborn::Refuses);
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("stubborn as a mule"), "it only says: {why}");
}

fn memory_file(text: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("it", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(text).unwrap();
    file.rewind().unwrap();
    file
}

#[derive(Serialize, Deserialize)]
struct Luggage {
    file: SendFd<File>,
    note: String,
    socket: Option<SendFd<UnixStream>>,
    more: Vec<SendFd<OwnedFd>>,
}

pub(super) fn descriptors_travel(method: StartMethod) {
    let mut file = memory_file(b"hello world");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let luggage = Luggage {
        file: SendFd::new(file.try_clone().unwrap()),
        note: "read five".to_owned(),
        socket: Some(SendFd::new(theirs)),
        more: (0..3)
            .map(|_| SendFd::new(memory_file(b"m").into()))
            .collect(),
    };
    let process = with(method).spawn(
        |luggage: Luggage| {
            let mut text = [0; 5];
            luggage.file.into_inner().read_exact(&mut text).unwrap();
            let mut socket = luggage.socket.unwrap().into_inner();
            socket.write_all(luggage.note.as_bytes()).unwrap();
            let more = luggage.more.into_iter().map(|fd| {
                let mut text = String::new();
                File::from(fd.into_inner())
                    .read_to_string(&mut text)
                    .unwrap();
                text
            });
            (
                String::from_utf8_lossy(&text).into_owned(),
                more.collect::<String>(),
            )
        },
        luggage,
    );
    let outcome = process.unwrap().join().unwrap();
    assert_eq!(outcome, ("hello".to_owned(), "mmm".to_owned()));
    // The other end went with the process.
    let mut note = String::new();
    ours.read_to_string(&mut note).unwrap();
    assert_eq!(note, "read five");
    // One file position for both.
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " world");
}

pub(super) fn descriptor_limit(method: StartMethod) {
    let file = memory_file(b"x");
    let copies = |count: usize| -> Vec<SendFd<OwnedFd>> {
        let copy = |_| SendFd::new(file.as_fd().try_clone_to_owned().unwrap());
        (0..count).map(copy).collect()
    };
    fn count(descriptors: Vec<SendFd<OwnedFd>>) -> usize {
        let sizes = descriptors
            .iter()
            .map(|fd| rustix::fs::fstat(fd.get_ref()).unwrap().st_size);
        sizes.filter(|size| *size == 1).count()
    }
    assert_eq!(
        with(method)
            .spawn(count, copies(250))
            .unwrap()
            .join()
            .unwrap(),
        250
    );
    // With all three streams beside them.
    let null = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
    };
    let full = with(method).stdin(null()).stdout(null()).stderr(null());
    assert_eq!(full.spawn(count, copies(250)).unwrap().join().unwrap(), 250);
    let error = with(method).spawn(count, copies(251)).unwrap_err();
    assert!(matches!(error, StartError::Descriptors(_)), "{error}");
}
