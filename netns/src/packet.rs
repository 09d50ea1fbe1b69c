//! Packet sockets: the frames that pass a link, with the bytes that were on the wire.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{
            AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, getsockopt, send, sendmmsg,
            setsockopt, socket,
            sockopt::{RcvBufForce, SocketError},
        },
        time::TimeSpec,
    },
};

use crate::{Error, Handed, Host, IfIndex, Subject, ring::MUST_MOVE, sys};

/// Two addresses: a VLAN tag stands behind them.
const ADDRESSES: usize = 12;
const TAG: usize = 4;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and `VIRTIO_NET_HDR_GSO_TCPV4` (`include/uapi/linux/virtio_net.h`).
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;

/// How a packet socket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketOptions {
    /// Bytes of frames that may wait, past the limit of `net.core.rmem_max` (`SO_RCVBUFFORCE`). The kernel
    /// doubles it and counts its own bookkeeping: the shortest frame takes some 700 bytes.
    pub receive_buffer: usize,
    /// Show the frames that leave by the link, too.
    pub outgoing: bool,
    /// Send without the link's queueing discipline (`PACKET_QDISC_BYPASS`, Linux 3.14): a frame that the driver cannot take
    /// at once is dropped, and that is said.
    pub direct: bool,
}

impl Default for PacketOptions {
    /// 8 MiB, and frames that come in only.
    fn default() -> Self {
        Self { receive_buffer: 8 << 20, outgoing: false, direct: false }
    }
}

/// An `AF_PACKET` socket of one link: every frame of every protocol, link-layer header included.
/// Non-blocking.
///
/// It shows what the stack is given: behind native and generic XDP, and behind GRO.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: IfIndex,
    outgoing: bool,
}

/// What is known of a received frame beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of it that are in the buffer, from its start, with the restored tag.
    pub len: usize,
    /// Bytes that it had on the wire, with the restored tag: more than `len` if the buffer was too short.
    pub original_len: usize,
    /// It left by the link (`PACKET_OUTGOING`).
    pub outgoing: bool,
    /// The stack had taken its outer VLAN tag out, and it was put back.
    pub tag_restored: bool,
}

impl Host {
    /// Opens a packet socket for whoever binds it to a link and sends by it: it is not shown the frames that leave by the link
    /// (`PACKET_IGNORE_OUTGOING`, Linux 4.20), each of which costs a copy of its head and, behind it, one of the frame in XDP.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EPERM` without `CAP_NET_RAW`.
    pub fn sending_socket(&mut self) -> Result<OwnedFd, Error> {
        let open = || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            ignore_outgoing(socket.as_fd())?;
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
        let PacketOptions { receive_buffer, outgoing, direct } = options;
        let open = || {
            // Protocol 0 receives nothing: no frame of another link slips in before the socket is bound.
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            setsockopt(&socket, RcvBufForce, &receive_buffer)?;
            sys::set_packet_option(socket.as_fd(), libc::PACKET_AUXDATA, 1)?;
            if !outgoing {
                ignore_outgoing(socket.as_fd())?;
            }
            if direct {
                sys::set_packet_option(socket.as_fd(), libc::PACKET_QDISC_BYPASS, 1)?;
            }
            sys::bind_packet(socket.as_fd(), index)?;
            // Binding to a link that is down leaves ENETDOWN behind for the first reader (packet_do_bind() of
            // net/packet/af_packet.c), although the socket works as soon as the link is up. Reading clears
            // it.
            getsockopt(&socket, SocketError)?;
            Ok(PacketSocket { socket, index, outgoing })
        };
        open().map_err(Error::refused::<io::Error>("open a packet socket", Subject::from(index)))
    }
}

/// Keeps the frames that leave by the link from a socket. Before Linux 4.20 it gets them all the same.
fn ignore_outgoing(socket: BorrowedFd<'_>) -> io::Result<()> {
    match sys::set_packet_option(socket, libc::PACKET_IGNORE_OUTGOING, 1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        set => set,
    }
}

