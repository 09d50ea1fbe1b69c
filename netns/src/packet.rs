//! Packet sockets: the frames of a link, with the bytes that were on the link.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{
        AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType,
        UnknownCmsg, getsockopt, recvmsg, send, sendmmsg, setsockopt, socket,
        sockopt::{RcvBufForce, SocketError},
    },
};

use crate::{
    Error, Host, IfIndex, Subject, TxOutcome, netlink::u32_at, poll::wait_ready, ring::PROGRESS_TIMEOUT, sys,
};

/// Length of the two addresses, behind which a VLAN tag is.
const ADDRESSES: usize = 12;
const TAG: usize = 4;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and `VIRTIO_NET_HDR_GSO_TCPV4` (`include/uapi/linux/virtio_net.h`).
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;

/// A buffer for the one requested control message (its `CMSG_SPACE` is 40 bytes), aligned as `cmsghdr`.
#[repr(align(8))]
struct Control([u8; 64]);

/// Options of a packet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketOptions {
    /// Size of the receive buffer in bytes, beyond `net.core.rmem_max` if necessary (`SO_RCVBUFFORCE`). The
    /// kernel doubles it and charges its own overhead: the shortest frame takes some 700 bytes.
    pub receive_buffer: usize,
    /// Also receive the frames that the link transmits.
    pub outgoing: bool,
    /// Bypass the link's qdisc when sending (`PACKET_QDISC_BYPASS`, Linux 3.14): a frame that the driver does
    /// not accept at once is dropped and reported.
    pub bypass_qdisc: bool,
}

impl Default for PacketOptions {
    /// 8 MiB, received frames only.
    fn default() -> Self {
        Self { receive_buffer: 8 << 20, outgoing: false, bypass_qdisc: false }
    }
}

/// A non-blocking `AF_PACKET` socket of one link: every frame of every protocol, link-layer header included.
///
/// It receives what the stack receives: after native and generic XDP, and after GRO.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: IfIndex,
    outgoing: bool,
}

/// Metadata of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer, the restored tag included.
    pub len: usize,
    /// Length of the frame on the link, the restored tag included: more than `len` if the buffer was too
    /// short.
    pub original_len: usize,
    /// The link transmitted it (`PACKET_OUTGOING`).
    pub outgoing: bool,
    /// The stack had removed its outer VLAN tag, which was restored.
    pub tag_restored: bool,
}

impl Host {
    /// Opens an unbound packet socket for sending. It does not receive the frames that the link transmits
    /// (`PACKET_IGNORE_OUTGOING`, Linux 4.20): each would cost a clone of its `skb` and, because of that, a
    /// copy of the frame in XDP. It may bypass the qdisc, see [`PacketOptions::bypass_qdisc`].
    ///
    /// # Errors
    /// [`Error::Refused`]: `EPERM` without `CAP_NET_RAW`.
    pub fn sending_socket(&mut self, bypass_qdisc: bool) -> Result<OwnedFd, Error> {
        let open = || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            ignore_outgoing(socket.as_fd())?;
            if bypass_qdisc {
                sys::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
            }
            Ok(socket)
        };
        open().map_err(Error::refused::<io::Error>("open a packet socket", None))
    }

    /// Opens a packet socket on a link. The link may still be down.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EPERM` without `CAP_NET_RAW` (and `CAP_NET_ADMIN` for the buffer), `ENODEV` if
    /// there is no such link.
    pub fn packet_socket(&mut self, index: IfIndex, options: PacketOptions) -> Result<PacketSocket, Error> {
        let PacketOptions { receive_buffer, outgoing, bypass_qdisc } = options;
        let open = || {
            // Protocol 0 receives nothing: no frame of another link is queued before the socket is bound.
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            setsockopt(&socket, RcvBufForce, &receive_buffer)?;
            sys::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
            if !outgoing {
                ignore_outgoing(socket.as_fd())?;
            }
            if bypass_qdisc {
                sys::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
            }
            sys::bind_packet(socket.as_fd(), index)?;
            // Binding to a link that is down leaves ENETDOWN for the first reader (packet_do_bind() in
            // net/packet/af_packet.c), although the socket works as soon as the link is up. Reading the error
            // clears it.
            getsockopt(&socket, SocketError)?;
            Ok(PacketSocket { socket, index, outgoing })
        };
        open().map_err(Error::refused::<io::Error>("open a packet socket", Subject::from(index)))
    }
}

