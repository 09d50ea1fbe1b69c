//! How long an attachment lives, and whether it can be replaced without a gap.

use std::{
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use xdproof_netns::{PacketOptions, PacketSocket, XdpFlags, XdpMode};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::suites::attach_semantics::{
    case::{Answer, Which},
    fixture::{RuleError, Stand},
    holder_process::Holder,
};
use crate::{
    model::observation::Counts,
    program::{RunCounting, is_loaded},
};

/// Something must happen: it normally takes microseconds, and a machine under load may take much longer.
pub(super) const MUST_HAPPEN: Duration = Duration::from_secs(10);

/// Nothing may happen: many times over what the kernel takes to detach the program of a process that has ended.
const MUST_NOT_HAPPEN: Duration = Duration::from_millis(300);

/// Frames under way at once (see `observe`): no ring and no backlog is ever full, so that no frame is lost on its way.
const WINDOW: u64 = 64;

/// At least so many frames, and at least so many replacements while they are sent.
const FRAMES: u64 = 20_000;
const REPLACEMENTS: u64 = 100;

/// The traffic takes two seconds; a machine under load may take much longer.
const TRAFFIC: Duration = Duration::from_secs(60);

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Netlink,
    BpfLink,
}

impl Holding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Netlink => "netlink",
            Self::BpfLink => "bpf_link",
        }
    }
}

/// Another process attaches a program and is killed.
pub(super) fn killed(stand: &mut Stand<'_>, holding: Holding) -> Result<(), RuleError> {
    const ATTACHED: &str = "its program is attached in generic mode";
    const GONE: &str = "nothing is attached";
    let holder = Holder::start(stand.dut, stand.index, holding)?;
    let program = holder.program;
    let look = |stand: &mut Stand<'_>| match stand.on_device(xdproof_netns::Host::xdp) {
        Ok(state) if state.iter().eq([(XdpMode::Generic, program)]) => ATTACHED.to_owned(),
        Ok(state) if state.is_empty() => GONE.to_owned(),
        Ok(state) => state.to_string(),
        Err(error) => error.to_string(),
    };
    let name = holding.name();
    stand.check(format!("another process attaches by {name}"), ATTACHED, look);
    if stand.departed() {
        return Err(RuleError::Departed);
    }
    holder.kill()?;
    let (expected, deadline) = match holding {
        Holding::Netlink => (ATTACHED, MUST_NOT_HAPPEN),
        Holding::BpfLink => (GONE, MUST_HAPPEN),
    };
    // To be gone it may take a while; to stay it has to be there at the end of a while.
    let waited = stand.on_device(move |host, index| {
        host.wait_link(index, "see the program go", deadline, |link| link.xdp.is_empty())
    });
    match waited {
        Ok(_) | Err(xdproof_netns::Error::Timeout { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    stand.check("the process is ended by SIGKILL", expected, look);
    if stand.departed() {
        return Err(RuleError::Departed);
    }
    if holding == Holding::Netlink {
        let loaded = is_loaded(program)?;
        stand.check("ask for its program", "loaded: true", |_| format!("loaded: {loaded}"));
        stand.on_device(|host, index| host.detach_xdp(index, XdpMode::Generic))?;
        stand.check("detach it by netlink", GONE, look);
    }
    unloaded(stand, program)
}

/// The kernel lets go of a program that nobody holds, in the background.
fn unloaded(stand: &mut Stand<'_>, program: u32) -> Result<(), RuleError> {
    let begun = Instant::now();
    let mut loaded = is_loaded(program)?;
    while loaded && begun.elapsed() < MUST_HAPPEN {
        std::thread::yield_now();
        loaded = is_loaded(program)?;
    }
    stand.check("ask for the program that nobody holds any more", "loaded: false", |_| {
        format!("loaded: {loaded}")
    });
    Ok(())
}

/// The device is deleted while a program of which nobody else holds a descriptor is attached by netlink.
pub(super) fn deleted_with_the_last_hold(stand: &mut Stand<'_>) -> Result<(), RuleError> {
    let loaded = crate::program::Program::load(&crate::program::Object::default())?;
    let (program, id) = (loaded.descriptor()?, loaded.identity().id);
    stand.on_device(move |host, index| {
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Native], XdpFlags::default())
    })?;
    drop(loaded);
    let held = is_loaded(id)?;
    stand.check("close every descriptor of the attached program", "loaded: true", |_| {
        format!("loaded: {held}")
    });
    stand.on_device(xdproof_netns::Host::delete_link)?;
    stand.check("delete the device", "the device is gone", |stand| stand.attached());
    unloaded(stand, id)
}

