//! What the shipped files know of the other files of the crate.

/// Options of a pool that the crew looks at.
pub(crate) mod builder {
    use real::time::Duration;

    #[derive(Debug, Default)]
    pub(crate) struct Config {
        pub(crate) lazy: bool,
        pub(crate) start_timeout: Option<Duration>,
        pub(crate) restart_limit: Option<usize>,
        pub(crate) finalizer: Option<()>,
        pub(crate) fragile: bool,
    }
}

pub(crate) mod hire {
    use primitives::StartError;

    use super::builder::Config;
    use crate::process::Process;
    use crate::shared::Place;
    use crate::worker::Leave;

    pub(crate) struct Hired {
        pub(crate) process: Process<Leave>,
        pub(crate) output: Option<Output>,
    }

    /// None is ever captured.
    #[derive(Debug)]
    pub(crate) enum Output {}

    impl Output {
        pub(crate) fn tail(&self) -> Option<String> {
            match *self {}
        }
    }

    /// The model runs the threads.
    pub(crate) fn hire(_: &Config, _: Place, index: u32, life: u64) -> Result<Hired, StartError> {
        crate::scene::hired(index, life);
        Ok(Hired {
            process: Process::new(index, life),
            output: None,
        })
    }
}

pub(crate) mod stream {
    /// All cells are for anybody.
    pub(crate) const RESERVE: usize = 0;
}

pub(crate) mod filling {
    use primitives::EncodeError;
    use real::sync::atomic::Ordering;

    use crate::inner::Inner;

    #[derive(Debug, Clone, Copy, Default)]
    pub(crate) struct Terms {
        pub(crate) limit: u64,
        pub(crate) ring: u32,
        pub(crate) guarded: bool,
    }

    impl Terms {
        /// For a job without tasks.
        pub(crate) fn none() -> Terms {
            Terms::default()
        }

        /// The same for tasks that can be ended one by one.
        pub(crate) fn guarded(self) -> Terms {
            Terms {
                guarded: true,
                ..self
            }
        }
    }

    #[derive(Debug)]
    pub(crate) struct Prepared {
        pub(crate) items: u32,
    }

    impl Prepared {
        pub(crate) fn again(_: &Inner, _: u32, _: u32) -> Option<Prepared> {
            Some(Prepared { items: 1 })
        }
    }

    pub(crate) struct Filling<'a> {
        pool: &'a Inner,
        index: u32,
        items: u32,
    }

    impl Drop for Filling<'_> {
        fn drop(&mut self) {}
    }

    impl<'a> Filling<'a> {
        pub(crate) fn new(pool: &'a Inner, index: u32, _: usize) -> Option<Filling<'a>> {
            Some(Filling {
                pool,
                index,
                items: 0,
            })
        }

        pub(crate) fn take(&mut self, prepared: Prepared) -> Result<(), EncodeError> {
            self.items = prepared.items;
            Ok(())
        }

        pub(crate) fn finish(self, terms: &Terms, first: u64, _: u32) -> u32 {
            if let Some(cell) = self.pool.shared.cell(self.index) {
                cell.items.store(self.items, Ordering::Relaxed);
                cell.first.store(first, Ordering::Relaxed);
                cell.limit.store(terms.limit, Ordering::Relaxed);
                cell.guarded
                    .store(u32::from(terms.guarded), Ordering::Relaxed);
                // Items of no bytes: their headers are 0.
                let len = u64::from(self.items) * crate::record::HEADER as u64;
                cell.input_len.store(len, Ordering::Relaxed);
                cell.output_len.store(0, Ordering::Relaxed);
                cell.stop.store(0, Ordering::Relaxed);
                cell.set_at(0, primitives::Phase::Idle);
                cell.ring.store(terms.ring, Ordering::Relaxed);
            }
            self.index
        }
    }
}
