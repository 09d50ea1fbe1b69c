//! `bpf(2)`: the contents of maps, and maps and types by id and by pin. Each structure is the head of the command's
//! `union bpf_attr` (`include/uapi/linux/bpf.h`); the kernel assumes zeros for the rest.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use libc::c_int;

use super::{
    bpf::{ById, bpf, bpf_descriptor, object_info, pinned, program_by_id},
    counter_array::possible_cpus,
};

/// `enum bpf_map_type`: maps whose values user space reads and writes for all CPUs at once.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];
/// Maps of descriptors (`IS_FD_MAP()` of `include/linux/bpf.h`), whose values user space reads in 4 bytes, whatever their size.
const OF_DESCRIPTORS: [u32; 5] = [3, 4, 8, 12, 13];
/// The last type whose values are known to be as long as is computed here (`BPF_MAP_TYPE_INSN_ARRAY`).
const LAST_KNOWN: u32 = 34;

/// The most bytes of types that are read from the kernel (`BTF_MAX_SIZE` of `include/linux/btf.h`).
const MOST_TYPES: u32 = 16 << 20;
/// The most maps of a program (`MAX_USED_MAPS` of `include/linux/bpf_verifier.h`).
const MOST_MAPS: u32 = 64;

/// The kernel's description of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub kind: u32,
    pub id: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes, of one CPU's value.
    pub value_size: u32,
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// At most 15 bytes.
    pub name: String,
    /// Its meaning depends on the type of the map.
    pub extra: u64,
    /// Id of the types of key and value; 0 without.
    pub types: u32,
    /// Ids of the types of key and value among them.
    pub key_type: u32,
    pub value_type: u32,
}

/// An open map. Its keys and values are bytes of the sizes that the kernel tells.
#[derive(Debug)]
pub struct BpfMap {
    map: OwnedFd,
    info: MapInfo,
    /// Values of an entry: one for each possible CPU, or one.
    per_key: usize,
}

/// The arguments of a command on one element.
#[repr(C)]
struct Element {
    map: c_int,
    hole: u32,
    key: u64,
    /// The value, or the next key.
    value: u64,
    flags: u64,
}

const BPF_MAP_LOOKUP_ELEM: c_int = 1;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_MAP_DELETE_ELEM: c_int = 3;
const BPF_MAP_GET_NEXT_KEY: c_int = 4;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: c_int = 21;

impl BpfMap {
    /// Takes the descriptor of a map (`bpf_map_get_info_by_fd()` in `kernel/bpf/syscall.c`, Linux 4.13).
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` if it is of something else.
    pub fn open(map: OwnedFd) -> io::Result<Self> {
        /// `struct bpf_map_info`.
        #[repr(C, align(8))]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            key_size: u32,
            value_size: u32,
            entries: u32,
            flags: u32,
            name: [u8; 16],
            device: u32,
            kernel_value_type: u32,
            namespace: [u64; 2],
            types: u32,
            key_type: u32,
            value_type: u32,
            hole: u32,
            extra: u64,
        }
        expect_kind(map.as_fd(), "bpf-map", "map")?;
        let mut info = Info::default();
        // SAFETY: the kernel's structure for a map begins so, and it consists of integers.
        unsafe { object_info(map.as_fd(), &mut info) }?;
        let Info {
            kind, id, key_size, value_size, entries, flags, name, types, key_type, value_type, ..
        } = info;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let per_key = if PER_CPU.contains(&kind) { possible_cpus()? } else { 1 };
        let extra = info.extra;
        let info = MapInfo {
            kind,
            id,
            key_size,
            value_size,
            entries,
            flags,
            name,
            extra,
            types,
            key_type,
            value_type,
        };
        Ok(Self { map, info, per_key })
    }

    /// Opens a map by its id: `bpf(BPF_MAP_GET_FD_BY_ID)`, Linux 4.13, `CAP_SYS_ADMIN` (`bpf_map_get_fd_by_id()` in
    /// `kernel/bpf/syscall.c`).
    ///
    /// # Errors
    /// The kernel's: `NotFound` if it is gone.
    pub fn by_id(id: u32) -> io::Result<Self> {
        const BPF_MAP_GET_FD_BY_ID: c_int = 14;
        let mut by_id = ById { id, next: 0, flags: 0 };
        // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
        Self::open(unsafe { bpf_descriptor(BPF_MAP_GET_FD_BY_ID, &mut by_id) }?)
    }

    /// Opens the map that is pinned at a path.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` if something else is pinned there.
    pub fn pinned(path: &Path) -> io::Result<Self> {
        Self::open(pinned(&CString::new(path.as_os_str().as_bytes())?)?)
    }

    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Returns whether an entry has a value for each possible CPU.
    #[must_use]
    pub fn is_per_cpu(&self) -> bool {
        PER_CPU.contains(&self.info.kind)
    }

