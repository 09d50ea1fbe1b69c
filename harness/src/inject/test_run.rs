//! `BPF_PROG_TEST_RUN`: the kernel runs the program on the bytes. There is no driver and no stack in it, so what comes out
//! is the program's answer alone.

use std::{collections::BTreeMap, io};

use xdproof_scenarios::Frame;

use crate::inject::cpu_rotation::Turns;
use crate::{
    model::frame_sequence::FrameSequence,
    program::{Program, TestRunOutput},
};

/// Room for the largest frame that a test run takes (`bpf_prog_test_run_xdp`: a page, and fragments behind it).
const MAX_FRAME: usize = 128 * 1024;

/// What came of running the program on frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// How many frames the program was run on.
    pub sent: u64,
    /// The frames that it passed, as it left them.
    pub passed: FrameSequence,
    /// The verdicts that it returned, and how often each.
    pub verdicts: BTreeMap<u32, u64>,
}

/// Runs the program on each frame as often as it says, each time on fresh bytes and with its answer looked at.
///
/// The kernel's own repetition is not used: it shows the last answer only, works on what the run before has left, and
/// switches the XDP dispatcher (`bpf_prog_change_xdp`), which costs some ten milliseconds a call. With `turns` each CPU has
/// its turn.
///
/// # Errors
///
/// What the kernel answered for the first frame that it refused; EINVAL for one of 13 bytes or fewer.
pub fn run(program: &Program, frames: &[Frame], turns: Option<&Turns>) -> io::Result<Ran> {
    let mut ran = Ran::default();
    let mut out = vec![0; MAX_FRAME];
    for frame in frames {
        for _ in 0..frame.repeat {
            if let Some(turns) = turns.filter(|turns| turns.is_over(ran.sent)) {
                turns.go(ran.sent)?;
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
