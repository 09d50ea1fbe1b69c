//! Two devices of this host as a [`Testbed`]: set up so that a program gets frames as they were sent, and explored without a
//! program for the changes that the path between them makes nevertheless.
//!
//! Promises: nothing is guessed. Offloads that change frames are turned off; those that cannot be are reported
//! ([`RxTransform`]); properties that are not known beforehand (padding, window, longest frame) are found by sending frames.
//!
//! [`RxTransform`]: crate::model::rx_transform::RxTransform

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use xdproof_netns::{Error, Host, LinkSetting, Worker, XdpFeatures};
use xdproof_scenarios::SHORTEST_FRAME;

use crate::{
    error::chain,
    host::{interrupt, xdp_mode},
    inject::cpu,
    model::{
        device::{DeviceRecord, PathTraits, PortRole},
        facts::{DEFAULT_MTU, Facts, FrameFate, PortNames},
        finding::{Finding, FindingKind, Severity},
        mode::Mode,
        rx_transform::{Strips, stack_discards},
    },
    plan::needs::Needs,
    testbed::{
        Fault, Port, PortPair, Testbed, TestbedError,
        devices::{
            inventory,
            offloads::{disable_rx_offloads, ports_of, strips_of, try_set},
            prober::{HEADER, LONGEST_PADDED, Padding, PathError, Prober},
            sight::Sight,
            survey::{Survey, Surveyed, Tell},
        },
    },
};

/// Deadline for the link of a device that resets itself: igb takes half a second, a copper link some seconds more.
const LINK_UP: Duration = Duration::from_secs(10);

/// Deadline for the link of a virtual device, which has it at once or never.
const VIRTUAL_LINK_UP: Duration = Duration::from_secs(2);

