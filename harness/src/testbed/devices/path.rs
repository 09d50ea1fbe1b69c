//! The path between two devices of this host: set up so that a program gets frames as they were sent, and explored without a
//! program for what it does to frames nevertheless.
//!
//! Promises: nothing is guessed. Offloads that change frames are turned off; those that cannot be are reported
//! ([`RxTransform`]); properties that are not known beforehand (padding, window, longest frame) are found by sending frames.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use xdproof_netns::{LinkSetting, Worker, XdpFeatures};
use xdproof_scenarios::SHORTEST_FRAME;

pub use crate::testbed::devices::prober::PathError;
use crate::{
    model::{
        device::{DeviceRecord, PathTraits, PortRole},
        facts::{DEFAULT_MTU, FrameFate},
        finding::{Finding, FindingKind, Severity},
        mode::Mode,
        rx_transform::{RxTransform, Strips, stack_discards},
    },
    testbed::{
        Port, PortPair,
        devices::{
            inventory,
            offloads::{disable_rx_offloads, ports_of, strips_of, try_set},
            prober::{HEADER, LONGEST_PADDED, Padding, Prober},
        },
    },
};

/// Deadline for the link of a device that resets itself: igb takes half a second, a copper link some seconds more.
pub(crate) const LINK_UP: Duration = Duration::from_secs(10);

