//! What is set at a device of the host, and how it is given back: everything that a move to another namespace takes away
//! (addresses, routes, neighbours, switches below `/proc/sys/net`, its place and name), and everything that a trial may
//! change (MTU, flags, offloads, rings, channels, the XDP program). A device that the kernel keeps in its namespace loses the
//! same things where it is (`DeviceSettings::silence`), and gets them back in the same way; what a trial changes at its ports
//! is put back, too.
//!
//! Promises: nothing is changed that is as it was; one thing that cannot be put back keeps nothing else from being put back;
//! what was put back is looked at once more, and what is otherwise is told.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use xdproof_netns::{
    Error, Host, IfIndex, Link, LinkName, LinkSetting, LinkSettings, Record, RecordKind, Worker, XdpFlags,
};

use crate::testbed::devices::{pair::Step, route_order};
use crate::{
    error::chain,
    host::xdp_mode,
    model::{
        device::{Channels, PortRole, Rings},
        mode::Mode,
    },
};

/// How long the kernel may take for addresses and routes that it makes by itself. It takes milliseconds.
const BY_ITSELF: Duration = Duration::from_secs(5);
const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();
/// What the kernel answers when a record is to be removed that went with another: addresses (IPv4, IPv6), routes.
const GONE: [i32; 3] = [
    rustix::io::Errno::ADDRNOTAVAIL.raw_os_error(),
    rustix::io::Errno::SRCH.raw_os_error(),
    rustix::io::Errno::NOENT.raw_os_error(),
];
/// Switches of a device that says and answers nothing. Without an address of its own and with a strict reverse path filter it
/// takes no IPv4 packet for other addresses of the host (`__fib_validate_source()` of `net/ipv4/fib_frontend.c`).
const SILENT: [(&str, &str); 2] = [("ipv6/conf/*/disable_ipv6", "1"), ("ipv4/conf/*/rp_filter", "1")];
/// How long a device that had a carrier may take to have one again.
const CARRIER: Duration = Duration::from_secs(10);
/// Switches that stand otherwise until the addresses are there. An address that comes back is good at once: it was this
/// device's own a moment ago, and nobody is asked, be it when it is entered or when a carrier comes (`addrconf_dad_begin()` and
/// `addrconf_dad_kick()` of `net/ipv6/addrconf.c`). And the kernel makes no link-local address at a moment of its own.
const MEANWHILE: [(&str, &str); 4] = [
    ("ipv6/conf/*/accept_dad", "0"),
    ("ipv6/conf/*/dad_transmits", "0"),
    ("ipv6/conf/*/router_solicitation_delay", "0"),
    ("ipv6/conf/*/addr_gen_mode", "1"),
];
/// The queueing discipline of a device whose carrier the network layer has not yet been told of (`dev_activate()` of
/// `net/sched/sch_generic.c`); its flags may already show the carrier.
const NOT_READY: &str = "noop";

/// Everything that is set at a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSettings {
    /// Which end of the wire it is to be.
    pub role: PortRole,
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// The kind of a virtual link.
    pub kind: Option<String>,
    /// The device that it stands on, as its bus calls it.
    pub parent: Option<String>,
    /// Its address.
    pub mac: Option<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Packets that may wait to be sent.
    pub tx_queue_length: u32,
    /// What someone has written on it.
    pub alias: Option<String>,
    /// The group that it is counted to.
    pub group: u32,
    /// The bridge or bond that it is a port of.
    pub controller: Option<String>,
    /// Its ports, where it is a bridge, a bond or the like.
    #[serde(default)]
    pub ports: Vec<PortSettings>,
    /// The kernel keeps it in its namespace: it was made silent there, and not moved.
    #[serde(default)]
    pub stays: bool,
    /// What goes for good with its move, in words; it was taken all the same.
    pub forgone: Vec<String>,
    /// It is switched on.
    pub up: bool,
    /// It is switched on and has a carrier.
    pub running: bool,
    /// It takes frames for any address.
    pub promiscuous: bool,
    /// It takes frames for any group address.
    pub all_multicast: bool,
    /// It uses ARP.
    pub arp: bool,
    /// The queueing discipline at its root.
    pub discipline: Option<String>,
    /// The chosen lower half of its IPv6 addresses.
    pub token: Option<Ipv6Addr>,
    /// Descriptors in its rings.
    pub rings: Option<Rings>,
    /// Its channels.
    pub channels: Option<Channels>,
    /// Offloads by name: whether they are wanted, and whether they are on.
    pub offloads: BTreeMap<String, Wanted>,
    /// XDP programs that are attached to it by netlink.
    pub xdp: Vec<AttachedProgram>,
    /// Switches below `/proc/sys/net`, with `*` in the place of its name.
    pub switches: BTreeMap<String, String>,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<StoredRecord>,
    /// Routes of all tables that go through it.
    pub routes: Vec<StoredRecord>,
    /// Neighbours that someone has entered.
    pub neighbours: Vec<StoredRecord>,
}