impl PacketSocket {
    /// Takes the next frame, or `None` if none waits.
    ///
    /// The stack moves the outer VLAN tag of a frame out of its bytes (`skb_vlan_untag()`); it is put back at
    /// offset 12, so that the bytes are those of the wire. A frame that does not fit is cut at the buffer's
    /// end.
    ///
    /// # Errors
    /// [`Error::Refused`]: `ENETDOWN` once when the link goes down or away.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>, Error> {
        loop {
            let packet = match sys::receive_packet(self.socket.as_fd(), buffer) {
                Ok(packet) => packet,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.refused("receive a frame")(error)),
            };
            let outgoing = packet.kind == libc::PACKET_OUTGOING;
            if outgoing && !self.outgoing {
                continue;
            }
            let (len, original_len) = (packet.len.min(buffer.len()), packet.len);
            return Ok(Some(match packet.tag {
                Some(tag) => Received {
                    len: insert_tag(buffer, len, tag),
                    original_len: original_len + TAG,
                    outgoing,
                    tag_restored: true,
                },
                None => Received { len, original_len, outgoing, tag_restored: false },
            }));
        }
    }

    /// Waits until [`receive`](Self::receive) has something to say, for at most a time; tells whether it has.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn wait_readable(&self, timeout: Duration) -> Result<bool, Error> {
        self.wait(PollFlags::POLLIN, timeout)
    }

    fn wait(&self, event: PollFlags, timeout: Duration) -> Result<bool, Error> {
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            let mut polled = [PollFd::new(self.socket.as_fd(), event)];
            match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.refused("wait for a frame")(errno.into())),
            }
        }
    }

    /// Frames that found the receive buffer full since this was asked last. The kernel starts anew with each
    /// answer.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn drops(&self) -> Result<u32, Error> {
        sys::packet_drops(self.socket.as_fd()).map_err(self.refused("read the socket's drops"))
    }

    /// Sends one frame, link-layer header included, and gives the bytes sent, which are all of it.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EINVAL` for fewer than 14 bytes, `EMSGSIZE` for more than header and MTU,
    /// `ENETDOWN` if the link is down, `EAGAIN` or `ENOBUFS` if what was sent before still waits.
    pub fn send(&self, frame: &[u8]) -> Result<usize, Error> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                sent => return sent.map_err(|errno| self.refused("send a frame")(errno.into())),
            }
        }
    }

    /// Sends frames, link-layer header included, in that order, many a call of the kernel's (`sendmmsg`, Linux 3.0).
    ///
    /// # Errors
    /// [`Error::Refused`]: as [`send`](Self::send), but what waits is waited for, and what the driver drops
    /// (`ENOBUFS`) is told as refused; [`Error::Timeout`] if what waits does not go for three seconds.
    pub fn send_all(&self, frames: &[&[u8]]) -> Result<Handed, Error> {
        let pieces: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(pieces.len(), None);
        let addresses = vec![None; pieces.len()];
        let (mut handed, mut done) = (Handed::default(), 0);
        while let Some(rest) = pieces.get(done..).filter(|rest| !rest.is_empty()) {
            let fd = self.socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, rest, &addresses[done..], [], MsgFlags::empty()) {
                Ok(results) => {
                    let taken = results.count();
                    done += taken;
                    handed.taken += taken as u64;
                }
                Err(Errno::ENOBUFS) => {
                    done += 1;
                    handed.refused += 1;
                }
                Err(Errno::EAGAIN) if self.wait(PollFlags::POLLOUT, MUST_MOVE)? => {}
                Err(Errno::EAGAIN) => {
                    let (action, subject) = ("see the driver take a frame", Some(self.index.into()));
                    return Err(Error::Timeout { action, subject, deadline: MUST_MOVE });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.refused("send frames")(errno.into())),
            }
        }
        Ok(handed)
    }

    /// Lets the socket take frames that are still to be cut or that lie in several pieces
    /// ([`FrameBuilder`]). What it receives then begins with a header that
    /// [`receive`](Self::receive) does not know: it is for sending only (`PACKET_VNET_HDR`, Linux 2.6.27).
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn into_builder(self) -> Result<FrameBuilder, Error> {
        sys::set_packet_option(self.socket.as_fd(), libc::PACKET_VNET_HDR, 1)
            .map_err(self.refused("send frames with a virtio header"))?;
        Ok(FrameBuilder(self))
    }

    fn refused(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::refused(action, Subject::from(self.index))
    }
}

