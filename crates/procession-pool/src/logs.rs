//! Log records of workers, passed on to the program: features `log` and `tracing`.
//!
//! A worker's logger puts records into a queue in shared memory, from which a thread of the program
//! hands them to the program's own logger. What a worker has logged before it was killed is not
//! lost: a record that was put is in the queue.

use std::thread::{self, JoinHandle};

use procession_sync::{CreateError, Queue};
use serde::{Deserialize, Serialize};

/// Records that wait for the program. A worker that logs more waits, too.
const WAITING: usize = 4096;

/// A record on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// From 1, an error, to 5.
    level: u8,
    target: String,
    message: String,
    file: Option<String>,
    line: Option<u32>,
    worker: u32,
    /// It came by `tracing`.
    traced: bool,
}

/// What a worker is told of logging.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogOrders {
    queue: Queue<LogRecord>,
    /// Least important level that the program wants, by each way; 0 for none.
    log: u8,
    traced: u8,
}

/// The program's end.
#[derive(Debug)]
pub(crate) struct Logs {
    queue: Queue<LogRecord>,
    thread: Option<JoinHandle<()>>,
}

impl Logs {
    pub(crate) fn start() -> Result<Logs, CreateError> {
        let queue: Queue<LogRecord> = Queue::bounded(WAITING)?;
        let receiver = queue.clone();
        let thread = thread::Builder::new().name("pool-logs".to_owned());
        let thread = thread.spawn(move || {
            for record in receiver.iter().flatten() {
                record.pass_on();
            }
        });
        Ok(Logs {
            queue,
            thread: thread.ok(),
        })
    }

    /// For a worker that is started now.
    pub(crate) fn orders(&self) -> LogOrders {
        LogOrders {
            queue: self.queue.clone(),
            #[cfg(feature = "log")]
            log: log::max_level() as u8,
            #[cfg(not(feature = "log"))]
            log: 0,
            #[cfg(feature = "tracing")]
            traced: traced::level(),
            #[cfg(not(feature = "tracing"))]
            traced: 0,
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        // The thread takes what is left, and ends.
        let _ = self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the program's logger was printed.
            let _ = thread.join();
        }
    }
}

impl LogRecord {
    fn pass_on(&self) {
        #[cfg(feature = "tracing")]
        if self.traced {
            return traced::pass_on(self);
        }
        #[cfg(feature = "log")]
        logged::pass_on(self);
    }
}

impl LogOrders {
    /// Makes this process, a worker, log into the queue. Where it has a logger already, as one of an
    /// initialiser that forked, that one stays.
    pub(crate) fn obey(self, worker: u32) {
        #[cfg(feature = "tracing")]
        if self.traced > 0 {
            traced::install(&self, worker);
        }
        #[cfg(feature = "log")]
        if self.log > 0 {
            logged::install(self, worker);
        }
    }
}

#[cfg(feature = "log")]
mod logged {
    use log::{Level, LevelFilter, Log, Metadata, Record};

    use super::{LogOrders, LogRecord};

    struct Forwarder {
        orders: LogOrders,
        worker: u32,
    }

    pub(super) fn install(orders: LogOrders, worker: u32) {
        let level = LevelFilter::iter().nth(orders.log as usize);
        let forwarder = Box::new(Forwarder { orders, worker });
        if log::set_boxed_logger(forwarder).is_ok() {
            log::set_max_level(level.unwrap_or(LevelFilter::Trace));
        }
    }

    impl Log for Forwarder {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() as usize <= self.orders.log as usize
        }

        fn log(&self, record: &Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            // Refused only when the pool is at its end.
            let _ = self.orders.queue.put(LogRecord {
                level: record.level() as u8,
                target: record.target().to_owned(),
                message: record.args().to_string(),
                file: record.file().map(str::to_owned),
                line: record.line(),
                worker: self.worker,
                traced: false,
            });
        }

        fn flush(&self) {}
    }

    pub(super) fn pass_on(record: &LogRecord) {
        let level = Level::iter().nth(usize::from(record.level.max(1)) - 1);
        let level = level.unwrap_or(Level::Trace);
        let metadata = Metadata::builder()
            .level(level)
            .target(&record.target)
            .build();
        let logger = log::logger();
        if level <= log::max_level() && logger.enabled(&metadata) {
            logger.log(
                &Record::builder()
                    .metadata(metadata)
                    .args(format_args!(
                        "[worker {}] {}",
                        record.worker, record.message
                    ))
                    .file(record.file.as_deref())
                    .line(record.line)
                    .build(),
            );
        }
    }
}

#[cfg(feature = "tracing")]
mod traced {
    use std::fmt::{self, Write};
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::field::{Field, Visit};
    use tracing::level_filters::LevelFilter;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::{LogOrders, LogRecord};

    const LEVELS: [Level; 5] = [
        Level::ERROR,
        Level::WARN,
        Level::INFO,
        Level::DEBUG,
        Level::TRACE,
    ];

    /// The least important level that this process wants.
    pub(super) fn level() -> u8 {
        let wanted = LevelFilter::current();
        LEVELS.iter().filter(|level| **level <= wanted).count() as u8
    }

    struct Forwarder {
        orders: LogOrders,
        worker: u32,
        spans: AtomicU64,
    }

    pub(super) fn install(orders: &LogOrders, worker: u32) {
        // Refused where there is one.
        let _ = tracing::subscriber::set_global_default(Forwarder {
            orders: orders.clone(),
            worker,
            spans: AtomicU64::new(1),
        });
    }

    impl Subscriber for Forwarder {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            number(*metadata.level()) <= self.orders.traced
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            let at = usize::from(self.orders.traced.max(1)) - 1;
            LEVELS.get(at).copied().map(LevelFilter::from_level)
        }

        // Spans of a worker are not passed on; their events are.
        fn new_span(&self, _span: &Attributes<'_>) -> Id {
            Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
        }

        fn record(&self, _span: &Id, _values: &Record<'_>) {}

        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            let metadata = event.metadata();
            // Refused only when the pool is at its end.
            let _ = self.orders.queue.put(LogRecord {
                level: number(*metadata.level()),
                target: metadata.target().to_owned(),
                message: text.message + &text.fields,
                file: metadata.file().map(str::to_owned),
                line: metadata.line(),
                worker: self.worker,
                traced: true,
            });
        }

        fn enter(&self, _span: &Id) {}

        fn exit(&self, _span: &Id) {}
    }

    fn number(level: Level) -> u8 {
        LEVELS.iter().filter(|other| **other <= level).count() as u8
    }

    /// An event's message and its other fields, as text.
    #[derive(Default)]
    struct Text {
        message: String,
        fields: String,
    }

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            // Writing to a string does not fail.
            let _ = match field.name() {
                "message" => write!(self.message, "{value:?}"),
                name => write!(self.fields, " {name}={value:?}"),
            };
        }
    }

    pub(super) fn pass_on(record: &LogRecord) {
        let (worker, target, message) = (record.worker, &record.target, &record.message);
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(target: "procession_pool::worker", worker, %target, "{message}")
            };
        }
        match record.level {
            1 => event!(error),
            2 => event!(warn),
            3 => event!(info),
            4 => event!(debug),
            _ => event!(trace),
        }
    }
}