/// What a trial may change at a port of a device that stays where it is: a bond gives its MTU to its ports
/// (`bond_change_mtu()` of `drivers/net/bonding/bond_main.c`), and their offloads change frames before it has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSettings {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Offloads by name.
    pub offloads: BTreeMap<String, Wanted>,
}

/// How an offload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// It is asked for.
    pub wanted: bool,
    /// It is on.
    pub on: bool,
}

/// An XDP program that is attached by netlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedProgram {
    /// Where it is attached.
    pub mode: Mode,
    /// Its id.
    pub id: u32,
}

impl AttachedProgram {
    /// The name of its pin.
    fn pin(self, role: PortRole) -> String {
        format!("{role}-{}", self.mode).to_lowercase()
    }
}

/// An address, a route or a neighbour as the kernel told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRecord {
    /// In words, for people.
    pub says: String,
    /// The message behind its netlink header, in the machine's order of bytes.
    #[serde(with = "hex::serde")]
    pub body: Vec<u8>,
}

impl StoredRecord {
    pub(super) fn of(record: &Record) -> Self {
        Self { says: record.to_string(), body: record.body().to_vec() }
    }
}

impl DeviceSettings {
    /// Reads everything that is set at a link.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn read(host: &mut Host, role: PortRole, link: &Link) -> Result<Self, Error> {
        let index = link.index;
        let controller = link.master.map(|master| host.link_by_index(master)).transpose()?;
        let stored = |host: &mut Host, kind| -> Result<Vec<StoredRecord>, Error> {
            Ok(host.records(kind, index)?.iter().map(StoredRecord::of).collect())
        };
        let ports: Vec<Link> = host.links()?.into_iter().filter(|port| port.master == Some(index)).collect();
        let ports = ports
            .iter()
            .map(|port| {
                Ok(PortSettings {
                    name: port.name.to_string(),
                    mtu: port.settings.mtu,
                    offloads: offloads(host, port.index)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            role,
            name: link.name.to_string(),
            index: index.get(),
            kind: link.kind.clone(),
            parent: link.parent.clone(),
            mac: link.settings.mac.map(|mac| mac.to_string()),
            mtu: link.settings.mtu,
            tx_queue_length: link.settings.tx_queue_length,
            alias: link.settings.alias.clone(),
            group: link.settings.group,
            controller: controller.map(|controller| controller.name.to_string()),
            ports,
            stays: false,
            forgone: Vec::new(),
            up: link.settings.up,
            running: link.running,
            promiscuous: link.settings.promiscuous,
            all_multicast: link.settings.all_multicast,
            arp: link.settings.arp,
            discipline: link.qdisc.clone(),
            token: link.settings.token,
            rings: host.rings(index)?.map(rings_of),
            channels: host.channels(index)?.map(channels_of),
            offloads: offloads(host, index)?,
            xdp: link
                .xdp
                .iter()
                .map(|(mode, id)| AttachedProgram { mode: xdp_mode::from_kernel(mode), id })
                .collect(),
            switches: host.sysctls(&link.name)?,
            addresses: stored(host, RecordKind::Address)?,
            routes: stored(host, RecordKind::Route)?,
            neighbours: stored(host, RecordKind::Neighbour)?,
        })
    }

    /// Keeps the XDP programs of the link by a pin below a directory of a bpf file system, and takes them off the link: then
    /// the link is free for another, and they outlive this process.
    pub(super) fn set_programs_aside(
        &self,
        host: &mut Host,
        index: IfIndex,
        pins: &Path,
    ) -> Result<(), Error> {
        for program in &self.xdp {
            host.pin_program(program.id, &pins.join(program.pin(self.role)))?;
            host.detach_xdp(index, xdp_mode::to_kernel(program.mode))?;
        }
        Ok(())
    }

    /// Makes the link say and answer nothing where it is: no ARP, no IPv6, and no address, route or neighbour of its own. Its
    /// ports are left to it.
    pub(super) fn silence(&self, host: &mut Host, index: IfIndex) -> Result<(), Error> {
        let name = self.link_name()?;
        host.set_link(index, &LinkSetting::Arp(false))?;
        for (switch, value) in SILENT {
            // A kernel without IPv6, or a link that has nothing of it, has no such switch.
            if self.switches.contains_key(switch) {
                host.set_sysctl(&name, switch, value)?;
            }
        }
        for kind in [RecordKind::Address, RecordKind::Route, RecordKind::Neighbour] {
            for record in host.records(kind, index)? {
                match host.remove_record(index, &record) {
                    Err(error) if error.errno().is_some_and(|errno| GONE.contains(&errno)) => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }

    fn link_settings(&self) -> LinkSettings {
        LinkSettings {
            mac: self.mac.as_deref().and_then(|mac| mac.parse().ok()),
            mtu: self.mtu,
            tx_queue_length: self.tx_queue_length,
            alias: self.alias.clone(),
            group: self.group,
            promiscuous: self.promiscuous,
            all_multicast: self.all_multicast,
            arp: self.arp,
            token: self.token,
            up: self.up,
        }
    }

    fn link_name(&self) -> Result<LinkName, Error> {
        self.name.parse()
    }

    /// Whether a link is this device, and not another that has its name. One and the same device stays what it is and where
    /// it is on its bus, and keeps its index or its address.
    fn is(&self, link: &Link) -> bool {
        let same = link.index.get() == self.index || link.settings.mac.map(|mac| mac.to_string()) == self.mac;
        link.kind == self.kind && link.parent == self.parent && same
    }
}

fn offloads(host: &mut Host, index: IfIndex) -> Result<BTreeMap<String, Wanted>, Error> {
    Ok(host
        .offloads(index)?
        .iter()
        // A bit that this kernel has given up has no name.
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, state)| (name.to_string(), Wanted { wanted: state.wanted, on: state.active }))
        .collect())
}

/// Takes XDP programs off a link that were attached by netlink and not kept.
fn take_off_others(host: &mut Host, link: &Link, kept: &[AttachedProgram]) -> Result<(), Error> {
    for (mode, id) in link.xdp.iter() {
        if !kept.iter().any(|program| program.id == id && xdp_mode::to_kernel(program.mode) == Some(mode)) {
            match host.detach_xdp(link.index, mode) {
                // By a link that somebody holds still: it goes when he does.
                Err(error) if error.errno() == Some(EBUSY) => {}
                detached => detached?,
            }
        }
    }
    Ok(())
}

/// One thing that was to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PutBack {
    /// The device.
    pub device: String,
    /// What: `MTU 1400`, `address 192.0.2.1/24`.
    pub what: String,
    /// How it went.
    pub outcome: Outcome,
}

/// How putting something back went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is as it was.
    Done,
    /// It is not as it was, and may be later: the reason.
    Failed(String),
    /// It is not as it was, and nothing will bring it back: the reason.
    Lost(String),
}

