//! What is read, and what counts as a difference.

use super::table::{
    Baseline, Count, Verdict, keep_least, middle, more, parse_counts, table, verdict,
};

const BASELINE: &str = "for: rustc 1.2.3 some-arch\nlock 100.0\nqueue 1000.0\n";

fn counts(text: &str) -> Vec<Count> {
    parse_counts(text).unwrap()
}

fn judged(text: &str) -> Verdict {
    verdict(&counts(text), &Baseline::parse(BASELINE).unwrap())
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_baseline_is_read_as_it_is_written() {
    let baseline = Baseline::parse(BASELINE).unwrap();
    assert_eq!(baseline.build, "rustc 1.2.3 some-arch");
    assert_eq!(baseline.counts.len(), 2);
    assert_eq!(baseline.to_string(), BASELINE);
}

#[test]
fn nonsense_is_refused() {
    assert!(Baseline::parse("lock 100.0\n").is_err());
    assert!(parse_counts("lock\n").is_err());
    assert!(parse_counts("lock many\n").is_err());
    assert_eq!(counts("\n"), []);
}

#[test]
fn a_little_is_no_difference() {
    assert_eq!(judged("lock 102.9\nqueue 971.0\n"), Verdict::Same);
}

#[test]
fn more_is_named() {
    let worse = judged("lock 103.1\nqueue 900.0\n");
    assert_eq!(worse, Verdict::More(named(&["lock"])));
    let both = judged("lock 105.0\nqueue 1050.0\n");
    assert_eq!(both, Verdict::More(named(&["lock", "queue"])));
}

#[test]
fn less_is_named() {
    let better = judged("lock 100.0\nqueue 950.0\n");
    assert_eq!(better, Verdict::Less(named(&["queue"])));
}

#[test]
fn a_path_without_a_baseline_is_no_secret() {
    assert_eq!(judged("event 5.0\n"), Verdict::More(named(&["event"])));
}

#[test]
fn the_lesser_count_is_kept() {
    let baseline = Baseline::parse(BASELINE).unwrap();
    let mut both = counts("lock 120.0\nqueue 1000.0\n");
    assert_eq!(more(&both, &baseline), named(&["lock"]));
    keep_least(&mut both, counts("lock 100.5\n"));
    assert_eq!(both, counts("lock 100.5\nqueue 1000.0\n"));
    keep_least(&mut both, counts("lock 130.0\n"));
    assert_eq!(both, counts("lock 100.5\nqueue 1000.0\n"));
}

#[test]
fn the_middle_is_of_each_path() {
    let three = ["a 1.0\nb 9.0\n", "a 3.0\nb 7.0\n", "a 2.0\nb 8.0\n"];
    assert_eq!(middle(three.map(counts)), counts("a 2.0\nb 8.0\n"));
}

#[test]
fn the_table_has_the_change() {
    let baseline = Baseline::parse(BASELINE).unwrap();
    let compared = table(&counts("lock 105.0\n"), Some(&baseline));
    assert!(compared.contains("+5.0 %"), "{compared}");
    let alone = table(&counts("lock 105.0\n"), None);
    assert!(!alone.contains('%'), "{alone}");
}
