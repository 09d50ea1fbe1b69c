//! `BPF_PROG_TEST_RUN`: the kernel runs the program on bytes. Neither a driver nor the stack takes part: the result is the
//! program's verdict alone.

use std::{collections::BTreeMap, io};

use xdproof_scenarios::Frame;

use crate::{
    inject::{
        cpu_rotation::CpuRotation,
        lockstep::{self, Deal, Played},
    },
    model::{frame_sequence::FrameSequence, observation::Overlap},
    program::{Program, TestRunOutput},
};

/// Room for the largest frame that a test run takes (`bpf_prog_test_run_xdp`: a page, and fragments behind it).
const MAX_FRAME: usize = 128 * 1024;

/// Outcome of running the program on frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    pub sent: u64,
    /// The frames that it passed, as it left them.
    pub passed: FrameSequence,
    /// The verdicts that it returned, and how often each.
    pub verdicts: BTreeMap<u32, u64>,
    /// Overlap of the CPUs that ran it at the same time; none if they did not.
    pub overlap: Option<Overlap>,
}

/// Runs the program on each frame as often as the frame is repeated, each time on fresh bytes, and records each verdict; with
/// a rotation on each CPU in turn.
///
/// The kernel's own repetition is not used: it returns the last verdict only, works on the bytes that the run before has left,
/// and switches the XDP dispatcher (`bpf_prog_change_xdp`), which costs some ten milliseconds a call.
///
/// Fails with the kernel's error for the first frame that it rejects; EINVAL for one of 13 bytes or fewer.
pub(crate) fn run(program: &Program, frames: &[Frame], rotation: Option<&CpuRotation>) -> io::Result<Ran> {
    let mut ran = Ran::default();
    let mut out = vec![0; MAX_FRAME];
    for frame in frames {
        for _ in 0..frame.repeat {
            if let Some(rotation) = rotation.filter(|rotation| rotation.is_due(ran.sent)) {
                rotation.advance(ran.sent)?;
            }
            ran.add(program, &frame.bytes, &mut out)?;
        }
    }
    Ok(ran)
}

/// As [`run`], on these CPUs at the same time.
///
/// Fails as [`run`] does, and with the kernel's error if a thread cannot be kept on its CPU.
pub(crate) fn run_at_once(program: &Program, frames: &[Frame], cpus: &[usize]) -> io::Result<Ran> {
    let given = frames.iter().map(|frame| (frame.bytes.as_slice(), frame.repeat));
    let deal = Deal::new(given, cpus.len());
    let mut each: Vec<(Ran, Vec<u8>)> = cpus.iter().map(|_| (Ran::default(), vec![0; MAX_FRAME])).collect();
    let Played { overlap, .. } = lockstep::play(
        &deal,
        cpus.iter().copied().zip(&mut each),
        |(ran, out), frame| ran.add(program, frame, out),
        |_| Ok(true),
        |error| error,
    )?;
    let mut all = Ran { overlap: Some(overlap), ..Ran::default() };
    for (ran, _) in each {
        all.sent += ran.sent;
        all.passed.append(&ran.passed);
        for (verdict, times) in ran.verdicts {
            *all.verdicts.entry(verdict).or_default() += times;
        }
    }
    Ok(all)
}

impl Ran {
    /// Runs the program on a frame.
    fn add(&mut self, program: &Program, frame: &[u8], out: &mut [u8]) -> io::Result<()> {
        let TestRunOutput { action, length } = program.test_run(frame, out)?;
        self.sent += 1;
        *self.verdicts.entry(action).or_default() += 1;
        if action == TestRunOutput::PASS {
            self.passed.push(out.get(..length).unwrap_or(out));
        }
        Ok(())
    }
}
