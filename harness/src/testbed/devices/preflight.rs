//! Checks before a device of the host is claimed: everything is examined before anything is changed.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt, fs,
    io::{self, BufReader},
    net::{IpAddr, SocketAddr},
};

use procfs::{
    FromBufReadSI as _, ProcError, current_system_info,
    net::{TcpNetEntries, TcpState, UdpNetEntries},
    process::Process,
};
use xdproof_netns::{Error, Host, IfIndex, Link, LinkName, Record, RecordKind};

/// A reason not to claim a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objection {
    Loopback,
    NotEthernet,
    /// Another process has attached an XDP program by a `bpf_link`, which nobody else can detach.
    BpfLink,
    DefaultRoute,
    /// A socket uses one of its addresses.
    AddressInUse {
        address: IpAddr,
        /// The socket: `a TCP connection with 192.0.2.7:22`.
        by: String,
    },
    /// The SSH session of this process was opened to one of its addresses.
    SshSession {
        address: IpAddr,
    },
    /// A packet socket is bound to it: a DHCP client, a capture, a link-layer daemon.
    PacketSocket,
    /// It is a port of a bridge, a bond or another master device.
    PortOf {
        master: LinkName,
    },
    /// It is a master device of a kind that means something else without its namespace: a team, a VRF.
    Master {
        kind: String,
    },
    /// It is a bridge with several ports, to all of which it sends the frames of the trial.
    Floods {
        ports: usize,
    },
    /// Upper devices depend on it, and vanish with it.
    UpperDevices {
        names: Vec<LinkName>,
    },
    Wireless,
    /// It has a configured qdisc or filters, which a move destroys.
    Qdisc {
        kind: String,
    },
    /// Programs are attached to it by tcx: they stay, and see the frames of the trial.
    TcxPrograms,
    /// Nexthop objects use it, and vanish with it.
    NextHops {
        ids: Vec<u32>,
    },
}

impl Objection {
    /// Returns true if `--force` overrides it.
    #[must_use]
    pub fn yields_to_force(&self) -> bool {
        !matches!(self, Self::Loopback | Self::NotEthernet | Self::BpfLink)
    }

    /// Lists what a move destroys, in words.
    pub(super) fn losses(&self) -> Vec<String> {
        match self {
            Self::UpperDevices { names } => names.iter().map(|name| format!("upper device {name}")).collect(),
            Self::Qdisc { kind } => vec![format!("configured qdisc {kind}")],
            Self::NextHops { ids } => ids.iter().map(|id| format!("nexthop object {id}")).collect(),
            Self::PortOf { master } => vec![format!("its settings as a port of {master}")],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Objection {
    /// A sentence about "it".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "it is the loopback",
            Self::NotEthernet => "it is no Ethernet device",
            Self::BpfLink => {
                "another process has attached an XDP program by a bpf_link, which only that process can detach"
            }
            Self::DefaultRoute => "it carries a default route",
            Self::PacketSocket => "a packet socket is bound to it (a DHCP client, a capture)",
            Self::Wireless => "it is a wireless device",
            Self::TcxPrograms => {
                "programs are attached to it by tcx, which would stay and see the frames of the trial"
            }
            Self::AddressInUse { address, by } => {
                return write!(f, "its address {address} is used by {by}");
            }
            Self::SshSession { address } => {
                return write!(f, "your SSH session uses its address {address}");
            }
            Self::PortOf { master } => return write!(f, "it is a port of {master}"),
            Self::Master { kind } => return write!(f, "it is a {kind}"),
            Self::Floods { ports } => {
                return write!(f, "it is a bridge of {ports} ports, which would forward the frames of the trial to all of them");
            }
            Self::UpperDevices { names } => {
                return write!(f, "upper devices depend on it and would be lost: {}", listed(names));
            }
            Self::Qdisc { kind } => return write!(f, "it has a configured qdisc ({kind}), which would be lost"),
            Self::NextHops { ids } => {
                return write!(f, "nexthop objects use it and would be lost: {}", listed(ids));
            }
        })
    }
}

