//! The cost of a program by itself: CPU time of the thread around many runs of `BPF_PROG_TEST_RUN`.
//!
//! The kernel's own `duration` is a mean in whole nanoseconds of wall-clock time.

use std::io;

use crate::{
    bench::{
        machine::{MachineReading, thread_cpu_time},
        programs::Loaded,
    },
    measure::{median, traffic::Traffic},
    model::{BURSTS, Losses, MOST_STEAL, ProgramRole, Sample, Void},
};
/// Runs a trial: [`BURSTS`] of `runs` runs on the traffic's frame. The calling thread has to stay on one CPU.
pub fn trial(program: &Loaded, traffic: &Traffic, runs: u32, role: ProgramRole) -> io::Result<Sample> {
    let slots: Vec<u8> = traffic.slots.keys().copied().collect();
    let Some((frame, _)) = traffic.frames.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let counted = || program.counters.counted(&slots).map_err(io::Error::other);
    let before = MachineReading::take()?;
    let first = counted()?;
    let (mut done, mut bursts) = (Ok(()), Vec::new());
    for _ in 0..BURSTS {
        let start = thread_cpu_time();
        done = done.and(program.program.repeat(frame, runs));
        bursts.push((thread_cpu_time() - start) as f64 / f64::from(runs));
    }
    let last = counted()?;
    let meanwhile = MachineReading::take()?.since(&before);
    let sent = u64::from(runs) * u64::from(BURSTS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of times in nanoseconds"
    )]
    let time_ns = (bursts.iter().sum::<f64>() * f64::from(runs)) as u64;
    // A program without counters cannot be checked against them; the kernel reported that it ran.
    let counted = if program.is_null { sent } else { program.counters.width().added(first, last) };
    let void = match done {
        Err(error) => Some(Void::Injector { reason: error.to_string() }),
        Ok(()) if counted != sent => Some(Void::Miscounted { ran: sent, counted }),
        Ok(()) if meanwhile.steal > MOST_STEAL => Some(Void::Steal { share: meanwhile.steal }),
        Ok(()) => None,
    };
    Ok(Sample {
        block: 0,
        control: false,
        role,
        sent,
        counted,
        lost: 0,
        time_ns,
        ns_per_frame: median(&bursts).unwrap_or(f64::NAN),
        cpu_ns: time_ns,
        steal: meanwhile.steal,
        losses: Losses::default(),
        per_cpu: Vec::new(),
        void,
    })
}
