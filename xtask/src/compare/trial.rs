//! One trial: a program that runs, prints its records and ends, or is ended.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::programs::Contestant;

/// The longest trials take a minute and a half, quick ones a quarter of one. Peers may hang.
const LIMIT: Duration = Duration::from_secs(240);
const LIMIT_QUICK: Duration = Duration::from_secs(90);

/// How often to look whether the program has ended and left others behind.
const PERIOD: Duration = Duration::from_millis(250);

/// Runs one trial: the lines that it printed, and whether it came to its end.
pub(super) fn run(contestant: &Contestant, quick: bool) -> (String, Result<(), String>) {
    // A group of its own: what a hanging peer has started is ended with it.
    let child = contestant
        .trial(quick)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => follow(child, if quick { LIMIT_QUICK } else { LIMIT }),
        Err(error) => (String::new(), Err(error.to_string())),
    }
}

fn follow(mut child: Child, limit: Duration) -> (String, Result<(), String>) {
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.map(|mut stdout| stdout.read_to_string(&mut text));
        // Nobody listens any more if the trial took too long.
        let _ = sender.send(());
        read.and_then(Result::ok).map_or_else(String::new, |_| text)
    });
    let (start, mut in_time) = (Instant::now(), true);
    // Nobody can print any more when the reader is done.
    while receiver.recv_timeout(PERIOD).is_err() {
        in_time = start.elapsed() < limit;
        if !in_time || child.try_wait().is_ok_and(|status| status.is_some()) {
            end_group(&child);
            break;
        }
    }
    let status = child.wait();
    let text = reader.join().unwrap_or_default();
    let end = match status {
        _ if !in_time => Err(format!(
            "ended after {} s without an answer",
            limit.as_secs()
        )),
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    };
    (text, end)
}

/// Kills the child, if it still runs, and what else is in its group.
fn end_group(child: &Child) {
    let group = format!("-{}", child.id());
    let mut kill = Command::new("kill");
    // There may be nobody left.
    let _ = kill
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status();
}
