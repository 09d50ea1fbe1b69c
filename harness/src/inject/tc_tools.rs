//! Programs around the program under test: tc programs that modify frames between the injector and the device, and XDP programs that
//! are no counters.

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

/// The first kernel that attaches tc programs without a qdisc (tcx).
const TCX_KERNEL: KernelVersion = KernelVersion { major: 6, minor: 6, patch: 0 };

/// Reason for which a tool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("failed to load the tools")]
    Load(#[from] aya::EbpfError),
    /// A program cannot be loaded or attached.
    #[error("failed to {action} the tool {name}")]
    Program { action: &'static str, name: &'static str, source: Box<ProgramError> },
    #[error("failed to add a clsact qdisc to the link")]
    Qdisc(#[from] TcError),
    #[error("failed to read the map of a tool")]
    Map(#[from] MapError),
    /// The worker is gone.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
}

impl ToolError {
    /// Returns a conversion of the kernel's error about the program `name`.
    pub(super) fn of(action: &'static str, name: &'static str) -> impl Fn(ProgramError) -> Self {
        move |source| Self::Program { action, name, source: Box::new(source) }
    }
}

/// The change that a tc program makes to every frame that leaves by a link.
#[derive(Clone, Copy, Debug)]
pub enum EgressAction {
    /// Pushes [`abi::PUSHED_TAG`].
    PushTag,
    /// Redirects to the ingress of another link of the same namespace.
    RedirectToIngress(IfIndex),
    /// Pads to [`abi::MIN_FRAME`] by bytes of this value.
    Pad(u8),
    /// Drops frames of this `EtherType`.
    DropEtherType(u16),
    /// Drops frames of more bytes than this.
    DropLongerThan(u32),
}

impl EgressAction {
    /// Returns the program's name, and the value of [`abi::TARGET_GLOBAL`].
    fn program(self) -> (&'static str, u32) {
        match self {
            Self::PushTag => (abi::PUSH_TAG_PROGRAM, 0),
            Self::RedirectToIngress(link) => (abi::TO_INGRESS_PROGRAM, link.get()),
            Self::Pad(fill) => (abi::PAD_SHORT_PROGRAM, fill.into()),
            Self::DropEtherType(ether_type) => (abi::LOSE_TYPE_PROGRAM, ether_type.into()),
            Self::DropLongerThan(bytes) => (abi::LOSE_LONG_PROGRAM, bytes),
        }
    }
}

/// A tc program at the egress of a link. It is detached when this is dropped.
#[derive(Debug)]
pub struct EgressTool {
    _ebpf: Ebpf,
}

impl EgressTool {
    /// Attaches the program to a link of the worker's namespace. Needs `CAP_BPF`, and `CAP_NET_ADMIN` in the namespace.
    pub fn attach(worker: &Worker, link: &LinkName, action: EgressAction) -> Result<Self, ToolError> {
        let (link, (name, target)) = (link.to_string(), action.program());
        worker.run(move |_| {
            let mut ebpf =
                loader_without_types().override_global(abi::TARGET_GLOBAL, &target, true).load(TOOLS)?;
            let program: &mut SchedClassifier = program(&mut ebpf, name)?;
            program.load().map_err(ToolError::of("load", name))?;
            if kernel::kernel_version().is_ok_and(|version| version < TCX_KERNEL) {
                qdisc_add_clsact(&link)?;
            }
            program.attach(&link, TcAttachType::Egress).map_err(ToolError::of("attach", name))?;
            Ok(Self { _ebpf: ebpf })
        })?
    }
}

/// An XDP program of `tools.rs`, which is no counter.
#[derive(Debug)]
pub struct XdpTool {
    ebpf: Ebpf,
    name: &'static str,
}

impl XdpTool {
    /// Loads a program by its name. Needs `CAP_BPF` and `CAP_NET_ADMIN`.
    pub(crate) fn load(name: &'static str) -> Result<Self, ToolError> {
        let mut ebpf = load_bytes(TOOLS)?;
        let xdp: &mut Xdp = program(&mut ebpf, name)?;
        xdp.load().map_err(ToolError::of("load", name))?;
        Ok(Self { ebpf, name })
    }

    /// Returns a descriptor of the program, to attach it by.
    pub(crate) fn descriptor(&mut self) -> Result<OwnedFd, ToolError> {
        descriptor(&mut self.ebpf, self.name)
    }

    /// Returns the bytes of the last frame that the program saw, in the linear part and in all, or zeros if there was none.
    pub(crate) fn lengths(&self) -> Result<(u64, u64), ToolError> {
        let map: &Map = self.ebpf.map(abi::LENGTHS_MAP).ok_or(MapError::ElementNotFound)?;
        let map: Array<_, u64> = map.try_into()?;
        Ok((map.get(&0, 0)?, map.get(&1, 0)?))
    }
}

/// Returns a program by its name and type.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ToolError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(ProgramError::UnexpectedProgramType)
        .and_then(TryFrom::try_from)
        .map_err(ToolError::of("find", name))
}

/// Returns a descriptor of a loaded XDP program.
pub(super) fn descriptor(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, ToolError> {
    let failed = ToolError::of("find", name);
    let xdp: &mut Xdp = program(ebpf, name)?;
    let copy = xdp.fd().map_err(&failed)?.as_fd().try_clone_to_owned();
    copy.map_err(|error| failed(ProgramError::IOError(error)))
}
