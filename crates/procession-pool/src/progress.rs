//! A progress bar for a call: feature `progress`.

#[cfg(feature = "progress")]
pub(crate) use real::Bar;
#[cfg(not(feature = "progress"))]
pub(crate) use stub::Bar;

#[cfg(feature = "progress")]
mod real {
    use std::fmt;

    use indicatif::{ProgressBar, ProgressStyle};

    /// Done and total, rate, time left, failures and restarts, on standard error if that is a
    /// terminal.
    pub(crate) struct Bar {
        bar: ProgressBar,
        failed: u64,
        /// Restarts of the pool before this call.
        before: usize,
    }

    impl Bar {
        pub(crate) fn start((least, most): (usize, Option<usize>), restarts: usize) -> Bar {
            let total = most.filter(|most| *most == least);
            let template = match total {
                Some(_) => "{bar:30} {pos}/{len} {per_sec}, {eta} left{msg}",
                None => "{spinner} {pos} {per_sec}, {elapsed}{msg}",
            };
            let bar = match total {
                Some(total) => ProgressBar::new(total as u64),
                None => ProgressBar::new_spinner(),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            Bar {
                bar,
                failed: 0,
                before: restarts,
            }
        }

        pub(crate) fn add(&mut self, items: u64, failed: u64, restarts: usize) {
            self.failed += failed;
            let restarts = restarts.saturating_sub(self.before);
            if self.failed > 0 || restarts > 0 {
                let text = format!(", {} failed, {restarts} restarts", self.failed);
                self.bar.set_message(text);
            }
            self.bar.inc(items);
        }
    }

    impl Drop for Bar {
        fn drop(&mut self) {
            self.bar.abandon();
        }
    }

    impl fmt::Debug for Bar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Bar").finish_non_exhaustive()
        }
    }
}

#[cfg(not(feature = "progress"))]
mod stub {
    /// There is none.
    #[derive(Debug)]
    pub(crate) enum Bar {}

    impl Bar {
        pub(crate) fn add(&mut self, _items: u64, _failed: u64, _restarts: usize) {
            match *self {}
        }
    }
}
