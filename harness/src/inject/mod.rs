//! Injectors: ways by which frames reach the program under test.
//!
//! * [`pnet`]: one `AF_PACKET` send a frame, from the tester's port.
//! * [`ring`]: many frames a system call, through memory shared with the kernel.
//! * [`live_frames`]: frames that the kernel makes and redirects to the tester's port.
//! * [`sender`]: one of these three, behind one interface.
//! * [`test_run`]: `BPF_PROG_TEST_RUN`, without a device.
//! * [`cpu`], [`cpu_rotation`]: the CPUs that frames are sent from, and with them the order in which frames arrive.
//! * [`lockstep`]: all CPUs send at the same time.
//! * [`pace`]: the schedule of an offered load.
//! * [`tc_tools`]: programs that modify frames between the injector and the device.
//!
//! To add an injector, write its file and give it a variant in [`sender::Sender`] and in `model::mode::InjectorKind`.

pub mod cpu;
pub mod cpu_rotation;
pub mod live_frames;
pub mod lockstep;
pub mod pace;
pub mod pnet;
pub mod ring;
pub mod sender;
pub mod tc_tools;
pub mod test_run;
