//! Each rule is seen to fail, and to let good files pass.

use super::{Problem, manifests, sources, top_level};

const LINTS: &str = "[lints]\nworkspace = true\n";

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The problems of a manifest that has its lint table.
fn manifest(package: &str, text: &str) -> Vec<String> {
    let path = format!("crates/{package}/Cargo.toml");
    lines(&manifests::check(&path, &format!("{text}\n{LINTS}")))
}

/// The problems of a file in `crates/procession-sync/src` with a first line.
fn source(text: &str) -> Vec<String> {
    let text = format!("//! Good.\n{text}");
    lines(&sources::check("crates/procession-sync/src/x.rs", &text))
}

#[test]
fn dependencies_point_down() {
    let down = "[dependencies]\nprocession-sync.workspace = true\nserde = \"1\"";
    assert!(manifest("procession-pool", down).is_empty());
    let itself = "[dev-dependencies]\nprocession-pool = { path = \".\" }";
    assert!(manifest("procession-pool", itself).is_empty());

    let cases = [
        ("procession-sync", "[dependencies]\nprocession-pool = \"1\""),
        (
            "procession-sync",
            "[dev-dependencies]\nprocession-pool.workspace = true",
        ),
        (
            "procession-sync",
            "[build-dependencies]\nprocession-connection = \"1\"",
        ),
        (
            "procession-connection",
            "[dependencies]\nprocession-sync = \"1\"",
        ),
        (
            "procession-primitives",
            "[dependencies]\nprocession = \"1\"",
        ),
        (
            "procession-executor",
            "[dependencies.procession-manager]\nversion = \"1\"",
        ),
        (
            "procession-pool",
            "[target.'cfg(unix)'.dependencies]\nprocession-executor = \"1\"",
        ),
        (
            "procession-pool",
            "[dependencies]\nx = { package = \"procession-executor\" }",
        ),
        (
            "procession-pool",
            "[dependencies]\nprocession-bench = \"1\"",
        ),
        ("procession-odd", "[dependencies]\nprocession-pool = \"1\""),
    ];
    for (package, text) in cases {
        assert_eq!(manifest(package, text).len(), 1, "{package}: {text}");
    }
    assert_eq!(
        manifest(cases[0].0, cases[0].1),
        [
            "crates/procession-sync/Cargo.toml:2: `sync` must not depend on `pool`: \
          dependencies point down only"
        ]
    );
}

#[test]
fn the_testkit_is_for_tests() {
    for package in ["procession-primitives", "procession-pool", "procession"] {
        let text =
            |table: &str| format!("[{table}]\nserde = \"1\"\nprocession-testkit.workspace = true");
        assert!(manifest(package, &text("dev-dependencies")).is_empty());
        for table in ["dependencies", "build-dependencies"] {
            let path = format!("crates/{package}/Cargo.toml");
            let message = "`procession-testkit` is for [dev-dependencies] only";
            assert_eq!(
                manifest(package, &text(table)),
                [format!("{path}:3: {message}")]
            );
        }
    }
    let down = "[dependencies]\nlibc = \"1\"\nprocession-primitives.workspace = true";
    assert!(manifest("procession-testkit", down).is_empty());
    for table in ["dependencies", "dev-dependencies"] {
        let up = format!("[{table}]\nprocession-pool.workspace = true");
        assert_eq!(manifest("procession-testkit", &up).len(), 1);
    }
    let odd = "[dev-dependencies]\nprocession-testkit.workspace = true";
    let bench = manifests::check("benches/Cargo.toml", &format!("{odd}\n{LINTS}"));
    assert!(bench.is_empty());
    let bench = format!("[dependencies]\nprocession-testkit = \"1\"\n{LINTS}");
    assert_eq!(manifests::check("benches/Cargo.toml", &bench).len(), 1);
}

#[test]
fn system_calls_are_confined() {
    let normal = "[dependencies]\nrustix.workspace = true\nlibc = \"0.2\"";
    assert!(manifest("procession-primitives", normal).is_empty());
    assert_eq!(manifest("procession-sync", normal).len(), 2);
    let renamed = "[dependencies]\nsys = { package = \"libc\", version = \"0.2\" }";
    assert_eq!(manifest("procession-sync", renamed).len(), 1);
    let dev = "[dev-dependencies]\nrustix.workspace = true";
    assert!(manifest("procession-sync", dev).is_empty());
}

#[test]
fn lint_tables_are_shared() {
    let bare = "[package]\nname = \"x\"\n";
    assert_eq!(manifests::check("xtask/Cargo.toml", bare).len(), 1);
    assert!(manifests::check("xtask/Cargo.toml", LINTS).is_empty());
}

