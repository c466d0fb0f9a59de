//! Worker processes, modelled: threads of the model, which end when the model says so.

use real::marker::PhantomData;

/// As `std::process` has it.
pub(crate) use real::process::abort;

use primitives::{MemoryUsage, Panic, Phase, ProcessError};
use serde::{Deserialize, Serialize};

use crate::family::FAMILY;
use crate::scene;
use crate::worker::Leave;

/// How a process ended: killed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ExitStatus(());

/// One life of worker `index`.
#[derive(Debug)]
pub(crate) struct Process<R> {
    index: u32,
    life: u64,
    value: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    pub(crate) fn new(index: u32, life: u64) -> Process<R> {
        Process {
            index,
            life,
            value: PhantomData,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.index + 1
    }

    pub(crate) fn try_wait(&self) -> Option<ExitStatus> {
        (FAMILY.lives_ended(self.index) > self.life).then_some(ExitStatus(()))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.try_wait().is_none()
    }

    /// Notes that it was done: when the kill takes effect is up to the model.
    pub(crate) fn kill(&self) -> Result<(), ()> {
        scene::executed(self.index);
        Ok(())
    }

    pub(crate) fn wait(&self) -> ExitStatus {
        ExitStatus(())
    }

    pub(crate) fn memory(&self) -> Option<MemoryUsage> {
        None
    }
}

impl Process<Leave> {
    /// Without a word if it was killed.
    pub(crate) fn try_join(&self) -> Result<Option<Leave>, ProcessError> {
        Ok(scene::left(self.index))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Death {
    pid: u32,
    status: ExitStatus,
    phase: Phase,
}

impl Death {
    pub(crate) fn new(pid: u32, status: ExitStatus, phase: Phase) -> Death {
        Death { pid, status, phase }
    }

    /// Of worker `index`.
    pub(crate) fn of(index: u32) -> Death {
        Death::new(index + 1, ExitStatus(()), Phase::Idle)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn status(&self) -> ExitStatus {
        self.status
    }

    pub(crate) fn stderr_tail(&self) -> Option<&str> {
        None
    }

    pub(crate) fn in_phase(self, phase: Phase) -> Death {
        Death { phase, ..self }
    }

    pub(crate) fn with_output(self, _: String) -> Death {
        self
    }
}

impl real::fmt::Display for Death {
    fn fmt(&self, f: &mut real::fmt::Formatter<'_>) -> real::fmt::Result {
        f.write_str("died")
    }
}

/// No callback of a model panics.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Box<Panic>> {
    Ok(run())
}
