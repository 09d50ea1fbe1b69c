//! `BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`: the kernel makes the frames itself and runs a program of ours on
//! them, which redirects each to the tester's port. No system call a frame, no socket, no socket buffer: the fastest source
//! on a single machine. Needs Linux 5.18 and a driver with `ndo_xdp_xmit`.
//!
//! A veth takes redirected frames only while its peer polls for them, which it does with a native program or with GRO
//! (`veth_xdp_xmit()` of `drivers/net/veth.c`); otherwise each frame is lost, and no counter shows it.

use std::{fmt, io};

use aya::{
    Ebpf,
    maps::{Array, DevMap, MapData, MapError},
    programs::{ProgramError, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use xdproof_ebpf::abi::{self, LIVE_LONGEST, LIVE_SHORTEST, LIVE_SLOTS};
use xdproof_netns::Worker;

use crate::inject::tc_tools::{ToolError, descriptor, program};
use crate::{
    ports::Port,
    program::{DispatcherHold, load_bytes},
};

/// The object, as built by `build.rs`.
static LIVE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdproof-live"));

/// Frames that the kernel makes before it lets its receiving side run, its own default. veth's ring holds 256.
pub const BATCH: u32 = 64;

/// `struct abi::Template` in the map: length and times in the machine's byte order, then the bytes.
type TemplateBytes = [u8; size_of::<abi::Template>()];

/// `struct abi::Cursor` in the map.
type CursorWords = [u32; size_of::<abi::Cursor>() / 4];

/// The longest live frame in bytes.
pub const LONGEST: usize = LIVE_LONGEST as usize;

/// A sender at the tester's port: a program with maps of its own, which makes the frames.
pub struct LiveFrames {
    ebpf: Ebpf,
    templates: Array<MapData, TemplateBytes>,
    cursor: Array<MapData, CursorWords>,
    /// Contents of the templates, from the first: each frame, and how many times in a row it is sent.
    loaded: Vec<(Vec<u8>, u32)>,
    /// Bytes that the kernel makes each frame of: no template is longer.
    seed: Vec<u8>,
    name: &'static str,
    hold: DispatcherHold,
}

impl fmt::Debug for LiveFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFrames").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl LiveFrames {
    /// Loads the program and gives it the port. Needs `CAP_BPF` and `CAP_NET_ADMIN`. The program is held in the dispatcher by the
    /// loopback device of the namespace `shelf`, which holds one: one port can have several senders.
    pub fn open_on(worker: &Worker, port: &Port, shelf: &Worker) -> Result<Self, ToolError> {
        Self::open_program(abi::LIVE_PROGRAM, worker, port, shelf)
    }

    /// Opens a sender of the first frame that was [loaded](Self::load) which does not write it again each time: nothing is
    /// faster, but a receiver that changes one frame changes the next. Only a yardstick for other senders.
    pub fn bare_on(worker: &Worker, port: &Port, shelf: &Worker) -> Result<Self, ToolError> {
        Self::open_program(abi::LIVE_BARE_PROGRAM, worker, port, shelf)
    }

    fn open_program(
        name: &'static str,
        worker: &Worker,
        port: &Port,
        shelf: &Worker,
    ) -> Result<Self, ToolError> {
        let failed = move |action| ToolError::of(action, name);
        let index = port.index.get();
        // A device is looked up in the namespace of the thread that puts it into the map (`dev_map_update_elem()` of
        // `kernel/bpf/devmap.c`), and the frames may then be made in any.
        let (mut ebpf, templates, cursor) = worker.run(move |_| {
            let mut ebpf = load_bytes(LIVE)?;
            let mut take = |name| ebpf.take_map(name).ok_or(MapError::ElementNotFound);
            let mut ports: DevMap<MapData> = take(abi::PORTS_MAP)?.try_into()?;
            let (templates, cursor) = (take(abi::TEMPLATES_MAP)?, take(abi::CURSOR_MAP)?);
            let live: &mut Xdp = program(&mut ebpf, name)?;
            live.load().map_err(failed("load"))?;
            ports.set(0, index, None, 0).map_err(|error| {
                failed("give the port to")(match error {
                    aya::maps::xdp::XdpMapError::MapError(error) => error.into(),
                    _ => ProgramError::UnexpectedProgramType,
                })
            })?;
            Ok::<_, ToolError>((ebpf, Array::try_from(templates)?, Array::try_from(cursor)?))
        })??;
        let hold = DispatcherHold::on_loopback(shelf, descriptor(&mut ebpf, name)?)?;
        Ok(Self { ebpf, templates, cursor, loaded: Vec::new(), seed: Vec::new(), name, hold })
    }

    /// Sends frames, without FCS, as they are and in this order.
    ///
    /// Fails with EINVAL for a frame shorter than an Ethernet header or longer than [`LONGEST`]. The loss of a frame on its
    /// way to the driver is no error.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut runs: Vec<(&[u8], u32)> = Vec::new();
        for &frame in frames {
            match runs.last_mut() {
                Some((last, times)) if *last == frame => *times += 1,
                _ => runs.push((frame, 1)),
            }
        }
        for part in runs.chunks(LIVE_SLOTS as usize) {
            self.load(part)?;
            self.run(part.iter().map(|(_, times)| times).sum())?;
        }
        Ok(())
    }

    /// Prepares to [`run`](Self::run) through frames, each so many times in a row, from the first one.
    ///
    /// # Errors
    ///
    /// EINVAL for no frame, for more than [`LIVE_SLOTS`], or for a length that no live frame has; the kernel's.
    pub fn load(&mut self, frames: &[(&[u8], u32)]) -> io::Result<()> {
        let fits = |(frame, times): &(&[u8], u32)| {
            (LIVE_SHORTEST as usize..=LONGEST).contains(&frame.len()) && *times > 0
        };
        if let [(short, _)] = frames
            && short.len() < LIVE_SHORTEST as usize
        {
            // The kernel itself is to reject it.
            self.seed = short.to_vec();
            return Ok(());
        }
        if !(1..=LIVE_SLOTS as usize).contains(&frames.len()) || !frames.iter().all(fits) {
            return Err(rustix::io::Errno::INVAL.into());
        }
        let longest = frames.iter().map(|(frame, _)| frame).max_by_key(|frame| frame.len());
        self.seed = longest.map(|frame| frame.to_vec()).unwrap_or_default();
        for (slot, &(frame, times)) in frames.iter().enumerate() {
            self.set_template(slot, frame, times)?;
        }
        let slots = u32::try_from(frames.len()).map_err(io::Error::other)?;
        self.cursor.set(0, [0, 0, slots], 0).map_err(map_error)
    }

    fn set_template(&mut self, slot: usize, frame: &[u8], times: u32) -> io::Result<()> {
        if self.loaded.get(slot).is_some_and(|(bytes, its)| bytes == frame && *its == times) {
            return Ok(());
        }
        let mut bytes = [0; size_of::<abi::Template>()];
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..8].copy_from_slice(&times.to_ne_bytes());
        bytes[8..8 + frame.len()].copy_from_slice(frame);
        self.templates.set(u32::try_from(slot).map_err(io::Error::other)?, bytes, 0).map_err(map_error)?;
        self.loaded.resize(self.loaded.len().max(slot + 1), (Vec::new(), 0));
        self.loaded[slot] = (frame.to_vec(), times);
        Ok(())
    }

    /// Sends `count` of the frames that were [loaded](Self::load), from where the last call ended.
    ///
    /// # Errors
    ///
    /// The kernel's: EINTR after a signal, when it is unknown how many were sent.
    pub fn run(&self, count: u32) -> io::Result<()> {
        let Some(aya::programs::Program::Xdp(live)) = self.ebpf.program(self.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut options = TestRunOptions::new();
        (options.data_in, options.repeat) = (Some(self.seed.as_slice()), count);
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        match live.test_run(options) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error)) => Err(error.io_error),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

fn map_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
