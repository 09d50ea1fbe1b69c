//! Restores devices: moves them back to the host's namespace, sets what differs from their [settings](DeviceSettings), and
//! verifies the result.
//!
//! Promises: nothing that is as it was is changed; a thing that cannot be restored keeps no other from being restored; the
//! result is read back, and every difference is reported.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::PathBuf, sync::Arc, time::Duration};

use xdproof_netns::{
    Error, Host, IfIndex, Link, LinkName, LinkSetting, Record, RecordKind, Worker, XdpFlags,
};

use crate::{
    error::chain,
    model::device::PortRole,
    testbed::devices::{
        diff::{NOT_READY, differences},
        route_order,
        snapshot::{AttachedProgram, DeviceSettings, PortSettings, StoredOffloads, StoredRecord},
        step::{ClaimStep, RestoreOutcome, RestoredItem},
    },
};

/// Deadline for addresses and routes that the kernel makes in the background once a device runs. It takes milliseconds, unless many
/// interfaces change at the same time on a busy machine: `addrconf_dad_work()` of `net/ipv6/addrconf.c` waits for the RTNL lock.
const KERNEL_RECORDS_TIMEOUT: Duration = Duration::from_secs(30);
/// Deadline for those of a device that ran and does not run now: most of them never appear.
const WITHOUT_CARRIER_TIMEOUT: Duration = Duration::from_secs(1);
/// Deadline for the carrier of a device that had one.
const CARRIER_TIMEOUT: Duration = Duration::from_secs(10);
const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();
/// Sysctls that have another value until the addresses are there. A restored address is valid at once: it belonged to this
/// device a moment ago, and no duplicate address detection runs, neither when it is added nor when a carrier appears
/// (`addrconf_dad_begin()` and `addrconf_dad_kick()` of `net/ipv6/addrconf.c`). And the kernel makes no link-local address at a
/// moment of its own.
const WHILE_ADDING_ADDRESSES: [(&str, &str); 4] = [
    ("ipv6/conf/*/accept_dad", "0"),
    ("ipv6/conf/*/dad_transmits", "0"),
    ("ipv6/conf/*/router_solicitation_delay", "0"),
    ("ipv6/conf/*/addr_gen_mode", "1"),
];

/// Means of restoring devices.
#[derive(Clone, Debug)]
pub(super) struct RestoreContext {
    /// Directory of the pinned programs.
    pub(super) pins: PathBuf,
    /// Age of the settings.
    pub(super) age: Duration,
    /// Called after each step.
    pub(super) after_step: fn(ClaimStep),
}

/// Steps of restoring a device that is back in the host's namespace. Each of them is done for all devices before the next one:
/// the settings that one end of a veth accepts depend on the other end.
const STEPS: [(RestoreStep, ClaimStep); 5] = [
    (DeviceRestore::set_link, ClaimStep::LinksSet),
    (DeviceRestore::attach_programs, ClaimStep::ProgramsAttached),
    (DeviceRestore::set_offloads, ClaimStep::OffloadsSet),
    (DeviceRestore::set_up, ClaimStep::UpSet),
    (DeviceRestore::add_records, ClaimStep::RecordsAdded),
];
type RestoreStep = fn(&mut DeviceRestore, &mut Host, IfIndex) -> Result<(), Error>;

/// The namespace to which a device was moved.
pub(super) enum Away {
    /// It was never made.
    Unused,
    /// A thread in it.
    Held(Worker),
    /// Nothing holds it any more: the error of opening it.
    Gone(Error),
}

