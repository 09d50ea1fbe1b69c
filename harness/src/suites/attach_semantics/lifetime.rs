//! Lifetime of an attachment, and replacement of a program without a gap.

use std::{
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use xdproof_netns::{Error, Host, PacketOptions, PacketSocket, XdpFlags, XdpMode};

use crate::{
    model::{Counts, observation::sum},
    program::{Object, Program, RunCounting, is_loaded},
    suites::attach_semantics::{
        deadlines::{MUST_HAPPEN, MUST_NOT_HAPPEN, TRAFFIC},
        error::CaseError,
        fixture::AttachFixture,
        holder_process::HolderProcess,
        step::{AttachCondition, AttachMethod, AttachState, TestProgram, only},
        traffic::ipv4,
    },
};

/// Frames under way at once (see `exchange`): no ring and no backlog is ever full, so that no frame is lost on its way.
const WINDOW: usize = 64;

/// Least numbers of frames, and of replacements while they are sent.
const FRAMES: u64 = 20_000;
const REPLACEMENTS: u64 = 100;

/// Protocols of the frames, in turn.
const PROTOCOLS: [u8; 3] = [1, 6, 17];

/// Has another process attach a program, and kills it.
pub(super) fn killed(fixture: &mut AttachFixture<'_>, method: AttachMethod) -> Result<(), CaseError> {
    const ATTACHED: &str = "its program is attached in generic mode";
    let gone = AttachState::Nothing;
    let holder = HolderProcess::start(fixture.dut, fixture.index, method == AttachMethod::BpfLink)?;
    let program = holder.program;
    let look = |fixture: &AttachFixture<'_>| match fixture.on_device(Host::xdp) {
        Ok(state) if state.iter().eq([(XdpMode::Generic, program)]) => ATTACHED.to_owned(),
        Ok(state) if state.is_empty() => gone.to_string(),
        Ok(state) => state.to_string(),
        Err(error) => error.to_string(),
    };
    fixture.require(format!("another process attaches by {method}"), ATTACHED, look(fixture))?;
    holder.kill()?;
    let (expected, deadline) = match method {
        AttachMethod::Netlink => (ATTACHED.to_owned(), MUST_NOT_HAPPEN),
        AttachMethod::BpfLink => (gone.to_string(), MUST_HAPPEN),
    };
    // Detaching may take a while; a program that stays has to be there at the end of a while.
    let waited = fixture.on_device(move |host, index| {
        host.wait_link(index, "see the program detached", deadline, |link| link.xdp.is_empty())
    });
    match waited {
        Ok(_) | Err(Error::Timeout { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    fixture.require("kill the process", expected, look(fixture))?;
    if method == AttachMethod::Netlink {
        let loaded = is_loaded(program)?;
        fixture.record("query its program", "loaded: true", format!("loaded: {loaded}"));
        fixture.on_device(|host, index| host.detach_xdp(index, XdpMode::Generic))?;
        fixture.record("detach it by netlink", gone, look(fixture));
    }
    unloaded(fixture, program)
}

/// Records that the kernel unloads a program that nobody holds, which it does in the background.
fn unloaded(fixture: &mut AttachFixture<'_>, program: u32) -> Result<(), CaseError> {
    wait_until(|| Ok(!is_loaded(program)?))?;
    let observed = format!("loaded: {}", is_loaded(program)?);
    fixture.record("query the program that nothing references", "loaded: false", observed);
    Ok(())
}

/// Deletes the device while a program is attached by netlink of which nobody else holds a descriptor.
pub(super) fn deleted_with_the_last_holder(fixture: &mut AttachFixture<'_>) -> Result<(), CaseError> {
    let loaded = Program::load(&Object::default())?;
    let (program, id) = (loaded.descriptor()?, loaded.identity().id);
    fixture.on_device(move |host, index| {
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Native], XdpFlags::default())
    })?;
    drop(loaded);
    let observed = format!("loaded: {}", is_loaded(id)?);
    fixture.record("close every descriptor of the attached program", "loaded: true", observed);
    fixture.on_device(Host::delete_link)?;
    fixture.record("delete the device", AttachState::NoDevice, fixture.attached());
    unloaded(fixture, id)
}

/// Replaces the program again and again while frames arrive: every frame is counted by the one program or the other.
pub(super) fn replaced(
    fixture: &mut AttachFixture<'_>,
    method: AttachMethod,
    mode: XdpMode,
) -> Result<(), CaseError> {
    const ALL: &str = "every frame counted once";
    const ENOUGH: &str = "enough of both";
    const BOTH: &str = "both counted";
    let _counting = RunCounting::enable()?;
    let attached = fixture.attach(method, TestProgram::First, only(mode), AttachCondition::Always)?;
    if let Err(error) = attached {
        return fixture.require("attach the first program", "done", error.to_string());
    }
    let (sent, times) = send_while_replacing(fixture, method, mode)?;
    let by = |program| Ok::<_, CaseError>(sum(&fixture.counter(program)?.counts()?));
    let (first, second) = (by(TestProgram::First)?, by(TestProgram::Second)?);
    let counted = sum(&[first.clone(), second.clone()]);
    let of_all = if counted == sent { ALL.to_owned() } else { format!("sent {sent:?}, counted {counted:?}") };
    fixture.record("replace the program while frames arrive", ALL, of_all);
    let total: u64 = sent.values().sum();
    let enough = if total >= FRAMES && times >= REPLACEMENTS {
        ENOUGH.to_owned()
    } else {
        format!("{total} frames and {times} replacements")
    };
    fixture.record("compare the numbers of frames and of replacements", ENOUGH, enough);
    let both = if first.is_empty() || second.is_empty() {
        format!("the first counted {first:?}, the second {second:?}, replaced {times} times")
    } else {
        BOTH.to_owned()
    };
    fixture.record("compare the programs' counts", BOTH, both);
    Ok(())
}

/// Sends frames while another thread replaces the attached program; returns the frames of each protocol and the number of
/// replacements.
fn send_while_replacing(
    fixture: &AttachFixture<'_>,
    method: AttachMethod,
    mode: XdpMode,
) -> Result<(Counts, u64), CaseError> {
    let (worker, index) = fixture.peer()?;
    let socket = worker.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    let (replacements, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let replace = |program| -> Result<(), CaseError> {
        let program = fixture.descriptor(program)?;
        match method {
            AttachMethod::BpfLink => fixture.newest_link()?.update(program.as_fd(), None)?,
            AttachMethod::Netlink => fixture.on_device(move |host, index| {
                host.attach_xdp(index, program.as_fd(), only(mode), XdpFlags::default())
            })?,
        }
        replacements.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let (sent, replaced) = std::thread::scope(|scope| {
        let replacer = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                replace(TestProgram::Second)?;
                replace(TestProgram::First)?;
            }
            Ok::<(), CaseError>(())
        });
        let more = |total| {
            let few = total < FRAMES || replacements.load(Ordering::Relaxed) < REPLACEMENTS;
            few && !replacer.is_finished()
        };
        let sent = send(fixture, &socket, more);
        ended.store(true, Ordering::Relaxed);
        (sent, replacer.join())
    });
    replaced.map_err(|_| CaseError::Timeout { awaited: "the last replacement" })??;
    Ok((sent?, replacements.into_inner()))
}

/// Sends windows of frames as long as there are to be `more`; returns the number of each protocol.
fn send(
    fixture: &AttachFixture<'_>,
    socket: &PacketSocket,
    more: impl Fn(u64) -> bool,
) -> Result<Counts, CaseError> {
    let (first, second) = (fixture.counter(TestProgram::First)?, fixture.counter(TestProgram::Second)?);
    let begun = Instant::now();
    let mut sent = Counts::new();
    let mut total = 0_u64;
    while more(total) && begun.elapsed() < TRAFFIC {
        for protocol in PROTOCOLS.into_iter().cycle().take(WINDOW) {
            socket.send(&ipv4(protocol, 60, &[]))?;
            *sent.entry(protocol).or_default() += 1;
            total += 1;
        }
        // If a frame is not seen in time, the counts show it.
        wait_until(|| Ok(first.program.runs()? + second.program.runs()? >= total))?;
    }
    Ok(sent)
}

/// Polls until something is `true`, or must have been.
fn wait_until(happened: impl Fn() -> Result<bool, CaseError>) -> Result<(), CaseError> {
    let begun = Instant::now();
    while !happened()? && begun.elapsed() < MUST_HAPPEN {
        std::thread::yield_now();
    }
    Ok(())
}
