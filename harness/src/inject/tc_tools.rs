//! What is done to a frame on its way from the injector to the device: a tc program of ours at a link's way out.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Ebpf,
    maps::{Array, Map, MapError},
    programs::{
        Program, ProgramError, SchedClassifier, TcAttachType, Xdp,
        tc::{TcError, qdisc_add_clsact},
    },
};
use xdproof_ebpf::abi;
use xdproof_netns::{IfIndex, LinkName, Worker};
use xdproof_scenarios::KernelVersion;

use crate::{
    host::kernel,
    program::{load_bytes, loader_without_types},
};

/// The tools, as built by `build.rs`.
static TOOLS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdproof-tools"));

/// The first kernel that attaches tc programs without a queueing discipline (tcx).
const TCX_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 6, patch: 0 };

/// Why a tool does not work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The object cannot be loaded.
    #[error("failed to load the tools")]
    Load(#[from] aya::EbpfError),
    /// A program cannot be loaded or attached.
    #[error("failed to {action} the tool {name}")]
    Program {
        /// What was attempted.
        action: &'static str,
        /// The program's name.
        name: &'static str,
        /// What the kernel answered.
        source: Box<ProgramError>,
    },
    /// The link takes no tc program.
    #[error("failed to make the link ready for a tc program")]
    Ready(#[from] TcError),
    /// A map cannot be read.
    #[error("failed to read what the tool has noted")]
    Map(#[from] MapError),
    /// The worker is gone.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
}

/// A tc program at a link's way out. It is detached when this is dropped.
#[derive(Debug)]
pub struct Shaper {
    _ebpf: Ebpf,
}

impl Shaper {
    /// Attaches the program that pushes [`abi::PUSHED_TAG`] onto every frame that leaves by the link. Needs `CAP_BPF`,
    /// and `CAP_NET_ADMIN` in the namespace.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn push_tag(worker: &Worker, link: &LinkName) -> Result<Self, ToolError> {
        Self::attach(worker, link, abi::PUSH_TAG_PROGRAM, 0)
    }

    /// Attaches the program that redirects every frame that leaves by the link to the ingress of another link of the
    /// same namespace. Needs `CAP_BPF`, and `CAP_NET_ADMIN` in the namespace.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn to_ingress(worker: &Worker, link: &LinkName, target: IfIndex) -> Result<Self, ToolError> {
        Self::attach(worker, link, abi::TO_INGRESS_PROGRAM, target.get())
    }

    /// Attaches the program that makes short frames longer ([`abi::MIN_FRAME`]) which leave by the link, by bytes of one value.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn pad_short(worker: &Worker, link: &LinkName, fill: u8) -> Result<Self, ToolError> {
        Self::attach(worker, link, abi::PAD_SHORT_PROGRAM, fill.into())
    }

    /// Attaches the program that loses frames of an `EtherType` which leave by the link.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn lose_type(worker: &Worker, link: &LinkName, ether_type: u16) -> Result<Self, ToolError> {
        Self::attach(worker, link, abi::LOSE_TYPE_PROGRAM, ether_type.into())
    }

    /// Attaches the program that loses frames of more than so many bytes which leave by the link.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn lose_long(worker: &Worker, link: &LinkName, bytes: u32) -> Result<Self, ToolError> {
        Self::attach(worker, link, abi::LOSE_LONG_PROGRAM, bytes)
    }

    fn attach(worker: &Worker, link: &LinkName, name: &'static str, target: u32) -> Result<Self, ToolError> {
        let link = link.to_string();
        worker.run(move |_| {
            let mut ebpf =
                loader_without_types().override_global(abi::TARGET_GLOBAL, &target, true).load(TOOLS)?;
            let failed = |action| move |source| ToolError::Program { action, name, source: Box::new(source) };
            let program: &mut SchedClassifier = program(&mut ebpf, name)?;
            program.load().map_err(failed("load"))?;
            if kernel::kernel_version().is_ok_and(|version| version < TCX_KERNEL) {
                qdisc_add_clsact(&link)?;
            }
            program.attach(&link, TcAttachType::Egress).map_err(failed("attach"))?;
            Ok(Self { _ebpf: ebpf })
        })?
    }
}

/// An XDP program that is no counter.
#[derive(Debug)]
pub struct XdpTool {
    ebpf: Ebpf,
    name: &'static str,
}

/// What an XDP program was given of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes in the linear part.
    pub linear: u64,
    /// Bytes in all.
    pub whole: u64,
}

impl XdpTool {
    /// Loads one of the XDP programs of `tools.rs`. Needs `CAP_BPF` and `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn load(name: &'static str) -> Result<Self, ToolError> {
        let mut ebpf = load_bytes(TOOLS)?;
        let xdp: &mut Xdp = program(&mut ebpf, name)?;
        xdp.load().map_err(|source| ToolError::Program { action: "load", name, source: Box::new(source) })?;
        Ok(Self { ebpf, name })
    }

    /// A descriptor of the program, to attach it by.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn descriptor(&mut self) -> Result<OwnedFd, ToolError> {
        let name = self.name;
        let failed = |source| ToolError::Program { action: "find", name, source: Box::new(source) };
        let xdp: &mut Xdp = program(&mut self.ebpf, name)?;
        let copy = xdp.fd().map_err(failed)?.as_fd().try_clone_to_owned();
        copy.map_err(ProgramError::IOError).map_err(failed)
    }

    /// What the last frame was made of, or zeros if there was none.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer.
    pub fn lengths(&self) -> Result<Lengths, ToolError> {
        let map: &Map = self.ebpf.map(abi::LENGTHS_MAP).ok_or(MapError::ElementNotFound)?;
        let map: Array<_, u64> = map.try_into()?;
        Ok(Lengths { linear: map.get(&0, 0)?, whole: map.get(&1, 0)? })
    }
}

/// A program by its name and kind.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ToolError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let failed = |source| ToolError::Program { action: "find", name, source: Box::new(source) };
    ebpf.program_mut(name)
        .ok_or(ProgramError::UnexpectedProgramType)
        .and_then(TryFrom::try_from)
        .map_err(failed)
}
