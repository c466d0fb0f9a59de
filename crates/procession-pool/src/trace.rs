//! A timeline of what the workers did, as a file in the trace event format.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use procession_primitives::monotonic_micros;

use crate::call::Collected;
use crate::cell::Cell;
use crate::event::Event;

/// The file of a timeline. Complete when it is dropped.
#[derive(Debug)]
pub(crate) struct Trace(Mutex<BufWriter<File>>);

impl Trace {
    pub(crate) fn create(path: &Path) -> io::Result<Trace> {
        let mut file = BufWriter::new(File::create(path)?);
        let pid = std::process::id();
        write!(
            file,
            r#"[{{"name":"process_name","ph":"M","pid":{pid},"args":{{"name":"pool"}}}}"#
        )?;
        Ok(Trace(Mutex::new(file)))
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A finished task, on the line of the worker that finished it.
    pub(crate) fn task(&self, cell: &Cell, collected: &Collected) {
        let start = cell.claimed_at.load(Ordering::Relaxed) / 1000;
        let queued = cell.queued_at.load(Ordering::Relaxed) / 1000;
        let (pid, thread) = (std::process::id(), cell.state().worker + 1);
        let (call, first) = (cell.call.load(Ordering::Relaxed), collected.first);
        let (items, attempt) = (collected.items, cell.attempt.load(Ordering::Relaxed));
        let (length, waited) = (collected.nanos / 1000, start.saturating_sub(queued));
        let name = match items {
            1 => format!("item {first}"),
            _ => format!("items {first}-{}", first + u64::from(items) - 1),
        };
        // A full disk costs the trace, not the call.
        let _ = write!(
            self.lock(),
            concat!(
                ",\n",
                r#"{{"name":"{name}","cat":"task","ph":"X","ts":{start},"dur":{length},"#,
                r#""pid":{pid},"tid":{thread},"args":{{"call":{call},"items":{items},"#,
                r#""attempt":{attempt},"waited_us":{waited}}}}}"#
            ),
            name = name,
            start = start,
            length = length,
            pid = pid,
            thread = thread,
            call = call,
            items = items,
            attempt = attempt,
            waited = waited
        );
    }

    /// What has happened to workers.
    pub(crate) fn events(&self, events: &[Event]) {
        let (pid, now) = (std::process::id(), monotonic_micros());
        let mut file = self.lock();
        for event in events {
            let (worker, name) = match event {
                Event::WorkerStarted { worker, pid, .. } => {
                    let _ = write!(
                        file,
                        concat!(
                            ",\n",
                            r#"{{"name":"thread_name","ph":"M","pid":{},"tid":{},"#,
                            r#""args":{{"name":"worker {}"}}}}"#
                        ),
                        std::process::id(),
                        worker + 1,
                        worker
                    );
                    (*worker, format!("started as process {pid}"))
                }
                Event::WorkerDied { worker, death } => (*worker, death.to_string()),
                Event::WorkerLeft { worker, .. } => (*worker, "left".to_owned()),
                Event::InitFailed { worker, failure } => (*worker, failure.to_string()),
                Event::TimedOut { worker, limit } => (*worker, format!("killed after {limit:?}")),
                Event::Retried { .. } | Event::Failed { .. } => continue,
            };
            let _ = write!(
                file,
                concat!(
                    ",\n",
                    r#"{{"name":"{name}","cat":"worker","ph":"i","s":"t","ts":{now},"#,
                    r#""pid":{pid},"tid":{thread}}}"#
                ),
                name = escape(&name),
                now = now,
                pid = pid,
                thread = worker + 1
            );
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut file = self.lock();
        let _ = writeln!(file, "\n]");
        let _ = file.flush();
    }
}

/// `text` as the inside of a JSON string.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}