/// Restores devices and the order of their routes among `competing` ones. `away` returns the namespace that a device may still be
/// in.
pub(super) fn restore(
    devices: &[DeviceSettings],
    competing: &[Vec<StoredRecord>],
    origin: &Worker,
    away: &dyn Fn(PortRole) -> Away,
    context: &RestoreContext,
) -> Vec<RestoredItem> {
    let mut all: Vec<DeviceRestore> = Vec::new();
    for settings in devices.iter().filter(|settings| !settings.is_restored) {
        let mut device = DeviceRestore::new(settings.clone(), context.clone());
        device.return_home(origin, &away(settings.role));
        all.push(device);
        (context.after_step)(match settings.role {
            PortRole::Tester => ClaimStep::TesterReturned,
            PortRole::Dut => ClaimStep::DutReturned,
        });
    }
    for (act, step) in STEPS {
        all.iter_mut().for_each(|device| device.run_at(origin, act));
        (context.after_step)(step);
    }
    all.iter_mut().for_each(|device| device.run_at(origin, DeviceRestore::verify));
    let restored = devices.iter().filter(|settings| settings.is_restored).map(|settings| settings.index);
    let home: Vec<IfIndex> = all.iter().filter_map(|device| device.index).chain(restored).collect();
    // A competing route may be one of a device that had another index.
    let same = all.iter().all(|device| device.index.is_none_or(|index| index == device.was.index));
    let mut items: Vec<RestoredItem> = all.into_iter().flat_map(|device| device.items).collect();
    if same && !competing.is_empty() {
        let (competing, age) = (competing.to_vec(), context.age);
        let ordered = origin.run(move |host| route_order::restore_order(host, &competing, &home, age));
        items.extend(ordered.unwrap_or_else(|error| vec![route_order::unordered(&error)]));
    }
    items
}

/// A device that is being restored.
#[derive(Clone, Debug)]
struct DeviceRestore {
    was: Arc<DeviceSettings>,
    context: RestoreContext,
    /// Its index now, once it is in the host's namespace.
    index: Option<IfIndex>,
    /// It was in another namespace.
    moved: bool,
    /// It was moved or isolated, changes between down and up, or lacks addresses: the kernel adds addresses and routes by itself.
    reconfigured: bool,
    items: Vec<RestoredItem>,
}

impl DeviceRestore {
    fn new(settings: DeviceSettings, context: RestoreContext) -> Self {
        let was = Arc::new(settings);
        Self { was, context, index: None, moved: false, reconfigured: false, items: Vec::new() }
    }

    fn report(&mut self, what: impl Into<String>, outcome: RestoreOutcome) {
        self.items.push(RestoredItem { device: self.was.name.to_string(), what: what.into(), outcome });
    }

    fn lost(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.report(what, RestoreOutcome::Lost(why.into()));
    }

    fn failed(&mut self, what: impl Into<String>, error: &Error) {
        self.report(what, RestoreOutcome::Failed(format!("failed to {}", chain(error))));
    }

    fn done(&mut self, what: impl Into<String>, done: Result<(), Error>) {
        match done {
            Ok(()) => self.report(what, RestoreOutcome::Done),
            Err(error) => self.failed(what, &error),
        }
    }

    /// Runs a step on the thread in the host's namespace, if the device is there.
    fn run_at(&mut self, origin: &Worker, act: RestoreStep) {
        let Some(index) = self.index else { return };
        let mut device = self.clone();
        let ran = origin.run(move |host| {
            if let Err(error) = act(&mut device, host, index) {
                device.failed("settings", &error);
            }
            device
        });
        match ran {
            Ok(device) => *self = device,
            Err(error) => self.failed("settings", &error),
        }
    }

    /// Moves the device back to the host's namespace, if it is in another one, and finds it there.
    fn return_home(&mut self, origin: &Worker, away: &Away) {
        const PLACE: &str = "network namespace";
        match away {
            Away::Unused | Away::Gone(_) => {}
            Away::Held(away) => match self.move_home(origin, away) {
                Ok(moved) => self.moved = moved,
                Err(error) => return self.failed(PLACE, &error),
            },
        }
        let name = self.was.name.clone();
        let missing = match origin.call(move |host| host.link(&name)) {
            Ok(link) if self.was.is(&link) => Ok(link),
            Ok(_) => Err("the device has vanished, and another one has its name"),
            Err(Error::NoSuchLink { .. }) => Err("the device has vanished"),
            Err(error) => return self.failed(PLACE, &error),
        };
        // Somebody may have moved it or may plug it in again; then another attempt restores it.
        let link = match (missing, away) {
            (Ok(link), _) => link,
            (Err(what), Away::Gone(error)) => {
                let why = format!("{what}: nothing has held its namespace (failed to {})", chain(error));
                return self.report(PLACE, RestoreOutcome::Failed(why));
            }
            (Err(what), _) => return self.report(PLACE, RestoreOutcome::Failed(what.to_owned())),
        };
        self.index = Some(link.index);
        let (index, was) = (link.index, Arc::clone(&self.was));
        if was.stays_in_place {
            // The run had the device for itself: it has attached whatever was not attached before.
            let detached = origin.call(move |host| detach_others(host, &link, &was.programs));
            if let Err(error) = detached {
                self.failed("XDP program", &error);
            }
        }
        if self.moved {
            self.report(PLACE, RestoreOutcome::Done);
        }
        if index != self.was.index {
            let what = format!("index {}", self.was.index);
            self.lost(what, format!("another device has it: the index is {index} now"));
        }
    }

