//! `BPF_PROG_TEST_RUN`: the kernel runs the program on bytes. Neither a driver nor the stack takes part: the result is the
//! program's verdict alone.

use std::{collections::BTreeMap, io};

use xdproof_scenarios::Frame;

use crate::inject::cpu_rotation::CpuRotation;
use crate::{
    model::frame_sequence::FrameSequence,
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
            let TestRunOutput { action, length } = program.test_run(&frame.bytes, &mut out)?;
            ran.sent += 1;
            *ran.verdicts.entry(action).or_default() += 1;
            if action == TestRunOutput::PASS {
                ran.passed.push(out.get(..length).unwrap_or(&out));
            }
        }
    }
    Ok(ran)
}