/// Excludes the frames that the link transmits. Before Linux 4.20 the socket receives them nevertheless.
fn ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    match sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        set => set,
    }
}

impl PacketSocket {
    /// Receives the next frame, or `None` if none is queued.
    ///
    /// The stack removes the outer VLAN tag from the bytes of a frame (`skb_vlan_untag()`); it is restored at
    /// offset 12, so that the bytes are those on the link. A frame that exceeds the buffer is truncated.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENETDOWN` once when the link goes down or away.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>, Error> {
        loop {
            let (original_len, address, tag) = match self.receive_message(buffer) {
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                received => received.map_err(|errno| self.refused("receive a frame")(errno.into()))?,
            };
            let outgoing = address.is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
            if outgoing && !self.outgoing {
                continue;
            }
            let len = original_len.min(buffer.len());
            return Ok(Some(Received {
                len: tag.map_or(len, |tag| insert_tag(buffer, len, tag)),
                original_len: original_len + tag.map_or(0, |_| TAG),
                outgoing,
                tag_restored: tag.is_some(),
            }));
        }
    }

    /// Receives the length of a frame, which may exceed the buffer's, its address, and the VLAN tag that the
    /// stack removed from it. The tag needs `PACKET_AUXDATA` and Linux 3.0 (`packet_recvmsg()` in
    /// `net/packet/af_packet.c`).
    fn receive_message(
        &self,
        buffer: &mut [u8],
    ) -> nix::Result<(usize, Option<LinkAddr>, Option<[u8; TAG]>)> {
        let mut control = Control([0; _]);
        let mut vector = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<LinkAddr>(fd, &mut vector, Some(&mut control.0), MsgFlags::MSG_TRUNC)?;
        let tag = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Unknown(UnknownCmsg { cmsg_header, data_bytes })
                if (cmsg_header.cmsg_level, cmsg_header.cmsg_type)
                    == (libc::SOL_PACKET, libc::PACKET_AUXDATA) =>
            {
                removed_tag(&data_bytes)
            }
            _ => None,
        });
        Ok((message.bytes, message.address, tag))
    }

    /// Waits until [`receive`](Self::receive) returns a frame or an error, for at most `timeout`; returns
    /// whether it would.
    pub fn wait_readable(&self, timeout: Duration) -> Result<bool, Error> {
        self.wait(PollFlags::POLLIN, timeout)
    }

    fn wait(&self, events: PollFlags, timeout: Duration) -> Result<bool, Error> {
        wait_ready(self.as_fd(), events, timeout).map_err(self.refused("wait for a frame"))
    }

    /// Reads and resets the number of frames that were dropped because the receive buffer was full.
    pub fn drops(&self) -> Result<u32, Error> {
        sys::packet_drops(self.socket.as_fd()).map_err(self.refused("read the socket's drops"))
    }

    /// Sends one frame, link-layer header included, and returns its length.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` for fewer than 14 bytes, `EMSGSIZE` for more than header and MTU,
    /// `ENETDOWN` if the link is down, `EAGAIN` or `ENOBUFS` if too many earlier frames are queued.
    pub fn send(&self, frame: &[u8]) -> Result<usize, Error> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                sent => return sent.map_err(|errno| self.refused("send a frame")(errno.into())),
            }
        }
    }

    /// Sends frames, link-layer header included, in that order, many with one system call (`sendmmsg(2)`,
    /// Linux 3.0).
    ///
    /// # Errors
    /// Those of [`send`](Self::send), except that it waits while the queue is full and counts what the driver
    /// drops (`ENOBUFS`); [`Error::Timeout`] if the queue does not move for three seconds.
    pub fn send_all(&self, frames: &[&[u8]]) -> Result<TxOutcome, Error> {
        let pieces: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(pieces.len(), None);
        let addresses = vec![None; pieces.len()];
        let (mut outcome, mut done) = (TxOutcome::default(), 0);
        while let Some(rest) = pieces.get(done..).filter(|rest| !rest.is_empty()) {
            let fd = self.socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, rest, &addresses[done..], [], MsgFlags::empty()) {
                Ok(results) => {
                    let accepted = results.count();
                    done += accepted;
                    outcome.accepted += accepted as u64;
                }
                Err(Errno::ENOBUFS) => {
                    done += 1;
                    outcome.dropped += 1;
                }
                Err(Errno::EAGAIN) if self.wait(PollFlags::POLLOUT, PROGRESS_TIMEOUT)? => {}
                Err(Errno::EAGAIN) => {
                    let (action, subject) = ("see the driver accept a frame", Some(self.index.into()));
                    return Err(Error::Timeout { action, subject, deadline: PROGRESS_TIMEOUT });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.refused("send frames")(errno.into())),
            }
        }
        Ok(outcome)
    }

    /// Turns the socket into one that determines the layout of the `skb`s that it sends (`PACKET_VNET_HDR`,
    /// Linux 2.6.27). It is for sending only: [`receive`](Self::receive) does not know the header that
    /// precedes a frame then.
    pub fn into_vnet_socket(self) -> Result<VnetSocket, Error> {
        sys::set_option(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
            .map_err(self.refused("enable the virtio header"))?;
        Ok(VnetSocket(self))
    }

    fn refused(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::refused(action, Subject::from(self.index))
    }
}

