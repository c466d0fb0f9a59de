//! What only features have: `log`, `tracing` and `progress`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use procession_pool::{Pool, TaskError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What came to the program's logger and subscriber.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(line: String) {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.push(line);
}

/// The lines with `word` in them, in their order.
fn lines_with(word: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines
        .iter()
        .filter(|line| line.contains(word))
        .cloned()
        .collect()
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() != "unwanted"
    }

    fn log(&self, record: &log::Record<'_>) {
        let (level, target) = (record.level(), record.target());
        note(format!("{level} {target} {}", record.args()));
    }

    fn flush(&self) {}
}

fn with_logger() {
    // Whichever test comes first.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

#[derive(Default)]
struct Listener(AtomicU64);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text(format!("span {}", span.metadata().name()));
        span.record(&mut text);
        note(text.0);
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut text);
        note(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

fn with_listener() {
    let _ = tracing::subscriber::set_global_default(Listener::default());
}

#[test]
fn records_come_to_the_programs_logger() {
    with_logger();
    let pool = Pool::builder().workers(2).forward_logs().build().unwrap();
    let talk = |n: u32| {
        log::warn!(target: "talker", "logged {n}");
        log::debug!(target: "talker", "logged too quietly {n}");
        log::error!(target: "unwanted", "logged unwanted {n}");
    };
    pool.map(talk, 0..100).unwrap();
    drop(pool);
    let mut lines = lines_with("logged");
    lines.sort_unstable();
    let mut wanted: Vec<_> = (0..100)
        .map(|n| (0..2).map(move |w| format!("WARN talker [worker {w}] logged {n}")))
        .collect();
    assert_eq!(lines.len(), wanted.len(), "each once: {lines:?}");
    wanted.retain_mut(|either| !either.any(|line| lines.binary_search(&line).is_ok()));
    assert!(wanted.is_empty(), "{} are missing", wanted.len());
}

#[test]
fn what_was_logged_before_a_death_is_not_lost() {
    with_logger();
    let pool = Pool::builder().workers(1).forward_logs().build().unwrap();
    let last_words = |()| -> () {
        log::error!("farewell");
        std::process::abort()
    };
    let outcome = pool.apply(last_words, ());
    assert!(matches!(outcome, Err(TaskError::WorkerDied(_))));
    drop(pool);
    assert_eq!(lines_with("farewell").len(), 1);
}

#[test]
fn events_come_to_the_programs_subscriber() {
    with_listener();
    let pool = Pool::builder().workers(1).forward_logs().build().unwrap();
    let talk = |n: u32| {
        let span = tracing::info_span!("not passed on");
        span.in_scope(|| tracing::info!(target: "speaker", n, square = n * n, "traced"));
        tracing::trace!("traced too quietly");
    };
    pool.map(talk, 0..10).unwrap();
    drop(pool);
    let lines = lines_with("traced");
    assert_eq!(lines.len(), 10, "{lines:?}");
    for (n, line) in (0..).zip(&lines) {
        let text = format!("message=traced n={n} square={}", n * n);
        assert!(line.contains(&text), "{line}");
        assert!(line.contains("worker=0 target=speaker"), "{line}");
    }
    assert!(!lines_with("span pool call items=10").is_empty());
}

#[test]
fn deaths_are_events() {
    with_listener();
    let pool = Pool::with_workers(1).unwrap();
    let outcome = pool.apply(|()| -> () { std::process::exit(77) }, ());
    assert!(matches!(outcome, Err(TaskError::WorkerDied(_))));
    // The words of the event itself: the number alone is in other tests' lines, too.
    let lines = lines_with("WARN procession_pool::event message=worker died worker=0");
    let ends = lines.iter().filter(|line| line.contains("exit code 77"));
    assert_eq!(ends.count(), 1, "{lines:?}");
}

#[test]
fn a_progress_bar_changes_nothing() {
    let pool = Pool::with_workers(2).unwrap();
    let divide = |n: u32| 100 / (n % 10);
    let plain = pool.map_results(divide, 0..1000);
    let shown = pool.progress().map_results(divide, 0..1000);
    let values = |outcomes: &[Result<u32, TaskError>]| {
        let values = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().ok().copied());
        values.collect::<Vec<_>>()
    };
    assert_eq!(values(&plain), values(&shown));
    let streamed: Vec<_> = pool.progress().imap(divide, 0..1000).collect();
    assert_eq!(values(&plain), values(&streamed));
}
