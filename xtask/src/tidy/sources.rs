//! Rules for `.rs` files: first line, unsafe, sleeping, leftovers, facade.

use crate::source;

use super::Problem;

/// A file with more lines of code gets a warning.
const LONG: usize = 400;

/// What has no place in `crates/*/src`, and what to do instead. The testkit is no part of what
/// users get.
const FORBIDDEN: [(&str, &str); 4] = [
    ("thread::sleep", "wait for what you wait for, do not sleep"),
    ("todo!", "unfinished"),
    ("unimplemented!", "unfinished"),
    (
        concat!("#[ig", "nore"),
        "a test that does not run proves nothing",
    ),
];

/// Checks one file, given its path from the top of the repository.
pub(super) fn check(path: &str, text: &str) -> Vec<Problem> {
    // The inputs of compile-fail tests are built outside of the workspace.
    if path.contains("/tests/ui/") || path.contains("/tests/fail/") {
        return Vec::new();
    }
    let code = source::code(text);
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        let message = "the first line is not a `//!` sentence";
        problems.push(Problem::new(path, 1, message));
    }
    problems.extend(unsafe_opt_in(path, &code));
    if in_src(path) && !path.starts_with("crates/procession-testkit/") {
        problems.extend(forbidden(path, &code));
    }
    if path.starts_with("crates/procession/src/") {
        problems.extend(logic(path, &code));
    }
    problems
}

/// The warning for a file that is too long; tests do not count.
pub(super) fn length(path: &str, text: &str) -> Option<Problem> {
    if !in_src(path) || path.ends_with("/tests.rs") {
        return None;
    }
    let code = source::code(text);
    let count = code.lines().filter(|line| !line.trim().is_empty()).count();
    let message = format!("{count} lines of code, more than {LONG}: split it or say why");
    (count > LONG).then(|| Problem::new(path, 1, message))
}

/// Whether the file is below `crates/*/src/`.
fn in_src(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

fn unsafe_opt_in(path: &str, code: &str) -> Option<Problem> {
    let (line, _) = words(code, "unsafe").next()?;
    let message = "`unsafe` without `#![allow(unsafe_code, reason = \"...\")]` at the top";
    (!opts_in(code)).then(|| Problem::new(path, line, message))
}

/// Whether the inner attributes at the top allow unsafe code.
fn opts_in(code: &str) -> bool {
    let squeezed: String = code.split_whitespace().collect();
    let mut rest = squeezed.as_str();
    while rest.starts_with("#![") {
        if rest.starts_with("#![allow(unsafe_code,reason=") {
            return true;
        }
        let mut depth = 0;
        let end = rest.find(|c| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            c == ']' && depth == 0
        });
        let Some(end) = end else { break };
        rest = &rest[end + 1..];
    }
    false
}

fn forbidden(path: &str, code: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (word, advice) in FORBIDDEN {
        for (line, _) in words(code, word) {
            problems.push(Problem::new(path, line, format!("`{word}`: {advice}")));
        }
    }
    // `use std::thread::{..., sleep}` hides it from the search above.
    for (line, text) in words(code, "sleep") {
        if text.contains("thread::{") {
            let message = format!("`thread::sleep`: {}", FORBIDDEN[0].1);
            problems.push(Problem::new(path, line, message));
        }
    }
    problems
}

/// The facade has documentation and `pub use`, nothing that runs.
fn logic(path: &str, code: &str) -> Vec<Problem> {
    ["fn", "macro_rules"]
        .into_iter()
        .flat_map(|word| words(code, word))
        .map(|(line, _)| Problem::new(path, line, "logic in the facade: it only re-exports"))
        .collect()
}

/// Number and text of the lines in which `word` stands alone.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let ends_in_name = word.ends_with(part);
    code.lines().enumerate().filter_map(move |(index, line)| {
        let found = line.match_indices(word).any(|(at, _)| {
            let continues = ends_in_name && line[at + word.len()..].starts_with(part);
            !line[..at].ends_with(part) && !continues
        });
        found.then_some((index + 1, line))
    })
}