/// By what means devices are put back.
pub(super) struct Way {
    /// Where the programs are that were attached by netlink.
    pub(super) pins: PathBuf,
    /// How old the settings are.
    pub(super) age: Duration,
    /// Called behind each step.
    pub(super) behind: fn(Step),
}

/// Puts devices back, each step for all of them before the next: what one end of a veth can be depends on the other.
///
/// `away` gives the thread in the namespace that a device may still be in.
pub(super) fn put_back(
    devices: &[DeviceSettings],
    rivals: &[Vec<StoredRecord>],
    origin: &Worker,
    away: &dyn Fn(PortRole) -> Option<Worker>,
    way: &Way,
) -> Vec<PutBack> {
    let Way { pins, age, behind } = way;
    let age = *age;
    let mut all: Vec<Returning> = devices
        .iter()
        .map(|settings| Returning {
            settings: settings.clone(),
            index: None,
            moved: false,
            anew: false,
            told: Vec::new(),
        })
        .collect();
    for device in &mut all {
        let away = away(device.settings.role);
        device.come_home(origin, away.as_ref());
        behind(if device.settings.role == PortRole::Tester { Step::TesterHome } else { Step::DutHome });
    }
    // What is asked of the kernel is done by the thread in the namespace; it gives the device back with what it tells.
    let mut step = |act: fn(&mut Returning, &mut Host, IfIndex, &Path, Duration)| {
        for device in &mut all {
            let Some(index) = device.index else { continue };
            let (mut on, pins) = (device.clone(), pins.to_owned());
            match origin.run(move |host| {
                act(&mut on, host, index, &pins, age);
                on
            }) {
                Ok(done) => *device = done,
                Err(error) => device.failed("what is set at it".to_owned(), &error),
            }
        }
    };
    step(Returning::set_link);
    behind(Step::LinksSet);
    step(Returning::attach_programs);
    behind(Step::ProgramsBack);
    step(Returning::set_offloads);
    behind(Step::OffloadsSet);
    step(Returning::switch_on);
    behind(Step::SwitchedOn);
    step(Returning::enter_records);
    behind(Step::RecordsEntered);
    step(Returning::look_again);
    // A route that others now come before may be one of a device that had another index.
    let home: Vec<IfIndex> = all.iter().filter_map(|device| device.index).collect();
    let same = all.iter().all(|device| device.index.is_none_or(|index| index.get() == device.settings.index));
    let mut told: Vec<PutBack> = all.into_iter().flat_map(|device| device.told).collect();
    if same && !rivals.is_empty() {
        let rivals = rivals.to_vec();
        told.extend(match origin.run(move |host| route_order::put_in_order(host, &rivals, &home, age)) {
            Ok(told) => told,
            Err(error) => vec![route_order::not_in_order(&error)],
        });
    }
    told
}

