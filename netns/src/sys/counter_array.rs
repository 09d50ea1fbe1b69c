//! The counters of a BPF array map, read with one system call.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use libc::c_int;

use super::{
    bpf::{bpf, object_info},
    narrow,
};

/// `ENOTSUPP`, which only the kernel defines (`include/linux/errno.h`): the map type has no batched lookup.
const ENOTSUPP: i32 = 524;

/// An array map of counters of 4 or 8 bytes, per CPU or not, which is read with one system call instead of
/// one a key.
#[derive(Debug)]
pub struct CounterArray {
    map: OwnedFd,
    entries: u32,
    /// Bytes of a counter: 4 or 8.
    width: usize,
    /// Bytes from one counter to the next: in a per-CPU map each begins at a multiple of 8 bytes
    /// (`bpf_map_value_size()` in `kernel/bpf/syscall.c`).
    stride: usize,
    /// Counters of a key: one for each possible CPU, or one.
    per_key: usize,
    /// The kernel does not support the call. It never will, so it is not called again.
    unsupported: AtomicBool,
}

impl CounterArray {
    /// Opens a map (`bpf_map_get_info_by_fd()` in `kernel/bpf/syscall.c`, Linux 4.13). Returns `None` if it
    /// is not an array of counters.
    ///
    /// # Errors
    /// The kernel's, for the description of the map or for the list of possible CPUs.
    pub fn open(map: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        /// The head of `struct bpf_map_info`.
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            key: u32,
            value: u32,
            entries: u32,
            flags: u32,
        }
        /// `enum bpf_map_type` in `include/uapi/linux/bpf.h`.
        const ARRAY: u32 = 2;
        const PERCPU_ARRAY: u32 = 6;
        let mut info = Info::default();
        // SAFETY: the kernel's structure for a map begins so, and it consists of integers.
        unsafe { object_info(map, &mut info) }?;
        let width = match (info.key, info.value) {
            (4, 4) => 4,
            (4, 8) => 8,
            _ => return Ok(None),
        };
        let (stride, per_key) = match info.kind {
            ARRAY => (width, 1),
            PERCPU_ARRAY => (8, possible_cpus()?),
            _ => return Ok(None),
        };
        let (map, unsupported) = (map.try_clone_to_owned()?, AtomicBool::new(false));
        Ok(Some(Self { map, entries: info.entries, width, stride, per_key, unsupported }))
    }

    /// Reads every counter. Returns `None` where the kernel cannot do it with one call: before Linux 5.6, and
    /// for a per-CPU array before 5.13. Needs `CAP_SYS_ADMIN` or, since 5.8, `CAP_BPF`.
    ///
    /// # Errors
    /// Any other error of the kernel.
    pub fn read(&self) -> io::Result<Option<CounterReading>> {
        if self.unsupported.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let values = match self.lookup_batch() {
            Ok(values) => values,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => {
                self.unsupported.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let counter = |bytes: &[u8]| match *bytes {
            [a, b, c, d, ..] if self.width == 4 => u64::from(u32::from_ne_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        };
        let values = values.chunks_exact(self.stride).map(counter).collect();
        Ok(Some(CounterReading { values, per_key: self.per_key }))
    }

    /// Reads the values of all keys: `bpf(BPF_MAP_LOOKUP_BATCH)`, Linux 5.6 (`generic_map_lookup_batch()` in
    /// `kernel/bpf/syscall.c`). `EINVAL` before that, `ENOTSUPP` for a map type without the command.
    fn lookup_batch(&self) -> io::Result<Vec<u8>> {
        /// `union bpf_attr` for this command.
        #[repr(C)]
        struct Batch {
            from: u64,
            next: u64,
            keys: u64,
            values: u64,
            count: u32,
            map: c_int,
            element_flags: u64,
            flags: u64,
        }
        const BPF_MAP_LOOKUP_BATCH: c_int = 24;
        let entries: usize = narrow(self.entries)?;
        let (mut next, mut keys) = (0_u32, vec![0_u32; entries]);
        let mut values = vec![0_u8; entries * self.stride * self.per_key];
        let mut batch = Batch {
            from: 0,
            next: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: self.entries,
            map: self.map.as_fd().as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the layout is the command's; the pointers are alive and writable for a key and the values
        // of all CPUs for each of `count` entries, in the sizes that the kernel reported for this map.
        match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) } {
            // ENOENT: the batch reached the end of the map.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ if batch.count == self.entries => Ok(values),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The values of an array of counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReading {
    values: Vec<u64>,
    per_key: usize,
}

impl CounterReading {
    /// Iterates over the keys from 0 on: the counters of each, one for each possible CPU in a per-CPU map.
    pub fn by_key(&self) -> impl Iterator<Item = &[u64]> {
        self.values.chunks_exact(self.per_key)
    }
}

/// Counts the possible CPUs, the number of values in an entry of a per-CPU map (`num_possible_cpus()`).
pub(super) fn possible_cpus() -> io::Result<usize> {
    const LIST: &str = "/sys/devices/system/cpu/possible";
    let list = fs::read_to_string(LIST)?;
    count_cpus(&list)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{LIST} contains `{list}`")))
}

/// Counts the CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<usize> {
    list.trim().split(',').try_fold(0_usize, |cpus, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cpus.checked_add(last.checked_sub(first)?)?.checked_add(1)
    })
}

#[cfg(test)]
mod tests {
    use super::count_cpus;

    #[test]
    fn cpus_are_counted_by_their_ranges() {
        assert_eq!(count_cpus("0\n"), Some(1));
        assert_eq!(count_cpus("0-3,8,10-11\n"), Some(7));
        for broken in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(count_cpus(broken), None, "{broken}");
        }
    }
}