    /// Moves the device back, with its former index if that is free; returns false if it is not in the other namespace.
    fn move_home(&self, origin: &Worker, away: &Worker) -> Result<bool, Error> {
        let (was, home) = (Arc::clone(&self.was), origin.namespace().clone());
        away.call(move |host| {
            let link = match host.link(&was.name) {
                Err(Error::NoSuchLink { .. }) => return Ok(false),
                link => link?,
            };
            host.set_up(link.index, false)?;
            detach_others(host, &link, &was.programs)?;
            match host.move_link(link.index, &home, Some((&was.name, was.index))) {
                Err(error) if error.errno() == Some(EBUSY) => {
                    host.move_link(link.index, &home, Some((&was.name, link.index)))?;
                }
                moved => moved?,
            }
            Ok(true)
        })
    }

    /// Restores the settings of the link itself, which is still down if it was moved.
    fn set_link(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let link = host.link_by_index(index)?;
        let was = Arc::clone(&self.was);
        for (setting, _) in was.link.differences(&link.settings) {
            // The token needs the sysctls, and the link comes up at a step of its own.
            if !matches!(setting, LinkSetting::Mac(None) | LinkSetting::Token(_) | LinkSetting::Up(_)) {
                self.done(setting.to_string(), host.set_link(index, &setting));
            }
        }
        for port in &was.ports {
            // After the master, which passes its own MTU on.
            if let Some(link) = port_of(host, index, port).filter(|link| link.settings.mtu != port.mtu) {
                let what = format!("MTU {} of port {}", port.mtu, port.name);
                self.done(what, host.set_mtu(link.index, port.mtu));
            }
        }
        self.set_queues(host, index, "rings", was.rings, Host::rings, Host::set_rings);
        self.set_queues(host, index, "channels", was.channels, Host::channels, Host::set_channels);
        if let Some(master) = was.master.as_ref().filter(|_| link.master.is_none()) {
            let found = host.link(master);
            let joined =
                found.and_then(|found| host.set_link(index, &LinkSetting::Master(Some(found.index))));
            self.done(format!("master {master}"), joined);
        }
        // A run may have been killed when it had restored some of them.
        let lacks_addresses = host.records(RecordKind::Address, index).is_ok_and(|there| {
            was.records(RecordKind::Address).iter().any(|record| !has(&there, record, was.index, index))
        });
        self.reconfigured =
            self.moved || was.stays_in_place || link.settings.up != was.link.up || lacks_addresses;
        self.set_sysctls(host, &link.name, self.reconfigured);
        if was.link.token.is_some() && link.settings.token != was.link.token {
            let token = LinkSetting::Token(was.link.token);
            self.done(token.to_string(), host.set_link(index, &token));
        }
        Ok(())
    }

    /// Restores rings or channels.
    fn set_queues<T: PartialEq>(
        &mut self,
        host: &mut Host,
        index: IfIndex,
        what: &str,
        was: Option<T>,
        read: fn(&mut Host, IfIndex) -> Result<Option<T>, Error>,
        set: fn(&mut Host, IfIndex, T) -> Result<(), Error>,
    ) {
        let Some(was) = was else { return };
        match read(host, index) {
            Ok(now) if now.as_ref() == Some(&was) => {}
            Ok(_) => self.done(what, set(host, index, was)),
            Err(error) => self.failed(what, &error),
        }
    }