/// A device on its way back.
#[derive(Clone, Debug)]
struct Returning {
    settings: DeviceSettings,
    /// Its index now, once it is where it belongs.
    index: Option<IfIndex>,
    /// It was away.
    moved: bool,
    /// It was away or silent, or is up anew, or lacks addresses: the kernel makes things by itself now.
    anew: bool,
    told: Vec<PutBack>,
}

impl Returning {
    fn tell(&mut self, what: String, outcome: Outcome) {
        self.told.push(PutBack { device: self.settings.name.clone(), what, outcome });
    }

    fn failed(&mut self, what: String, error: &Error) {
        self.tell(what, Outcome::Failed(format!("failed to {}", chain(error))));
    }

    fn done(&mut self, what: impl Into<String>, done: Result<(), Error>) {
        match done {
            Ok(()) => self.tell(what.into(), Outcome::Done),
            Err(error) => self.failed(what.into(), &error),
        }
    }

    /// Moves the device to where it belongs, if it is away, and finds it there.
    fn come_home(&mut self, origin: &Worker, away: Option<&Worker>) {
        const PLACE: &str = "its place among the interfaces";
        let Ok(name) = self.settings.link_name() else {
            return self.tell(PLACE.to_owned(), Outcome::Lost("its name is none".to_owned()));
        };
        let wanted = IfIndex::new(self.settings.index);
        let found = away.map_or(Ok(None), |worker| {
            let (name, kept, home) = (name.clone(), self.settings.xdp.clone(), origin.namespace().clone());
            worker.call(move |host| {
                let link = match host.link(&name) {
                    Err(Error::NoSuchLink { .. }) => return Ok(None),
                    link => link?,
                };
                host.set_up(link.index, false)?;
                take_off_others(host, &link, &kept)?;
                let wanted = wanted.unwrap_or(link.index);
                match host.move_link(link.index, &home, Some((&name, wanted))) {
                    Err(error) if error.errno() == Some(EBUSY) => {
                        host.move_link(link.index, &home, Some((&name, link.index)))?;
                    }
                    moved => moved?,
                }
                Ok(Some(()))
            })
        });
        match found {
            Ok(found) => self.moved = found.is_some(),
            Err(error) => return self.failed(PLACE.to_owned(), &error),
        }
        match origin.call(move |host| host.link(&name)) {
            Ok(link) if self.settings.is(&link) => {
                self.index = Some(link.index);
                if self.settings.stays {
                    // It was the run's own: what is attached now and was not before is of the run.
                    let (link, kept) = (link.clone(), self.settings.xdp.clone());
                    let taken_off = origin.call(move |host| take_off_others(host, &link, &kept));
                    if let Err(error) = taken_off {
                        self.failed("XDP program".to_owned(), &error);
                    }
                }
                if self.moved {
                    self.tell(PLACE.to_owned(), Outcome::Done);
                }
                if link.index.get() != self.settings.index {
                    let what = format!("index {}", self.settings.index);
                    self.tell(what, Outcome::Lost(format!("it is taken: the index is {} now", link.index)));
                }
            }
            Ok(_) => {
                self.tell(
                    PLACE.to_owned(),
                    Outcome::Lost("it has vanished, and another has its name".to_owned()),
                );
            }
            Err(Error::NoSuchLink { .. }) => {
                self.tell(PLACE.to_owned(), Outcome::Lost("the device has vanished".to_owned()));
            }
            Err(error) => self.failed(PLACE.to_owned(), &error),
        }
    }

