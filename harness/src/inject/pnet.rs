//! One `AF_PACKET` send a frame, by pnet: slow (a `poll` and a `sendto` each) and exact.

use std::{io, os::fd::IntoRawFd as _};

use pnet::datalink::{self, Channel, Config, DataLinkSender, NetworkInterface};
use xdproof_netns::{MacAddr, Worker};

use crate::ports::Port;

const IFF_UP: u32 = 0x1;

/// A socket on the tester's port.
pub struct PnetSender {
    sender: Box<dyn DataLinkSender>,
}

impl std::fmt::Debug for PnetSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PnetSender").finish_non_exhaustive()
    }
}

impl PnetSender {
    /// Opens the socket in the worker's namespace. Needs `CAP_NET_RAW` there. If frames bypass the qdisc, they leave by the transmit
    /// queue of the CPU that sends them, modulo the number of queues (`packet_pick_tx_queue()` of `net/packet/af_packet.c`); otherwise
    /// by one that their hash chooses.
    pub(crate) fn open(worker: &Worker, port: &Port, bypass_qdisc: bool) -> io::Result<Self> {
        let MacAddr([a, b, c, d, e, f]) = port.mac;
        let interface = NetworkInterface {
            name: port.name.to_string(),
            description: String::new(),
            index: port.index.get(),
            mac: Some(datalink::MacAddr(a, b, c, d, e, f)),
            ips: Vec::new(),
            flags: IFF_UP,
        };
        let opened = worker.run(move |host| {
            // pnet closes it, whether it opens the channel or not.
            let socket = host.sending_socket(bypass_qdisc).map_err(io::Error::other)?.into_raw_fd();
            let config = Config { promiscuous: false, socket_fd: Some(socket), ..Config::default() };
            datalink::channel(&interface, config)
        });
        match opened.map_err(io::Error::other)?? {
            Channel::Ethernet(sender, _receiver) => Ok(Self { sender }),
            _ => Err(io::Error::other("pnet opened a channel that is not Ethernet")),
        }
    }

    /// Sends one frame, without FCS, as it is.
    ///
    /// Fails with EINVAL for a frame shorter than an Ethernet header, EMSGSIZE for one beyond the MTU
    /// (`packet_snd`).
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        loop {
            match self.sender.send_to(frame, None) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::other("pnet did not send")),
            }
        }
    }
}
