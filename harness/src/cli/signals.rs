//! SIGINT and SIGTERM: the first one ends a run in order, the second one at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Exit, Failure};

/// The signals that ask the process to end.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Handles them from now on. Needs a tokio runtime around it.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen =
            || Ok::<_, io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
        let (interrupt, terminate) =
            listen().context("failed to listen for signals").map_err(Failure::Machine)?;
        Ok(Self { interrupt, terminate })
    }

    /// Returns when one arrives.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Returns a flag that the first signal sets. The second one ends the process at once: the kernel takes back what is up, and
/// `hint` says what to do about the rest.
pub(super) fn flag_on_end(hint: Option<&'static str>) -> Result<Arc<AtomicBool>, Failure> {
    let started = "failed to start the thread that waits for signals";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context(started).map_err(Failure::Machine)?;
    let mut signals = {
        let _entered = runtime.enter();
        EndSignals::listen()?
    };
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let wait = move || {
        runtime.block_on(async {
            signals.wait().await;
            set.store(true, Ordering::Relaxed);
            signals.wait().await;
        });
        if let Some(hint) = hint {
            anstream::eprintln!("{hint}");
        }
        #[expect(clippy::exit, reason = "a second signal asks for the end at once")]
        std::process::exit(Exit::Inconclusive as i32);
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.context(started).map_err(Failure::Machine)?;
    Ok(flag)
}