    /// What belongs to the link itself, while it is still switched off if it was away.
    fn set_link(&mut self, host: &mut Host, index: IfIndex, _: &Path, _: Duration) {
        let link = match host.link_by_index(index) {
            Ok(link) => link,
            Err(error) => return self.failed("what is set at it".to_owned(), &error),
        };
        let was = self.settings.clone();
        for (setting, _) in was.link_settings().differences(&link.settings) {
            // The token needs the sysctls, and the link comes up at a step of its own.
            if !matches!(setting, LinkSetting::Mac(None) | LinkSetting::Token(_) | LinkSetting::Up(_)) {
                self.done(setting.to_string(), host.set_link(index, &setting));
            }
        }
        for port in &was.ports {
            // After the master, which passes its own MTU on.
            if let Some(link) = port_of(host, index, port).filter(|link| link.settings.mtu != port.mtu) {
                self.done(
                    format!("MTU {} of its port {}", port.mtu, port.name),
                    host.set_mtu(link.index, port.mtu),
                );
            }
        }
        if let Some(rings) = was.rings {
            match host.rings(index) {
                Ok(now) if now.map(rings_of) == Some(rings) => {}
                Ok(_) => self.done("rings", host.set_rings(index, rings_to(rings))),
                Err(error) => self.failed("rings".to_owned(), &error),
            }
        }
        if let Some(channels) = was.channels {
            match host.channels(index) {
                Ok(now) if now.map(channels_of) == Some(channels) => {}
                Ok(_) => self.done("channels", host.set_channels(index, channels_to(channels))),
                Err(error) => self.failed("channels".to_owned(), &error),
            }
        }
        if let Some(controller) = &was.controller
            && link.master.is_none()
        {
            let made = controller
                .parse()
                .and_then(|name| host.link(&name))
                .and_then(|found| host.set_link(index, &LinkSetting::Master(Some(found.index))));
            self.done(format!("port of {controller}"), made);
        }
        let addresses = read(RecordKind::Address, &was.addresses);
        let is_there = |there: &[Record], record: &Record| {
            IfIndex::new(was.index)
                .is_none_or(|told_of| there.iter().any(|other| record.is_like(told_of, other, index)))
        };
        // A run may have been killed when it had put back half of it.
        let bare = host
            .records(RecordKind::Address, index)
            .is_ok_and(|there| addresses.iter().any(|record| !is_there(&there, record)));
        self.anew = self.moved || was.stays || link.settings.up != was.up || bare;
        self.set_switches(host, &link.name, self.anew);
        if let Some(token) = was.token
            && link.settings.token != was.token
        {
            let setting = LinkSetting::Token(Some(token));
            self.done(setting.to_string(), host.set_link(index, &setting));
        }
    }

    /// Sets the switches that are otherwise. Some set others: those are set again.
    fn set_switches(&mut self, host: &mut Host, name: &LinkName, silent: bool) {
        let mut wanted = self.settings.switches.clone();
        for (switch, still) in MEANWHILE.into_iter().filter(|_| silent) {
            if let Some(value) = wanted.get_mut(switch) {
                still.clone_into(value);
            }
        }
        let mut failed = BTreeMap::new();
        for _ in 0..2 {
            let now = match host.sysctls(name) {
                Ok(now) => now,
                Err(error) => return self.failed("switches".to_owned(), &error),
            };
            failed.clear();
            for (switch, value) in &wanted {
                if now.get(switch) != Some(value)
                    && let Err(error) = host.set_sysctl(name, switch, value)
                {
                    failed.insert(switch.clone(), error);
                }
            }
        }
        for (switch, error) in failed {
            self.failed(format!("net/{switch}"), &error);
        }
    }

