//! Failpoints: where in a worker's life it fails, and how; reached by public means alone.

use std::sync::OnceLock;

use procession_testkit::{ledger, os};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A stage in the life of a worker, or of an item in its hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// Right after the fork, before anything of the library runs.
    Spawn,
    Init,
    /// With nothing in hand.
    Idle,
    Decode,
    Run,
    /// With half of the value written.
    Encode,
    /// When the value is recorded and the next item not begun.
    Between,
    /// In the finaliser.
    Teardown,
    /// In a handler of the process's exit.
    Exit,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    Exit(i32),
    ExitNow(i32),
    Abort,
    Crash,
    Kill,
    Stop,
    Hang,
    /// Closes every descriptor from 3 on.
    CloseAll,
    /// Writes what is no message into every socket, and waits to be killed for it.
    Garbage,
}

pub(crate) const DEADLY: [How; 7] = [
    How::Exit(0),
    How::Exit(42),
    How::ExitNow(42),
    How::Abort,
    How::Crash,
    How::Kill,
    How::Garbage,
];

/// What a time-out is for.
pub(crate) const STUCK: [How; 2] = [How::Stop, How::Hang];

/// What does not end the function that does it.
pub(crate) const WILD: [How; 1] = [How::CloseAll];

impl How {
    pub(crate) fn perform(self) {
        match self {
            How::Exit(code) => std::process::exit(code),
            How::ExitNow(code) => os::exit_at_once(code),
            How::Abort => std::process::abort(),
            How::Crash => {
                // The handler that std has for it would print nothing either.
                os::set_default(libc::SIGSEGV);
                os::crash();
            }
            How::Kill => os::raise(libc::SIGKILL),
            How::Stop => os::raise(libc::SIGSTOP),
            How::Hang => os::sleep_for_ever(),
            How::CloseAll => (3..256).for_each(os::close),
            How::Garbage => {
                for fd in sockets() {
                    let _ = os::write_to(fd, &[0xA5; 700]);
                }
                os::sleep_for_ever();
            }
        }
    }

    /// Signal and exit code of a process that does it.
    pub(crate) fn death(self) -> Option<(Option<i32>, Option<i32>)> {
        match self {
            How::Exit(code) | How::ExitNow(code) => Some((None, Some(code))),
            How::Abort => Some((Some(libc::SIGABRT), None)),
            How::Crash => Some((Some(libc::SIGSEGV), None)),
            How::Kill | How::Garbage => Some((Some(libc::SIGKILL), None)),
            How::Stop | How::Hang | How::CloseAll => None,
        }
    }

    /// As the word [`birth::HOW`](procession_testkit::birth::HOW), for a member that is born.
    pub(crate) fn at_birth(self) -> Option<u32> {
        match self {
            How::Exit(_) | How::Hang | How::CloseAll | How::Garbage => None,
            How::ExitNow(code) => Some(code.cast_unsigned() + 1),
            How::Abort => Some(1000 + libc::SIGABRT.cast_unsigned()),
            How::Crash => Some(1000 + libc::SIGSEGV.cast_unsigned()),
            How::Kill => Some(1000 + libc::SIGKILL.cast_unsigned()),
            How::Stop => Some(1000 + libc::SIGSTOP.cast_unsigned()),
        }
    }
}

/// The numbers of this process's sockets.
fn sockets() -> Vec<i32> {
    let is_socket = |fd: &i32| {
        std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    (3..256).filter(is_socket).collect()
}

/// What goes in: fails at one place, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The word of the ledger that counts the runs.
    pub(crate) id: u32,
    pub(crate) fails: Option<(Place, How)>,
}

impl Point {
    fn at(&self, place: Place) {
        if let Some((at, how)) = self.fails
            && at == place
        {
            how.perform();
        }
    }
}

/// Good ones, with words of their own.
pub(crate) fn good(count: u32) -> Vec<Point> {
    let first = ledger::reserve(count);
    let good = |id| Point { id, fails: None };
    (first..first + count).map(good).collect()
}

#[derive(Debug)]
pub(crate) struct Item(pub(crate) Point);

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let point = Point::deserialize(deserializer)?;
        point.at(Place::Decode);
        Ok(Item(point))
    }
}

/// What comes out. Made by a worker, it fails there when it is encoded or dropped.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) point: Point,
    here: bool,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Half(Point);
        impl Serialize for Half {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.at(Place::Encode);
                serializer.serialize_unit()
            }
        }
        (&self.point, Half(self.point)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (point, ()) = <(Point, ())>::deserialize(deserializer)?;
        Ok(Value { point, here: false })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.here {
            self.point.at(Place::Between);
        }
    }
}

/// The function.
pub(crate) fn work(item: Item) -> Value {
    ledger::note(item.0.id);
    item.0.at(Place::Run);
    Value {
        point: item.0,
        here: true,
    }
}

/// What a worker does besides its items.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Habit {
    pub(crate) place: Place,
    pub(crate) how: How,
    /// `Init`: how often, in this word. `Idle`: the pid of the one that is to do it.
    pub(crate) word: u32,
}

static HABIT: OnceLock<Habit> = OnceLock::new();

/// The initialiser.
pub(crate) fn take_up(habit: Habit) {
    // A process is a worker once.
    let _ = HABIT.set(habit);
    let Habit { place, how, word } = habit;
    match place {
        Place::Init => {
            let left = ledger::get(word);
            if left > 0 {
                ledger::set(word, left - 1);
                how.perform();
            }
        }
        Place::Idle => {
            std::thread::spawn(move || {
                let me = std::process::id();
                while ledger::wait(word) != me {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
                ledger::set(word, 0);
                how.perform();
            });
        }
        Place::Exit => {
            extern "C" fn leaving() {
                if let Some(habit) = HABIT.get() {
                    habit.how.perform();
                }
            }
            os::at_exit(leaving);
        }
        _ => {}
    }
}

/// The finaliser.
pub(crate) fn drop_it() {
    if let Some(habit) = HABIT.get()
        && habit.place == Place::Teardown
    {
        habit.how.perform();
    }
}
