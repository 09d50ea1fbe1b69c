//! How frames reach the program under test.
//!
//! * [`pnet`]: one `AF_PACKET` send a frame, from the tester's port.
//! * [`ring`]: many frames a system call, through memory that is shared with the kernel.
//! * [`live_frames`]: made by the kernel itself and redirected to the tester's port.
//! * [`sender`]: one of these three, for whoever does not care which.
//! * [`test_run`]: `BPF_PROG_TEST_RUN`, with no device in between.
//! * [`cpu`]: on which CPU frames are sent, and so in which order they arrive.
//! * [`cpu_rotation`]: any of them from one CPU after another.
//! * [`pace`]: any of them at an offered load.
//! * [`tc_tools`]: what is done to frames on their way.

pub mod cpu;
pub mod cpu_rotation;
pub mod live_frames;
pub mod pace;
pub mod pnet;
pub mod ring;
pub mod sender;
pub mod tc_tools;
pub mod test_run;
