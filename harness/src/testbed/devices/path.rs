//! The path between two devices of this host: set so that a program gets frames as they were sent, and tried without a
//! program for what it does to them nevertheless.
//!
//! Promises: nothing is guessed. What a device does to frames is switched off; what cannot be is told ([`RxTransform`]); what is
//! not known beforehand (padding, the window that it takes, the longest frame) is found out by frames.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use xdproof_netns::{Host, IfIndex, LinkSetting, PacketSocket, Worker, XdpFeatures};
use xdproof_scenarios::{DUT_MAC, SHORTEST_FRAME, TESTER_MAC, describe};

use crate::testbed::{Port, PortPair, devices::inventory};
use crate::{
    exchange::{self, Capture, ExchangeError},
    model::{
        device::{DeviceRecord, PathTraits, PortRole},
        facts::{self, FrameFate},
        finding::{Finding, FindingKind, Weight},
        frame_sequence::FrameSequence,
        mode::Mode,
        rx_transform::{RxTransform, Strips, stack_discards},
    },
};

/// What a device does to received frames, or keeps from a program. Each is switched off at both ends.
const MEDDLING: [&str; 9] = [
    "rx-gro",
    "rx-gro-hw",
    "rx-gro-list",
    "rx-lro",
    "rx-udp-gro-forwarding",
    "rx-vlan-filter",
    "rx-vlan-stag-filter",
    CUSTOMER_TAG,
    SERVICE_TAG,
];
const CUSTOMER_TAG: &str = "rx-vlan-hw-parse";
const SERVICE_TAG: &str = "rx-vlan-stag-hw-parse";

/// A link of a device that resets itself: igb takes half a second, a copper link some seconds more.
pub(crate) const LINK_UP: Duration = Duration::from_secs(10);

/// How long a program may stay that was taken off.
const GOES: Duration = Duration::from_secs(3);

/// How long frames may take until they arrive for the first time on a link that has just come up.
const SETTLES: Duration = Duration::from_secs(10);

/// After how long a frame that is under way alone is lost.
const ARRIVES: Duration = Duration::from_millis(300);

/// How much later frames may arrive by another receive queue than the one that was sent after them.
const OTHER_QUEUES: Duration = Duration::from_millis(20);

/// Drivers of devices that get their frames from the stack of another (`rx_handler`, called behind `skb_vlan_untag()` in
/// `__netif_receive_skb_core()` of `net/core/dev.c`). A native program of a bond runs before that, in the drivers of its ports
/// (`bond_xdp_set()` of `drivers/net/bonding/bond_main.c`).
const STACKED: [&str; 7] =
    ["macvlan", "ipvlan", "macvtap", "bridge", "team", "bonding", "802.1Q VLAN Support"];

/// The longest frame that anything pads (IEEE 802.3, clause 4A.2.3.2.2: 60 bytes without FCS), and some more.
const LONGEST_PADDED: usize = 64;

/// Behind an Ethernet header. A packet socket forgives one tag of 4 bytes beyond the MTU (`packet_snd`).
const HEADER: usize = 14;
const TAG: usize = 4;

/// Bytes of a probing frame that no padding has.
const FILLER: u8 = 0xa5;

/// Bursts of one length that must all arrive before it is trusted.
const BURSTS: u32 = 3;

/// `EtherType` for local experiments (IEEE 802, clause 9.2.4).
const PROBE_TYPE: [u8; 2] = [0x88, 0xb5];