/// Deadline for a detached program to disappear.
const DETACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Drivers of devices that get their frames from the stack of a lower device (`rx_handler`, called after `skb_vlan_untag()` in
/// `__netif_receive_skb_core()` of `net/core/dev.c`). A native program of a bond runs before that, in the drivers of its ports
/// (`bond_xdp_set()` of `drivers/net/bonding/bond_main.c`).
const STACKED: [&str; 7] =
    ["macvlan", "ipvlan", "macvtap", "bridge", "team", "bonding", "802.1Q VLAN Support"];

/// Drivers of devices that can be configured to send the frames of a flow by several ports (`bond_xmit_roundrobin()` of
/// `drivers/net/bonding/bond_main.c`).
const AGGREGATES: [&str; 2] = ["bonding", "team"];

/// The kernel's answer for a device that is gone.
const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

/// Length in bytes of a VLAN tag. A packet socket sends one tag beyond the MTU (`packet_snd`).
const TAG: usize = 4;

/// Two connected devices, and the properties of the path between them.
#[derive(Debug)]
pub struct DeviceTestbed {
    ports: Arc<PortPair>,
    facts: Facts,
    /// Both devices as they were found: the DUT, the tester.
    devices: [DeviceRecord; 2],
    findings: Vec<Finding>,
    /// Length of the longest frame that arrives, by MTU.
    longest_by_mtu: Mutex<BTreeMap<u32, usize>>,
    /// Fates of frames that do not arrive as they should, with or without a program.
    lost: Mutex<HashMap<Vec<u8>, FrameFate>>,
}

impl DeviceTestbed {
    /// Sets both devices so that they leave frames unchanged, and explores the path between them. Both have to be up, in
    /// namespaces of their own. Takes some tens of milliseconds, and as long as the link needs. Results call the DUT by `label`,
    /// or by its driver's name.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; a path on which nothing arrives, on which others send, or which loses lone frames.
    pub fn explore(ports: Arc<PortPair>, label: Option<String>) -> Result<Self, PathError> {
        let mut testbed = Self::prepare(ports, label)?;
        match testbed.explore_path() {
            Ok(()) => Ok(testbed),
            Err(error) => Err(testbed.fault_now().map_or(error, |fault| PathError::Fault(fault.what))),
        }
    }

    fn explore_path(&mut self) -> Result<(), PathError> {
        self.wait_running()?;
        let ports = Arc::clone(&self.ports);
        let mut prober = Prober::open(&ports)?;
        prober.wait_for_first()?;
        let padding = prober.padding()?;
        drop(prober);
        self.note_padding(padding);
        let mtu = self.facts.usual_mtu;
        self.bring_to_mtu(mtu)?;
        self.facts.window = Prober::open(&ports)?.widest_window(mtu)?;
        let longest = self.longest_at(mtu)?;
        let Facts { shortest, padded_to, window, .. } = self.facts;
        self.devices[0].path = Some(PathTraits { padded_to, shortest, window, longest });
        Ok(())
    }

    /// Limits the number of frames in flight to less than the path was found to carry.
    #[must_use]
    pub fn with_window(mut self, most: usize) -> Self {
        self.facts.window = self.facts.window.min(most).max(1);
        if let Some(path) = &mut self.devices[0].path {
            path.window = self.facts.window;
        }
        self
    }

    /// Describes both devices as they are and sets them; nothing is explored yet.
    fn prepare(ports: Arc<PortPair>, label: Option<String>) -> Result<Self, PathError> {
        let (dut, tester) = (&ports.topology.dut, &ports.topology.tester);
        let mut devices = [
            inventory::describe(&ports.dut, dut.index, PortRole::Dut, "")?,
            inventory::describe(&ports.tester, tester.index, PortRole::Tester, "")?,
        ];
        let driver = devices[0].driver.clone();
        let label = label.unwrap_or_else(|| driver.clone());
        for device in &mut devices {
            device.nic.clone_from(&label);
        }
        let (mut usual_mtu, mut link_up) = (DEFAULT_MTU, VIRTUAL_LINK_UP);
        for (worker, port) in ends(&ports) {
            let index = port.index;
            let link = worker.call(move |host| {
                host.set_link(index, &LinkSetting::Promiscuous(true))?;
                host.link_by_index(index)
            })?;
            usual_mtu = usual_mtu.min(link.max_mtu.unwrap_or(link.settings.mtu));
            // A bond waits for the links of its ports.
            if link.kind.as_deref().is_none_or(|kind| kind == "bond" || kind == "team") {
                link_up = LINK_UP;
            }
            disable_rx_offloads(worker, index)?;
        }
        let (index, stacked) = (dut.index, STACKED.contains(&driver.as_str()));
        let (queues, advertised, driver_strips) = ports.dut.call(move |host| {
            let link = host.link_by_index(index)?;
            // The drivers of a stacked device are those of its ports.
            let drivers = if stacked { ports_of(host, index)? } else { vec![link.clone()] };
            let strips = strips_of(host, drivers.iter().map(|link| link.index))?;
            Ok((link.rx_queues, host.xdp_features(index)?, strips))
        })?;
        let facts = Facts {
            driver,
            label,
            ports: Some(PortNames { dut: dut.name.to_string(), tester: tester.name.to_string() }),
            exclusive: true,
            asynchronous: true,
            cpus: cpu::allowed().unwrap_or_default(),
            queues: Some(queues),
            usual_mtu,
            window: 1,
            shortest: SHORTEST_FRAME,
            padded_to: 0,
            // The stack of the lower device has stripped the outer tag.
            stack_strips: if stacked { Strips { customer: true, service: true } } else { driver_strips },
            driver_strips,
            stacked,
            aggregated: devices.iter().any(|device| AGGREGATES.contains(&device.driver.as_str())),
            advertises_native: advertised.map(|features| features.contains(XdpFeatures::BASIC)),
            link_up,
        };
        let (longest_by_mtu, lost) = (Mutex::default(), Mutex::default());
        Ok(Self { ports, facts, devices, findings: Vec::new(), longest_by_mtu, lost })
    }

    /// Waits until both ends have a carrier.
    fn wait_running(&self) -> Result<(), PathError> {
        for (worker, port) in ends(&self.ports) {
            let (index, within) = (port.index, self.facts.link_up);
            worker.call(move |host| {
                interrupt::wait(within, |slice| host.wait_running(index, slice).map(drop))
            })?;
        }
        Ok(())
    }

    /// Sets the MTU of both ends in bytes, and waits until they have a carrier and frames arrive. No program may be attached.
    fn bring_to_mtu(&self, mtu: u32) -> Result<(), PathError> {
        if self.change_mtu(mtu)? {
            self.wait_running()?;
            Prober::open(&self.ports)?.wait_for_first()?;
        }
        Ok(())
    }

    /// Sets the MTU of both ends, and of ports that have a smaller one; returns false if nothing had to change.
    fn change_mtu(&self, mtu: u32) -> Result<bool, PathError> {
        let mut changed = false;
        for (worker, port) in ends(&self.ports) {
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
            changed |= set.map_err(|error: Error| match error.errno() {
                // Anything but an answer of the driver says nothing about the MTU.
                None | Some(ENODEV) => PathError::Network(error),
                Some(_) => PathError::Mtu { device: port.name.to_string(), mtu, answer: chain(&error) },
            })?;
        }
        Ok(changed)
    }

    /// Returns the length in bytes, without FCS, of the longest frame that arrives at an MTU without a program: with a tag of 4
    /// bytes beyond the MTU, if that arrives. The MTU has to be set, and no program attached.
    fn longest_at(&self, mtu: u32) -> Result<usize, PathError> {
        let known = || self.longest_by_mtu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&longest) = known().get(&mtu) {
            return Ok(longest);
        }
        let mut prober = Prober::open(&self.ports)?;
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

    /// Surveys frames while no program is attached, and remembers which of them do not arrive as they should: a device that
    /// does not send or receive a malformed frame does not do so with a program either.
    fn explore_fates(&self, frames: &[&[u8]], tell: Tell<'_>) -> Result<(), PathError> {
        // Tags are stripped before a program, and packet sockets see them again.
        let transform = self.facts.rx_transform(Mode::Generic);
        let distinct: BTreeSet<&[u8]> =
            frames.iter().copied().filter(|frame| frame.len() >= self.facts.shortest).collect();
        let surveyed = |frame| {
            let arriving = transform.arriving(frame).into_owned();
            let is_discarded = stack_discards(&arriving);
            Surveyed { frame, arriving, is_discarded }
        };
        let distinct: Vec<Surveyed<'_>> = distinct.into_iter().map(surveyed).collect();
        let fates = Survey::new(&self.ports, &distinct, self.facts.window, tell)?.run()?;
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).extend(fates);
        Ok(self.released()?)
    }

    /// Finds out, by frames and with a program of its own attached, which tags are taken out of a frame before a program gets it in
    /// these modes: settings of the DUT do not tell. A bridge before a veth takes the tag out of a frame
    /// (`skb_vlan_untag()` of `net/core/skbuff.c`) and sends it on beside the frame. Where no frame shows it, the settings hold.
    ///
    /// # Errors
    ///
    /// When the link does not come up again.
    pub fn with_strips_seen(mut self, modes: &[Mode]) -> Result<Self, PathError> {
        for mode in [Mode::Generic, Mode::Native].into_iter().filter(|mode| modes.contains(mode)) {
            // A device that cannot be watched in a mode fails the trials of that mode, which say more.
            if let Ok(Some(strips)) = self.strips_seen(mode) {
                *(if mode == Mode::Native {
                    &mut self.facts.driver_strips
                } else {
                    &mut self.facts.stack_strips
                }) = strips;
            }
            self.released()?;
            disable_rx_offloads(&self.ports.dut, self.ports.topology.dut.index)?;
            self.wait_running()?;
            Prober::open(&self.ports)?.wait_for_first()?;
        }
        Ok(self)
    }

    fn strips_seen(&self, mode: Mode) -> Result<Option<Strips>, PathError> {
        let Some(kernel_mode) = xdp_mode::to_kernel(mode) else { return Ok(None) };
        let Some(sight) = Sight::attach(&self.ports, kernel_mode)? else { return Ok(None) };
        self.wait_running()?;
        disable_rx_offloads(&self.ports.dut, self.ports.topology.dut.index)?;
        let mut prober = Prober::open(&self.ports)?;
        prober.wait_for_first()?;
        sight.strips(&mut prober)
    }

    /// Returns the first thing that is wrong with an end: the cause before its effect at the other end.
    fn fault_now(&self) -> Option<Fault> {
        let read = |(worker, port): (&Worker, &Port)| {
            let index = port.index;
            (port.name.to_string(), worker.call(move |host| host.link_by_index(index)))
        };
        let ends = ends(&self.ports).map(read);
        let fault = |what, is_final| Some(Fault { what, is_final });
        for (name, link) in &ends {
            if matches!(link, Err(Error::NoSuchIndex { .. })) {
                return fault(format!("{name} was deleted or moved to another network namespace"), true);
            }
        }
        for (name, link) in &ends {
            if link.as_ref().is_ok_and(|link| !link.settings.up) {
                return fault(format!("{name} was set down"), false);
            }
        }
        for (name, link) in &ends {
            match link {
                Ok(link) if link.running => {}
                Ok(_) => return fault(format!("{name} has no carrier"), false),
                Err(error) => {
                    return fault(format!("{name} cannot be read: failed to {}", chain(error)), false);
                }
            }
        }
        None
    }

    fn finding(&self, severity: Severity, mode: Option<Mode>, message: String) -> Finding {
        let nic = Some(self.facts.label.clone());
        Finding { kind: FindingKind::ModifiedFrames, severity, nic, mode, message }
    }

    fn note(&mut self, severity: Severity, mode: Option<Mode>, message: String) {
        self.findings.push(self.finding(severity, mode, message));
    }

    fn note_padding(&mut self, padding: Padding) {
        let (shortest, padded_to) = match padding {
            Padding::Regular { shortest, padded_to } => (shortest, padded_to),
            Padding::Irregular(why) => {
                // Frames whose bytes cannot be predicted prove nothing.
                self.facts.shortest = LONGEST_PADDED;
                return self.note(Severity::Warning, None, why);
            }
        };
        (self.facts.shortest, self.facts.padded_to) = (shortest, padded_to);
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

    fn strips_findings(&self) -> Vec<Finding> {
        const STRIPPED: &str =
            "outer VLAN tags are stripped before a program gets the frames, which cannot be turned off here";
        let (stack, driver) = (self.facts.stack_strips, self.facts.driver_strips);
        let modes = match stack == driver {
            true => vec![(stack, None)],
            false => vec![(stack, Some(Mode::Generic)), (driver, Some(Mode::Native))],
        };
        let stripping = modes.into_iter().filter(|(strips, _)| *strips != Strips::default());
        stripping.map(|(_, mode)| self.finding(Severity::Note, mode, STRIPPED.to_owned())).collect()
    }

    fn released(&self) -> Result<(), Error> {
        let (index, awaited) = (self.ports.topology.dut.index, "see the last program go");
        self.ports.dut.call(move |host| {
            interrupt::wait(DETACH_TIMEOUT, |slice| {
                host.wait_link(index, awaited, slice, |link| link.xdp.is_empty()).map(drop)
            })
        })
    }
}

impl Testbed for DeviceTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn acquire(&self, needs: &Needs) -> Result<Arc<PortPair>, TestbedError> {
        if let Some(reason) = needs.unmet(&self.facts) {
            return Err(TestbedError::Incapable(reason));
        }
        self.bring_to_mtu(needs.mtu)?;
        // While nothing is attached.
        self.longest_at(needs.mtu)?;
        Ok(Arc::clone(&self.ports))
    }

    fn settle(&self, _: &PortPair) -> Result<(), TestbedError> {
        self.wait_running()?;
        Ok(disable_rx_offloads(&self.ports.dut, self.ports.topology.dut.index)?)
    }

    fn set_offloads(&self, _: &PortPair, offloads: &BTreeMap<String, bool>) -> Result<(), TestbedError> {
        let (index, wanted) = (self.ports.topology.dut.index, offloads.clone());
        let unchangeable = self.ports.dut.call(move |host| {
            for (name, on) in wanted {
                if !try_set(host, index, &name, on)? {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        })?;
        match unchangeable {
            None => Ok(self.wait_running()?),
            Some(name) => Err(TestbedError::Incapable(format!(
                "the DUT cannot change the offload {name}, which the scenario needs"
            ))),
        }
    }

    /// Waits until no program is attached to the DUT. A detached one stays as long as another process holds its `bpf_link`: one
    /// that lists all links (`bpftool link`), or a child that has not yet called `execve`.
    fn wait_released(&self) -> Result<(), TestbedError> {
        Ok(self.released()?)
    }

    fn survey(
        &self,
        mtu: u32,
        frames: &[&[u8]],
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TestbedError> {
        match self.bring_to_mtu(mtu).and_then(|()| self.explore_fates(frames, tell)) {
            // The trials that need an MTU that is not accepted say so.
            Ok(()) | Err(PathError::Mtu { .. }) => Ok(()),
            Err(error) => {
                Err(self.fault(Duration::ZERO).map_or(error, |fault| PathError::Fault(fault.what)).into())
            }
        }
    }

    fn longest(&self, mtu: u32) -> Result<usize, TestbedError> {
        Ok(self.longest_at(mtu)?)
    }

    fn fate(&self, frame: &[u8]) -> Option<FrameFate> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(frame).copied()
    }

    fn set_mtu(&self, ports: &PortPair, mtu: u32) -> Result<(), TestbedError> {
        if self.change_mtu(mtu)? { self.settle(ports) } else { Ok(()) }
    }

    fn fault(&self, lasting: Duration) -> Option<Fault> {
        let begun = Instant::now();
        let waits = ends(&self.ports).into_iter().any(|(worker, port)| {
            let (index, left) = (port.index, lasting.saturating_sub(begun.elapsed()));
            let running = move |host: &mut Host| {
                interrupt::wait(left, |slice| host.wait_running(index, slice).map(drop))
            };
            worker.call(running).is_err()
        });
        if waits { self.fault_now() } else { None }
    }

    fn pair(&self) -> Option<Arc<PortPair>> {
        Some(Arc::clone(&self.ports))
    }

    fn devices(&self) -> &[DeviceRecord] {
        &self.devices
    }

    fn findings(&self) -> Vec<Finding> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).len();
        let what = format!(
            "{lost} of the frames do not arrive as they were sent, with or without a program; the trials that need them say which"
        );
        let altered = (lost > 0).then(|| self.finding(Severity::Note, None, what));
        self.findings.iter().cloned().chain(self.strips_findings()).chain(altered).collect()
    }
}

impl From<PathError> for TestbedError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Mtu { .. } => Self::Incapable(error.to_string()),
            error => Self::Path(error),
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