fn listed(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The reason why a device could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error(transparent)]
    Network(#[from] Error),
    #[error("list sockets and processes")]
    Processes(#[from] ProcError),
    #[error("list packet sockets")]
    Sockets(#[from] io::Error),
}

/// Kinds of master devices that are not claimed.
const MASTERS: [&str; 4] = ["team", "vrf", "hsr", "openvswitch"];
/// Kinds of master devices that are claimed together with their ports: the kernel keeps them in their namespace (`bond_setup()`
/// of `drivers/net/bonding/bond_main.c`, `br_dev_setup()` of `net/bridge/br_device.c`), where they keep their ports.
const WITH_PORTS: [&str; 2] = [BRIDGE, "bond"];
const BRIDGE: &str = "bridge";

/// A device that is examined.
struct Candidate<'a> {
    host: &'a mut Host,
    link: &'a Link,
    /// All links of the namespace.
    links: Vec<Link>,
    /// The device's addresses.
    addresses: Vec<IpAddr>,
}

type PreflightCheck = fn(&mut Candidate<'_>) -> Result<Vec<Objection>, PreflightError>;

/// All checks of an Ethernet device, the gravest first.
const CHECKS: [PreflightCheck; 12] = [
    |it| Ok(if_so(!it.host.bpf_link_modes(it.link.index)?.is_empty(), Objection::BpfLink)),
    |it| Ok(if_so(it.host.is_wireless(it.link.index)?, Objection::Wireless)),
    |it| {
        let routes = it.host.records(RecordKind::Route, it.link.index)?;
        Ok(if_so(routes.iter().any(Record::is_default_route), Objection::DefaultRoute))
    },
    |it| {
        let sessions = ssh_sessions();
        let used = it.addresses.iter().filter(|address| sessions.contains(address));
        Ok(used.map(|&address| Objection::SshSession { address }).collect())
    },
    |it| {
        let uses = uses()?;
        let using = |address| uses.iter().find(|(used, _)| *used == address).map(|(_, by)| by.clone());
        let used = it.addresses.iter().filter_map(|&address| Some((address, using(address)?)));
        Ok(used.map(|(address, by)| Objection::AddressInUse { address, by }).collect())
    },
    |it| Ok(if_so(has_packet_socket(it.link)?, Objection::PacketSocket)),
    |it| {
        let master = it.link.master.map(|master| it.host.link_by_index(master)).transpose()?;
        Ok(master.map(|master| Objection::PortOf { master: master.name }).into_iter().collect())
    },
    |it| {
        let ports = it.links.iter().filter(|other| other.master == Some(it.link.index)).count();
        Ok(as_master(it.link.kind.as_deref(), ports).into_iter().collect())
    },
    |it| {
        let names = upper_devices(it.link.index, &it.links);
        Ok(if_so(!names.is_empty(), Objection::UpperDevices { names }))
    },
    |it| {
        let qdiscs = it.host.qdiscs(it.link.index)?.into_iter().filter(|qdisc| qdisc.configured);
        Ok(qdiscs.map(|qdisc| Objection::Qdisc { kind: qdisc.kind }).collect())
    },
    |it| Ok(if_so(it.host.has_tcx_programs(it.link.index)?, Objection::TcxPrograms)),
    |it| {
        let ids = it.host.next_hops(it.link.index)?;
        Ok(if_so(!ids.is_empty(), Objection::NextHops { ids }))
    },
];

/// Lists all reasons not to claim a link, the gravest first.
pub(super) fn objections(host: &mut Host, link: &Link) -> Result<Vec<Objection>, PreflightError> {
    if link.loopback {
        return Ok(vec![Objection::Loopback]);
    }
    if !link.ethernet {
        return Ok(vec![Objection::NotEthernet]);
    }
    let records = host.records(RecordKind::Address, link.index)?;
    let addresses = records.iter().filter_map(Record::address).collect();
    let mut candidate = Candidate { links: host.links()?, addresses, host, link };
    let mut found = Vec::new();
    for check in CHECKS {
        found.extend(check(&mut candidate)?);
    }
    Ok(found)
}

fn if_so(condition: bool, objection: Objection) -> Vec<Objection> {
    condition.then_some(objection).into_iter().collect()
}

/// Returns the objection to a device of a kind that has this many ports.
fn as_master(kind: Option<&str>, ports: usize) -> Option<Objection> {
    match kind? {
        BRIDGE if ports > 1 => Some(Objection::Floods { ports }),
        kind if WITH_PORTS.contains(&kind) => None,
        kind if ports > 0 || MASTERS.contains(&kind) => Some(Objection::Master { kind: kind.to_owned() }),
        _ => None,
    }
}

/// Lists the devices that are stacked on a link (VLANs, macvlans). The `IFLA_LINK` of a veth is its other end, which is not
/// stacked on it.
fn upper_devices(index: IfIndex, links: &[Link]) -> Vec<LinkName> {
    let is_upper = |other: &&Link| other.iflink == Some(index) && other.kind.as_deref() != Some("veth");
    links.iter().filter(is_upper).map(|other| other.name.clone()).collect()
}

/// Returns the local addresses of the SSH sessions in which this process was started, from its own environment and those of its
/// ancestors (`sudo` drops the variable, the shell before it has it).
fn ssh_sessions() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let mut next = Process::myself().ok();
    while let Some(process) = next {
        if let Ok(environment) = process.environ()
            && let Some(connection) = environment.get(OsStr::new("SSH_CONNECTION"))
        {
            found.extend(session_address(&connection.to_string_lossy()));
        }
        // The ancestors of a process that cannot be read cannot be read either, except init.
        next = process.stat().ok().filter(|stat| stat.ppid > 0).and_then(|stat| Process::new(stat.ppid).ok());
    }
    found
}

/// Returns the server's address in `CLIENT PORT SERVER PORT` (sshd(8)).
fn session_address(connection: &str) -> Option<IpAddr> {
    let server = connection.split_whitespace().nth(2)?;
    // A link-local address has the link as a suffix.
    server.split('%').next()?.parse().ok().map(plain)
}

/// Lists the local addresses of the sockets of this namespace, except wildcards, and describes the sockets.
fn uses() -> Result<Vec<(IpAddr, String)>, PreflightError> {
    let mut found = Vec::new();
    for (file, transport) in [("tcp", "TCP"), ("tcp6", "TCP")] {
        for socket in read(file, |from| TcpNetEntries::from_buf_read(from, current_system_info()))?
            .map_or(Vec::new(), |read| read.0)
        {
            let by = match socket.state {
                TcpState::Listen => {
                    format!("a listening {transport} socket (port {})", socket.local_address.port())
                }
                // The connection is over, or nearly so.
                TcpState::TimeWait | TcpState::Close => continue,
                _ => format!("a {transport} connection with {}", socket.remote_address),
            };
            found.push((socket.local_address, by));
        }
    }
    for file in ["udp", "udp6"] {
        for socket in read(file, |from| UdpNetEntries::from_buf_read(from, current_system_info()))?
            .map_or(Vec::new(), |read| read.0)
        {
            found
                .push((socket.local_address, format!("a UDP socket (port {})", socket.local_address.port())));
        }
    }
    Ok(found
        .into_iter()
        .map(|(address, by): (SocketAddr, _)| (plain(address.ip()), by))
        .filter(|(address, _)| !address.is_unspecified())
        .collect())
}

/// Returns true if a packet socket of this namespace is bound to a link: `/proc/net/packet`, whose fifth column is the index
/// (`packet_seq_show()` of `net/packet/af_packet.c`).
fn has_packet_socket(link: &Link) -> Result<bool, PreflightError> {
    let text = match fs::read_to_string("/proc/thread-self/net/packet") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        text => text?,
    };
    let index = link.index.to_string();
    Ok(text.lines().skip(1).any(|line| line.split_whitespace().nth(4) == Some(index.as_str())))
}

