//! `cargo xtask examples`: builds and runs the examples.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::layer::{LAYERS, Layer};
use crate::manifest::{self, Target};
use crate::{Command, Failure, Outcome, step, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "examples",
    arguments: "[--layer L] [--debug]",
    summary: "build and run the examples, each with its layer alone; optimised unless --debug",
    run,
};

/// An example that runs longer is killed and has failed.
const LIMIT: Duration = Duration::from_secs(120);

fn run(mut args: Args) -> Outcome {
    let only = args.value::<String>("--layer")?;
    let debug = args.flag("--debug");
    args.finish()?;

    let mut layers = declared()?;
    if let Some(only) = &only {
        let known: Vec<&str> = layers.iter().map(|(layer, _)| layer.name).collect();
        let message = format!("no examples of layer `{only}`; there are: {known:?}");
        layers.retain(|(layer, _)| layer.name == only);
        if layers.is_empty() {
            return Err(Failure::Usage(message));
        }
    }

    let mut count = 0;
    let mut failed = Vec::new();
    for (layer, examples) in &layers {
        for example in examples {
            let name = format!("{}/{}", layer.name, example.name);
            count += 1;
            match check(*layer, example, debug) {
                Ok(duration) => println!("{name} ... ok, {:.2} s", duration.as_secs_f64()),
                Err(problem) => {
                    println!("{name} ... FAILED, {problem}");
                    failed.push(name);
                }
            }
        }
    }
    if failed.is_empty() {
        println!("examples: {count} ok");
        Ok(())
    } else {
        Err(Failure::Failed(format!("failed: {}", failed.join(", "))))
    }
}

/// The examples that the crates of the layers declare; layers without are left
/// out.
fn declared() -> Result<Vec<(Layer, Vec<Target>)>, String> {
    let mut found = Vec::new();
    for layer in LAYERS {
        let folder = workspace::root().join("crates").join(layer.crate_name());
        if !folder.exists() {
            continue;
        }
        let text = workspace::read(&folder.join("Cargo.toml"))?;
        let examples = manifest::targets(&text, "example");
        if !examples.is_empty() {
            found.push((layer, examples));
        }
    }
    Ok(found)
}

/// Builds one example, runs it under the watchdog and returns how long it ran.
fn check(layer: Layer, example: &Target, debug: bool) -> Result<Duration, String> {
    let cargo = |verb: &str| {
        let package = layer.crate_name();
        let mut command = step::cargo(&[verb, "--quiet", "-p", &package]);
        if !debug {
            command.arg("--release");
        }
        command.args(["--example", &example.name]);
        if !example.required_features.is_empty() {
            command.args(["--features", &example.required_features.join(",")]);
        }
        command
    };
    let built = cargo("build").output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        let output = String::from_utf8_lossy(&built.stderr);
        return Err(format!("does not build\n{output}"));
    }

    let folder = workspace::target_dir().join("xtask");
    let log = folder.join(format!("{}-{}.log", layer.name, example.name));
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let ended = watch(&mut cargo("run"), &log, LIMIT);
    let duration = start.elapsed();
    let problem = match ended {
        Ok(None) => return Ok(duration),
        Ok(Some(problem)) => problem,
        Err(error) => error.to_string(),
    };
    let output = fs::read(&log).unwrap_or_default();
    Err(format!(
        "{problem}, {:.2} s\n{}",
        duration.as_secs_f64(),
        String::from_utf8_lossy(&output)
    ))
}

/// Runs the command for at most `limit`, with its output in the file `log`;
/// says what went wrong.
///
/// The output goes to a file because the end of a pipe may never come: any
/// process that the example leaves behind holds it open.
fn watch(command: &mut Process, log: &Path, limit: Duration) -> io::Result<Option<String>> {
    let output = File::create(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let Some(status) = wait(&mut child, limit)? else {
        // `cargo run` turned itself into the example: this kills the example.
        child.kill()?;
        child.wait()?;
        return Ok(Some(format!("killed after {}", step::seconds(limit))));
    };
    Ok((!status.success()).then(|| status.to_string()))
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    loop {
        let status = child.try_wait()?;
        if status.is_some() || start.elapsed() >= limit {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