    /// Returns the bytes of one value as user space reads it.
    #[must_use]
    pub fn value_size(&self) -> usize {
        if OF_DESCRIPTORS.contains(&self.info.kind) { 4 } else { self.info.value_size as usize }
    }

    /// Reads the value of a key, one for each possible CPU in a per-CPU map: `bpf(BPF_MAP_LOOKUP_ELEM)` (`map_lookup_elem()`
    /// in `kernel/bpf/syscall.c`). Returns `None` if there is no such key. The first value of a queue or a stack, whose
    /// key is empty, stays in it.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a key of another length.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.read(BPF_MAP_LOOKUP_ELEM, key)
    }

    /// Takes the first value out of a queue or a stack: `bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM)`, Linux 4.20
    /// (`map_lookup_and_delete_elem()` in `kernel/bpf/syscall.c`). Returns `None` if it is empty.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pop(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.read(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &[])?.and_then(|values| values.into_iter().next()))
    }

    /// Returns whether a bloom filter may have a value: `bpf(BPF_MAP_LOOKUP_ELEM)`, Linux 5.16 (`bloom_map_peek_elem()` in
    /// `kernel/bpf/bloom_filter.c`).
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a value of another length.
    pub fn may_contain(&self, value: &[u8]) -> io::Result<bool> {
        self.check_known()?;
        check_length(value, self.value_size())?;
        let mut value = value.to_vec();
        // SAFETY: the value is as long as the kernel reads and writes.
        match unsafe { self.command(BPF_MAP_LOOKUP_ELEM, Some(&[]), value.as_mut_ptr() as u64) } {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a value, in a per-CPU map the same on every possible CPU: `bpf(BPF_MAP_UPDATE_ELEM)` (`map_update_elem()` in
    /// `kernel/bpf/syscall.c`). The key of a queue, a stack or a bloom filter is empty; they get one more value.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a key or a value of another length.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.update_each(key, &vec![value; self.per_key])
    }

    /// Writes the value of each possible CPU, or the one value, as [`BpfMap::update`] does.
    ///
    /// # Errors
    /// As [`BpfMap::update`]; `InvalidInput` for another number of values.
    pub fn update_each(&self, key: &[u8], each: &[impl AsRef<[u8]>]) -> io::Result<()> {
        self.check_known()?;
        if each.len() != self.per_key {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut values = Vec::with_capacity(self.stride() * self.per_key);
        for value in each {
            check_length(value.as_ref(), self.value_size())?;
            values.extend(value.as_ref());
            values.resize(values.len().next_multiple_of(self.stride().max(1)), 0);
        }
        // SAFETY: the values are as long as the kernel reads.
        unsafe { self.command(BPF_MAP_UPDATE_ELEM, Some(key), values.as_ptr() as u64) }
    }

    /// Deletes a key: `bpf(BPF_MAP_DELETE_ELEM)` (`map_delete_elem()` in `kernel/bpf/syscall.c`). Returns whether there was
    /// one.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` from an array; `InvalidInput` for a key of another length.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        // SAFETY: the command takes no value.
        match unsafe { self.command(BPF_MAP_DELETE_ELEM, Some(key), 0) } {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the key behind another one, or the first one: `bpf(BPF_MAP_GET_NEXT_KEY)`, Linux 4.12 for the first
    /// (`map_get_next_key()` in `kernel/bpf/syscall.c`). A hash begins again behind a key that it does not have.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for a key of another length, and for a map without keys.
    pub fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        if self.info.key_size == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut next = vec![0; self.info.key_size as usize];
        let place = next.as_mut_ptr() as u64;
        // SAFETY: the place is as long as a key, which the kernel writes.
        match unsafe { self.command(BPF_MAP_GET_NEXT_KEY, key, place) } {
            Ok(()) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the bytes from one CPU's value to the next (`bpf_map_value_size()` in `kernel/bpf/syscall.c`).
    fn stride(&self) -> usize {
        if self.is_per_cpu() { self.value_size().next_multiple_of(8) } else { self.value_size() }
    }

    fn read(&self, command: c_int, key: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.check_known()?;
        let stride = self.stride();
        let mut values = vec![0_u8; stride * self.per_key];
        // SAFETY: the place is as long as the values that the kernel writes.
        match unsafe { self.command(command, Some(key), values.as_mut_ptr() as u64) } {
            Ok(()) => {
                let values = values.chunks_exact(stride.max(1));
                Ok(Some(
                    values.map(|value| value.get(..self.value_size()).unwrap_or(value).to_vec()).collect(),
                ))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls a command on the element of a key; without one, on that before the first.
    ///
    /// # Safety
    /// The value is 0, or alive and as long as what the kernel reads or writes for this map.
    unsafe fn command(&self, command: c_int, key: Option<&[u8]>, value: u64) -> io::Result<()> {
        let key = key.map(|key| check_length(key, self.info.key_size as usize).map(|()| key)).transpose()?;
        // The kernel takes no key for a map without keys.
        let key = key.filter(|key| !key.is_empty()).map_or(0, |key| key.as_ptr() as u64);
        let mut element = Element { map: self.map.as_raw_fd(), hole: 0, key, value, flags: 0 };
        // SAFETY: the layout is the command's, the key is alive and as long as the kernel reads, and the caller promises the
        // rest.
        unsafe { bpf(command, &mut element) }.map(drop)
    }

    /// Refuses a type of maps that is not known: its values may be longer than they seem.
    fn check_known(&self) -> io::Result<()> {
        if self.info.kind > LAST_KNOWN {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(())
    }
}

impl AsFd for BpfMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Opens the program that is pinned at a path.
///
/// # Errors
/// The kernel's; `InvalidInput` if something else is pinned there.
pub fn open_pinned_program(path: &Path) -> io::Result<OwnedFd> {
    let program = pinned(&CString::new(path.as_os_str().as_bytes())?)?;
    expect_kind(program.as_fd(), "bpf-prog", "program")?;
    Ok(program)
}

/// Opens a program by its id. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// The kernel's: `NotFound` if it is gone.
pub fn open_program(id: u32) -> io::Result<OwnedFd> {
    program_by_id(id)
}

/// Returns the ids of the maps that a program uses: `bpf(BPF_OBJ_GET_INFO_BY_FD)`, Linux 4.15 (`bpf_prog_get_info_by_fd()` in
/// `kernel/bpf/syscall.c`).
///
/// # Errors
/// The kernel's.
pub fn program_maps(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    /// The head of `struct bpf_prog_info`.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Info {
        /// From `type` to `xlated_prog_len`.
        head: [u32; 6],
        /// From `jited_prog_insns` to `load_time`. No code is asked for: their lengths are 0.
        code: [u64; 3],
        owner: u32,
        count: u32,
        maps: u64,
    }
    let mut ids = vec![0_u32; MOST_MAPS as usize];
    let mut info = Info { count: MOST_MAPS, maps: ids.as_mut_ptr() as u64, ..Info::default() };
    // SAFETY: the kernel's structure for a program begins so, and it consists of integers; the place of its maps is alive and
    // holds as many as are asked for.
    unsafe { object_info(program, &mut info) }?;
    ids.truncate(info.count as usize);
    Ok(ids)
}

/// Returns types by their id, as a section `.BTF` holds them: `bpf(BPF_BTF_GET_FD_BY_ID)`, Linux 4.18, `CAP_SYS_ADMIN`
/// (`btf_get_info_by_fd()` in `kernel/bpf/btf.c`).
///
/// # Errors
/// The kernel's; `FileTooLarge` beyond the kernel's own limit.
pub fn read_types(id: u32) -> io::Result<Vec<u8>> {
    /// `struct bpf_btf_info`.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Info {
        types: u64,
        size: u32,
        id: u32,
        name: u64,
        name_length: u32,
        of_kernel: u32,
    }
    const BPF_BTF_GET_FD_BY_ID: c_int = 19;
    let mut by_id = ById { id, next: 0, flags: 0 };
    // SAFETY: the layout is the command's, there is no pointer, and the command returns a new descriptor.
    let opened = unsafe { bpf_descriptor(BPF_BTF_GET_FD_BY_ID, &mut by_id) }?;
    let mut info = Info::default();
    // SAFETY: this is the kernel's structure for types, which consists of integers; its lengths are 0.
    unsafe { object_info(opened.as_fd(), &mut info) }?;
    if info.size > MOST_TYPES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0_u8; info.size as usize];
    let mut filled = Info { types: bytes.as_mut_ptr() as u64, size: info.size, ..Info::default() };
    // SAFETY: this is the kernel's structure for types, and the place of the types is alive and as long as is said.
    unsafe { object_info(opened.as_fd(), &mut filled) }?;
    Ok(bytes)
}

/// Expects a descriptor to be of a kind of objects, by the name that the kernel gives it (`bpf_map_new_fd()` and
/// `bpf_prog_new_fd()` in `kernel/bpf/syscall.c`).
fn expect_kind(object: BorrowedFd<'_>, name: &str, kind: &str) -> io::Result<()> {
    let found = fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd()))?;
    let found = found.to_string_lossy();
    if found == format!("anon_inode:{name}") {
        return Ok(());
    }
    let found = found.strip_prefix("anon_inode:").unwrap_or(&found).to_owned();
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected a BPF {kind}, got a {found}")))
}

fn check_length(bytes: &[u8], expected: usize) -> io::Result<()> {
    if bytes.len() == expected { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{NewMap, create_map, load_passing_program},
        *,
    };
    use crate::testing::namespace;

    const HASH: u32 = 1;
    const ARRAY: u32 = 2;
    const PERCPU_ARRAY: u32 = 6;
    const QUEUE: u32 = 22;
    const BLOOM_FILTER: u32 = 30;

    fn created(kind: u32, key_size: u32, value_size: u32) -> BpfMap {
        let new = NewMap {
            name: "numbers",
            kind,
            key_size,
            value_size,
            entries: 3,
            flags: 0,
            extra: 0,
            numa_node: 0,
            inner: None,
            types: None,
        };
        BpfMap::open(create_map(&new).unwrap()).unwrap()
    }

    #[test]
    fn keys_of_a_hash_are_written_listed_and_deleted() {
        let Some(_privileged) = namespace() else { return };
        let map = created(HASH, 2, 4);
        assert_eq!((map.info().name.as_str(), map.info().entries, map.info().types), ("numbers", 3, 0));
        assert_eq!(map.next_key(None).unwrap(), None);
        map.update(&[1, 2], &[3, 4, 5, 6]).unwrap();
        assert_eq!(map.lookup(&[1, 2]).unwrap(), Some(vec![vec![3, 4, 5, 6]]));
        assert_eq!(map.lookup(&[9, 9]).unwrap(), None);
        let first = map.next_key(None).unwrap();
        assert_eq!(first.as_deref(), Some(&[1, 2][..]));
        assert_eq!(map.next_key(first.as_deref()).unwrap(), None);
        let again = BpfMap::by_id(map.info().id).unwrap();
        assert!(again.delete(&[1, 2]).unwrap());
        assert!(!map.delete(&[1, 2]).unwrap());
        for refused in
            [map.update(&[1], &[3, 4, 5, 6]), map.update(&[1, 2], &[3]), map.lookup(&[1]).map(drop)]
        {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_per_cpu_value_is_written_on_every_cpu_in_its_own_size() {
        let Some(_privileged) = namespace() else { return };
        let map = created(PERCPU_ARRAY, 4, 12);
        let value: Vec<u8> = (1..=12).collect();
        map.update(&[2, 0, 0, 0], &value).unwrap();
        let values = map.lookup(&[2, 0, 0, 0]).unwrap().unwrap();
        assert_eq!(values, vec![value; possible_cpus().unwrap()]);
        let each: Vec<Vec<u8>> =
            (0..=u8::MAX).cycle().map(|cpu| vec![cpu; 12]).take(possible_cpus().unwrap()).collect();
        map.update_each(&[2, 0, 0, 0], &each).unwrap();
        assert_eq!(map.lookup(&[2, 0, 0, 0]).unwrap(), Some(each));
        assert_eq!(
            map.update_each(&[2, 0, 0, 0], &[[0; 12]; 0]).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let untouched = map.lookup(&[1, 0, 0, 0]).unwrap().unwrap();
        assert!(untouched.iter().all(|value| value == &[0; 12]));
        assert_eq!(map.lookup(&[3, 0, 0, 0]).unwrap(), None);
    }

    #[test]
    fn a_queue_gives_its_values_in_order_and_a_bloom_filter_knows_them() {
        let Some(_privileged) = namespace() else { return };
        let queue = created(QUEUE, 0, 2);
        assert_eq!(queue.pop().unwrap(), None);
        for value in [[1, 1], [2, 2]] {
            queue.update(&[], &value).unwrap();
        }
        assert_eq!(queue.lookup(&[]).unwrap(), Some(vec![vec![1, 1]]));
        assert_eq!([queue.pop().unwrap(), queue.pop().unwrap()], [Some(vec![1, 1]), Some(vec![2, 2])]);
        assert_eq!(queue.next_key(None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let filter = created(BLOOM_FILTER, 0, 4);
        assert!(!filter.may_contain(&[7; 4]).unwrap());
        filter.update(&[], &[7; 4]).unwrap();
        assert!(filter.may_contain(&[7; 4]).unwrap());
    }

    #[test]
    fn a_program_is_no_map_and_has_its_maps() {
        let Some(_privileged) = namespace() else { return };
        let program = load_passing_program().unwrap();
        assert_eq!(program_maps(program.as_fd()).unwrap(), [0_u32; 0]);
        let refused = BpfMap::open(program).unwrap_err();
        assert_eq!(refused.to_string(), "expected a BPF map, got a bpf-prog");
        assert_eq!(open_program(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
        let absent = open_pinned_program(Path::new("/sys/fs/bpf/no such program")).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        assert_eq!(created(ARRAY, 4, 4).delete(&[0; 4]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
