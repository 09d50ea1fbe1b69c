//! Checks before a device of the host is claimed: everything is examined before anything is changed.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, BufReader},
    net::{IpAddr, SocketAddr},
};

use procfs::{
    FromBufReadSI as _, ProcError, current_system_info,
    net::{TcpNetEntries, TcpState, UdpNetEntries},
    process::Process,
};
use xdproof_netns::{Error, Host, IfIndex, Link, LinkName, Record, RecordKind};

/// A reason not to claim a device, as a sentence about "it".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    #[error("it is the loopback")]
    Loopback,
    #[error("it is no Ethernet device")]
    NotEthernet,
    #[error("another process has attached an XDP program by a bpf_link, which only that process can detach")]
    BpfLink,
    #[error("it carries a default route")]
    DefaultRoute,
    /// The user: `a TCP connection with 192.0.2.7:22`.
    #[error("its address {0} is used by {1}")]
    AddressInUse(IpAddr, String),
    #[error("your SSH session uses its address {0}")]
    SshSession(IpAddr),
    #[error("a packet socket is bound to it (a DHCP client, a capture)")]
    PacketSocket,
    #[error("it is a port of {0}")]
    PortOf(LinkName),
    /// A master device of a kind that means something else without its namespace: a team, a VRF.
    #[error("it is a {0}")]
    Master(String),
    #[error("it is a bridge of {0} ports, which would forward the frames of the trial to all of them")]
    Floods(usize),
    #[error("upper devices depend on it and would be lost: {}", listed(.0))]
    UpperDevices(Vec<LinkName>),
    #[error("it is a wireless device")]
    Wireless,
    /// A configured qdisc, or one with filters.
    #[error("it has a configured qdisc ({0}), which would be lost")]
    Qdisc(String),
    #[error("programs are attached to it by tcx, which would stay and see the frames of the trial")]
    TcxPrograms,
    #[error("nexthop objects use it and would be lost: {}", listed(.0))]
    NextHops(Vec<u32>),
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
            Self::UpperDevices(names) => names.iter().map(|name| format!("upper device {name}")).collect(),
            Self::Qdisc(kind) => vec![format!("configured qdisc {kind}")],
            Self::NextHops(ids) => ids.iter().map(|id| format!("nexthop object {id}")).collect(),
            Self::PortOf(master) => vec![format!("its settings as a port of {master}")],
            _ => Vec::new(),
        }
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
        Ok(used.map(|&address| Objection::SshSession(address)).collect())
    },
    |it| {
        let uses = uses()?;
        let using = |address| uses.iter().find(|(used, _)| *used == address).map(|(_, by)| by.clone());
        let used = it.addresses.iter().filter_map(|&address| Some((address, using(address)?)));
        Ok(used.map(|(address, by)| Objection::AddressInUse(address, by)).collect())
    },
    |it| Ok(if_so(has_packet_socket(it.link)?, Objection::PacketSocket)),
    |it| {
        let master = it.link.master.map(|master| it.host.link_by_index(master)).transpose()?;
        Ok(master.map(|master| Objection::PortOf(master.name)).into_iter().collect())
    },
    |it| {
        let ports = it.links.iter().filter(|other| other.master == Some(it.link.index)).count();
        Ok(as_master(it.link.kind.as_deref(), ports).into_iter().collect())
    },
    |it| {
        let names = upper_devices(it.link.index, &it.links);
        Ok(if_so(!names.is_empty(), Objection::UpperDevices(names)))
    },
    |it| {
        let qdiscs = it.host.qdiscs(it.link.index)?.into_iter().filter(|qdisc| qdisc.configured);
        Ok(qdiscs.map(|qdisc| Objection::Qdisc(qdisc.kind)).collect())
    },
    |it| Ok(if_so(it.host.has_tcx_programs(it.link.index)?, Objection::TcxPrograms)),
    |it| {
        let ids = it.host.next_hops(it.link.index)?;
        Ok(if_so(!ids.is_empty(), Objection::NextHops(ids)))
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
        BRIDGE if ports > 1 => Some(Objection::Floods(ports)),
        kind if WITH_PORTS.contains(&kind) => None,
        kind if ports > 0 || MASTERS.contains(&kind) => Some(Objection::Master(kind.to_owned())),
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
    server.split('%').next()?.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Lists the local addresses of the sockets of this namespace, except wildcards, and describes the sockets.
fn uses() -> Result<Vec<(IpAddr, String)>, PreflightError> {
    let mut found: Vec<(SocketAddr, String)> = Vec::new();
    for file in ["tcp", "tcp6"] {
        let sockets = read(file, |from| TcpNetEntries::from_buf_read(from, current_system_info()))?;
        found.extend(sockets.into_iter().flat_map(|sockets| sockets.0).filter_map(|socket| {
            let by = match socket.state {
                TcpState::Listen => {
                    format!("a listening TCP socket (port {})", socket.local_address.port())
                }
                // The connection is over, or nearly so.
                TcpState::TimeWait | TcpState::Close => return None,
                _ => format!("a TCP connection with {}", socket.remote_address),
            };
            Some((socket.local_address, by))
        }));
    }
    for file in ["udp", "udp6"] {
        let sockets = read(file, |from| UdpNetEntries::from_buf_read(from, current_system_info()))?;
        let local = sockets.into_iter().flat_map(|sockets| sockets.0).map(|socket| socket.local_address);
        found.extend(local.map(|local| (local, format!("a UDP socket (port {})", local.port()))));
    }
    let canonical = found.into_iter().map(|(local, by)| (local.ip().to_canonical(), by));
    Ok(canonical.filter(|(address, _)| !address.is_unspecified()).collect())
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
        let master = |kind: &str| Some(Objection::Master(kind.to_owned()));
        for (kind, ports, expected) in [
            (None, 0, None),
            (Some("veth"), 0, None),
            (Some("bond"), 0, None),
            (Some("bond"), 4, None),
            (Some("bridge"), 1, None),
            (Some("bridge"), 2, Some(Objection::Floods(2))),
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
            (Objection::AddressInUse(address, by), true, &[]),
            (Objection::UpperDevices(vec![eth1.clone()]), true, &["upper device eth1"]),
            (Objection::Qdisc("fq".to_owned()), true, &["configured qdisc fq"]),
            (Objection::NextHops(vec![7, 9]), true, &["nexthop object 7", "nexthop object 9"]),
            (Objection::PortOf(eth1), true, &["its settings as a port of eth1"]),
        ] {
            assert_eq!(
                (objection.yields_to_force(), &objection.losses()[..]),
                (yields, &losses.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{objection}"
            );
        }
    }
}