    fn attach_programs(&mut self, host: &mut Host, index: IfIndex, pins: &Path, _: Duration) {
        for program in self.settings.xdp.clone() {
            let what = format!("XDP program {} in {} mode", program.id, program.mode);
            let Some(mode) = xdp_mode::to_kernel(program.mode) else { continue };
            let now = match host.xdp(index) {
                Ok(now) => now.attached(mode),
                Err(error) => return self.failed(what, &error),
            };
            if now != Some(program.id) {
                let pin = pins.join(program.pin(self.settings.role));
                let attached = host
                    .pinned_program(&pin)
                    .and_then(|pinned| host.attach_xdp(index, pinned.as_fd(), &[mode], XdpFlags::default()));
                self.done(what, attached);
            }
        }
    }

    fn set_offloads(&mut self, host: &mut Host, index: IfIndex, _: &Path, _: Duration) {
        // What a port can do decides what its controller can.
        for port in self.settings.ports.clone() {
            if let Some(link) = port_of(host, index, &port) {
                self.want_offloads(
                    host,
                    link.index,
                    &port.offloads,
                    &format!("offloads of its port {}", port.name),
                );
            }
        }
        let own = self.settings.offloads.clone();
        self.want_offloads(host, index, &own, "offloads");
    }

    /// Asks for the offloads that are otherwise than they were.
    fn want_offloads(&mut self, host: &mut Host, index: IfIndex, was: &BTreeMap<String, Wanted>, what: &str) {
        let otherwise = host.offloads(index).map(|now| {
            let differs = |name: &String, was: &Wanted| {
                now.get(name)
                    .is_some_and(|now| now.changeable && (now.wanted != was.wanted || now.active != was.on))
            };
            let wanted = was.iter().filter(|(name, was)| differs(name, was));
            wanted.map(|(name, was)| (name.as_str(), was.wanted)).collect::<Vec<_>>()
        });
        match otherwise {
            Ok(otherwise) if otherwise.is_empty() => {}
            Ok(otherwise) => {
                let names: Vec<_> = otherwise.iter().map(|(offload, on)| switch(offload, *on)).collect();
                let done = host.want_offloads(index, otherwise);
                self.done(format!("{what}: {}", names.join(", ")), done);
            }
            Err(error) => self.failed(what.to_owned(), &error),
        }
    }

    fn switch_on(&mut self, host: &mut Host, index: IfIndex, _: &Path, _: Duration) {
        let link = match host.link_by_index(index) {
            Ok(link) => link,
            Err(error) => return self.failed("up or down".to_owned(), &error),
        };
        let was = self.settings.up;
        if link.settings.up != was {
            self.done(if was { "up" } else { "down" }, host.set_up(index, was));
        } else if !was && link.qdisc != self.settings.discipline {
            // A device that was up once has kept its queueing discipline, and gets it by being up.
            let flap = host.set_up(index, true).and_then(|()| host.set_up(index, false));
            if let Err(error) = flap {
                self.failed("queueing discipline".to_owned(), &error);
            }
        }
    }

    fn enter_records(&mut self, host: &mut Host, index: IfIndex, _: &Path, age: Duration) {
        if self.settings.running && self.anew {
            // What needs no carrier is put back without one, too.
            let ready = |link: &Link| link.running && link.qdisc.as_deref() != Some(NOT_READY);
            drop(host.wait_link(index, "see the link run", CARRIER, ready));
        }
        let addresses = self.settings.addresses.clone();
        self.enter(host, index, RecordKind::Address, &addresses, age);
        let routes = self.settings.routes.clone();
        if self.anew {
            // Before the switches: an address that is not settled yet would be asked for.
            self.wait_for_kernel(host, index, &routes);
        }
        if let Ok(name) = self.settings.link_name() {
            self.set_switches(host, &name, false);
        }
        self.remove_unknown(host, index, RecordKind::Address, &addresses);
        self.remove_unknown(host, index, RecordKind::Route, &routes);
        self.enter(host, index, RecordKind::Route, &routes, age);
        let neighbours = self.settings.neighbours.clone();
        self.enter(host, index, RecordKind::Neighbour, &neighbours, age);
    }