/// Layout of the `skb` of a sent frame ([`VnetSocket::send`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkbLayout {
    /// Length of the linear part in bytes. The rest of a frame that exceeds a page with it is in frags
    /// (`packet_alloc_skb()` in `net/packet/af_packet.c`). 0 leaves the choice to the kernel.
    pub linear: u16,
    /// The frame is TCP over IPv4 with headers that end at [`linear`](Self::linear), and a device that cannot
    /// transmit it whole segments the payload into pieces of at most this many bytes (`SKB_GSO_TCPV4`).
    pub gso_size: Option<u16>,
}

/// A packet socket that determines the layout of the `skb`s that it sends.
#[derive(Debug)]
pub struct VnetSocket(PacketSocket);

impl VnetSocket {
    /// Offset of the TCP header behind Ethernet and IPv4 headers without options, and of the checksum in it.
    const TCP: u16 = 34;
    const TCP_CHECKSUM: u16 = 16;

    /// Sends one frame, link-layer header included.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EMSGSIZE` for more than header and MTU without segmentation; `EINVAL` if the
    /// frame does not match the segmentation (`__virtio_net_hdr_to_skb()` in `include/linux/virtio_net.h`).
    pub fn send(&self, frame: &[u8], layout: SkbLayout) -> Result<(), Error> {
        let SkbLayout { linear, gso_size } = layout;
        // struct virtio_net_hdr (include/uapi/linux/virtio_net.h): flags and GSO type in a byte each; then,
        // in host byte order, length of the headers, GSO size, start of the checksummed bytes and offset of
        // the checksum in them. Only an skb with a partial checksum can be segmented.
        let (kind, fields) = match gso_size {
            None => ([0, 0], [linear, 0, 0, 0]),
            Some(size) => ([NEEDS_CSUM, GSO_TCPV4], [linear, size, Self::TCP, Self::TCP_CHECKSUM]),
        };
        let mut bytes = kind.to_vec();
        bytes.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend(frame);
        let sent = self.0.send(&bytes)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(self.0.refused("send a whole frame")(io::ErrorKind::WriteZero.into()))
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns the VLAN tag in a `struct tpacket_auxdata` (`include/uapi/linux/if_packet.h`), TPID and TCI in
/// network byte order. Before Linux 3.14 every TPID was 0x8100.
fn removed_tag(auxdata: &[u8]) -> Option<[u8; TAG]> {
    let number = |at: usize| auxdata.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes);
    let (status, tci, tpid) = (u32_at(auxdata, 0)?, number(16)?, number(18)?);
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { tpid } else { 0x8100 };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some([a, b, c, d])
}

/// Inserts a tag behind the addresses of the frame in the first `len` bytes of the buffer, and returns its
/// new length. Bytes that no longer fit are dropped.
fn insert_tag(buffer: &mut [u8], len: usize, tag: [u8; TAG]) -> usize {
    let end = (len + TAG).min(buffer.len());
    let place = ADDRESSES.min(len);
    // The tag may not fit whole.
    let behind = (place + TAG).min(end);
    buffer.copy_within(place..end.saturating_sub(TAG).max(place), behind);
    buffer[place..behind].copy_from_slice(&tag[..behind - place]);
    end
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{ARRIVAL, Pair, SILENCE};

    /// A broadcast frame with these tags and 46 payload bytes that count up.
    fn frame(tags: &[[u8; 4]]) -> Vec<u8> {
        let addresses = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
        // 0x88b5 is for local experiments (IEEE 802): nothing replies.
        addresses.into_iter().chain(tags.concat()).chain([0x88, 0xb5]).chain(0..46).collect()
    }

    fn receive(socket: &PacketSocket, buffer: &mut [u8]) -> Received {
        assert!(socket.wait_readable(ARRIVAL).unwrap(), "no frame arrived");
        socket.receive(buffer).unwrap().unwrap()
    }

    fn sockets(pair: &Pair) -> (PacketSocket, PacketSocket) {
        (pair.near_socket(PacketOptions::default()), pair.far_socket(PacketOptions::default()))
    }

    #[test]
    fn a_frame_arrives_unmodified_whatever_its_tags() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = sockets(&pair);
        let stacks: [(&[[u8; 4]], bool); 7] = [
            (&[], false),
            (&[[0x81, 0, 0, 10]], true),
            (&[[0x81, 0, 0xe0, 0]], true),
            (&[[0x88, 0xa8, 0, 100]], true),
            (&[[0x88, 0xa8, 0xaf, 0xff], [0x81, 0, 0, 10]], true),
            (&[[0x81, 0, 0, 1], [0x81, 0, 0, 2], [0x81, 0, 0, 3]], true),
            (&[[0x91, 0, 0, 1]], false),
        ];
        for (tags, tag_restored) in stacks {
            let sent = frame(tags);
            near.send(&sent).unwrap();
            let mut buffer = [0xa5; 128];
            let received = receive(&far, &mut buffer);
            assert_eq!(&buffer[..received.len], sent, "{tags:x?}");
            let expected =
                Received { len: sent.len(), original_len: sent.len(), outgoing: false, tag_restored };
            assert_eq!(received, expected, "{tags:x?}");
            assert_eq!(far.receive(&mut buffer).unwrap(), None);
        }
    }