/// How the kernel builds the packet in which it holds a frame ([`FrameBuilder::send`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Build {
    /// Bytes at the frame's start that lie in one piece; a frame that does not fit into a page with them has the
    /// rest elsewhere (`packet_alloc_skb()` of `net/packet/af_packet.c`). 0: the kernel's choice.
    pub linear: u16,
    /// The frame is TCP over IPv4, whose headers end at [`linear`](Self::linear), and whoever cannot take it whole
    /// cuts the payload into pieces of at most this many bytes (`SKB_GSO_TCPV4`).
    pub segment: Option<u16>,
}

/// A packet socket that sends frames in the build that is asked for.
#[derive(Debug)]
pub struct FrameBuilder(PacketSocket);

impl FrameBuilder {
    /// Where an IPv4 header without options ends behind an Ethernet header, and where in a TCP header its
    /// checksum is.
    const TCP: u16 = 34;
    const TCP_CHECKSUM: u16 = 16;

    /// Sends one frame, link-layer header included.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EMSGSIZE` for more than header and MTU, unless it is to be cut; `EINVAL` if what it is
    /// to be cut by does not go with it (`__virtio_net_hdr_to_skb()` of `include/linux/virtio_net.h`).
    pub fn send(&self, frame: &[u8], build: Build) -> Result<(), Error> {
        let Build { linear, segment } = build;
        // struct virtio_net_hdr (include/uapi/linux/virtio_net.h): flags and kind in a byte each; then, in the
        // machine's order, the headers' length, the segment's, where the checksum begins and where it goes.
        // Only a packet whose checksum is still to be filled in can be cut.
        let (kind, fields) = match segment {
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

/// Puts a tag behind the addresses of the `len` bytes at the buffer's start, and tells how many there are
/// then. Bytes that have no room behind it are cut.
fn insert_tag(buffer: &mut [u8], len: usize, tag: [u8; TAG]) -> usize {
    let end = (len + TAG).min(buffer.len());
    if let Some(behind) = end.checked_sub(TAG).filter(|&behind| behind >= ADDRESSES) {
        buffer.copy_within(ADDRESSES..behind, ADDRESSES + TAG);
        buffer[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&tag);
        end
    } else {
        // No room for the whole tag: what there is of it.
        let place = ADDRESSES.min(len);
        buffer[place..end].copy_from_slice(&tag[..end - place]);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ARRIVAL, Pair, SILENCE};

    /// A broadcast with these tags and 46 bytes that tell their places.
    fn frame(tags: &[[u8; 4]]) -> Vec<u8> {
        let addresses = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
        // 0x88b5 is for experiments (IEEE 802): nobody answers.
        addresses.into_iter().chain(tags.concat()).chain([0x88, 0xb5]).chain(0..46).collect()
    }

    fn receive(socket: &PacketSocket, buffer: &mut [u8]) -> Received {
        assert!(socket.wait_readable(ARRIVAL).unwrap(), "nothing came");
        socket.receive(buffer).unwrap().unwrap()
    }

    fn sockets(pair: &Pair) -> (PacketSocket, PacketSocket) {
        (pair.near_socket(PacketOptions::default()), pair.far_socket(PacketOptions::default()))
    }

    #[test]
    fn a_frame_arrives_with_the_bytes_that_were_sent_whatever_its_tags() {
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
    fn a_frame_that_does_not_fit_is_cut_where_the_buffer_ends() {
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
    fn many_frames_in_one_call_arrive_in_order() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let far = pair.far_socket(PacketOptions::default());
        let near = pair.near_socket(PacketOptions { direct: true, ..PacketOptions::default() });
        let frames: Vec<Vec<u8>> = (1..=100).map(|vid| frame(&[[0x81, 0, 0, vid]])).collect();
        let pieces: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        assert_eq!(near.send_all(&pieces).unwrap(), Handed { taken: 100, refused: 0 });
        let mut buffer = [0; 128];
        for sent in &frames {
            let received = receive(&far, &mut buffer);
            assert_eq!(&buffer[..received.len], sent);
        }
        let wrong: [&[u8]; 3] = [&frames[0], &[0; 13], &frames[1]];
        assert_eq!(near.send_all(&wrong).unwrap_err().errno(), Some(libc::EINVAL));
    }

    #[test]
    fn outgoing_frames_are_shown_only_if_asked_for() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (near, far) = sockets(&pair);
        let watch = pair.near_socket(PacketOptions { outgoing: true, ..PacketOptions::default() });
        near.send(&frame(&[])).unwrap();
        assert!(receive(&watch, &mut [0; 128]).outgoing);
        assert!(!receive(&far, &mut [0; 128]).outgoing);
        assert!(!near.wait_readable(Duration::ZERO).unwrap(), "the sender heard itself");
    }

    #[test]
    fn outgoing_frames_are_left_out_where_the_kernel_cannot() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let watch = pair.near_socket(PacketOptions { outgoing: true, ..PacketOptions::default() });
        let old = PacketSocket { outgoing: false, ..watch };
        // Sent by another socket: none hears what it sent itself.
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
    fn a_link_that_goes_down_is_told_once() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let (_, far) = sockets(&pair);
        let index = pair.far_index;
        pair.far.call(move |host| host.set_up(index, false)).unwrap();
        assert!(far.wait_readable(ARRIVAL).unwrap());
        let error = far.receive(&mut [0; 128]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENETDOWN));
        assert_eq!(error.to_string(), format!("receive a frame (link {index})"));
        assert_eq!(far.receive(&mut [0; 128]).unwrap(), None);
    }

    #[test]
    fn what_is_not_received_is_told_as_dropped_once() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let near = pair.near_socket(PacketOptions::default());
        let far = pair.far_socket(PacketOptions { receive_buffer: 0, ..PacketOptions::default() });
        // Hears all of it, and so tells when all of it has come.
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
    fn waiting_for_nothing_ends_in_time() {
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
    fn a_built_frame_arrives_whole_and_is_held_to_the_mtu_unless_it_is_to_be_cut() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let far = pair.far_socket(PacketOptions::default());
        let builder = pair.near_socket(PacketOptions::default()).into_builder().unwrap();
        let build = Build { linear: 54, segment: None };
        builder.send(&frame(&[]), build).unwrap();
        let mut buffer = vec![0; 8192];
        let received = receive(&far, &mut buffer);
        assert_eq!(&buffer[..received.len], frame(&[]));
        let mut large = [frame(&[])[..12].to_vec(), vec![8, 0, 0x45, 0, 0x0f, 0x92]].concat();
        large.extend([0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        large.extend([0; 12]);
        large.extend([0x50, 0x10]);
        large.resize(4000, 0);
        assert_eq!(builder.send(&large, build).unwrap_err().errno(), Some(libc::EMSGSIZE));
        builder.send(&large, Build { segment: Some(1000), ..build }).unwrap();
        assert_eq!(receive(&far, &mut buffer).original_len, large.len());
    }

    #[test]
    fn a_socket_on_no_link_is_refused() {
        let Some(pair) = Pair::create() else { return };
        let none = IfIndex::new(4_000_000).unwrap();
        let error =
            pair.near.call(move |host| host.packet_socket(none, PacketOptions::default())).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
    }
}
