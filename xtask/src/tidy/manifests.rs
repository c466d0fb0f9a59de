//! Rules for `Cargo.toml` files: layers, lint tables, system calls, examples.

use crate::layer::{Layer, TESTKIT};
use crate::manifest::{self, Dependency, DependencyKind};

use super::Problem;

/// The crates that only the lowest layer and the tests may use, to make system calls.
const SYSTEM_CALLS: [&str; 2] = ["libc", "rustix"];

/// Checks the manifest of one package.
pub(super) fn check(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !manifest::shares_lints(text) {
        problems.push(Problem::new(path, 1, "lacks `[lints] workspace = true`"));
    }
    let package = package(path);
    for dependency in manifest::dependencies(text) {
        problems.extend(testkit(path, package, &dependency));
        if let Some(package) = package {
            problems.extend(arrow(path, package, &dependency));
            problems.extend(system_call(path, package, &dependency));
        }
    }
    problems
}

/// Checks that files under `examples/` and `[[example]]` tables match, given
/// all manifests and all files as paths from the top of the repository.
pub(super) fn examples(manifests: &[(String, String)], files: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut declared = Vec::new();
    for (path, text) in manifests {
        let Some(package) = package(path) else {
            continue;
        };
        let folder = Layer::of_crate(package).map(|layer| format!("examples/{}/", layer.name));
        for target in manifest::targets(text, "example") {
            let file = normalize(&format!("crates/{package}/{}", target.path));
            let mut complain =
                |message: String| problems.push(Problem::new(path, target.line, message));
            if !files.contains(&file) {
                complain(format!("example `{}`: no file `{file}`", target.name));
            } else if !folder.as_ref().is_some_and(|own| file.starts_with(own)) {
                complain(format!("example `{}` is of another layer", target.name));
            } else if stem(&file) != target.name {
                complain(format!(
                    "example `{}` is not named as its file",
                    target.name
                ));
            }
            declared.push(file);
        }
    }
    for file in files {
        if file.ends_with(".rs") && !declared.contains(file) {
            let message = "no crate declares it as an [[example]]";
            problems.push(Problem::new(file, 1, message));
        }
    }
    problems
}

/// The crate whose manifest it is; none outside of `crates/`.
fn package(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
}

/// The testkit is for the tests of the layers, and uses none above the lowest.
fn testkit(path: &str, package: Option<&str>, dependency: &Dependency) -> Option<Problem> {
    let message = match (package, dependency.package.as_str()) {
        (Some(TESTKIT), "procession-primitives") => return None,
        (Some(TESTKIT), name) if is_ours(name) => {
            format!("`{TESTKIT}` must not depend on `{name}`: every layer's tests use it")
        }
        (_, TESTKIT) if dependency.kind != DependencyKind::Dev => {
            format!("`{TESTKIT}` is for [dev-dependencies] only")
        }
        _ => return None,
    };
    Some(Problem::new(path, dependency.line, message))
}

fn is_ours(package: &str) -> bool {
    package == "procession" || package.starts_with("procession-")
}

/// Dependencies between layers point down, of whatever kind.
fn arrow(path: &str, package: &str, dependency: &Dependency) -> Option<Problem> {
    let name = &dependency.package;
    if !is_ours(name) || [package, name].contains(&TESTKIT) {
        return None;
    }
    let message = match (Layer::of_crate(package), Layer::of_crate(name)) {
        (Some(from), Some(to)) if from.may_use(to) => return None,
        (Some(from), Some(to)) => format!(
            "`{}` must not depend on `{}`: dependencies point down only",
            from.name, to.name
        ),
        (None, _) => format!("`{package}` is no layer of xtask/src/layer.rs"),
        (_, None) => format!("`{name}` is no layer of xtask/src/layer.rs"),
    };
    Some(Problem::new(path, dependency.line, message))
}

fn system_call(path: &str, package: &str, dependency: &Dependency) -> Option<Problem> {
    let name = &dependency.package;
    if ["procession-primitives", TESTKIT].contains(&package)
        || dependency.kind != DependencyKind::Normal
        || !SYSTEM_CALLS.contains(&name.as_str())
    {
        return None;
    }
    let message = format!("`{name}`: only procession-primitives makes system calls");
    Some(Problem::new(path, dependency.line, message))
}

/// Takes `.` and `..` out of a path.
fn normalize(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The name cargo would give the example: `a` for `a.rs` and for `a/main.rs`.
fn stem(file: &str) -> &str {
    let file = file.strip_suffix("/main.rs").unwrap_or(file);
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    name.strip_suffix(".rs").unwrap_or(name)
}
