//! Counts, the baseline, and what differs.

use std::fmt;

/// A path is worse, or better, that differs by more than this share.
const TOLERANCE: f64 = 0.03;

/// Few instructions more are none where there are few: one more of 66 is no finding.
const TOLERANCE_LEAST: f64 = 2.5;

/// What the first line of a baseline begins with.
const FOR: &str = "for: ";

/// Instructions of one path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Count {
    pub(super) name: String,
    pub(super) instructions: f64,
}

/// What the paths have cost, and with which build.
#[derive(Debug, PartialEq)]
pub(super) struct Baseline {
    pub(super) build: String,
    pub(super) counts: Vec<Count>,
}

/// Names of the paths that differ. Those that cost more come first.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Same,
    Less(Vec<String>),
    More(Vec<String>),
}

impl Baseline {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let build = first.strip_prefix(FOR);
        let build = build.ok_or_else(|| format!("a baseline begins with `{FOR}`"))?;
        Ok(Self {
            build: build.to_owned(),
            counts: parse_counts(rest)?,
        })
    }

    fn of(&self, name: &str) -> Option<f64> {
        let known = self.counts.iter().find(|count| count.name == name);
        Some(known?.instructions)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FOR}{}", self.build)?;
        for count in &self.counts {
            writeln!(f, "{} {:.1}", count.name, count.instructions)?;
        }
        Ok(())
    }
}

/// `NAME INSTRUCTIONS` a line.
pub(super) fn parse_counts(text: &str) -> Result<Vec<Count>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let parse = |line: &str| {
        let (name, number) = line.trim().split_once(' ')?;
        let instructions = number.parse().ok()?;
        let name = name.to_owned();
        Some(Count { name, instructions })
    };
    lines
        .map(|line| parse(line).ok_or_else(|| format!("no count: `{line}`")))
        .collect()
}

/// Path, instructions, baseline, change.
pub(super) fn table(counts: &[Count], baseline: Option<&Baseline>) -> String {
    let width = counts.iter().map(|count| count.name.len()).max();
    let width = width.unwrap_or(0).max("path".len());
    let mut table = format!(
        "{:width$}  {:>12}  {:>8}  {:>8}\n",
        "path", "instructions", "baseline", "change"
    );
    for Count { name, instructions } in counts {
        let (known, change) = match baseline.and_then(|baseline| baseline.of(name)) {
            Some(known) => (
                format!("{known:.1}"),
                format!("{:+.1} %", (instructions / known - 1.0) * 100.0),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let line = format!("{name:width$}  {instructions:>12.1}  {known:>8}  {change:>8}\n");
        table.push_str(&line);
    }
    table
}

/// The paths that cost more than they did. One that is new has nothing to be compared with: it
/// counts, too, so that nobody forgets it.
pub(super) fn more(counts: &[Count], baseline: &Baseline) -> Vec<String> {
    let is_more = |count: &&Count| {
        let known = baseline.of(&count.name);
        known.is_none_or(|known| count.instructions - known > tolerance(known))
    };
    names(counts.iter().filter(is_more))
}

/// Takes the lesser of two counts of the same path.
pub(super) fn keep_least(counts: &mut [Count], again: Vec<Count>) {
    for Count { name, instructions } in again {
        if let Some(count) = counts.iter_mut().find(|count| count.name == name) {
            count.instructions = count.instructions.min(instructions);
        }
    }
}

/// The middle one of three counts of each path.
pub(super) fn middle(three: [Vec<Count>; 3]) -> Vec<Count> {
    let [mut middle, second, third] = three;
    for ((first, second), third) in middle.iter_mut().zip(second).zip(third) {
        let of = |count: &Count| count.instructions;
        let mut values = [of(first), of(&second), of(&third)];
        values.sort_by(f64::total_cmp);
        first.instructions = values[1];
    }
    middle
}

pub(super) fn verdict(counts: &[Count], baseline: &Baseline) -> Verdict {
    let more = more(counts, baseline);
    if !more.is_empty() {
        return Verdict::More(more);
    }
    let is_less = |count: &&Count| {
        let known = baseline.of(&count.name);
        known.is_some_and(|known| known - count.instructions > tolerance(known))
    };
    match names(counts.iter().filter(is_less)) {
        less if less.is_empty() => Verdict::Same,
        less => Verdict::Less(less),
    }
}

fn tolerance(known: f64) -> f64 {
    (known * TOLERANCE).max(TOLERANCE_LEAST)
}

fn names<'a>(counts: impl Iterator<Item = &'a Count>) -> Vec<String> {
    counts.map(|count| count.name.clone()).collect()
}