    /// Enters what is missing of a kind.
    fn enter(
        &mut self,
        host: &mut Host,
        index: IfIndex,
        kind: RecordKind,
        stored: &[StoredRecord],
        age: Duration,
    ) {
        let Some(told_of) = IfIndex::new(self.settings.index) else { return };
        let mut records = read(kind, stored);
        records.retain(|record| !record.is_unrestorable());
        let entered = host.records(kind, index).and_then(|there| {
            let is_there = |record: &&Record| there.iter().any(|other| record.is_like(told_of, other, index));
            let missing: Vec<_> = records.iter().filter(|record| !is_there(record)).collect();
            Ok((missing, host.add_records(kind, index, &records, told_of, age)?))
        });
        match entered {
            Ok((missing, mut failed)) => {
                for record in missing {
                    match failed.iter().position(|(other, _)| other == record) {
                        None => self.tell(record.to_string(), Outcome::Done),
                        Some(place) => self.failed(record.to_string(), &failed.swap_remove(place).1),
                    }
                }
            }
            Err(error) => self.failed(words(kind).to_owned(), &error),
        }
    }

    /// Takes away what the kernel has made by itself and somebody had taken away before.
    fn remove_unknown(&mut self, host: &mut Host, index: IfIndex, kind: RecordKind, stored: &[StoredRecord]) {
        let Some(told_of) = IfIndex::new(self.settings.index).filter(|_| self.anew) else { return };
        let known = read(kind, stored);
        let removed = host.records(kind, index).and_then(|there| {
            let is_known = |record: &Record| known.iter().any(|kept| kept.is_like(told_of, record, index));
            let mut unknown = there.iter().filter(|record| record.is_kernel_made() && !is_known(record));
            unknown.try_for_each(|record| host.remove_record(index, record))
        });
        if let Err(error) = removed {
            self.failed(words(kind).to_owned(), &error);
        }
    }

    /// Waits for the routes that the kernel makes in the background.
    fn wait_for_kernel(&self, host: &mut Host, index: IfIndex, routes: &[StoredRecord]) {
        let Some(told_of) = IfIndex::new(self.settings.index) else { return };
        let mut awaited = read(RecordKind::Route, routes);
        awaited.retain(Record::is_kernel_made);
        let all_there = move |there: &[Record]| {
            awaited.iter().all(|record| there.iter().any(|other| record.is_like(told_of, other, index)))
        };
        // What does not come is told when it is looked at once more.
        drop(host.wait_records(RecordKind::Route, index, "see the kernel's routes", BY_ITSELF, all_there));
    }

    /// Holds what is there now against what was, and tells what is otherwise and was not told yet.
    fn look_again(&mut self, host: &mut Host, index: IfIndex, _: &Path, age: Duration) {
        let now =
            host.link_by_index(index).and_then(|link| DeviceSettings::read(host, self.settings.role, &link));
        match now {
            Ok(now) => {
                for (what, why) in self.differences(&now, index, age) {
                    if !self.told.iter().any(|told| told.what == what && told.outcome != Outcome::Done) {
                        self.tell(what, why);
                    }
                }
            }
            Err(error) => self.failed("what is set at it".to_owned(), &error),
        }
    }

