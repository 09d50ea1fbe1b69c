//! Creation of virtual links: veth pairs directly in two namespaces, taps, bridges and the like.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::poll::PollFlags;
use rtnetlink::{
    LinkBridge, LinkDummy, LinkIfb, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
    },
};
use tappers::Interface;

use crate::{Error, Host, LinkName, MacAddr, NetNs, Subject, netlink::Request, poll::wait_ready};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethSpec {
    /// The end in the namespace of the worker that creates the pair.
    pub near: VethEnd,
    /// The end in the other namespace.
    pub far: VethEnd,
}

/// One end of a veth pair to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    pub name: LinkName,
    pub mac: MacAddr,
    /// Maximum payload in bytes of a frame behind its 14-byte Ethernet header.
    pub mtu: u32,
    /// Receive queues, 1 to 4096. A native XDP program needs at least as many as the other end has transmit
    /// queues.
    pub rx_queues: u32,
    /// Transmit queues, 1 to 4096.
    pub tx_queues: u32,
}

impl VethEnd {
    /// An end with an MTU of 1500 and one queue in each direction.
    #[must_use]
    pub fn new(name: LinkName, mac: MacAddr) -> Self {
        Self { name, mac, mtu: 1500, rx_queues: 1, tx_queues: 1 }
    }

    fn configure<T>(&self, link: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
        link.address(self.mac.0.to_vec())
            .mtu(self.mtu)
            .append_extra_attribute(LinkAttribute::NumRxQueues(self.rx_queues))
            .append_extra_attribute(LinkAttribute::NumTxQueues(self.tx_queues))
    }
}

/// A virtual link without a lower link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualKind {
    Bridge,
    /// An intermediate functional block (`drivers/net/ifb.c`).
    Ifb,
    /// A link that drops every frame (`drivers/net/dummy.c`).
    Dummy,
}

/// The user-space end of a tap: the link receives the frames that are written to it.
pub struct Tap(tappers::Tap);

impl Tap {
    /// Makes the link receive one frame, link-layer header included.
    ///
    /// # Errors
    /// `EIO` while the link is down, `EINVAL` for fewer than 14 bytes (`tun_get_user()` in
    /// `drivers/net/tun.c`).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }

    /// Takes the next frame that the link transmits and returns its length, or `None` if there is none within
    /// `timeout`. A frame that exceeds the buffer is truncated.
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<usize>> {
        let ready = wait_ready(self.0.as_fd(), PollFlags::POLLIN, timeout)?;
        ready.then(|| self.0.recv(buffer)).transpose()
    }
}

impl Host {
    /// Creates a veth pair with one request: the near end here, the far end directly in another namespace
    /// (which may be this one), so that neither end is ever in the wrong one. Both are down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if a name is taken, `EINVAL` for an MTU or a number of queues out of
    /// range, `EPERM` without `CAP_NET_ADMIN` over both namespaces.
    pub fn create_veth(&mut self, spec: &VethSpec, far: &NetNs) -> Result<(), Error> {
        let (near_name, far_name) = (spec.near.name.as_ref(), spec.far.name.as_ref());
        let peer = spec.far.configure(LinkUnspec::new_with_name(far_name));
        // rtnl_newlink() reads the peer's namespace from the peer's own attributes (net/core/rtnetlink.c).
        let peer = InfoVeth::Peer(peer.setns_by_fd(far.as_fd().as_raw_fd()).build());
        let pair = spec.near.configure(LinkVeth::new(near_name, far_name));
        let pair = pair.set_info_data(InfoData::Veth(peer)).build();
        self.create_link("create a veth pair", &spec.near.name, pair)
    }

    /// Creates a virtual link without a lower link. It is down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EEXIST` if the name is taken, `EOPNOTSUPP` if the kernel has no links of this
    /// kind.
    pub fn create_virtual(&mut self, name: &LinkName, kind: VirtualKind) -> Result<(), Error> {
        let message = match kind {
            // LinkBridge::new() would bring it up.
            VirtualKind::Bridge => LinkMessageBuilder::<LinkBridge>::new(name.as_ref()).build(),
            VirtualKind::Ifb => LinkIfb::new(name.as_ref()).build(),
            VirtualKind::Dummy => LinkDummy::new(name.as_ref()).build(),
        };
        self.create_link("create a virtual link", name, message)
    }

