//! What speaks against taking a device of the host away from it: everything is looked at before anything is changed.

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
use xdproof_netns::{Error, Host, Link, LinkName, RecordKind};

/// A reason not to take a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Objection {
    /// It is the loopback.
    Loopback,
    /// Its frames have no Ethernet header.
    NotEthernet,
    /// Another process holds an XDP program on it by a link, which nobody else can take off.
    LinkedProgram,
    /// The way to everywhere leads through it.
    DefaultRoute,
    /// One of its addresses is used by a socket.
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// By what: `a TCP connection with 192.0.2.7:22`.
        by: String,
    },
    /// It has the address that this login came to.
    Login {
        /// The address.
        address: IpAddr,
    },
    /// A packet socket is bound to it: a DHCP client, a capture, a link layer daemon.
    PacketSocket,
    /// It is a port of a bridge, a bond or the like.
    PortOf {
        /// Which one.
        controller: LinkName,
    },
    /// Others are ports of it, or are meant to be: a team, a VRF.
    Controls {
        /// What it is.
        kind: String,
    },
    /// It is a bridge with several ports, to all of which it sends the frames of the trial.
    Floods {
        /// How many ports it has.
        ports: usize,
    },
    /// Others stand on it, and go with it.
    StoodOn {
        /// Which ones.
        by: Vec<LinkName>,
    },
    /// It is a wireless one.
    Wireless,
    /// It has a queueing discipline or filters that someone has chosen, which go with its move.
    Discipline {
        /// Its kind.
        kind: String,
    },
    /// Programs are attached to it by tcx: they stay, and see the frames of the trial.
    TrafficPrograms,
    /// Next hops that are objects of their own go through it, and with it.
    NextHops {
        /// Their numbers.
        ids: Vec<u32>,
    },
}

impl Objection {
    /// Whether it can be set aside by whoever says that he knows.
    #[must_use]
    pub fn yields_to_force(&self) -> bool {
        !matches!(self, Self::Loopback | Self::NotEthernet | Self::LinkedProgram)
    }

