//! Signals that end a run in order: SIGINT, SIGTERM, SIGQUIT, and SIGHUP, which the kernel sends when the terminal goes. A second one
//! ends the process at once, unless it is SIGHUP: the kernel and the shell both send that one.

use std::{future, io, sync::atomic::AtomicBool};

use anyhow::Context as _;
use procfs::process::Process;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Exit, Failure, stderr::say_on_stderr},
    host::interrupt,
};

/// The signals that ask the process to end.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// None where SIGHUP was ignored when the process started, as nohup(1) does.
    hangup: Option<Signal>,
}

/// The kind of a signal that arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Asked,
    HungUp,
}

impl EndSignals {
    /// Handles them from now on. Needs a tokio runtime around it.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = || -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                quit: signal(SignalKind::quit())?,
                hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
            })
        };
        listen().context("failed to listen for signals").map_err(Failure::Machine)
    }

    /// Returns when one arrives.
    pub(super) async fn wait(&mut self) {
        self.next().await;
    }

    async fn next(&mut self) -> End {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => future::pending().await,
            }
        };
        let end = tokio::select! {
            _ = self.interrupt.recv() => End::Asked,
            _ = self.terminate.recv() => End::Asked,
            _ = self.quit.recv() => End::Asked,
            _ = hangup => End::HungUp,
        };
        interrupt::request();
        end
    }
}

fn ignores_hangup() -> bool {
    // The bit of SIGHUP, signal 1.
    Process::myself().and_then(|process| process.status()).is_ok_and(|status| status.sigign & 1 == 1)
}

/// Returns a flag that the first signal sets. The second one ends the process at once: the kernel takes back what is up, and
/// `hint` says what to do about the rest.
pub(super) fn flag_on_end(hint: Option<&'static str>) -> Result<&'static AtomicBool, Failure> {
    let started = "failed to start the thread that waits for signals";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context(started).map_err(Failure::Machine)?;
    let mut signals = {
        let _entered = runtime.enter();
        EndSignals::listen()?
    };
    let wait = move || {
        runtime.block_on(async {
            signals.wait().await;
            while signals.next().await == End::HungUp {}
        });
        if let Some(hint) = hint {
            say_on_stderr(format_args!("{hint}"));
        }
        #[expect(clippy::exit, reason = "a second signal asks for the end at once")]
        std::process::exit(Exit::Inconclusive as i32);
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.context(started).map_err(Failure::Machine)?;
    Ok(interrupt::flag())
}
