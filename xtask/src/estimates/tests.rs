//! Tests of the table and of reading estimates.

use super::{Row, full_id, table, time};

const NEW: &str = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,
    "lower_bound":1.0,"upper_bound":2.0},"point_estimate":1.5,"standard_error":0.1},
    "median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1190.0,
    "upper_bound":1.21e3},"point_estimate":1200.5,"standard_error":3.0},"slope":null}"#;
const CHANGE: &str = r#"{"median":{"confidence_interval":{"confidence_level":0.95,
    "lower_bound":0.018,"upper_bound":0.026},"point_estimate":0.021}}"#;

#[test]
fn prints_median_interval_and_change() {
    let rows = [
        Row::new("lock/free".to_owned(), NEW, Some(CHANGE)).unwrap(),
        Row::new("lock/new".to_owned(), NEW, None).unwrap(),
    ];
    assert_eq!(
        table(&rows),
        "benchmark      median           ±  change\n\
         lock/free     1.20 µs     10.0 ns  +2.1 % (+1.8..+2.6)\n\
         lock/new      1.20 µs     10.0 ns  -\n"
    );
}

#[test]
fn reads_names_and_refuses_what_is_no_number() {
    let benchmark = r#"{"group_id":"lock","full_id":"lock/free","directory_name":"x"}"#;
    assert_eq!(full_id(benchmark).unwrap(), "lock/free");
    assert_eq!(full_id("{}"), None);
    let nan = NEW.replace("1200.5", "null");
    assert_eq!(Row::new(String::new(), &nan, None), None);
}

#[test]
fn chooses_units() {
    assert_eq!(time(3.456), "3.46 ns");
    assert_eq!(time(456_000.0), "456 µs");
    assert_eq!(time(45_600_000.0), "45.6 ms");
    assert_eq!(time(2.5e9), "2.50 s");
}
