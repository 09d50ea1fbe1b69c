//! A process that attaches a program and holds it until it is killed: this executable, started again.

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

use crate::suites::attach_semantics::{
    deadlines::MUST_HAPPEN,
    error::{CaseError, failed_to},
};
use crate::{
    error::chain,
    program::{Object, Program},
};

/// Variable that tells a process what to hold: `netlink INDEX` or `bpf_link INDEX`.
const ORDER: &str = "XDPROOF_HOLD";

/// Set if this process serves [`ORDER`] when it is started again. A copy that does not would do whatever this one does, and
/// start copies in its turn.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Serves as a holder process if this process was started as one. Call it first in `main` of a binary that runs cases: in a
/// holder process it attaches the program, holds it until standard input ends or the process is killed, and returns the exit
/// code; in any other process it returns `None`.
#[must_use]
pub fn hold_if_asked() -> Option<ExitCode> {
    SERVES.store(true, Ordering::Relaxed);
    let order = std::env::var(ORDER).ok()?;
    Some(match hold(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be full; the exit code tells it, too.
            let _unwritable = writeln!(io::stderr(), "error: {}", chain(&error));
            ExitCode::FAILURE
        }
    })
}

fn hold(order: &str) -> Result<(), CaseError> {
    let (method, index) = order
        .split_once(' ')
        .and_then(|(method, index)| Some((method, IfIndex::new(index.parse().ok()?)?)))
        .ok_or_else(|| failed_to("read the order to hold a program")(io::ErrorKind::InvalidInput.into()))?;
    let loaded = Program::load(&Object::default())?;
    let program = loaded.descriptor()?;
    // The process was started in the namespace of the device.
    let worker = Worker::spawn(&NetNs::current()?, "holder")?;
    let by_link = method == "bpf_link";
    let _held = worker.call(move |host| {
        if by_link {
            return host.link_xdp(index, program.as_fd(), &[XdpMode::Generic], false).map(Some);
        }
        let extra = XdpFlags::default();
        host.attach_xdp(index, program.as_fd(), &[XdpMode::Generic], extra).map(|()| None)
    })?;
    writeln!(io::stdout(), "{}", loaded.identity().id).map_err(failed_to("report the held program"))?;
    // Input ends with the process that started this one.
    io::stdin().read_to_end(&mut Vec::new()).map_err(failed_to("wait for the end of input"))?;
    Ok(())
}

/// A running process that holds a program in generic mode.
#[derive(Debug)]
pub(super) struct HolderProcess {
    child: Child,
    /// The program's id.
    pub(super) program: u32,
}

impl HolderProcess {
    /// Starts the process in the worker's namespace and waits until it has attached its program, by a `bpf_link` or by netlink.
    pub(super) fn start(worker: &Worker, index: IfIndex, by_link: bool) -> Result<Self, CaseError> {
        let failed = failed_to("start a process that holds a program");
        if !SERVES.load(Ordering::Relaxed) {
            return Err(failed(io::Error::other(
                "this program does not call attach_semantics::hold_if_asked",
            )));
        }
        let order = format!("{} {index}", if by_link { "bpf_link" } else { "netlink" });
        // A process begins in the namespace of the thread that starts it.
        let started = worker.run(move |_| {
            Command::new("/proc/self/exe")
                .env(ORDER, order)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        })?;
        let mut child = started.map_err(failed)?;
        let output = child.stdout.take();
        let (to_here, answer) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = output.map(|output| BufReader::new(output).read_line(&mut line));
            // Nobody waits any more if it took too long.
            to_here.send(read.and_then(Result::ok).and_then(|_| line.trim().parse().ok())).ok();
        });
        let mut holder = Self { child, program: 0 };
        let program = answer.recv_timeout(MUST_HAPPEN).ok().flatten();
        holder.program =
            program.ok_or(CaseError::Timeout { awaited: "the attachment by another process" })?;
        Ok(holder)
    }

    /// Ends the process by `SIGKILL` and waits until it has ended.
    pub(super) fn kill(mut self) -> Result<(), CaseError> {
        self.end().map_err(failed_to("kill the process"))
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for HolderProcess {
    fn drop(&mut self) {
        // A process that was waited for has ended already; a drop has nobody to report another failure to.
        drop(self.end());
    }
}
