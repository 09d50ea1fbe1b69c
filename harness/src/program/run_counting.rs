//! The kernel's count of how often each program ran.

use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};

use crate::program::{
    ProgramError,
    error::{is_permission, kernel},
};

/// While this is held, the kernel counts the runs of every program (`BPF_ENABLE_STATS`, kernel 5.8; `CAP_SYS_ADMIN`).
#[derive(Debug)]
pub struct RunCounting {
    _enabled: OwnedFd,
}

impl RunCounting {
    /// Enables the counting until this is dropped; other holders are not disturbed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enable() -> Result<Self, ProgramError> {
        match enable_stats(Stats::RunTime) {
            Ok(enabled) => Ok(Self { _enabled: enabled }),
            Err(error) if is_permission(&error.io_error) => {
                Err(ProgramError::NoPrivilege { source: error.io_error })
            }
            Err(error) => Err(kernel("count the program's runs")(error)),
        }
    }
}