    /// Sets the sysctls that differ. Some of them change others, which are set again.
    fn set_sysctls(&mut self, host: &mut Host, name: &LinkName, addresses_follow: bool) {
        let mut wanted = self.was.sysctls.clone();
        for (sysctl, meanwhile) in WHILE_ADDING_ADDRESSES.into_iter().filter(|_| addresses_follow) {
            if let Some(value) = wanted.get_mut(sysctl) {
                meanwhile.clone_into(value);
            }
        }
        let mut failed = BTreeMap::new();
        for _ in 0..2 {
            let now = match host.sysctls(name) {
                Ok(now) => now,
                Err(error) => return self.failed("sysctls", &error),
            };
            failed.clear();
            for (sysctl, value) in &wanted {
                if now.get(sysctl) != Some(value)
                    && let Err(error) = host.set_sysctl(name, sysctl, value)
                {
                    failed.insert(sysctl.clone(), error);
                }
            }
        }
        for (sysctl, error) in failed {
            self.failed(format!("net/{sysctl}"), &error);
        }
    }

    fn attach_programs(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        for program in self.was.programs.clone() {
            let AttachedProgram { mode, id } = program;
            if host.xdp(index)?.attached(mode) != Some(id) {
                let pin = self.context.pins.join(program.pin(self.was.role));
                let attached = host
                    .pinned_program(&pin)
                    .and_then(|pinned| host.attach_xdp(index, pinned.as_fd(), &[mode], XdpFlags::default()));
                self.done(format!("XDP program {id} in {mode} mode"), attached);
            }
        }
        Ok(())
    }

    fn set_offloads(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let was = Arc::clone(&self.was);
        // The offloads of a port limit those of its master.
        for port in &was.ports {
            if let Some(link) = port_of(host, index, port) {
                let what = format!("offloads of port {}", port.name);
                self.request_offloads(host, link.index, &port.offloads, &what);
            }
        }
        self.request_offloads(host, index, &was.offloads, "offloads");
        Ok(())
    }

    /// Requests the offloads that differ.
    fn request_offloads(&mut self, host: &mut Host, index: IfIndex, was: &StoredOffloads, what: &str) {
        let now = match host.offloads(index) {
            Ok(now) => now,
            Err(error) => return self.failed(what, &error),
        };
        let different = was.iter().filter_map(|(name, was)| {
            let now = now.get(name).filter(|now| now.changeable)?;
            (now.wanted != was.wanted || now.active != was.on).then_some((name.as_str(), was.wanted))
        });
        let different: Vec<(&str, bool)> = different.collect();
        if !different.is_empty() {
            let names: Vec<_> = different
                .iter()
                .map(|(name, on)| format!("{name} {}", if *on { "on" } else { "off" }))
                .collect();
            self.done(format!("{what}: {}", names.join(", ")), host.want_offloads(index, different));
        }
    }

    fn set_up(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let link = host.link_by_index(index)?;
        let up = self.was.link.up;
        if link.settings.up != up {
            self.done(LinkSetting::Up(up).to_string(), host.set_up(index, up));
        } else if !up && link.qdisc != self.was.qdisc {
            // A device that was up once has kept its qdisc, and gets it by being up.
            if let Err(error) = host.set_up(index, true).and_then(|()| host.set_up(index, false)) {
                self.failed("qdisc", &error);
            }
        }
        Ok(())
    }

    fn add_records(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let mut runs = true;
        if self.was.running && self.reconfigured {
            // Things that need no carrier are restored without one, too.
            let ready = |link: &Link| link.running && link.qdisc.as_deref() != Some(NOT_READY);
            runs = host.wait_link(index, "see the link run", CARRIER_TIMEOUT, ready).is_ok();
        }
        self.add_missing(host, index, RecordKind::Address);
        if self.reconfigured {
            // Before the sysctls: the kernel would run duplicate address detection for an address that is not settled yet.
            let within = if runs { KERNEL_RECORDS_TIMEOUT } else { WITHOUT_CARRIER_TIMEOUT };
            self.wait_for_kernel_routes(host, index, within);
        }
        let name = self.was.name.clone();
        self.set_sysctls(host, &name, false);
        if self.reconfigured {
            self.remove_unknown(host, index, RecordKind::Address);
            self.remove_unknown(host, index, RecordKind::Route);
        }
        self.add_missing(host, index, RecordKind::Route);
        self.add_missing(host, index, RecordKind::Neighbour);
        self.add_multicast(host, index)
    }