/// Two wired devices and what is known of the way between them.
#[derive(Debug)]
pub struct DevicePath {
    /// Both ends.
    pub testbed: Arc<PortPair>,
    /// What results call the DUT.
    pub nic: String,
    /// The kernel's name of the DUT's driver.
    pub driver: String,
    /// Tags that are taken out of frames before a program gets them from a stack.
    stack_strips: Strips,
    /// Tags that are taken out of frames before a program gets them from a driver.
    driver_strips: Strips,
    /// What was found out by probing.
    pub traits: PathTraits,
    /// Both devices as they were found: the DUT, the tester.
    pub devices: [DeviceRecord; 2],
    /// What a reader has to know of it.
    pub findings: Vec<Finding>,
    /// XDP features that the DUT advertised before anything was attached; none where the kernel cannot be asked.
    pub advertised: Option<XdpFeatures>,
    /// Receive queues of the DUT.
    pub queues: u32,
    /// The MTU in bytes of both ends for scenarios that need no greater one: [`facts::DEFAULT_MTU`], or what the devices take.
    pub usual_mtu: u32,
    /// The longest frame that arrives, by MTU.
    carried: Mutex<BTreeMap<u32, usize>>,
    /// Frames that do not arrive as they should, program or not, and how they arrive if they do.
    lost: Mutex<HashMap<Vec<u8>, FrameFate>>,
}

/// Why a path is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// A namespace or a link failed.
    #[error("failed to {0}")]
    Network(#[from] xdproof_netns::Error),
    /// Frames cannot be sent or seen.
    #[error(transparent)]
    Observe(#[from] ExchangeError),
    /// Nothing arrives.
    #[error(
        "of {sent} frames that left {tester}, none arrived at {dut}, which runs: are they wired together?"
    )]
    Nothing {
        /// Frames sent.
        sent: u32,
        /// Where they left.
        tester: String,
        /// Where none arrived.
        dut: String,
    },
    /// Frames come that we did not send.
    #[error(
        "something else speaks on the wire: {frame} (one of {frames} frames); a switch port has to be silenced (STP, LLDP, flooding)"
    )]
    NotQuiet {
        /// Layers of the first.
        frame: String,
        /// How many came.
        frames: u64,
    },
    /// Not even two frames at once arrive.
    #[error("frames are lost without a program: of {sent} that were sent one at a time, {arrived} arrived")]
    Lossy {
        /// Frames sent.
        sent: u32,
        /// Frames that arrived.
        arrived: u64,
    },
    /// A device does not take an MTU.
    #[error("{device} takes no MTU of {mtu} bytes: {answer}")]
    Mtu {
        /// Which one.
        device: String,
        /// The MTU in bytes.
        mtu: u32,
        /// What it answered.
        answer: String,
    },
}

/// Sends and sees frames while no program is attached.
struct Probe<'a> {
    socket: PacketSocket,
    capture: Capture,
    path: &'a PortPair,
    /// Receive queues of the DUT.
    queues: u32,
    sent: u32,
}

