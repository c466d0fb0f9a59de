//! `cargo xtask ci`: everything that must hold before a change goes in.

use std::time::Instant;

use crate::args::Args;
use crate::step::{self, cargo, seconds};
use crate::{Command, Failure, Outcome, examples, instructions, test, tidy};

pub(crate) const COMMAND: Command = Command {
    name: "ci",
    arguments: "",
    summary: "test, old kernels, features, fmt, clippy, doc, tidy, examples, instructions; stops at a failure",
    run,
};

/// A name and what it does.
type Step = (&'static str, fn() -> Outcome);

const STEPS: [Step; 9] = [
    ("test", || (test::COMMAND.run)(Args::new([]))),
    ("old kernels", old_kernels),
    ("features", with_features),
    ("fmt", || {
        Ok(step::run(&mut cargo(&["fmt", "--all", "--check"]))?)
    }),
    ("clippy", clippy),
    ("doc", doc),
    ("tidy", || (tidy::COMMAND.run)(Args::new([]))),
    // As the tests have built them.
    ("examples", || {
        (examples::COMMAND.run)(Args::new(["--debug".to_owned()]))
    }),
    // Last: it alone needs a release build.
    ("instructions", || {
        (instructions::COMMAND.run)(Args::new([]))
    }),
];

fn run(args: Args) -> Outcome {
    args.finish()?;
    let start = Instant::now();
    for (name, run) in STEPS {
        println!("== {name}");
        let start = Instant::now();
        let outcome = run();
        let duration = seconds(start.elapsed());
        match outcome {
            Ok(()) => println!("== {name}: ok, {duration}\n"),
            Err(Failure::Usage(message) | Failure::Failed(message)) => {
                println!("== {name}: FAILED, {duration}");
                return Err(Failure::Failed(format!("{name}: {message}")));
            }
        }
    }
    println!("== ci: ok, {}", seconds(start.elapsed()));
    Ok(())
}

/// The tests once more, with the sleep that kernels before 5.16 need: of the pool those in which
/// somebody sleeps while others die, finish or come.
fn old_kernels() -> Outcome {
    let test = |package: &[&str], cases: &[&str]| {
        let mut test = cargo(&["test", "--test", "it"]);
        test.args(package.iter().flat_map(|name| ["-p", name]));
        // Only the models need it, and it doubles the time of the build.
        test.args([
            "--config",
            "profile.dev.package.procession-sync.opt-level=0",
        ]);
        test.env("RUSTFLAGS", "--cfg procession_plain_futex");
        test.env("CARGO_TARGET_DIR", "target/plain_futex");
        step::run(test.arg("--").args(cases))
    };
    test(&["procession-primitives", "procession-sync"], &[])?;
    let cases = ["callbacks", "imap", "kills", "life", "results", "threads"];
    Ok(test(&["procession-pool"], &cases)?)
}

/// What only features have.
fn with_features() -> Outcome {
    let mut test = cargo(&["test", "-p", "procession-sync", "--features", "async"]);
    step::run(test.args(["--test", "features"]))?;
    let mut test = cargo(&["test", "-p", "procession-sync", "--features", "async"]);
    step::run(test.arg("--doc"))?;
    let mut test = cargo(&["test", "-p", "procession-executor", "--features", "stream"]);
    step::run(test.args(["--lib", "as_completed"]))?;
    let mut test = cargo(&["test", "-p", "procession-pool", "--all-features"]);
    Ok(step::run(test.args(["--test", "features"]))?)
}

fn clippy() -> Outcome {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
    ];
    Ok(step::run(cargo(&arguments).args(["-D", "warnings"]))?)
}

fn doc() -> Outcome {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    Ok(step::run(doc.env("RUSTDOCFLAGS", "-Dwarnings"))?)
}
