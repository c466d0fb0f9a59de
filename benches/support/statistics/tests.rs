//! Small sets of numbers with known answers.

use super::{Summary, percentiles};

#[test]
fn medians_lie_in_the_middle() {
    let of = |values: &[f64]| Summary::of(values).map(|all| (all.least, all.median, all.most));
    assert_eq!(of(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
    assert_eq!(of(&[7.0]), Some((7.0, 7.0, 7.0)));
    assert_eq!(of(&[]), None);
}

#[test]
fn percentiles_go_as_far_as_there_are_samples() {
    let samples: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
    let expected = [
        (50.0, 500.0),
        (75.0, 750.0),
        (90.0, 900.0),
        (99.0, 990.0),
        (99.9, 999.0),
    ];
    assert_eq!(percentiles(&samples), expected);
    assert_eq!(percentiles(&samples[..3]), [(50.0, 999.0)]);
    assert!(percentiles(&[]).is_empty());
    assert!(percentiles(&[1.0]).is_empty());
}
