//! Numbers as one reads them.

/// Three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.1e}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        size if size < 1e6 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

/// `10^5` where it is a power of ten, the number otherwise.
pub(crate) fn count(value: f64) -> String {
    let power = value.log10().round();
    if power >= 3.0 && 10_f64.powf(power) == value {
        format!("10^{power}")
    } else {
        format!("{value}")
    }
}
