//! Tests of the manifest reader.

use super::{Dependency, DependencyKind, Target, dependencies, shares_lints, targets};

fn dependency(kind: DependencyKind, package: &str, line: usize) -> Dependency {
    Dependency {
        kind,
        package: package.to_owned(),
        line,
    }
}

#[test]
fn finds_dependencies_in_every_spelling() {
    let text = r#"[package]
name = "x" # not a = "dependency"

[dependencies]
a.workspace = true
"b" = "1"
renamed = { features = ["x", "package"], package = "c" }

[dev-dependencies.d]
version = "1"
features = [
    "one", # with a comment
    "two",
]

[build-dependencies]
e = { path = "../e" }

[target.'cfg(target_os = "linux")'.dependencies]
f = "1"

[dependencies.again]
package = "g"
version = "1"
"#;
    use DependencyKind::{Build, Dev, Normal};
    assert_eq!(
        dependencies(text),
        [
            dependency(Normal, "a", 5),
            dependency(Normal, "b", 6),
            dependency(Normal, "c", 7),
            dependency(Dev, "d", 10),
            dependency(Build, "e", 17),
            dependency(Normal, "f", 20),
            dependency(Normal, "g", 23),
        ]
    );
}

#[test]
fn finds_targets_block_by_block() {
    let text = r#"[[example]]
name = "one"
path = "../../examples/pool/one.rs"

[[bench]]
name = "pool"
harness = false

[[example]]
path = "../../examples/pool/two.rs"
name = "two"
required-features = ["a", "b"]
"#;
    assert_eq!(
        targets(text, "example"),
        [
            Target {
                name: "one".to_owned(),
                path: "../../examples/pool/one.rs".to_owned(),
                required_features: Vec::new(),
                line: 2,
            },
            Target {
                name: "two".to_owned(),
                path: "../../examples/pool/two.rs".to_owned(),
                required_features: vec!["a".to_owned(), "b".to_owned()],
                line: 11,
            },
        ]
    );
    assert_eq!(targets(text, "bench").len(), 1);
}

#[test]
fn finds_shared_lints() {
    assert!(shares_lints("[lints]\nworkspace = true\n"));
    assert!(shares_lints("lints.workspace = true\n"));
    assert!(!shares_lints("[lints.rust]\nunsafe_code = \"deny\"\n"));
    assert!(!shares_lints("# [lints]\n# workspace = true\n"));
}
