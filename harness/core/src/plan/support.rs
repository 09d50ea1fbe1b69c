//! The support table: known refusals to attach, the only ones that are nobody's fault.
//!
//! The data are in `support.toml`. A refusal that is declared there is a `skip` if the kernel refuses with
//! the declared errno and sentence; any other refusal is a failure, and so is an attachment that succeeds
//! although it is declared impossible. For a driver without an entry, its advertised xdp-features decide: a
//! mode that it advertises has to work, and one that it does not advertise may be refused.

use std::sync::LazyLock;

use rustix::io::Errno;
use serde::Deserialize;
use xdproof_scenarios::{
    KernelRange, KernelVersion,
    capture::{LONGEST_CARRIED, LONGEST_SINGLE_BUFFER},
};

use crate::model::{InjectorKind, Mode};

/// The outcome of attaching that the table expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// Attaching must succeed.
    Supported,
    /// Attaching must be refused.
    Unsupported(Refused),
    /// Either, depending on something that the table does not know, such as a bond's mode: attaching must
    /// succeed, or be refused in this way.
    Depends(Refused),
    /// The table has no entry.
    Unknown,
}

/// A declared refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason, as a fragment of a sentence.
    pub reason: String,
    /// The kernel's answer is one of these.
    pub errnos: Vec<Errno>,
    /// The kernel's sentence contains one of these; none: any sentence.
    pub texts: Vec<String>,
}

impl Refused {
    /// Returns true if an answer is the declared one: the errno and the sentence.
    #[must_use]
    pub fn is(&self, errno: Option<Errno>, answer: &str) -> bool {
        errno.is_some_and(|errno| self.errnos.contains(&errno))
            && (self.texts.is_empty() || self.texts.iter().any(|text| answer.contains(text)))
    }
}

/// The answer of the kernel or the driver to an attempt to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno, if the kernel gave one.
    pub errno: Option<Errno>,
    /// The answer in words, including the kernel's own sentence (extack) if there is one.
    pub answer: String,
}

/// The meaning of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalMeaning {
    /// It was declared beforehand: a skip, for this reason.
    Declared(String),
    /// No program could be attached that takes these frames: they are unreachable, for this reason.
    Unreachable(String),
    /// It is not declared: a failure. The known answer of the driver.
    Unexpected(String),
}

/// An attachment to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The kernel's name of the driver.
    pub driver: &'a str,
    pub mode: Mode,
    pub kernel: KernelVersion,
    /// MTU of both ends in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Set if the program takes multi-buffer frames (frags).
    pub fragments: bool,
    /// Size of a page of this machine in bytes.
    pub page: usize,
}

