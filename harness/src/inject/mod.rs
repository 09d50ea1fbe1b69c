//! How frames reach the program under test.
//!
//! * [`pnet`]: one `AF_PACKET` send a frame, from the tester's port.
//! * [`test_run`]: `BPF_PROG_TEST_RUN`, with no device in between.
//! * [`cpu`]: on which CPU frames are sent, and so in which order they arrive.
//! * [`turns`]: either of them from one CPU after another.

pub mod cpu;
pub mod pnet;
pub mod shape;
pub mod test_run;
pub mod turns;
