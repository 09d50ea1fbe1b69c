//! A process that attaches a program and holds it until it is killed: this very executable, started again.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use xdproof_netns::{IfIndex, NetNs, Worker, XdpFlags, XdpMode};

use crate::program::{Object, Program};
use crate::suites::attach_semantics::{
    fixture::RuleError,
    lifetime::{Holding, MUST_HAPPEN},
};

/// What a process is to hold: `netlink INDEX` or `bpf_link INDEX`.
const ORDER: &str = "XDPROOF_HOLD";

/// Whether this process does what [`ORDER`] says when it is started again. Without that, a started copy would do
/// whatever this one does, and start copies in its turn.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// To be called first thing in `main` by whoever tries rules: in a process that was started to hold a program this does
/// so, until its standard input ends or it is killed, and gives the exit code; in any other it is `None`.
#[must_use]
pub fn hold_if_asked() -> Option<ExitCode> {
    ANSWERS.store(true, Ordering::Relaxed);
    let order = std::env::var(ORDER).ok()?;
    Some(match hold(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", crate::error::chain(&error));
            ExitCode::FAILURE
        }
    })
}

fn hold(order: &str) -> Result<(), RuleError> {
    let process = |action| move |source| RuleError::Process { action, source };
    let (way, index) = order
        .split_once(' ')
        .and_then(|(way, index)| Some((way, IfIndex::new(index.parse().ok()?)?)))
        .ok_or_else(|| process("read what to hold")(io::ErrorKind::InvalidInput.into()))?;
    let loaded = Program::load(&Object::default())?;
    let program = loaded.descriptor()?;
    // The process was started in the namespace of the device.
    let worker = Worker::spawn(&NetNs::current()?, "holder")?;
    let linked = way == Holding::BpfLink.name();
    let _held = worker.call(move |host| {
        if linked {
            return host.link_xdp(index, program.as_fd(), &[XdpMode::Generic], false).map(Some);
        }
        let extra = XdpFlags::default();
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], extra).map(|()| None)
    })?;
    writeln!(io::stdout(), "{}", loaded.identity().id).map_err(process("tell what is held"))?;
    // The end of the one who started this process is the end of its input.
    io::stdin().read_to_end(&mut Vec::new()).map_err(process("wait for the end"))?;
    Ok(())
}

/// A process that holds a program in generic mode.
#[derive(Debug)]
pub(super) struct Holder {
    child: Child,
    /// The program's id.
    pub(super) program: u32,
}

impl Holder {
    /// Starts the process in the worker's namespace and waits until it has attached its program.
    pub(super) fn start(worker: &Worker, index: IfIndex, holding: Holding) -> Result<Self, RuleError> {
        let process = |action| move |source| RuleError::Process { action, source };
        if !ANSWERS.load(Ordering::Relaxed) {
            let source = io::Error::other("this program does not call attach_semantics::hold_if_asked");
            return Err(process("start a process that holds a program")(source));
        }
        let order = format!("{} {index}", holding.name());
        // A process begins in the namespace of the thread that starts it.
        let started = worker.run(move |_| {
            Command::new("/proc/self/exe")
                .env(ORDER, order)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        })?;
        let mut child = started.map_err(process("start a process that holds a program"))?;
        let told = child.stdout.take();
        let (tell, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = told.map(|told| BufReader::new(told).read_line(&mut text));
            // Nobody waits any more, if it took too long.
            tell.send(read.and_then(Result::ok).and_then(|_| text.trim().parse().ok())).ok();
        });
        let mut holder = Self { child, program: 0 };
        holder.program = line
            .recv_timeout(MUST_HAPPEN)
            .ok()
            .flatten()
            .ok_or(RuleError::Late { awaited: "the attachment by another process" })?;
        Ok(holder)
    }

    /// Ends the process by `SIGKILL` and waits until it has ended.
    pub(super) fn kill(mut self) -> Result<(), RuleError> {
        self.end().map_err(|source| RuleError::Process { action: "kill the process", source })
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Once it was waited for, there is nothing to end; a drop has nobody to tell of anything else.
        drop(self.end());
    }
}