    /// What would be gone for good, in words.
    pub(super) fn forgoes(&self) -> Vec<String> {
        match self {
            Self::StoodOn { by } => by.iter().map(|link| format!("{link}, which stood on it")).collect(),
            Self::Discipline { kind } => vec![format!("queueing discipline {kind} that someone had chosen")],
            Self::NextHops { ids } => ids.iter().map(|id| format!("next hop {id}")).collect(),
            Self::PortOf { controller } => vec![format!("what was set at it as a port of {controller}")],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Objection {
    /// A sentence without its full stop, about "it".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("it is the loopback"),
            Self::NotEthernet => f.write_str("it is no Ethernet device"),
            Self::LinkedProgram => {
                f.write_str("another process holds an XDP program on it by a bpf_link, which only that process can take off")
            }
            Self::DefaultRoute => f.write_str("it carries a default route"),
            Self::AddressInUse { address, by } => write!(f, "its address {address} is used by {by}"),
            Self::Login { address } => write!(f, "this login came to its address {address}"),
            Self::PacketSocket => f.write_str("a packet socket is bound to it (a DHCP client, a capture)"),
            Self::PortOf { controller } => write!(f, "it is a port of {controller}"),
            Self::Controls { kind } => write!(f, "it is a {kind}"),
            Self::Floods { ports } => {
                write!(f, "it is a bridge of {ports} ports, which would send the frames of the trial on to all of them")
            }
            Self::StoodOn { by } => {
                let names: Vec<_> = by.iter().map(LinkName::as_ref).collect();
                write!(f, "others stand on it and would go with it: {}", names.join(", "))
            }
            Self::Wireless => f.write_str("it is a wireless device"),
            Self::Discipline { kind } => {
                write!(f, "it has a queueing discipline that someone has chosen ({kind}), which would be lost")
            }
            Self::TrafficPrograms => {
                f.write_str("programs are attached to it by tcx, which would stay and see the frames of the trial")
            }
            Self::NextHops { ids } => {
                let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
                write!(f, "next hops that are objects go through it and would be lost: {}", ids.join(", "))
            }
        }
    }
}

/// Why it could not be found out whether a device may be taken.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The kernel refused.
    #[error(transparent)]
    Network(#[from] Error),
    /// The sockets or processes cannot be listed.
    #[error("list sockets and processes")]
    Processes(#[from] ProcError),
    /// A file of the kernel's cannot be read.
    #[error("list packet sockets")]
    Sockets(#[from] io::Error),
}

/// Kinds of links that others are ports of, and that mean something else without their network.
const CONTROLLERS: [&str; 4] = ["team", "vrf", "hsr", "openvswitch"];
/// Kinds of links that are taken with their ports: the kernel keeps them in their namespace (`bond_setup()` of
/// `drivers/net/bonding/bond_main.c`, `br_dev_setup()` of `net/bridge/br_device.c`), where they keep what they control.
const WITH_PORTS: [&str; 2] = [BRIDGE, "bond"];
const BRIDGE: &str = "bridge";

/// Everything that speaks against taking a link, the gravest first.
pub(super) fn objections(host: &mut Host, link: &Link) -> Result<Vec<Objection>, LookError> {
    let mut found = Vec::new();
    if link.loopback {
        return Ok(vec![Objection::Loopback]);
    }
    if !link.ethernet {
        return Ok(vec![Objection::NotEthernet]);
    }
    if !host.bpf_link_modes(link.index)?.is_empty() {
        found.push(Objection::LinkedProgram);
    }
    if host.is_wireless(link.index)? {
        found.push(Objection::Wireless);
    }
    if host.records(RecordKind::Route, link.index)?.iter().any(xdproof_netns::Record::is_default_route) {
        found.push(Objection::DefaultRoute);
    }
    let addresses: Vec<IpAddr> = host
        .records(RecordKind::Address, link.index)?
        .iter()
        .filter_map(xdproof_netns::Record::address)
        .collect();
    let logins = logins();
    found.extend(
        addresses
            .iter()
            .filter(|address| logins.contains(address))
            .map(|&address| Objection::Login { address }),
    );
    let uses = uses()?;
    for &address in &addresses {
        if let Some((_, by)) = uses.iter().find(|(used, _)| *used == address) {
            found.push(Objection::AddressInUse { address, by: by.clone() });
        }
    }
    if has_packet_socket(link)? {
        found.push(Objection::PacketSocket);
    }
    if let Some(controller) = link.master {
        found.push(Objection::PortOf { controller: host.link_by_index(controller)?.name });
    }
    let others = host.links()?;
    let ports = others.iter().filter(|other| other.master == Some(link.index)).count();
    match link.kind.as_deref() {
        Some(BRIDGE) if ports > 1 => found.push(Objection::Floods { ports }),
        Some(kind) if WITH_PORTS.contains(&kind) => {}
        Some(kind) if ports > 0 || CONTROLLERS.contains(&kind) => {
            found.push(Objection::Controls { kind: kind.to_owned() });
        }
        _ => {}
    }
    // A veth is tied to its other end, which does not stand on it.
    let on_it = |other: &&Link| other.iflink == Some(link.index) && other.kind.as_deref() != Some("veth");
    let by: Vec<LinkName> = others.iter().filter(on_it).map(|other| other.name.clone()).collect();
    if !by.is_empty() {
        found.push(Objection::StoodOn { by });
    }
    let chosen = host.qdiscs(link.index)?.into_iter().filter(|qdisc| qdisc.configured);
    found.extend(chosen.map(|discipline| Objection::Discipline { kind: discipline.kind }));
    if host.has_tcx_programs(link.index)? {
        found.push(Objection::TrafficPrograms);
    }
    let ids = host.next_hops(link.index)?;
    if !ids.is_empty() {
        found.push(Objection::NextHops { ids });
    }
    Ok(found)
}

/// The addresses that logins came to through which this process was started, its own and its ancestors' (`sudo` drops the
/// variable, the shell before it has it).
fn logins() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let mut next = Process::myself().ok();
    while let Some(process) = next {
        if let Ok(environment) = process.environ()
            && let Some(connection) = environment.get(OsStr::new("SSH_CONNECTION"))
        {
            found.extend(login(&connection.to_string_lossy()));
        }
        // An ancestor that cannot be looked at has no ancestors that could be, but for init.
        next = process.stat().ok().filter(|stat| stat.ppid > 0).and_then(|stat| Process::new(stat.ppid).ok());
    }
    found
}

/// `CLIENT PORT SERVER PORT` (sshd(8)).
fn login(connection: &str) -> Option<IpAddr> {
    let server = connection.split_whitespace().nth(2)?;
    // A link-local address has the link behind it.
    server.split('%').next()?.parse().ok().map(plain)
}

/// The local addresses of sockets of this namespace, with what uses them, wildcards aside.
fn uses() -> Result<Vec<(IpAddr, String)>, LookError> {
    let mut found = Vec::new();
    for (file, transport) in [("tcp", "TCP"), ("tcp6", "TCP")] {
        for socket in read(file, |from| TcpNetEntries::from_buf_read(from, current_system_info()))?
            .map_or(Vec::new(), |read| read.0)
        {
            let by = match socket.state {
                TcpState::Listen => {
                    format!("a listening {transport} socket (port {})", socket.local_address.port())
                }
                // It is over, or as good as over.
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

/// Whether a packet socket of this namespace is bound to a link: `/proc/net/packet`, whose fifth column is the index
/// (`packet_seq_show()` of `net/packet/af_packet.c`).
fn has_packet_socket(link: &Link) -> Result<bool, LookError> {
    let text = match fs::read_to_string("/proc/thread-self/net/packet") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        text => text?,
    };
    let index = link.index.to_string();
    Ok(text.lines().skip(1).any(|line| line.split_whitespace().nth(4) == Some(index.as_str())))
}

/// Reads a file of the calling thread's namespace; `None` where the kernel has none, as without IPv6.
fn read<T>(
    file: &str,
    parse: impl FnOnce(BufReader<fs::File>) -> procfs::ProcResult<T>,
) -> Result<Option<T>, LookError> {
    match fs::File::open(format!("/proc/thread-self/net/{file}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some(parse(BufReader::new(opened?))?)),
    }
}

/// An IPv4 address as such, where it is written as one of IPv6.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_a_login_came_to_is_the_third_word() {
        assert_eq!(login("198.51.100.7 50000 192.0.2.2 22"), Some("192.0.2.2".parse().unwrap()));
        assert_eq!(login("::ffff:198.51.100.7 5 ::ffff:192.0.2.2 22"), Some("192.0.2.2".parse().unwrap()));
        assert_eq!(login("fe80::1%eth0 5 fe80::2%eth0 22"), Some("fe80::2".parse().unwrap()));
        assert_eq!(login(""), None);
    }
}
