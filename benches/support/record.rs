//! What a contestant says about one trial: a line of JSON.

use serde::{Deserialize, Serialize};

/// One measured figure, or why there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Of the table of workloads: `B1`.
    pub row: String,
    /// What was done, the same words for all contestants.
    pub workload: String,
    /// Who did it. Empty until [`Trial::emit`](crate::Trial::emit) fills it in.
    #[serde(default)]
    pub contestant: String,
    /// What sort of contestant that is.
    #[serde(default)]
    pub kind: Kind,
    /// Of `value`. More is better if it is something per second.
    pub unit: String,
    /// None: `failed` or `not_built` says why.
    #[serde(default)]
    pub value: Option<f64>,
    /// It could not do it, and why.
    #[serde(default)]
    pub failed: Option<String>,
    /// What it would need is not there yet, and what that is. Nothing went wrong.
    #[serde(default)]
    pub not_built: Option<String>,
    /// How many items it did, where that is not the same for all.
    #[serde(default)]
    pub items: Option<u64>,
    /// What a sweep varies, and the value that it has here.
    #[serde(default)]
    pub parameter: Option<(String, f64)>,
    /// Percentiles of what `value` is one of, in its unit.
    #[serde(default)]
    pub percentiles: Vec<(f64, f64)>,
    /// Seconds since the start, and what was measured then, in the unit of `value`.
    #[serde(default)]
    pub series: Vec<(f64, f64)>,
    /// What is asked of the median.
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// Sorts of contestants.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What all others are compared with.
    Ours,
    /// Another library that runs tasks in processes.
    #[default]
    Processes,
    /// A reference that stays within one process.
    Threads,
    /// What the machine itself takes.
    Floor,
}

/// What is asked of a median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// In the unit of the value.
    AtMost(f64),
    /// In the unit of the value.
    AtLeast(f64),
    /// So many times the median of the named contestant.
    AtMostTimes(f64, String),
}

impl Record {
    /// A figure of `workload`.
    #[must_use]
    pub fn new(row: &str, workload: &str, unit: &str, value: f64) -> Record {
        Record {
            row: row.to_owned(),
            workload: workload.to_owned(),
            contestant: String::new(),
            kind: Kind::default(),
            unit: unit.to_owned(),
            value: Some(value),
            failed: None,
            not_built: None,
            items: None,
            parameter: None,
            percentiles: Vec::new(),
            series: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Says why there is no value.
    #[must_use]
    pub fn failed(mut self, why: &str) -> Record {
        self.value = None;
        self.failed = Some(why.to_owned());
        self
    }

    /// Says what has to be built before there can be a value.
    #[must_use]
    pub fn not_built(mut self, what: &str) -> Record {
        self.value = None;
        self.not_built = Some(what.to_owned());
        self
    }

    /// Says how many items were done.
    #[must_use]
    pub fn items(mut self, items: u64) -> Record {
        self.items = Some(items);
        self
    }

    /// Makes it a point of a sweep over `name`.
    #[must_use]
    pub fn at(mut self, name: &str, value: f64) -> Record {
        self.parameter = Some((name.to_owned(), value));
        self
    }

    /// Adds what happened over time.
    #[must_use]
    pub fn series(mut self, series: Vec<(f64, f64)>) -> Record {
        self.series = series;
        self
    }

    /// Adds what is asked of the median.
    #[must_use]
    pub fn target(mut self, target: Target) -> Record {
        self.targets.push(target);
        self
    }
}