impl DevicePath {
    /// Sets both devices so that they leave frames alone, and finds out what the way between them does. Both have to be up,
    /// in namespaces of their own. Takes some tens of milliseconds, and as long as the link needs. Results call the DUT by
    /// `label`, or by its driver's name.
    ///
    /// # Errors
    ///
    /// What the kernel refused; a path on which nothing arrives, on which others speak, or which loses lone frames.
    pub fn explore(testbed: Arc<PortPair>, label: Option<String>) -> Result<Self, PathError> {
        let describe = |worker, port: &Port, role| inventory::describe(worker, port.index, role, "");
        let mut devices = [
            describe(&testbed.dut, &testbed.topology.dut, PortRole::Dut)?,
            describe(&testbed.tester, &testbed.topology.tester, PortRole::Tester)?,
        ];
        let driver = devices[0].driver.clone();
        let nic = label.unwrap_or_else(|| driver.clone());
        for device in &mut devices {
            device.nic.clone_from(&nic);
        }
        let ends = [(&testbed.dut, &testbed.topology.dut), (&testbed.tester, &testbed.topology.tester)];
        let mut usual_mtu = facts::DEFAULT_MTU;
        for (worker, port) in ends {
            let index = port.index;
            let link = worker.call(move |host| {
                host.set_link(index, &LinkSetting::Promiscuous(true))?;
                host.link_by_index(index)
            })?;
            usual_mtu = usual_mtu.min(link.max_mtu.unwrap_or(link.settings.mtu));
            leave_frames_alone(worker, index)?;
        }
        let index = testbed.topology.dut.index;
        let (queues, advertised) = testbed
            .dut
            .call(move |host| Ok((host.link_by_index(index)?.rx_queues, host.xdp_features(index)?)))?;
        let is_stacked = STACKED.contains(&driver.as_str());
        let driver_strips = if is_stacked {
            // The drivers are those of its ports.
            let mut any = Strips::default();
            for port in ports_of(&testbed.dut, index)? {
                let Strips { customer, service } = strips(&testbed.dut, port)?;
                (any.customer, any.service) = (any.customer || customer, any.service || service);
            }
            any
        } else {
            strips(&testbed.dut, index)?
        };
        // The stack beneath has put the outer tag beside the frame.
        let stack_strips = if is_stacked { Strips { customer: true, service: true } } else { driver_strips };
        let mut path = Self {
            testbed,
            nic,
            driver,
            stack_strips,
            driver_strips,
            devices,
            traits: PathTraits { shortest: SHORTEST_FRAME, ..PathTraits::default() },
            findings: Vec::new(),
            advertised,
            queues,
            usual_mtu,
            carried: Mutex::default(),
            lost: Mutex::default(),
        };
        path.wait_running()?;
        let testbed = Arc::clone(&path.testbed);
        let mut probe = Probe::open(&testbed)?;
        probe.wait_for_first()?;
        path.learn_padding(&mut probe)?;
        drop(probe);
        path.set_mtu(path.usual_mtu)?;
        let mut probe = Probe::open(&testbed)?;
        path.traits.window = probe.widest_window(path.usual_mtu)?;
        path.traits.longest = path.longest(path.usual_mtu)?;
        path.devices[0].path = Some(path.traits);
        for (strips, mode) in [(stack_strips, Mode::Generic), (driver_strips, Mode::Native)] {
            if strips == Strips::default() {
                continue;
            }
            path.note(FindingKind::AlteredFrames, Weight::Note, "outer VLAN tags are taken out of frames before a program gets them, which cannot be switched off here".to_owned());
            if let Some(finding) = path.findings.last_mut().filter(|_| stack_strips != driver_strips) {
                finding.mode = Some(mode);
            } else {
                break;
            }
        }
        Ok(path)
    }

    /// Lets fewer frames be under way at once than the path was found to take.
    #[must_use]
    pub fn with_window(mut self, most: usize) -> Self {
        self.traits.window = self.traits.window.min(most).max(1);
        self.devices[0].path = Some(self.traits);
        self
    }

    /// What frames become on the way to a program that is attached in a mode.
    #[must_use]
    pub fn delivery(&self, mode: Mode) -> RxTransform {
        let strips = if mode == Mode::Native { self.driver_strips } else { self.stack_strips };
        RxTransform { padded_to: self.traits.padded_to, strips }
    }

    /// Whether a program that is attached in a mode gets its frames from the stack of another device, which has discarded
    /// already what the DUT's own would.
    #[must_use]
    pub fn is_stacked(&self, mode: Mode) -> bool {
        mode != Mode::Native && STACKED.contains(&self.driver.as_str())
    }

    fn ports(&self) -> [&Port; 2] {
        [&self.testbed.topology.dut, &self.testbed.topology.tester]
    }