    fn create_link(
        &mut self,
        action: &'static str,
        name: &LinkName,
        message: LinkMessage,
    ) -> Result<(), Error> {
        let request = Request::new(action, Subject::from(name)).with_flags(NLM_F_CREATE | NLM_F_EXCL);
        self.route.send(&request, RouteNetlinkMessage::NewLink(message)).map(drop)
    }

    /// Creates a tap, which is down. The link disappears when the tap is dropped.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENOENT` where there is no `/dev/net/tun`, `EBUSY` if the name is taken.
    pub fn create_tap(&mut self, name: &LinkName) -> Result<Tap, Error> {
        Interface::new(name.as_ref())
            .and_then(tappers::Tap::new_named)
            .map(Tap)
            .map_err(Error::refused("create a tap", Subject::from(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PacketOptions, Worker,
        testing::{ARRIVAL, Pair, name, namespace, spec},
    };

    #[test]
    fn a_frame_written_to_a_tap_is_received_by_its_link() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "tapped").unwrap();
        let (tap, socket) = worker
            .call(|host| {
                let tap = host.create_tap(&name("tap"))?;
                let index = host.link(&name("tap"))?.index;
                host.set_up(index, true)?;
                host.packet_socket(index, PacketOptions::default()).map(|socket| (tap, socket))
            })
            .unwrap();
        assert_eq!(tap.send(&[0; 13]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let frame = [[0xff; 12].as_slice(), &[0x88, 0xb5], &[7; 46]].concat();
        tap.send(&frame).unwrap();
        assert!(socket.wait_readable(ARRIVAL).unwrap());
        let mut buffer = [0; 128];
        let received = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..received.len], frame);
        drop(tap);
        assert!(matches!(worker.call(|host| host.link(&name("tap"))).unwrap_err(), Error::NoSuchLink { .. }));
    }

    #[test]
    fn a_veth_pair_is_created_as_specified_in_two_namespaces() {
        let mut spec = spec();
        (spec.near.mtu, spec.near.rx_queues, spec.near.tx_queues) = (3000, 2, 3);
        (spec.far.mtu, spec.far.rx_queues, spec.far.tx_queues) = (2000, 4, 1);
        let Some(pair) = Pair::of(spec.clone()) else { return };
        let Pair { near, far, near_index, far_index } = pair;
        let near = near.call(move |host| host.link_by_index(near_index)).unwrap();
        let (far, all) = far.call(move |host| Ok((host.link_by_index(far_index)?, host.links()?))).unwrap();
        for (link, end, peer) in [(&near, &spec.near, far_index), (&far, &spec.far, near_index)] {
            assert_eq!((&link.name, link.settings.mac), (&end.name, Some(end.mac)));
            assert_eq!(
                (link.settings.mtu, link.rx_queues, link.tx_queues),
                (end.mtu, end.rx_queues, end.tx_queues)
            );
            assert_eq!((link.kind.as_deref(), link.iflink), (Some("veth"), Some(peer)));
            assert!(!link.settings.up && !link.running && link.settings.arp && !link.settings.promiscuous);
            assert!(link.xdp.is_empty() && link.ethernet && !link.loopback);
        }
        let names: Vec<_> = all.iter().map(|link| link.name.as_ref()).collect();
        assert_eq!(names, ["lo", "far"], "the near end is, or was, here");
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let other = pair.far.namespace().clone();
        let error = pair.near.call(move |host| host.create_veth(&spec(), &other)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert_eq!(error.to_string().split(':').next(), Some("create a veth pair (link near)"));
    }

    #[test]
    fn both_ends_may_share_a_namespace() {
        let Some(namespace) = namespace() else { return };
        let worker = Worker::spawn(&namespace, "both").unwrap();
        let names = worker
            .call(move |host| {
                host.create_veth(&spec(), &namespace)?;
                Ok(host.links()?.into_iter().map(|link| link.name.to_string()).collect::<Vec<_>>())
            })
            .unwrap();
        assert_eq!(names.len(), 3);
        assert!(names.contains(&"near".to_owned()) && names.contains(&"far".to_owned()));
    }
}