/// The table as it is written in TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SupportTable {
    entry: Vec<SupportEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SupportEntry {
    drivers: Vec<String>,
    modes: Vec<Mode>,
    #[serde(default, deserialize_with = "kernel_range")]
    kernel: Option<KernelRange>,
    program: Option<ProgramKind>,
    mtu: Option<u32>,
    answer: Answer,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    depends: bool,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProgramKind {
    Linear,
    Frags,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Yes(Yes),
    Errors(Vec<ErrnoName>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Yes {
    Yes,
}

/// Errors with which drivers refuse.
#[derive(Clone, Copy, Debug, Deserialize)]
enum ErrnoName {
    #[serde(rename = "EINVAL")]
    Invalid,
    #[serde(rename = "EOPNOTSUPP")]
    NotSupported,
    #[serde(rename = "ERANGE")]
    Range,
}

impl From<ErrnoName> for Errno {
    fn from(name: ErrnoName) -> Self {
        match name {
            ErrnoName::Invalid => Self::INVAL,
            ErrnoName::NotSupported => Self::OPNOTSUPP,
            ErrnoName::Range => Self::RANGE,
        }
    }
}

fn kernel_range<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<KernelRange>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn parse(text: &str) -> Result<Vec<SupportEntry>, toml::de::Error> {
    toml::from_str(text).map(|table: SupportTable| table.entry)
}

/// The table, which is built in and checked by a test.
#[expect(clippy::expect_used, reason = "the_table_is_sound() holds that this cannot fail")]
static TABLE: LazyLock<Vec<SupportEntry>> =
    LazyLock::new(|| parse(include_str!("support.toml")).expect("the table of support is sound"));

impl SupportEntry {
    fn fits(&self, request: Request<'_>) -> bool {
        let Request { driver, mode, kernel, mtu, fragments, page: _ } = request;
        let program = if fragments { ProgramKind::Frags } else { ProgramKind::Linear };
        self.drivers.iter().any(|known| known == driver || known == "*")
            && self.modes.contains(&mode)
            && self.kernel.is_none_or(|range| range.contains(kernel))
            && self.program.is_none_or(|known| known == program)
            && self.mtu.is_none_or(|least| mtu >= least)
    }

    fn support(&self) -> Support {
        match &self.answer {
            Answer::Yes(Yes::Yes) => Support::Supported,
            Answer::Errors(errnos) => {
                let refused = Refused {
                    reason: self.reason.clone(),
                    errnos: errnos.iter().map(|&errno| errno.into()).collect(),
                    texts: self.texts.clone(),
                };
                if self.depends { Support::Depends(refused) } else { Support::Unsupported(refused) }
            }
        }
    }
}

/// Bytes of a page that are not available for a frame's payload with a native program on veth:
/// `XDP_PACKET_HEADROOM` (256), `struct skb_shared_info` (320) and an Ethernet header (14). With pages of 4
/// KiB the largest MTU is 3,506.
const VETH_PAGE_OVERHEAD: usize = 256 + 320 + 14;

/// Looks up an attachment.
#[must_use]
pub fn lookup(request: Request<'_>) -> Support {
    if request.mode == Mode::Unattached {
        return Support::Supported;
    }
    veth(request)
        .or_else(|| TABLE.iter().find(|entry| entry.fits(request)).map(SupportEntry::support))
        .unwrap_or(Support::Unknown)
}

/// Returns the refusal that depends on this machine's page size. `veth_xdp_set` of `drivers/net/veth.c`
/// returns ERANGE ("Peer MTU is too large to set XDP") if a frame of the peer does not fit in a page and the
/// program takes no frags.
fn veth(request: Request<'_>) -> Option<Support> {
    let Request { driver, mode, mtu, fragments, page, .. } = request;
    let fits = usize::try_from(mtu).is_ok_and(|mtu| mtu <= page.saturating_sub(VETH_PAGE_OVERHEAD));
    (driver == "veth" && mode == Mode::Native && !fragments && !fits).then(|| {
        Support::Unsupported(Refused {
            reason:
                "the program takes frames of one buffer, and veth does not put a frame of this MTU into one"
                    .to_owned(),
            errnos: vec![Errno::RANGE],
            texts: Vec::new(),
        })
    })
}

/// The first kernel with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`).
pub const LIVE_FRAMES_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 18, patch: 0 };

/// Returns the reason why a kernel has no such injector, if it has none.
#[must_use]
pub fn injector(kind: InjectorKind, kernel: KernelVersion) -> Option<String> {
    match kind {
        InjectorKind::LiveFrames if kernel < LIVE_FRAMES_KERNEL => {
            Some(format!("{kind} need kernel {LIVE_FRAMES_KERNEL}; this is {kernel}"))
        }
        InjectorKind::Pnet | InjectorKind::Ring | InjectorKind::LiveFrames | InjectorKind::TestRun => None,
    }
}

/// Returns the longest frame in bytes that a mode delivers to a program with or without frags support.
///
/// In generic mode the stack linearises every frame (`netif_skb_check_for_xdp`). A driver does not: see
/// `veth_xdp_set`. A test run has limits of its own, [`longest_test_run`].
#[must_use]
pub fn longest_frame(mode: Mode, frags: bool) -> usize {
    match mode {
        Mode::Generic => LONGEST_CARRIED,
        Mode::Native | Mode::Offload | Mode::Unattached if frags => LONGEST_CARRIED,
        Mode::Native | Mode::Offload | Mode::Unattached => LONGEST_SINGLE_BUFFER,
    }
}

/// Bytes in front of a frame in a test run (`XDP_PACKET_HEADROOM` of `include/uapi/linux/bpf.h`).
const HEADROOM: usize = 256;

/// The oldest kernel whose test runs take frames of several buffers (`bpf_prog_test_run_xdp()` of `net/bpf/test_run.c`).
const FRAGS_IN_TEST_RUNS: KernelVersion = KernelVersion { major: 5, minor: 18, patch: 0 };

/// Returns the longest frame in bytes that a test run takes: a page less headroom and tailroom, and behind it as many pages
/// as an skb has fragments (`bpf_prog_test_run_xdp()` of `net/bpf/test_run.c`, which answers ENOMEM to a longer one). A
/// kernel that is built for more fragments (`CONFIG_MAX_SKB_FRAGS`, 17 by default) takes longer ones.
#[must_use]
pub fn longest_test_run(kernel: KernelVersion, page: usize) -> usize {
    // `MAX_SKB_FRAGS` of `include/linux/skbuff.h`; 16 at least.
    let frags = (65_536 / page.max(1) + 1).max(16);
    // `struct skb_shared_info`: 48 bytes and 16 a fragment, in cache lines of 64 bytes.
    let tailroom = (48 + 16 * frags).next_multiple_of(64);
    let linear = page.saturating_sub(HEADROOM + tailroom);
    if kernel < FRAGS_IN_TEST_RUNS { linear } else { linear + frags * page }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: KernelVersion = KernelVersion { major: 6, minor: 18, patch: 0 };

    #[test]
    fn a_test_run_takes_a_page_and_seventeen_more() {
        let old = KernelVersion { major: 5, minor: 15, patch: 0 };
        assert_eq!(longest_test_run(NEW, 4096), 73_152);
        assert_eq!(longest_test_run(old, 4096), LONGEST_SINGLE_BUFFER);
    }

    fn request(driver: &str, mode: Mode) -> Request<'_> {
        Request { driver, mode, kernel: NEW, mtu: 1508, fragments: false, page: 4096 }
    }

    fn errnos(support: Support) -> Option<Vec<Errno>> {
        match support {
            Support::Supported => None,
            Support::Unsupported(refused) => Some(refused.errnos),
            Support::Depends(_) | Support::Unknown => panic!("not sure"),
        }
    }

    #[test]
    fn the_table_is_sound() {
        let entries = parse(include_str!("support.toml")).unwrap();
        for entry in &entries {
            assert!(!entry.drivers.is_empty() && !entry.modes.is_empty(), "{entry:?}");
            let refuses = matches!(&entry.answer, Answer::Errors(errnos) if !errnos.is_empty());
            assert!(refuses || matches!(entry.answer, Answer::Yes(_)), "{entry:?}");
            assert_eq!(refuses, !entry.reason.is_empty(), "{entry:?}");
            assert!(refuses || entry.texts.is_empty(), "{entry:?}");
            // A refusal that is allowed must be told from an error.
            assert!(!entry.depends || !entry.texts.is_empty(), "{entry:?}");
        }
    }

    #[test]
    fn a_mistake_in_the_table_is_told() {
        let entry = |line: &str| {
            format!("[[entry]]\ndrivers = [\"x\"]\nmodes = [\"native\"]\nanswer = \"yes\"\n{line}\n")
        };
        assert!(parse(&entry("")).is_ok());
        for wrong in ["kernel = \">6\"", "driver = \"y\"", "mtu = -1", "program = \"both\""] {
            assert!(parse(&entry(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_veth_of_a_large_mtu_takes_a_native_program_only_if_that_takes_fragments() {
        let veth = |mode, mtu, fragments| errnos(lookup(Request { mtu, fragments, ..request("veth", mode) }));
        assert_eq!(veth(Mode::Native, 3506, false), None);
        assert_eq!(veth(Mode::Native, 3507, false), Some(vec![Errno::RANGE]));
        assert_eq!(veth(Mode::Native, 9000, true), None);
        for mode in [Mode::Generic, Mode::Unattached] {
            assert_eq!(veth(mode, 9000, false), None);
        }
    }

    #[test]
    fn what_a_kernel_does_not_have_yet_is_refused_and_later_is_not() {
        let vmxnet3 = |minor| {
            let kernel = KernelVersion { major: 6, minor, patch: 0 };
            errnos(lookup(Request { kernel, ..request("vmxnet3", Mode::Native) }))
        };
        assert_eq!(vmxnet3(1), Some(vec![Errno::OPNOTSUPP]));
        assert_eq!(vmxnet3(12), None);
    }

    #[test]
    fn a_refusal_is_the_known_one_by_its_errno_and_its_sentence() {
        let Support::Unsupported(known) = lookup(request("e1000e", Mode::Native)) else { panic!() };
        let sentence = "refused: Underlying driver does not support XDP in native mode";
        assert!(known.is(Some(Errno::OPNOTSUPP), sentence));
        assert!(!known.is(Some(Errno::INVAL), sentence));
        assert!(!known.is(Some(Errno::OPNOTSUPP), "refused: something else"));
        assert!(!known.is(None, sentence));
    }

    /// The table knows no bonding modes.
    #[test]
    fn a_bond_takes_a_native_program_or_says_that_its_mode_does_not() {
        let bond = |major, minor| {
            let kernel = KernelVersion { major, minor, patch: 0 };
            lookup(Request { kernel, ..request("bonding", Mode::Native) })
        };
        assert!(matches!(bond(5, 10), Support::Unsupported(_)));
        let Support::Depends(known) = bond(6, 12) else { panic!() };
        let sentence = "refused: No native XDP support for the current bonding mode";
        assert!(known.is(Some(Errno::OPNOTSUPP), sentence));
        assert!(!known.is(Some(Errno::INVAL), sentence));
        assert!(!known.is(Some(Errno::OPNOTSUPP), "refused: something else"));
        let jumbo = Request { mtu: 9000, ..request("bonding", Mode::Native) };
        let Support::Depends(known) = lookup(jumbo) else { panic!() };
        assert!(known.is(Some(Errno::RANGE), "refused: veth: Peer MTU is too large to set XDP"));
        assert!(known.is(Some(Errno::OPNOTSUPP), sentence));
    }

    #[test]
    fn nothing_is_known_of_a_driver_that_the_table_does_not_have() {
        assert_eq!(lookup(request("no_such_driver", Mode::Native)), Support::Unknown);
        assert_eq!(lookup(request("no_such_driver", Mode::Offload)), Support::Unknown);
        assert_eq!(lookup(request("no_such_driver", Mode::Generic)), Support::Supported);
    }

    #[test]
    fn only_live_frames_need_a_kernel_that_makes_them() {
        let kernel = |minor| KernelVersion { major: 5, minor, patch: 0 };
        assert!(injector(InjectorKind::LiveFrames, kernel(17)).is_some_and(|reason| reason.contains("5.18")));
        assert_eq!(injector(InjectorKind::LiveFrames, kernel(18)), None);
        assert_eq!(injector(InjectorKind::Ring, kernel(9)), None);
    }

    #[test]
    fn nothing_is_offloaded_to_a_veth() {
        let offload = Request { mtu: 1500, fragments: true, ..request("veth", Mode::Offload) };
        assert_eq!(errnos(lookup(offload)), Some(vec![Errno::INVAL]));
    }
}
