//! The arguments of one command.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use crate::{Failure, Outcome};

/// What is left of the command line, in order.
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        Self(arguments.into_iter().collect())
    }

    /// Takes the flag `name` out and says whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|argument| argument != name);
        self.0.len() != before
    }

    /// Takes `name VALUE` or `name=VALUE` out.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let assigned = format!("{name}=");
        let Some(at) = self
            .0
            .iter()
            .position(|argument| argument == name || argument.starts_with(&assigned))
        else {
            return Ok(None);
        };
        let first = self.0.remove(at);
        let text = match first.strip_prefix(&assigned) {
            Some(text) => text.to_owned(),
            None if at < self.0.len() => self.0.remove(at),
            None => return Err(Failure::Usage(format!("{name} needs a value"))),
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::Usage(format!("{name}: cannot read `{text}`"))),
        }
    }

    /// Takes everything that is left.
    pub(crate) fn rest(self) -> Vec<String> {
        self.0
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Outcome {
        match self.0.first() {
            None => Ok(()),
            Some(unknown) => Err(Failure::Usage(format!("unknown argument `{unknown}`"))),
        }
    }
}