    fn differences(&self, now: &DeviceSettings, index: IfIndex, age: Duration) -> Vec<(String, Outcome)> {
        let DeviceSettings {
            role: _,
            name: _,
            // Told when it came home.
            index: told_of,
            kind: _,
            parent: _,
            // Compared as settings of the link.
            mac: _,
            mtu: _,
            tx_queue_length: _,
            alias: _,
            group: _,
            promiscuous: _,
            all_multicast: _,
            arp: _,
            token: _,
            up: _,
            controller,
            ports,
            stays,
            forgone,
            // The carrier is the other end's.
            running: _,
            discipline,
            rings,
            channels,
            offloads,
            xdp,
            switches,
            addresses,
            routes,
            neighbours,
        } = &self.settings;
        let mut found = Vec::new();
        let mut differ = |same: bool, what: String, is: String| {
            if !same {
                found.push((what, Outcome::Failed(format!("it is {is} now"))));
            }
        };
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        for (was, is) in self.settings.link_settings().differences(&now.link_settings()) {
            differ(false, was.to_string(), is.value());
        }
        differ(
            *controller == now.controller,
            format!("port of {}", shown(controller)),
            format!("one of {}", shown(&now.controller)),
        );
        differ(*rings == now.rings, "rings".to_owned(), format!("{:?}", now.rings));
        differ(*channels == now.channels, "channels".to_owned(), format!("{:?}", now.channels));
        let words = |state: &Wanted| match (state.on, state.wanted) {
            (true, _) => "on",
            (false, true) => "off and wanted",
            (false, false) => "off",
        };
        for (name, was) in offloads {
            let is = now.offloads.get(name).unwrap_or(was);
            differ(was == is, format!("offload {name} {}", words(was)), words(is).to_owned());
        }
        // Those of a device that was moved are none any more, which is told as what goes with it.
        for PortSettings { name: port, mtu, offloads } in ports.iter().filter(|_| !self.moved) {
            let Some(is_port) = now.ports.iter().find(|other| other.name == *port) else {
                differ(false, format!("its port {port}"), "none".to_owned());
                continue;
            };
            differ(*mtu == is_port.mtu, format!("MTU {mtu} of its port {port}"), is_port.mtu.to_string());
            for (name, was) in offloads {
                let is = is_port.offloads.get(name).unwrap_or(was);
                let what = format!("offload {name} {} of its port {port}", words(was));
                differ(was == is, what, words(is).to_owned());
            }
        }
        differ(*xdp == now.xdp, "XDP program".to_owned(), format!("{:?}", now.xdp));
        for (name, was) in switches {
            let is = now.switches.get(name);
            differ(
                is == Some(was),
                format!("net/{name}"),
                is.cloned().unwrap_or_else(|| "not there".to_owned()),
            );
        }
        // A device that was never up has none of its own yet, and keeps the one that it gets by being up; only a move takes it away.
        let was_never_up = *stays && discipline.as_deref() == Some(NOT_READY);
        if *discipline != now.discipline && !was_never_up {
            let why = format!("it is {} now", shown(&now.discipline));
            found.push((format!("queueing discipline {}", shown(discipline)), Outcome::Lost(why)));
        }
        if self.moved {
            let lost = || Outcome::Lost("it went with the move, which was taken into account".to_owned());
            found.extend(forgone.iter().map(|what| (what.clone(), lost())));
        }
        let Some(told_of) = IfIndex::new(*told_of) else { return found };
        for (kind, was, is) in [
            (RecordKind::Address, addresses, &now.addresses),
            (RecordKind::Route, routes, &now.routes),
            (RecordKind::Neighbour, neighbours, &now.neighbours),
        ] {
            let is = read(kind, is);
            for record in read(kind, was) {
                if is.iter().any(|other| record.is_like(told_of, other, index)) {
                    continue;
                }
                let outcome = if record.has_expired(age) {
                    continue;
                } else if record.is_kernel_made() {
                    Outcome::Failed("the kernel has not made it again".to_owned())
                } else if record.is_unrestorable() {
                    Outcome::Lost("the kernel takes it from nobody".to_owned())
                } else {
                    Outcome::Failed("it is not there".to_owned())
                };
                found.push((record.to_string(), outcome));
            }
        }
        found
    }
}

/// A port as it is now, if it is still one.
fn port_of(host: &mut Host, controller: IfIndex, port: &PortSettings) -> Option<Link> {
    let name = port.name.parse().ok()?;
    host.link(&name).ok().filter(|link| link.master == Some(controller))
}

pub(super) fn read(kind: RecordKind, stored: &[StoredRecord]) -> Vec<Record> {
    stored.iter().filter_map(|stored| Record::new(kind, stored.body.clone()).ok()).collect()
}

const fn words(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Address => "addresses",
        RecordKind::Route => "routes",
        RecordKind::Neighbour => "neighbours",
    }
}

fn switch(name: &str, on: bool) -> String {
    format!("{name} {}", if on { "on" } else { "off" })
}

pub(super) fn rings_of(rings: xdproof_netns::Rings) -> Rings {
    let xdproof_netns::Rings { rx, rx_max, tx, tx_max } = rings;
    Rings { rx, rx_max, tx, tx_max }
}

fn rings_to(rings: Rings) -> xdproof_netns::Rings {
    let Rings { rx, rx_max, tx, tx_max } = rings;
    xdproof_netns::Rings { rx, rx_max, tx, tx_max }
}

pub(super) fn channels_of(channels: xdproof_netns::Channels) -> Channels {
    let xdproof_netns::Channels { rx, rx_max, tx, tx_max, combined, combined_max } = channels;
    Channels { rx, rx_max, tx, tx_max, combined, combined_max }
}

fn channels_to(channels: Channels) -> xdproof_netns::Channels {
    let Channels { rx, rx_max, tx, tx_max, combined, combined_max } = channels;
    xdproof_netns::Channels { rx, rx_max, tx, tx_max, combined, combined_max }
}