#[test]
fn examples_match_their_declarations() {
    let check = |example: &str, files: &[&str]| {
        let text = format!("[[example]]\n{example}");
        let path = "crates/procession-pool/Cargo.toml".to_owned();
        let files: Vec<String> = files.iter().map(ToString::to_string).collect();
        lines(&manifests::examples(&[(path, text)], &files))
    };
    let good = "name = \"map\"\npath = \"../../examples/pool/map.rs\"";
    let folder = "name = \"map\"\npath = \"../../examples/pool/map/main.rs\"";
    assert!(check(good, &["examples/pool/map.rs", "examples/pool/data.txt"]).is_empty());
    assert!(check(folder, &["examples/pool/map/main.rs"]).is_empty());

    assert!(check(good, &[])[0].contains("toml:2: example `map`: no file"));
    let undeclared = check(good, &["examples/pool/map.rs", "examples/pool/new.rs"]);
    assert!(undeclared[0].starts_with("examples/pool/new.rs:1: no crate declares"));
    let foreign = "name = \"map\"\npath = \"../../examples/sync/map.rs\"";
    assert!(check(foreign, &["examples/sync/map.rs"])[0].contains("another layer"));
    let misnamed = "name = \"other\"\npath = \"../../examples/pool/map.rs\"";
    assert!(check(misnamed, &["examples/pool/map.rs"])[0].contains("not named as its file"));
}

#[test]
fn files_begin_with_a_sentence() {
    for text in [
        "",
        "use std::fmt;\n",
        "\n//! Late.\n",
        "// Plain.\n",
        "#!/bin/x\n//! x\n",
    ] {
        assert_eq!(sources::check("xtask/src/x.rs", text).len(), 1, "{text}");
    }
    assert!(sources::check("xtask/src/x.rs", "//! Good.\n").is_empty());
    assert!(sources::check("crates/x/tests/ui/x.rs", "fn main() {}\n").is_empty());
    assert!(sources::check("crates/x/tests/fail/x.rs", "fn main() {}\n").is_empty());
}

#[test]
fn unsafe_files_opt_in() {
    let block = "fn f() { unsafe { g() } }\n";
    assert!(source(block)[0].starts_with("crates/procession-sync/src/x.rs:2: `unsafe`"));
    assert_eq!(source("#[unsafe(no_mangle)]\nfn f() {}\n").len(), 1);
    assert_eq!(source(&format!("#![allow(unsafe_code)]\n{block}")).len(), 1);
    let late = format!("mod m {{\n#![allow(unsafe_code, reason = \"r\")]\n{block}}}\n");
    assert_eq!(source(&late).len(), 1);
    let elsewhere = lines(&sources::check(
        "crates/x/tests/it/main.rs",
        &format!("//! x\n{block}"),
    ));
    assert_eq!(elsewhere.len(), 1);

    let allow = "#![allow(unsafe_code, reason = \"r\")]\n";
    let long = "#![allow(\n    unsafe_code,\n    reason = \"r\"\n)]\n";
    assert!(source(&format!("{allow}{block}")).is_empty());
    assert!(source(&format!("#![cfg(any(a, b))]\n{long}{block}")).is_empty());
    assert!(source("#![deny(unsafe_op_in_unsafe_fn)]\n// unsafe\n").is_empty());
    assert!(source("const X: &str = \"unsafe\"; /* unsafe */\n").is_empty());
}

#[test]
fn src_does_not_sleep_and_is_finished() {
    let cases = [
        "fn f() { std::thread::sleep(d) }\n",
        "use std::thread::{self, sleep};\n",
        concat!("fn f() { to", "do!() }\n"),
        concat!("fn f() { unimple", "mented!(\"x\") }\n"),
        concat!("#[ig", "nore = \"slow\"]\nfn f() {}\n"),
    ];
    for text in cases {
        assert_eq!(source(text).len(), 1, "{text}");
        let text = format!("//! Good.\n{text}");
        assert!(sources::check("crates/x/tests/it/main.rs", &text).is_empty());
        assert!(sources::check("crates/procession-testkit/src/x.rs", &text).is_empty());
    }
    assert!(
        source(concat!(
            "/// thread::sleep(d); to",
            "do!()\nfn sleepers() {}\n"
        ))
        .is_empty()
    );
}

#[test]
fn top_level_is_closed() {
    let names = [".git", "crates", "notes.md", "target"].map(str::to_owned);
    let problems = lines(&top_level(&names));
    assert_eq!(
        problems,
        ["notes.md:1: does not belong to the top level of the repository"]
    );
}

#[test]
fn long_files_are_reported() {
    let text = |count| format!("//! Good.\n\n{}", "f(); // x\n".repeat(count));
    let path = "crates/procession-sync/src/x.rs";
    assert!(sources::length(path, &text(400)).is_none());
    assert!(sources::length(path, &text(401)).is_some());
    assert!(sources::length(path, &"// x\n\n".repeat(900)).is_none());
    assert!(sources::length("crates/x/src/x/tests.rs", &text(900)).is_none());
    assert!(sources::length("xtask/src/x.rs", &text(900)).is_none());
}

#[test]
fn facade_holds_no_logic() {
    let check = |text: &str| lines(&sources::check("crates/procession/src/lib.rs", text));
    assert_eq!(check("//! x\npub fn f() {}\n").len(), 1);
    assert_eq!(check("//! x\n    pub(crate) async fn f() {}\n").len(), 1);
    assert_eq!(check("//! x\nmacro_rules! m { () => {} }\n").len(), 1);
    assert!(check("//! x\n/// fn main() {}\npub use a::b;\npub mod c;\n").is_empty());
}