/// Reads a file of the calling thread's namespace; `None` if the kernel has no such file, as without IPv6.
fn read<T>(
    file: &str,
    parse: impl FnOnce(BufReader<fs::File>) -> procfs::ProcResult<T>,
) -> Result<Option<T>, PreflightError> {
    match fs::File::open(format!("/proc/thread-self/net/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some(parse(BufReader::new(opened?))?)),
    }
}

/// Returns an IPv4-mapped address as an IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_ssh_session_is_the_third_word() {
        let of = session_address;
        assert_eq!(of("198.51.100.7 50000 192.0.2.2 22"), Some("192.0.2.2".parse().unwrap()));
        assert_eq!(of("::ffff:198.51.100.7 5 ::ffff:192.0.2.2 22"), Some("192.0.2.2".parse().unwrap()));
        assert_eq!(of("fe80::1%eth0 5 fe80::2%eth0 22"), Some("fe80::2".parse().unwrap()));
        assert_eq!(of(""), None);
    }

    #[test]
    fn bonds_and_bridges_of_one_port_are_no_objection_and_other_masters_are() {
        let master = |kind: &str| Some(Objection::Master { kind: kind.to_owned() });
        for (kind, ports, expected) in [
            (None, 0, None),
            (Some("veth"), 0, None),
            (Some("bond"), 0, None),
            (Some("bond"), 4, None),
            (Some("bridge"), 1, None),
            (Some("bridge"), 2, Some(Objection::Floods { ports: 2 })),
            (Some("vrf"), 0, master("vrf")),
            (Some("team"), 1, master("team")),
            (Some("batadv"), 1, master("batadv")),
        ] {
            assert_eq!(as_master(kind, ports), expected, "{kind:?} with {ports} ports");
        }
    }

    #[test]
    fn force_overrides_everything_but_what_it_cannot_change() {
        let by = "a UDP socket (port 53)".to_owned();
        let address = IpAddr::from([192, 0, 2, 1]);
        let eth1: LinkName = "eth1".parse().unwrap();
        for (objection, yields, losses) in [
            (Objection::Loopback, false, &[][..]),
            (Objection::NotEthernet, false, &[]),
            (Objection::BpfLink, false, &[]),
            (Objection::DefaultRoute, true, &[]),
            (Objection::AddressInUse { address, by }, true, &[]),
            (Objection::UpperDevices { names: vec![eth1.clone()] }, true, &["upper device eth1"]),
            (Objection::Qdisc { kind: "fq".to_owned() }, true, &["configured qdisc fq"]),
            (Objection::NextHops { ids: vec![7, 9] }, true, &["nexthop object 7", "nexthop object 9"]),
            (Objection::PortOf { master: eth1 }, true, &["its settings as a port of eth1"]),
        ] {
            assert_eq!(
                (objection.yields_to_force(), &objection.losses()[..]),
                (yields, &losses.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{objection}"
            );
        }
    }
}
