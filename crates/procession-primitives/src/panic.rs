//! What is known of a panic in another process.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A panic, as it travels from the process in which it happened.
///
/// Displays as message and place; with `{:#}` also the backtrace, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    message: Option<String>,
    location: PanicLocation,
    backtrace: Option<String>,
}

/// Where a panic happened: displays as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PanicLocation {
    file: String,
    line: u32,
    column: u32,
}

impl Panic {
    /// The message; a fixed text where the payload was not a string.
    #[must_use]
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("Box<dyn Any>")
    }

    /// Where it happened.
    #[must_use]
    pub fn location(&self) -> &PanicLocation {
        &self.location
    }

    /// The backtrace, if `RUST_BACKTRACE` asked for one.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }

    /// What a caught payload tells: the message, if it is one.
    #[must_use]
    pub fn from_payload(payload: &(dyn Any + Send)) -> Panic {
        Panic {
            message: text_of(payload),
            location: PanicLocation::default(),
            backtrace: None,
        }
    }
}

impl PanicLocation {
    /// The source file; empty where it is unknown.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str("an unknown place");
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.location, self.message())?;
        if let Some(backtrace) = self.backtrace.as_ref().filter(|_| f.alternate()) {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Panic {}

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The text of a panic's payload.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

/// Notes each panic of this process before the present hook sees it.
pub(crate) fn install_hook() {
    let present = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = LAST.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = Some(note(info));
            }
        });
        if !QUIET.try_with(Cell::get).unwrap_or(false) {
            present(info);
        }
    }));
}

fn note(info: &PanicHookInfo<'_>) -> Panic {
    let location = info
        .location()
        .map_or_else(PanicLocation::default, |at| PanicLocation {
            file: at.file().to_owned(),
            line: at.line(),
            column: at.column(),
        });
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    Panic {
        message: info.payload_as_str().map(str::to_owned),
        location,
        backtrace: captured.then(|| {
            let tell = NOTICE.get();
            tell.inspect(|tell| tell(true));
            // Reads the debug information of the program: this can take half a second.
            let text = backtrace.to_string();
            tell.inspect(|tell| tell(false));
            text
        }),
    }
}

/// Who is told of backtraces.
static NOTICE: OnceLock<fn(bool)> = OnceLock::new();

/// Has `notice` called before (`true`) and after (`false`) a panic's backtrace is put into words,
/// on the panicking thread: for those who keep time. For one caller of a process.
pub fn on_backtrace(notice: fn(bool)) {
    let _ = NOTICE.set(notice);
}

/// Runs `body`; a panic in it comes back as a value.
///
/// With [`quietly`] the panic is not printed. Message and location are known in processes of a
/// family; elsewhere only the message.
///
/// # Errors
///
/// The panic.
pub fn catch<T>(body: impl FnOnce() -> T) -> Result<T, Box<Panic>> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let noted = LAST
            .try_with(|last| last.borrow_mut().take())
            .ok()
            .flatten();
        let panic = Box::new(noted.unwrap_or_else(|| Panic::from_payload(&*payload)));
        // Dropping what the user threw may panic again.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        panic
    })
}

/// Runs `body` without printing its panics, for a caller that passes them on as values.
pub fn quietly<T>(body: impl FnOnce() -> T) -> T {
    struct Loud(bool);
    impl Drop for Loud {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _loud = Loud(QUIET.replace(true));
    body()
}
