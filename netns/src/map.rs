//! The counters of a BPF map, all in one call.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::sys;

/// `ENOTSUPP`, which is the kernel's own (`include/linux/errno.h`): maps of this type are not read so.
const NOT_SUPPORTED: i32 = 524;

/// An array of counters of 4 or 8 bytes, per CPU or not, that is read with one system call where single look-ups take one a key.
#[derive(Debug)]
pub struct CounterArray {
    array: sys::CounterArray,
    /// The kernel has said that it does not do that, and does not change its mind.
    refused: AtomicBool,
}

impl CounterArray {
    /// Looks at a map; nothing if it is no such array.
    ///
    /// # Errors
    /// What the kernel answered, to the question or for the list of possible CPUs.
    pub fn of(map: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let array = sys::CounterArray::of(map)?;
        Ok(array.map(|array| Self { array, refused: AtomicBool::new(false) }))
    }

    /// Every counter of the array: by key, and for each possible CPU where they are per CPU. Nothing where the kernel does not do that:
    /// before Linux 5.6, and for an array that is per CPU before 5.13. Needs `CAP_SYS_ADMIN` or, from 5.8, `CAP_BPF`.
    ///
    /// # Errors
    /// What the kernel answered else.
    pub fn read(&self) -> io::Result<Option<CounterReading>> {
        if self.refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let values = match self.array.values() {
            Ok(values) => values,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | NOT_SUPPORTED)) => {
                self.refused.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let sys::CounterLayout { width, stride, places } = self.array.layout();
        let counter = |bytes: &[u8]| match *bytes {
            [a, b, c, d, ..] if width == 4 => u64::from(u32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        };
        Ok(Some(CounterReading { values: values.chunks_exact(stride).map(counter).collect(), places }))
    }
}

/// What an array of counters held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReading {
    /// By key, and for each key by CPU where they are per CPU.
    values: Vec<u64>,
    /// Counters of a key.
    places: usize,
}

impl CounterReading {
    /// The counters of each key, from key 0 on: one for each possible CPU where they are per CPU.
    pub fn by_key(&self) -> impl Iterator<Item = &[u64]> {
        self.values.chunks_exact(self.places)
    }
}