/// Deadline for a detached program to disappear.
const DETACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Drivers of devices that get their frames from the stack of a lower device (`rx_handler`, called after `skb_vlan_untag()` in
/// `__netif_receive_skb_core()` of `net/core/dev.c`). A native program of a bond runs before that, in the drivers of its ports
/// (`bond_xdp_set()` of `drivers/net/bonding/bond_main.c`).
const STACKED: [&str; 7] =
    ["macvlan", "ipvlan", "macvtap", "bridge", "team", "bonding", "802.1Q VLAN Support"];

/// Length in bytes of a VLAN tag. A packet socket sends one tag beyond the MTU (`packet_snd`).
const TAG: usize = 4;

/// Two connected devices and the properties of the path between them.
#[derive(Debug)]
pub struct DevicePath {
    pub testbed: Arc<PortPair>,
    /// Name of the DUT in results.
    pub nic: String,
    /// The kernel's name of the DUT's driver.
    pub driver: String,
    /// Tags that are stripped before a program gets frames from a stack.
    stack_strips: Strips,
    /// Tags that are stripped before a program gets frames from a driver.
    driver_strips: Strips,
    /// Properties found by probing.
    pub traits: PathTraits,
    /// Both devices as they were found: the DUT, the tester.
    pub devices: [DeviceRecord; 2],
    pub findings: Vec<Finding>,
    /// XDP features that the DUT advertised before anything was attached; none where the kernel cannot be asked.
    pub advertised: Option<XdpFeatures>,
    /// Receive queues of the DUT.
    pub queues: u32,
    /// MTU in bytes of both ends for scenarios that need no larger one: [`DEFAULT_MTU`], or what the devices support.
    pub usual_mtu: u32,
    /// Length of the longest frame that arrives, by MTU.
    longest_by_mtu: Mutex<BTreeMap<u32, usize>>,
    /// Fates of frames that do not arrive as they should, with or without a program.
    lost: Mutex<HashMap<Vec<u8>, FrameFate>>,
}

impl DevicePath {
    /// Sets both devices so that they leave frames unchanged, and explores the path between them. Both have to be up, in
    /// namespaces of their own. Takes some tens of milliseconds, and as long as the link needs. Results call the DUT by `label`,
    /// or by its driver's name.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; a path on which nothing arrives, on which others send, or which loses lone frames.
    pub fn explore(testbed: Arc<PortPair>, label: Option<String>) -> Result<Self, PathError> {
        let mut path = Self::prepare(testbed, label)?;
        path.wait_running()?;
        let ports = Arc::clone(&path.testbed);
        let mut prober = Prober::open(&ports)?;
        prober.wait_for_first()?;
        let padding = prober.padding()?;
        drop(prober);
        path.note_padding(padding);
        path.set_mtu(path.usual_mtu)?;
        path.traits.window = Prober::open(&ports)?.widest_window(path.usual_mtu)?;
        path.traits.longest = path.longest(path.usual_mtu)?;
        path.devices[0].path = Some(path.traits);
        path.note_strips();
        Ok(path)
    }

    /// Describes both devices as they are and sets them; nothing is explored yet.
    fn prepare(testbed: Arc<PortPair>, label: Option<String>) -> Result<Self, PathError> {
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
        let mut usual_mtu = DEFAULT_MTU;
        for (worker, port) in ends(&testbed) {
            let index = port.index;
            let link = worker.call(move |host| {
                host.set_link(index, &LinkSetting::Promiscuous(true))?;
                host.link_by_index(index)
            })?;
            usual_mtu = usual_mtu.min(link.max_mtu.unwrap_or(link.settings.mtu));
            disable_rx_offloads(worker, index)?;
        }
        let index = testbed.topology.dut.index;
        let is_stacked = STACKED.contains(&driver.as_str());
        let (queues, advertised, driver_strips) = testbed.dut.call(move |host| {
            let link = host.link_by_index(index)?;
            // The drivers of a stacked device are those of its ports.
            let ports = if is_stacked { ports_of(host, index)? } else { vec![link.clone()] };
            let strips = strips_of(host, ports.iter().map(|port| port.index))?;
            Ok((link.rx_queues, host.xdp_features(index)?, strips))
        })?;
        // The stack of the lower device has stripped the outer tag.
        let stack_strips = if is_stacked { Strips { customer: true, service: true } } else { driver_strips };
        Ok(Self {
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
            longest_by_mtu: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    /// Limits the number of frames in flight to less than the path was found to carry.
    #[must_use]
    pub fn with_window(mut self, most: usize) -> Self {
        self.traits.window = self.traits.window.min(most).max(1);
        self.devices[0].path = Some(self.traits);
        self
    }

    /// Returns how frames change on the way to a program that is attached in a mode.
    #[must_use]
    pub fn delivery(&self, mode: Mode) -> RxTransform {
        let strips = if mode == Mode::Native { self.driver_strips } else { self.stack_strips };
        RxTransform { padded_to: self.traits.padded_to, strips }
    }

    /// Returns true if a program that is attached in a mode gets its frames from the stack of a lower device, which has already
    /// discarded what the DUT's own stack would.
    #[must_use]
    pub fn is_stacked(&self, mode: Mode) -> bool {
        mode != Mode::Native && STACKED.contains(&self.driver.as_str())
    }

    /// Sets the MTU of both ends in bytes, and waits until they have a carrier and frames arrive. No program may be attached.
    ///
    /// # Errors
    ///
    /// [`PathError::Mtu`] if a device rejects it.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), PathError> {
        if self.change_mtu(mtu)? {
            self.wait_running()?;
            Prober::open(&self.testbed)?.wait_for_first()?;
        }
        Ok(())
    }

    /// [`set_mtu`](Self::set_mtu) beneath a program that is attached; frames need not arrive.
    ///
    /// # Errors
    ///
    /// [`PathError::Mtu`] if a device rejects it.
    pub fn set_mtu_beneath(&self, mtu: u32) -> Result<(), PathError> {
        if self.change_mtu(mtu)? { self.settle() } else { Ok(()) }
    }

    /// Sets the MTU of both ends, and of ports that have a smaller one; returns false if nothing had to change.
    fn change_mtu(&self, mtu: u32) -> Result<bool, PathError> {
        let mut changed = false;
        for (worker, port) in ends(&self.testbed) {
            let index = port.index;
            let set = worker.run(move |host| {
                let mut changed = false;
                if host.link_by_index(index)?.settings.mtu != mtu {
                    host.set_mtu(index, mtu)?;
                    changed = true;
                }
                // A bond has set its ports; a bridge leaves them as they are.
                for port in ports_of(host, index)?.iter().filter(|port| port.settings.mtu < mtu) {
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

    /// Waits until both ends have a carrier.
    ///
    /// # Errors
    ///
    /// One has none within ten seconds.
    pub fn wait_running(&self) -> Result<(), PathError> {
        for (worker, port) in ends(&self.testbed) {
            let index = port.index;
            worker.call(move |host| host.wait_running(index, LINK_UP))?;
        }
        Ok(())
    }

    /// Waits until no program is attached to the DUT. A detached one stays as long as another process holds its `bpf_link`: one
    /// that lists all links (`bpftool link`), or a child that has not yet called `execve`.
    ///
    /// # Errors
    ///
    /// A program stays.
    pub fn wait_bare(&self) -> Result<(), PathError> {
        let index = self.testbed.topology.dut.index;
        let awaited = "see the last program go";
        self.testbed
            .dut
            .call(move |host| host.wait_link(index, awaited, DETACH_TIMEOUT, |link| link.xdp.is_empty()))?;
        Ok(())
    }

    /// Waits for both ends after a program was attached, and turns off again what attaching has turned on.
    ///
    /// # Errors
    ///
    /// An end has no carrier within ten seconds.
    pub fn settle(&self) -> Result<(), PathError> {
        self.wait_running()?;
        Ok(disable_rx_offloads(&self.testbed.dut, self.testbed.topology.dut.index)?)
    }

    /// Returns the length in bytes, without FCS, of the longest frame that arrives at an MTU without a program: with a tag of 4
    /// bytes beyond the MTU, if that arrives. The MTU has to be set, and no program attached.
    ///
    /// # Errors
    ///
    /// Frames cannot be sent or seen.
    pub fn longest(&self, mtu: u32) -> Result<usize, PathError> {
        let known = || self.longest_by_mtu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&longest) = known().get(&mtu) {
            return Ok(longest);
        }
        let mut prober = Prober::open(&self.testbed)?;
        let mut longest = 0;
        for (length, tagged) in longest_candidates(mtu) {
            if prober.arrives(length, tagged)? {
                longest = length;
                break;
            }
        }
        known().insert(mtu, longest);
        Ok(longest)
    }

    /// Sends frames once while no program is attached, and remembers which of them do not arrive as they should: a device that
    /// does not send or receive a malformed frame does not do so with a program either. Frames that the stack discards cannot be
    /// seen.
    ///
    /// # Errors
    ///
    /// Frames cannot be sent or seen.
    pub fn survey<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> Result<(), PathError> {
        let mut prober = Prober::open(&self.testbed)?;
        // Tags are stripped before a program, and packet sockets see them again.
        let delivery = self.delivery(Mode::Unattached);
        let distinct: HashSet<&[u8]> = frames.filter(|frame| frame.len() >= self.traits.shortest).collect();
        let distinct: Vec<(&[u8], Vec<u8>)> = distinct
            .into_iter()
            .map(|frame| (frame, delivery.arriving(frame).into_owned()))
            .filter(|(_, arriving)| !stack_discards(arriving))
            .collect();
        let mut missing = Vec::new();
        for window in distinct.chunks(self.traits.window.max(1)) {
            let arrived = prober.exchange(&window.iter().map(|(frame, _)| *frame).collect::<Vec<_>>())?;
            missing.extend(window.iter().filter(|(_, arriving)| !arrived.contains(arriving)));
        }
        for (frame, arriving) in missing {
            if let Some(fate) = prober.fate(frame, arriving)? {
                self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.to_vec(), fate);
            }
        }
        Ok(())
    }

    /// Returns the fate of a frame that was [surveyed](Self::survey) and does not arrive as it should.
    #[must_use]
    pub fn fate(&self, frame: &[u8]) -> Option<FrameFate> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(frame).copied()
    }

    /// Returns the number of surveyed frames that do not arrive as they should.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sets offloads of the DUT; returns the name of the first that it cannot change.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn set_offloads(&self, offloads: &BTreeMap<String, bool>) -> Result<Option<String>, PathError> {
        let (index, offloads) = (self.testbed.topology.dut.index, offloads.clone());
        Ok(self.testbed.dut.call(move |host| {
            for (name, on) in offloads {
                if !try_set(host, index, &name, on)? {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        })?)
    }

    fn note(&mut self, severity: Severity, mode: Option<Mode>, what: String) {
        let nic = Some(self.nic.clone());
        self.findings.push(Finding { kind: FindingKind::ModifiedFrames, severity, nic, mode, message: what });
    }

    fn note_padding(&mut self, padding: Padding) {
        let (shortest, padded_to) = match padding {
            Padding::Regular { shortest, padded_to } => (shortest, padded_to),
            Padding::Irregular(why) => {
                // Frames whose bytes cannot be predicted prove nothing.
                self.traits.shortest = LONGEST_PADDED;
                return self.note(Severity::Warning, None, why);
            }
        };
        (self.traits.shortest, self.traits.padded_to) = (shortest, padded_to);
        if padded_to > 0 {
            let what = format!(
                "frames shorter than {padded_to} bytes arrive padded with zeros, which the expected counts take into account"
            );
            self.note(Severity::Note, None, what);
        }
        if shortest > SHORTEST_FRAME {
            let what =
                format!("frames shorter than {shortest} bytes do not arrive, with or without a program");
            self.note(Severity::Note, None, what);
        }
    }

    fn note_strips(&mut self) {
        const STRIPPED: &str =
            "outer VLAN tags are stripped before a program gets the frames, which cannot be turned off here";
        let (stack, driver) = (self.stack_strips, self.driver_strips);
        let modes = match stack == driver {
            true => vec![(stack, None)],
            false => vec![(stack, Some(Mode::Generic)), (driver, Some(Mode::Native))],
        };
        for (_, mode) in modes.into_iter().filter(|(strips, _)| *strips != Strips::default()) {
            self.note(Severity::Note, mode, STRIPPED.to_owned());
        }
    }
}

/// Both ends, the DUT first.
fn ends(ports: &PortPair) -> [(&Worker, &Port); 2] {
    [(&ports.dut, &ports.topology.dut), (&ports.tester, &ports.topology.tester)]
}

/// Lengths in bytes of frames that may be the longest ones at an MTU, the longest first, and whether each needs a VLAN tag: a tag
/// may exceed the MTU, and a device that accepts an MTU without carrying its frames carries the usual ones.
fn longest_candidates(mtu: u32) -> impl Iterator<Item = (usize, bool)> {
    let full = usize::try_from(mtu).unwrap_or(usize::MAX).saturating_add(HEADER);
    [full + TAG, full, 1518, 1514]
        .into_iter()
        .filter(move |length| *length <= full + TAG)
        .map(move |length| (length, length > full || length == 1518))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_frame_is_looked_for_with_a_tag_beyond_the_mtu_and_down_to_the_usual_ones() {
        let of = |mtu| longest_candidates(mtu).collect::<Vec<_>>();
        assert_eq!(of(9000), [(9018, true), (9014, false), (1518, true), (1514, false)]);
        assert_eq!(of(1500), [(1518, true), (1514, false), (1518, true), (1514, false)]);
        assert_eq!(of(1400), [(1418, true), (1414, false)]);
    }
}