    #[test]
    fn a_frame_that_exceeds_the_buffer_is_truncated() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = sockets(&pair);
        for tags in [&[][..], &[[0x81, 0, 0, 10]]] {
            let sent = frame(tags);
            for room in [0, 5, 12, 14, 16, 20, sent.len() - 4, sent.len() - 1, sent.len()] {
                near.send(&sent).unwrap();
                let mut buffer = vec![0xa5; room];
                let received = receive(&far, &mut buffer);
                assert_eq!((received.len, received.original_len), (room, sent.len()), "{tags:x?}");
                assert_eq!(buffer, sent[..room], "{tags:x?} in {room} bytes");
            }
        }
    }

    #[test]
    fn frames_sent_with_one_call_arrive_in_order() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let far = pair.far_socket(PacketOptions::default());
        let near = pair.near_socket(PacketOptions { bypass_qdisc: true, ..PacketOptions::default() });
        let frames: Vec<Vec<u8>> = (1..=100).map(|vid| frame(&[[0x81, 0, 0, vid]])).collect();
        let pieces: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        assert_eq!(near.send_all(&pieces).unwrap(), TxOutcome { accepted: 100, dropped: 0 });
        let mut buffer = [0; 128];
        for sent in &frames {
            let received = receive(&far, &mut buffer);
            assert_eq!(&buffer[..received.len], sent);
        }
        let wrong: [&[u8]; 3] = [&frames[0], &[0; 13], &frames[1]];
        assert_eq!(near.send_all(&wrong).unwrap_err().errno(), Some(libc::EINVAL));
    }

    #[test]
    fn outgoing_frames_are_received_only_on_request() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = sockets(&pair);
        let watch = pair.near_socket(PacketOptions { outgoing: true, ..PacketOptions::default() });
        near.send(&frame(&[])).unwrap();
        assert!(receive(&watch, &mut [0; 128]).outgoing);
        assert!(!receive(&far, &mut [0; 128]).outgoing);
        assert!(!near.wait_readable(Duration::ZERO).unwrap(), "the sender received its own frame");
    }

    #[test]
    fn outgoing_frames_are_skipped_where_the_kernel_cannot() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let watch = pair.near_socket(PacketOptions { outgoing: true, ..PacketOptions::default() });
        let old = PacketSocket { outgoing: false, ..watch };
        // Sent by another socket: a socket does not receive its own frames.
        pair.near_socket(PacketOptions::default()).send(&frame(&[])).unwrap();
        assert!(old.wait_readable(ARRIVAL).unwrap());
        assert_eq!(old.receive(&mut [0; 128]).unwrap(), None);
    }

    #[test]
    fn a_socket_opened_while_the_link_is_down_works_when_it_is_up() {
        let Some(pair) = Pair::create() else { return };
        let (near, far) = sockets(&pair);
        assert_eq!(near.send(&frame(&[])).unwrap_err().errno(), Some(libc::ENETDOWN));
        assert_eq!(far.receive(&mut [0; 128]).unwrap(), None);
        let _pair = pair.up();
        near.send(&frame(&[])).unwrap();
        assert_eq!(receive(&far, &mut [0; 128]).len, 60);
    }

    #[test]
    fn a_link_that_goes_down_is_reported_once() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (_, far) = sockets(&pair);
        pair.at_far(move |host, index| host.set_up(index, false)).unwrap();
        assert!(far.wait_readable(ARRIVAL).unwrap());
        let error = far.receive(&mut [0; 128]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENETDOWN));
        assert_eq!(error.to_string(), format!("receive a frame (link {})", pair.far_index));
        assert_eq!(far.receive(&mut [0; 128]).unwrap(), None);
    }

    #[test]
    fn dropped_frames_are_counted_once() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let near = pair.near_socket(PacketOptions::default());
        let far = pair.far_socket(PacketOptions { receive_buffer: 0, ..PacketOptions::default() });
        // It receives every frame, and so shows when all have arrived.
        let witness = pair.far_socket(PacketOptions::default());
        for _ in 0..50 {
            near.send(&frame(&[])).unwrap();
            receive(&witness, &mut [0; 128]);
        }
        let mut received = 0;
        while far.receive(&mut [0; 128]).unwrap().is_some() {
            received += 1;
        }
        let dropped = far.drops().unwrap();
        assert!(dropped > 0);
        assert_eq!(received + dropped, 50);
        assert_eq!((far.drops().unwrap(), witness.drops().unwrap()), (0, 0));
    }

    #[test]
    fn waiting_without_a_frame_ends_at_the_deadline() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, _) = sockets(&pair);
        let begun = Instant::now();
        assert!(!near.wait_readable(SILENCE).unwrap());
        assert!(begun.elapsed() >= SILENCE);
    }

    #[test]
    fn frames_too_short_and_too_long_are_refused() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, _) = sockets(&pair);
        assert_eq!(near.send(&[0; 13]).unwrap_err().errno(), Some(libc::EINVAL));
        assert_eq!(near.send(&[0; 1515]).unwrap_err().errno(), Some(libc::EMSGSIZE));
    }

    #[test]
    fn a_frame_with_a_layout_arrives_whole_and_may_exceed_the_mtu_with_gso() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let far = pair.far_socket(PacketOptions::default());
        let vnet = pair.near_socket(PacketOptions::default()).into_vnet_socket().unwrap();
        let layout = SkbLayout { linear: 54, gso_size: None };
        vnet.send(&frame(&[]), layout).unwrap();
        let mut buffer = vec![0; 8192];
        let received = receive(&far, &mut buffer);
        assert_eq!(&buffer[..received.len], frame(&[]));
        let mut large = [frame(&[])[..12].to_vec(), vec![8, 0, 0x45, 0, 0x0f, 0x92]].concat();
        large.extend([0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        large.extend([0; 12]);
        large.extend([0x50, 0x10]);
        large.resize(4000, 0);
        assert_eq!(vnet.send(&large, layout).unwrap_err().errno(), Some(libc::EMSGSIZE));
        vnet.send(&large, SkbLayout { gso_size: Some(1000), ..layout }).unwrap();
        assert_eq!(receive(&far, &mut buffer).original_len, large.len());
    }

    #[test]
    fn a_socket_on_a_missing_link_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let none = IfIndex::new(4_000_000).unwrap();
        let error =
            pair.near.call(move |host| host.packet_socket(none, PacketOptions::default())).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    }
}