    /// Sets the MTU of both ends in bytes, waits until they run and frames arrive. No program may be attached.
    ///
    /// # Errors
    ///
    /// [`PathError::Mtu`] if a device does not take it.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), PathError> {
        if self.change_mtu(mtu)? {
            self.wait_running()?;
            Probe::open(&self.testbed)?.wait_for_first()?;
        }
        Ok(())
    }

    /// [`set_mtu`](Self::set_mtu) beneath a program that is attached: whether frames arrive is not looked at.
    ///
    /// # Errors
    ///
    /// [`PathError::Mtu`] if a device does not take it.
    pub fn set_mtu_beneath(&self, mtu: u32) -> Result<(), PathError> {
        if self.change_mtu(mtu)? { self.settle() } else { Ok(()) }
    }

    /// Sets the MTU of both ends, and of ports that carry less; says whether there was something to change.
    fn change_mtu(&self, mtu: u32) -> Result<bool, PathError> {
        let mut changed = false;
        for (worker, port) in [&self.testbed.dut, &self.testbed.tester].into_iter().zip(self.ports()) {
            let index = port.index;
            let set = worker.run(move |host| {
                let mut changed = false;
                if host.link_by_index(index)?.settings.mtu != mtu {
                    host.set_mtu(index, mtu)?;
                    changed = true;
                }
                // A bond has set its ports; a bridge leaves them as they are.
                for port in
                    host.links()?.iter().filter(|port| port.master == Some(index) && port.settings.mtu < mtu)
                {
                    host.set_mtu(port.index, mtu)?;
                    changed = true;
                }
                Ok(changed)
            })?;
            changed |= set.map_err(|error: xdproof_netns::Error| PathError::Mtu {
                device: port.name.to_string(),
                mtu,
                answer: crate::error::chain(&error),
            })?;
        }
        Ok(changed)
    }

    /// Waits until both ends run.
    ///
    /// # Errors
    ///
    /// When one does not within ten seconds.
    pub fn wait_running(&self) -> Result<(), PathError> {
        for (worker, port) in [&self.testbed.dut, &self.testbed.tester].into_iter().zip(self.ports()) {
            let index = port.index;
            worker.call(move |host| host.wait_running(index, LINK_UP))?;
        }
        Ok(())
    }

    /// Waits until no program is attached to the DUT. One that was taken off stays as long as somebody else holds its link: whoever
    /// lists all links (`bpftool link`), or a child process that has not yet become another program.
    ///
    /// # Errors
    ///
    /// When one stays.
    pub fn wait_bare(&self) -> Result<(), PathError> {
        let index = self.testbed.topology.dut.index;
        let awaited = "see the last program go";
        self.testbed
            .dut
            .call(move |host| host.wait_link(index, awaited, GOES, |link| link.xdp.is_empty()))?;
        Ok(())
    }

    /// Waits for both ends after a program was attached, and switches off again what attaching has switched on.
    ///
    /// # Errors
    ///
    /// When an end does not run within ten seconds.
    pub fn settle(&self) -> Result<(), PathError> {
        self.wait_running()?;
        leave_frames_alone(&self.testbed.dut, self.testbed.topology.dut.index)
    }

    /// The longest frame in bytes, without FCS, that arrives at an MTU when there is no program: with a tag of 4 bytes more than the
    /// MTU allows, if that arrives. The MTU has to be set, and no program attached.
    ///
    /// # Errors
    ///
    /// When frames cannot be sent or seen.
    pub fn longest(&self, mtu: u32) -> Result<usize, PathError> {
        let known = |carried: &Mutex<BTreeMap<u32, usize>>| {
            carried.lock().unwrap_or_else(PoisonError::into_inner).get(&mtu).copied()
        };
        if let Some(longest) = known(&self.carried) {
            return Ok(longest);
        }
        let mut probe = Probe::open(&self.testbed)?;
        let full = usize::try_from(mtu).unwrap_or(usize::MAX).saturating_add(HEADER);
        // An MTU that a device accepts and whose frames it does not carry shows: what arrives is at most the usual then.
        let usual = [full + TAG, full, 1518, 1514].into_iter().filter(|length| *length <= full + TAG);
        let mut longest = 0;
        for length in usual {
            if probe.arrives(length, length > full || length == 1518)? {
                longest = length;
                break;
            }
        }
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).insert(mtu, longest);
        Ok(longest)
    }

    /// Sends frames once while no program is attached, and keeps in mind which of them do not arrive as they should: a device that
    /// does not send or take a malformed frame does so with a program too. Frames that the stack discards cannot be seen.
    ///
    /// # Errors
    ///
    /// When frames cannot be sent or seen.
    pub fn survey<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> Result<(), PathError> {
        let mut probe = Probe::open(&self.testbed)?;
        // Tags are taken out before a program, and are there again for whoever looks.
        let delivery = self.delivery(Mode::Unattached);
        let distinct: HashSet<&[u8]> = frames.filter(|frame| frame.len() >= self.traits.shortest).collect();
        let distinct: Vec<(&[u8], Vec<u8>)> = distinct
            .into_iter()
            .map(|frame| (frame, delivery.arriving(frame).into_owned()))
            .filter(|(_, arriving)| !stack_discards(arriving))
            .collect();
        let mut missing = Vec::new();
        for window in distinct.chunks(self.traits.window.max(1)) {
            let arrived = probe.exchange(&window.iter().map(|(frame, _)| *frame).collect::<Vec<_>>())?;
            missing.extend(window.iter().filter(|(_, arriving)| !arrived.contains(arriving)));
        }
        for (frame, arriving) in missing {
            if let Some(fate) = probe.fate(frame, arriving)? {
                self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.to_vec(), fate);
            }
        }
        Ok(())
    }

    /// What becomes of a frame that was [surveyed](Self::survey) and does not arrive as it should.
    #[must_use]
    pub fn fate(&self, frame: &[u8]) -> Option<FrameFate> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(frame).copied()
    }

    /// How many frames that were surveyed do not arrive as they should.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Switches offloads of the DUT; gives the name of the first that it cannot switch.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn set_offloads(&self, offloads: &BTreeMap<String, bool>) -> Result<Option<String>, PathError> {
        let index = self.testbed.topology.dut.index;
        for (name, &on) in offloads {
            if !set_if_possible(&self.testbed.dut, index, name, on)? {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    fn note(&mut self, kind: FindingKind, weight: Weight, what: String) {
        self.findings.push(Finding { kind, weight, nic: Some(self.nic.clone()), mode: None, what });
    }

    /// Sends a frame of each short length, alone, and looks how long it arrives.
    fn learn_padding(&mut self, probe: &mut Probe<'_>) -> Result<(), PathError> {
        let mut arrived = BTreeMap::new();
        let mut dirty = None;
        for length in SHORTEST_FRAME..=LONGEST_PADDED {
            if let Some(bytes) = probe.alone(length)? {
                if bytes.get(length..).unwrap_or_default().iter().any(|&byte| byte != 0) {
                    dirty.get_or_insert(length);
                }
                arrived.insert(length, bytes.len());
            }
        }
        let shortest = arrived.keys().next().copied().unwrap_or(LONGEST_PADDED);
        let padded_to = arrived.get(&shortest).copied().filter(|length| *length > shortest).unwrap_or(0);
        let regular =
            (shortest..=LONGEST_PADDED).all(|length| arrived.get(&length) == Some(&length.max(padded_to)));
        self.traits.shortest = shortest;
        if !regular || dirty.is_some() {
            // What is behind them cannot be foretold, so nothing can be held against it.
            self.traits.shortest = LONGEST_PADDED;
            let what = match dirty {
                Some(length) => format!(
                    "a frame of {length} bytes arrives with other bytes than zeros behind it: memory of the sender leaks"
                ),
                None => "short frames arrive with lengths that follow no rule".to_owned(),
            };
            self.note(FindingKind::AlteredFrames, Weight::Warning, what);
            return Ok(());
        }
        self.traits.padded_to = padded_to;
        if padded_to > 0 {
            self.note(FindingKind::AlteredFrames, Weight::Note, format!("frames shorter than {padded_to} bytes arrive with zeros behind them; what they must count follows from that"));
        }
        if shortest > SHORTEST_FRAME {
            self.note(
                FindingKind::AlteredFrames,
                Weight::Note,
                format!("frames shorter than {shortest} bytes do not arrive, with or without a program"),
            );
        }
        Ok(())
    }
}

impl<'a> Probe<'a> {
    fn open(path: &'a PortPair) -> Result<Self, PathError> {
        let index = path.topology.tester.index;
        let socket = path
            .tester
            .call(move |host| host.packet_socket(index, xdproof_netns::PacketOptions::default()))?;
        let capture = Capture::new(path.watch_dut(exchange::CAPTURE_BUFFER)?);
        let index = path.topology.dut.index;
        let queues = path.dut.call(move |host| host.link_by_index(index))?.rx_queues;
        Ok(Self { socket, capture, path, queues, sent: 0 })
    }

    /// A frame of no protocol, of a length in bytes; each is another one, if there is room for a number.
    fn frame(&mut self, length: usize, tagged: bool) -> Vec<u8> {
        self.sent += 1;
        let mut frame = [DUT_MAC, TESTER_MAC].concat();
        if tagged {
            frame.extend([0x81, 0x00, 0x00, 0x01]);
        }
        frame.extend(PROBE_TYPE);
        frame.extend(self.sent.to_be_bytes());
        frame.resize(length, FILLER);
        frame
    }

    /// Sends a frame; false if it is too long for the tester. A driver whose ring is full is waited for.
    fn send(&self, frame: &[u8]) -> Result<bool, PathError> {
        match self.socket.send_all(&[frame]) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame and gives what arrived of it; nothing if it did not, or was not taken.
    fn try_one(&mut self, frame: &[u8], within: Duration) -> Result<Option<Vec<u8>>, PathError> {
        if !self.send(frame)? {
            return Ok(None);
        }
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let arrived = self.capture.take_within(1, left)?;
            self.all_ours(&arrived)?;
            if let Some(bytes) = arrived.distinct().find(|bytes| bytes.starts_with(frame)) {
                return Ok(Some(bytes.to_vec()));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn all_ours(&self, arrived: &FrameSequence) -> Result<(), PathError> {
        let foreign = |bytes: &&[u8]| {
            bytes.get(..12) != Some(&[DUT_MAC, TESTER_MAC].concat()[..]) && !exchange::is_link_control(bytes)
        };
        match arrived.distinct().find(foreign) {
            None => Ok(()),
            Some(bytes) => Err(PathError::NotQuiet { frame: describe(bytes), frames: arrived.len() }),
        }
    }

    /// Waits until a frame arrives, and another one after it.
    fn wait_for_first(&mut self) -> Result<(), PathError> {
        let deadline = Instant::now() + SETTLES;
        let (mut in_a_row, mut tried) = (0, 0);
        while in_a_row < 2 {
            if Instant::now() > deadline {
                let PortPair { topology, .. } = self.path;
                let (tester, dut) = (topology.tester.name.to_string(), topology.dut.name.to_string());
                return Err(PathError::Nothing { sent: tried, tester, dut });
            }
            let frame = self.frame(60, false);
            tried += 1;
            in_a_row = if self.try_one(&frame, ARRIVES)?.is_some() { in_a_row + 1 } else { 0 };
        }
        Ok(())
    }

    /// A lone frame of a length, tried again if it does not arrive.
    fn alone(&mut self, length: usize) -> Result<Option<Vec<u8>>, PathError> {
        for _ in 0..BURSTS {
            let frame = self.frame(length, false);
            if let Some(bytes) = self.try_one(&frame, ARRIVES)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Whether a frame of a length arrives, as it is.
    fn arrives(&mut self, length: usize, tagged: bool) -> Result<bool, PathError> {
        for _ in 0..BURSTS {
            let frame = self.frame(length, tagged);
            if self.try_one(&frame, ARRIVES)?.is_some_and(|bytes| bytes == frame) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends frames at once, and one more behind them, and gives what arrived until that one did: frames of one queue keep their
    /// order. Where there are several queues, the others get some time.
    fn exchange(&mut self, frames: &[&[u8]]) -> Result<FrameSequence, PathError> {
        let last = self.frame(60, false);
        match self.socket.send_all(frames) {
            Ok(_) => {}
            // One of them is too long; each is tried alone then.
            Err(error) if error.errno() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {}
            Err(error) => return Err(error.into()),
        }
        self.send(&last)?;
        let mut arrived = self.capture.take_until(&last, ARRIVES)?;
        if self.queues > 1 && arrived.len() < frames.len() as u64 {
            arrived.append(&self.capture.take_within(frames.len() as u64, OTHER_QUEUES)?);
        }
        Ok(arrived)
    }

    /// What becomes of a frame that is sent alone, unless it arrives as it should.
    fn fate(&mut self, frame: &[u8], arriving: &[u8]) -> Result<Option<FrameFate>, PathError> {
        let mut fate = FrameFate::Lost;
        for _ in 0..2 {
            let arrived = self.exchange(&[frame])?;
            if arrived.contains(arriving) {
                return Ok(None);
            }
            if arrived.distinct().any(|frame| !exchange::is_link_control(frame)) {
                fate = FrameFate::Altered;
            }
        }
        Ok(Some(fate))
    }

    /// The most frames at once of which none is lost: at most [`facts::WINDOW`], tried with short and with full frames. Where a
    /// longer burst lost some, half of what passed is taken, for the device is then near its end.
    fn widest_window(&mut self, mtu: u32) -> Result<usize, PathError> {
        let full = usize::try_from(mtu).unwrap_or(1500).min(1500) + HEADER;
        let mut widest = 0;
        for window in [1, 2, 4, 8, 16, 32, facts::WINDOW] {
            for length in [60, full] {
                for _ in 0..BURSTS {
                    let arrived = self.burst(window, length)?;
                    if arrived < window as u64 {
                        return match widest {
                            0 => Err(PathError::Lossy { sent: 1, arrived }),
                            _ => Ok((widest / 2).max(1)),
                        };
                    }
                }
            }
            widest = window;
        }
        Ok(widest)
    }

    /// Sends frames at once and says how many arrived.
    fn burst(&mut self, window: usize, length: usize) -> Result<u64, PathError> {
        let frames: Vec<Vec<u8>> = (0..window).map(|_| self.frame(length, false)).collect();
        let each: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.socket.send_all(&each)?;
        let mut arrived = self.capture.take_within(window as u64, ARRIVES)?;
        arrived.retain(|frame| !exchange::is_link_control(frame));
        self.all_ours(&arrived)?;
        Ok(arrived.len())
    }
}

/// Switches off whatever of [`MEDDLING`] can be, at a device and at its ports.
fn leave_frames_alone(worker: &Worker, index: IfIndex) -> Result<(), PathError> {
    for index in ports_of(worker, index)?.into_iter().chain([index]) {
        for name in MEDDLING {
            // What stays on is either told by `strips`, or has no effect on lone frames.
            let _off = set_if_possible(worker, index, name, false)?;
        }
    }
    Ok(())
}

/// The ports of a bridge, a bond or the like.
fn ports_of(worker: &Worker, index: IfIndex) -> Result<Vec<IfIndex>, PathError> {
    let links = worker.call(Host::links)?;
    Ok(links.iter().filter(|link| link.master == Some(index)).map(|link| link.index).collect())
}

/// Switches an offload, and says whether it is as wanted now.
fn set_if_possible(worker: &Worker, index: IfIndex, name: &str, on: bool) -> Result<bool, PathError> {
    let offload = name.to_owned();
    Ok(worker.call(move |host| {
        let Some(state) = host.offloads(index)?.get(&offload) else { return Ok(!on) };
        if state.active == on {
            return Ok(true);
        }
        match host.set_offload(index, &offload, on) {
            Ok(()) => Ok(true),
            Err(xdproof_netns::Error::OffloadUnchanged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    })?)
}

/// Tags that the device takes out whatever it was told.
fn strips(worker: &Worker, index: IfIndex) -> Result<Strips, PathError> {
    let offloads = worker.call(move |host| host.offloads(index))?;
    let on = |name: &str| offloads.get(name).is_some_and(|state| state.active);
    Ok(Strips { customer: on(CUSTOMER_TAG), service: on(SERVICE_TAG) })
}