/// The program is replaced again and again while frames come in. Every frame is counted, by the one or by the other.
pub(super) fn replaced(stand: &mut Stand<'_>, holding: Holding, mode: XdpMode) -> Result<(), RuleError> {
    let _counting = RunCounting::enable()?;
    let modes: &'static [XdpMode] = match mode {
        XdpMode::Generic => &[XdpMode::Generic],
        XdpMode::Native => &[XdpMode::Native],
        XdpMode::Offload => &[XdpMode::Offload],
    };
    let first = stand.descriptor(Which::First)?;
    let attached = stand.on_device(move |host, index| match holding {
        Holding::BpfLink => host.link_xdp(index, first.as_fd(), modes, false).map(Some),
        Holding::Netlink => host.attach_xdp(index, first.as_fd(), modes, XdpFlags::default()).map(|()| None),
    });
    let link = match attached {
        Ok(link) => link,
        Err(error) => {
            let answer = error.to_string();
            stand.check("attach the first program", Answer::Done.to_string(), |_| answer);
            return Err(RuleError::Departed);
        }
    };
    let (worker, index) = stand.peer.ok_or(RuleError::Table { missing: "no peer" })?;
    let socket = worker.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    let (replacements, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let here: &Stand<'_> = stand;
    let (sent, replaced) = std::thread::scope(|scope| {
        let replacer = scope.spawn(|| {
            let replace = |which| -> Result<(), RuleError> {
                let program = here.descriptor(which)?;
                match &link {
                    Some(link) => link.update(program.as_fd(), None)?,
                    None => here.on_device(move |host, index| {
                        host.attach_xdp(index, program.as_fd(), modes, XdpFlags::default())
                    })?,
                }
                replacements.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            while !ended.load(Ordering::Relaxed) {
                replace(Which::Second)?;
                replace(Which::First)?;
            }
            Ok::<(), RuleError>(())
        });
        let sent = send(here, &socket, &replacements, || replacer.is_finished());
        ended.store(true, Ordering::Relaxed);
        (sent, replacer.join())
    });
    replaced.map_err(|_| RuleError::Late { awaited: "the end of the replacing" })??;
    let sent = sent?;
    let by = |which| -> Result<Counts, RuleError> { Ok(sum(&stand.counter(which)?.counts()?)) };
    let (first, second) = (by(Which::First)?, by(Which::Second)?);
    let both = sum(&[first.clone(), second.clone()]);
    let times = replacements.load(Ordering::Relaxed);
    stand.check("replace the program while frames come in", "every frame counted once", |_| {
        if both == sent {
            "every frame counted once".to_owned()
        } else {
            format!("sent {sent:?}, counted {both:?}")
        }
    });
    let total: u64 = sent.values().sum();
    stand.check("count frames and replacements", "as many as it takes", |_| {
        if total >= FRAMES && times >= REPLACEMENTS {
            "as many as it takes".to_owned()
        } else {
            format!("{total} frames and {times} replacements")
        }
    });
    stand.check("see that both programs counted", "both did", |_| {
        if first.is_empty() || second.is_empty() {
            format!("the first counted {first:?}, the second {second:?}, replaced {times} times")
        } else {
            "both did".to_owned()
        }
    });
    Ok(())
}

/// Sends frames of three protocols in turn until there were enough, and enough replacements; says how many of each.
fn send(
    stand: &Stand<'_>,
    socket: &PacketSocket,
    replacements: &AtomicU64,
    replacer_ended: impl Fn() -> bool,
) -> Result<Counts, RuleError> {
    const PROTOCOLS: [u8; 3] = [1, 6, 17];
    let begun = Instant::now();
    let mut sent = Counts::new();
    let mut total = 0_u64;
    while total < FRAMES || replacements.load(Ordering::Relaxed) < REPLACEMENTS {
        for protocol in PROTOCOLS.into_iter().cycle().take(usize::try_from(WINDOW).unwrap_or(1)) {
            socket.send(&frame(protocol))?;
            *sent.entry(protocol).or_default() += 1;
            total += 1;
        }
        arrived(stand, total)?;
        if replacer_ended() || begun.elapsed() > TRAFFIC {
            break;
        }
    }
    Ok(sent)
}

/// Waits until so many frames were seen by either program, or it has taken too long: the counts will tell.
fn arrived(stand: &Stand<'_>, total: u64) -> Result<(), RuleError> {
    let begun = Instant::now();
    while stand.counter(Which::First)?.runs()? + stand.counter(Which::Second)?.runs()? < total {
        if begun.elapsed() > MUST_HAPPEN {
            break;
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// 60 bytes: IPv4 with nothing behind its header but zeros.
fn frame(protocol: u8) -> Vec<u8> {
    let mut bytes = [DUT_MAC, TESTER_MAC].concat();
    bytes.extend([0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, protocol]);
    bytes.resize(60, 0);
    bytes
}

pub(super) fn sum(parts: &[Counts]) -> Counts {
    let mut whole = Counts::new();
    for (protocol, count) in parts.iter().flatten() {
        *whole.entry(*protocol).or_default() += count;
    }
    whole
}
