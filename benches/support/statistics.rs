//! Medians, spreads, percentiles.

#[cfg(test)]
mod tests;

use serde::Serialize;

/// The percentiles of a curve.
const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99];

/// What several trials come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The smallest value.
    pub least: f64,
    /// The middle, or between the two in the middle.
    pub median: f64,
    /// The largest value.
    pub most: f64,
}

impl Summary {
    /// Of all `values`; `None` if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&least, &most) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Summary {
            least,
            median,
            most,
        })
    }
}

/// The median of `values`.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    Summary::of(values).expect("values").median
}

/// Percentiles of `samples`, and their values: 50, 75, 90, 99, 99.9 and 99.99, as far as at
/// least one sample lies beyond.
#[must_use]
pub fn percentiles(samples: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |percent: f64| (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    PERCENTILES
        .into_iter()
        .filter(|&percent| below(percent) < sorted.len())
        .map(|percent| (percent, sorted[below(percent).saturating_sub(1)]))
        .collect()
}
