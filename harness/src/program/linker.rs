//! The border to aya-obj, which relocates by CO-RE, adapts types to the kernel, and links functions into programs.
//!
//! Its parser takes much of a file for granted. What it reads here was checked and written by us, and a panic in it is an error
//! all the same.

use std::{
    cell::Cell,
    collections::HashSet,
    panic::{self, AssertUnwindSafe},
    sync::{Once, OnceLock},
};

use aya_obj::{
    ParseError, Program, ProgramSection,
    btf::{Btf, BtfError, BtfRelocationError},
    generated::bpf_insn,
    relocation::EbpfRelocationError,
};

/// An object that aya-obj does not take.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("its code cannot be read")]
    Parse(#[from] ParseError),
    #[error("its types cannot be read")]
    Types(#[from] BtfError),
    #[error("its CO-RE relocations do not fit the types of this kernel")]
    Core(#[from] Box<BtfRelocationError>),
    #[error("it has CO-RE relocations, and this kernel has no types (/sys/kernel/btf/vmlinux)")]
    NoKernelTypes,
    #[error("its functions cannot be linked")]
    Link(#[from] EbpfRelocationError),
    #[error("its functions cannot be linked: `{name}` is missing")]
    Missing { name: String },
    #[error("it is damaged in a way that aya-obj does not expect ({message})")]
    Panic { message: String },
}

/// A change to an instruction that refers to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// Index in the function.
    pub(super) instruction: usize,
    /// Meaning of the number, in the source register (`BPF_PSEUDO_*`).
    pub(super) meaning: u8,
    pub(super) number: i32,
    /// The second half of a load of 64 bits; none for a call.
    pub(super) second: Option<i32>,
}

/// A program that is ready to be loaded, in the kernel's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Linked {
    pub(super) instructions: Vec<u8>,
    /// `struct bpf_func_info` and `struct bpf_line_info`.
    pub(super) functions: Vec<u8>,
    pub(super) lines: Vec<u8>,
}

/// A function by its section in the image and its place there in bytes.
pub(super) type Place = (usize, u64);

/// An image that was read.
pub(super) struct Linker {
    object: aya_obj::Object,
    /// Types as this kernel takes them, if the object has some.
    pub(super) types: Option<Vec<u8>>,
}

/// Returns the types of the running kernel, which are read once.
pub(super) fn kernel_types() -> Option<&'static Btf> {
    static TYPES: OnceLock<Option<Btf>> = OnceLock::new();
    TYPES.get_or_init(|| Btf::from_sys_fs().ok()).as_ref()
}

impl Linker {
    /// Reads an image and relocates it by CO-RE.
    pub(super) fn open(image: &[u8], relocates: bool) -> Result<Self, LinkError> {
        caught(|| {
            let mut object = aya_obj::Object::parse(image)?;
            let features = aya::features().btf();
            let types = match features {
                Some(features) => object.fixup_and_sanitize_btf(features)?.map(Btf::to_bytes),
                None => None,
            };
            if relocates {
                object.relocate_btf(kernel_types().ok_or(LinkError::NoKernelTypes)?).map_err(Box::new)?;
            }
            object.sanitize_functions(aya::features());
            Ok(Self { object, types })
        })
    }

    /// Changes instructions of a function.
    pub(super) fn patch(&mut self, place: Place, patches: &[Patch]) {
        let Some(function) = self.object.functions.get_mut(&place) else { return };
        for Patch { instruction, meaning, number, second } in patches {
            if let Some(first) = function.instructions.get_mut(*instruction) {
                first.set_src_reg(*meaning);
                first.imm = *number;
                first.off = 0;
            }
            if let (Some(second), Some(half)) = (second, function.instructions.get_mut(instruction + 1)) {
                half.imm = *second;
            }
        }
    }

    /// Links the program at a place with everything that it calls.
    pub(super) fn link(&self, place: Place, name: &str) -> Result<Linked, LinkError> {
        caught(|| {
            let mut object = self.object.clone();
            // A program that another one calls would be linked in twice (`Object::relocate_calls`).
            let program = Program {
                license: object.license.clone(),
                kernel_version: None,
                section: ProgramSection::SocketFilter,
                section_index: place.0,
                address: place.1,
            };
            object.programs = [(name.to_owned(), program)].into_iter().collect();
            let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
            object.relocate_calls(&sections)?;
            let missing = || LinkError::Missing { name: name.to_owned() };
            let function = object.functions.get(&place).ok_or_else(missing)?;
            Ok(Linked {
                instructions: function.instructions.iter().flat_map(bytes).collect(),
                functions: function.func_info.func_info_bytes(),
                lines: function.line_info.line_info_bytes(),
            })
        })
    }
}

/// Returns an instruction as it lies in memory (`struct bpf_insn`).
fn bytes(instruction: &bpf_insn) -> [u8; 8] {
    let [low, high] = instruction.off.to_le_bytes();
    let [a, b, c, d] = instruction.imm.to_le_bytes();
    [instruction.code, instruction.dst_reg() | instruction.src_reg() << 4, low, high, a, b, c, d]
}

thread_local! {
    /// Set while this thread is in aya-obj.
    static IN_LIBRARY: Cell<bool> = const { Cell::new(false) };
}

/// Calls the library. A panic in it prints nothing on this thread, and is an error.
fn caught<T>(call: impl FnOnce() -> Result<T, LinkError>) -> Result<T, LinkError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_LIBRARY.get() {
                usual(info);
            }
        }));
    });
    IN_LIBRARY.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    IN_LIBRARY.set(false);
    outcome.unwrap_or_else(|payload| {
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(LinkError::Panic { message: message.lines().next().unwrap_or_default().to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_library_is_an_error_and_the_next_call_works() {
        let panicked = caught::<()>(|| panic!("index out of bounds\nat some place")).unwrap_err();
        assert_eq!(
            panicked.to_string(),
            "it is damaged in a way that aya-obj does not expect (index out of bounds)"
        );
        assert!(caught(|| Ok(())).is_ok());
    }
}