    /// Adds the group addresses that are missing: the move of a device clears them (`dev_mc_flush()` in
    /// `dev_change_net_namespace()` of `net/core/dev.c`).
    fn add_multicast(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let there = host.multicast_addresses(index)?;
        let was = Arc::clone(&self.was);
        for address in was.multicast.iter().filter(|address| !there.contains(address)) {
            self.done(format!("group address {address}"), host.add_multicast_address(index, *address));
        }
        Ok(())
    }

    /// Adds the records of a kind that are missing.
    fn add_missing(&mut self, host: &mut Host, index: IfIndex, kind: RecordKind) {
        let (former, age) = (self.was.index, self.context.age);
        let mut records = self.was.records(kind);
        records.retain(|record| !record.is_unrestorable());
        let added = host.records(kind, index).and_then(|there| {
            let missing: Vec<_> =
                records.iter().filter(|record| !has(&there, record, former, index)).collect();
            Ok((missing, host.add_records(kind, index, &records, former, age)?))
        });
        match added {
            Ok((missing, mut failed)) => {
                for record in missing {
                    match failed.iter().position(|(other, _)| other == record) {
                        None => self.report(record.to_string(), RestoreOutcome::Done),
                        Some(place) => self.failed(record.to_string(), &failed.swap_remove(place).1),
                    }
                }
            }
            Err(error) => self.failed(plural(kind), &error),
        }
    }

    /// Removes records that the kernel has made by itself and that were not there before.
    fn remove_unknown(&mut self, host: &mut Host, index: IfIndex, kind: RecordKind) {
        let (former, known) = (self.was.index, self.was.records(kind));
        let removed = host.records(kind, index).and_then(|there| {
            let is_known = |record: &Record| known.iter().any(|known| known.is_like(former, record, index));
            let mut unknown = there.iter().filter(|record| record.is_kernel_made() && !is_known(record));
            unknown.try_for_each(|record| host.remove_record(index, record))
        });
        if let Err(error) = removed {
            self.failed(plural(kind), &error);
        }
    }

    /// Waits for the routes that the kernel makes in the background.
    fn wait_for_kernel_routes(&self, host: &mut Host, index: IfIndex, within: Duration) {
        let former = self.was.index;
        let mut awaited = self.was.records(RecordKind::Route);
        awaited.retain(Record::is_kernel_made);
        let all_there =
            move |there: &[Record]| awaited.iter().all(|record| has(there, record, former, index));
        // `verify` reports a route that does not appear.
        let awaited = "see the kernel's routes";
        drop(host.wait_records(RecordKind::Route, index, awaited, within, all_there));
    }

    /// Reports every difference from the former settings that was not reported yet.
    fn verify(&mut self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let link = host.link_by_index(index)?;
        let now = DeviceSettings::read(host, self.was.role, &link)?;
        for (what, outcome) in differences(&self.was, &now, self.moved, self.context.age) {
            let is_known = |item: &RestoredItem| item.what == what && item.outcome != RestoreOutcome::Done;
            if !self.items.iter().any(is_known) {
                self.report(what, outcome);
            }
        }
        Ok(())
    }
}

/// Detaches XDP programs that were attached by netlink and are not among those to keep.
fn detach_others(host: &mut Host, link: &Link, keep: &[AttachedProgram]) -> Result<(), Error> {
    for (mode, id) in link.xdp.iter() {
        if !keep.contains(&AttachedProgram { mode, id }) {
            match host.detach_xdp(link.index, mode) {
                // A process still holds a bpf_link: the program goes with it.
                Err(error) if error.errno() == Some(EBUSY) => {}
                detached => detached?,
            }
        }
    }
    Ok(())
}

/// Returns a port's link, if it still is a port of the master device.
fn port_of(host: &mut Host, master: IfIndex, port: &PortSettings) -> Option<Link> {
    host.link(&port.name).ok().filter(|link| link.master == Some(master))
}

/// Returns true if a record of the link with the `former` index is among those of the link with the present one.
fn has(there: &[Record], record: &Record, former: IfIndex, index: IfIndex) -> bool {
    there.iter().any(|other| record.is_like(former, other, index))
}

const fn plural(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Address => "addresses",
        RecordKind::Route => "routes",
        RecordKind::Neighbour => "neighbours",
    }
}
