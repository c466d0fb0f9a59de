//! Tests of the watchdog.

use std::env;
use std::process::{self, Command};
use std::time::Duration;

use super::watch;

/// Runs a line of shell under the watchdog.
fn shell(name: &str, line: &str, limit: Duration) -> (Option<String>, String) {
    let log = env::temp_dir().join(format!("xtask-{}-{name}.log", process::id()));
    let problem = watch(Command::new("sh").args(["-c", line]), &log, limit).unwrap();
    let output = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    (problem, output)
}

#[test]
fn watchdog_tells_success_failure_and_hanging_apart() {
    let long = Duration::from_secs(120);
    let (problem, output) = shell("ok", "echo out; echo err >&2", long);
    assert_eq!((problem, output.as_str()), (None, "out\nerr\n"));

    let (problem, _) = shell("fails", "exit 3", long);
    assert!(problem.unwrap().contains('3'));

    let (problem, output) = shell("hangs", "echo out; exec sleep 600", Duration::from_secs(1));
    assert!(problem.unwrap().contains("killed after 1.0 s"));
    assert_eq!(output, "out\n");
}
