//! One netlink socket and its requests.
//!
//! Promises: a request is acknowledged or fails, a failure carries the kernel's extack message, no wait is
//! without a deadline, and a list is whole.

use std::{
    convert::Infallible,
    io, iter,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::poll::PollFlags;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_core::{
        ErrorMessage, NLA_F_NESTED, NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP,
        NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
        NetlinkPayload, NetlinkSerializable, NlasIterator,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::{Error, IfIndex, Subject, poll::wait_ready};

/// Limit for one reply. The kernel replies in microseconds, or in seconds where a driver resets its device.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// `struct nlmsghdr` (`include/uapi/linux/netlink.h`).
const MESSAGE_HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: a NUL-terminated string.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A socket of one netlink protocol, in the namespace of the thread that opened it.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
}

/// A message whose body is left as bytes: of rtnetlink, or of a generic netlink family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMessage {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// Bytes behind `struct nlmsghdr`.
    pub(crate) body: Vec<u8>,
}

impl NetlinkSerializable for RawMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for RawMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

/// The replies to one request.
struct Replies<M> {
    messages: Vec<M>,
    /// False if the list changed while the kernel dumped it.
    is_whole: bool,
}

/// A request in words, for errors, and its netlink flags.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) action: &'static str,
    pub(crate) subject: Option<Subject>,
    /// Flags beside `NLM_F_REQUEST` and, unless it is a dump, `NLM_F_ACK`.
    pub(crate) flags: u16,
}

impl Request {
    pub(crate) fn new(action: &'static str, subject: impl Into<Option<Subject>>) -> Self {
        Self { action, subject: subject.into(), flags: 0 }
    }

    pub(crate) fn with_flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    fn is_dump(&self) -> bool {
        self.flags & NLM_F_DUMP == NLM_F_DUMP
    }

    /// The error for a request that the kernel rejected.
    fn refused(&self, source: io::Error, extack: Option<String>) -> Error {
        Error::Refused { action: self.action, subject: self.subject.clone(), extack, source }
    }

    /// The error for a reply that lacks something.
    pub(crate) fn incomplete(&self, missing: &'static str) -> Error {
        Error::IncompleteReply { action: self.action, subject: self.subject.clone(), missing }
    }
}

/// Opens a socket that receives the notifications of some multicast groups of rtnetlink (`RTMGRP_*`).
pub(crate) fn subscribe(groups: i32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
    Ok(socket)
}

impl Channel {
    pub(crate) fn open(protocol: isize) -> Result<Self, Error> {
        let open = || -> io::Result<_> {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            // Linux 4.12 and 4.3 (net/netlink/af_netlink.c, netlink_setsockopt): report the reason, and do
            // not send the request back.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(Self { socket, sequence: 0 })
        };
        open().map_err(Error::refused("open a netlink socket", None))
    }

    /// Sends one message and returns the replies, once the kernel has acknowledged it or finished the dump.
    ///
    /// A dump takes several messages of the kernel. If the list changes in between, the kernel skips or
    /// repeats parts of it and says so by `NLM_F_DUMP_INTR` (`nl_dump_check_consistent()` of
    /// `include/net/netlink.h`); such a dump is requested again.
    ///
    /// # Errors
    /// [`Error::Refused`] with the errno and the extack message, or [`Error::Timeout`].
    pub(crate) fn send<M>(&mut self, request: &Request, message: M) -> Result<Vec<M>, Error>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut header = NetlinkHeader::default();
        // A dump ends with NLMSG_DONE; an acknowledgement would be one message too many.
        let ack = if request.is_dump() { 0 } else { NLM_F_ACK };
        header.flags = NLM_F_REQUEST | ack | request.flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        let begun = Instant::now();
        loop {
            let is_late = begun.elapsed() >= REPLY_TIMEOUT;
            self.sequence = self.sequence.wrapping_add(1);
            message.header.sequence_number = self.sequence;
            message.serialize(&mut bytes);
            let Replies { messages, is_whole } = self.exchange(request, &bytes)?;
            if is_whole {
                return Ok(messages);
            }
            if is_late {
                let why = format!("the list changed during every attempt for {REPLY_TIMEOUT:?}");
                return Err(request.refused(io::Error::new(io::ErrorKind::Interrupted, why), None));
            }
        }
    }

    fn exchange<M: NetlinkDeserializable>(
        &self,
        request: &Request,
        bytes: &[u8],
    ) -> Result<Replies<M>, Error> {
        let refused = |source| request.refused(source, None);
        let begun = Instant::now();
        self.socket.send(bytes, 0).map_err(refused)?;
        let mut replies = Replies { messages: Vec::new(), is_whole: true };
        loop {
            let left = REPLY_TIMEOUT.saturating_sub(begun.elapsed());
            if !wait_ready(self.socket.as_fd(), PollFlags::POLLIN, left).map_err(refused)? {
                let Request { action, subject, flags: _ } = request.clone();
                return Err(Error::Timeout { action, subject, deadline: REPLY_TIMEOUT });
            }
            let (datagram, _) = self.socket.recv_from_full().map_err(refused)?;
            for message in messages(&datagram) {
                let message = match NetlinkMessage::deserialize(message) {
                    // An attribute that the library cannot decode spoils one object of a dump, not all.
                    Err(_) if request.is_dump() => continue,
                    message => message.map_err(io::Error::other).map_err(refused)?,
                };
                if message.header.sequence_number != self.sequence {
                    // A late reply to a request that timed out.
                    continue;
                }
                replies.is_whole &= !request.is_dump() || message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(reply) => replies.messages.push(reply),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(replies),
                    NetlinkPayload::Error(error) => {
                        return Err(request.refused(error.to_io(), extack(message.header.flags, &error)));
                    }
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(refused(io::Error::from_raw_os_error(-done.code)));
                    }
                    NetlinkPayload::Done(_) => return Ok(replies),
                    NetlinkPayload::Overrun(_) => {
                        return Err(refused(io::Error::from_raw_os_error(libc::ENOBUFS)));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Splits a datagram into its messages. A malformed length ends the iteration.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let length = usize::try_from(NetlinkBuffer::new_checked(datagram).ok()?.length()).ok()?;
        let message = datagram.get(..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Extracts the extack message of an error (`netlink_ack()` in `net/netlink/af_netlink.c`). It follows the
/// header of the failed request, and its body too unless `NLM_F_CAPPED` says that the body was left out.
fn extack(flags: u16, error: &ErrorMessage) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = &error.header;
    let skipped = if flags & NLM_F_CAPPED != 0 {
        MESSAGE_HEADER
    } else {
        let length = u32::from_ne_bytes(*request.first_chunk()?);
        usize::try_from(length).ok()?.checked_next_multiple_of(4)?
    };
    string(attribute(request.get(skipped..)?, NLMSGERR_ATTR_MSG)?)
}

/// An `RTM_*LINK` message under construction, about a link of any kind.
pub(crate) type LinkBuilder = LinkMessageBuilder<LinkUnspec>;

/// Begins a message about one link.
pub(crate) fn by_index(index: IfIndex) -> LinkBuilder {
    LinkUnspec::new_with_index(index.get())
}

/// Iterates over attributes: type without flags, and value. A malformed one ends the iteration.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let length = usize::from(attribute.length());
        (attribute.kind(), &attribute.into_inner()[NLA_HEADER_SIZE..length])
    })
}

/// Returns the first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// Returns the first attribute of a type, a 32-bit number.
pub(crate) fn attribute_u32(bytes: &[u8], kind: u16) -> Option<u32> {
    u32_at(attribute(bytes, kind)?, 0)
}

/// Reads a 32-bit number in host byte order.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Reads a NUL-terminated string.
pub(crate) fn string(value: &[u8]) -> Option<String> {
    let text = value.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Attributes under construction. The values are short names and numbers, far below the 16-bit limit of an
/// attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(NLA_HEADER_SIZE + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Families with strict validation require the flag (`NL_VALIDATE_NESTED` in `include/net/netlink.h`).
    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NLA_F_NESTED, &inner.0)
    }

    pub(crate) fn put_u32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_ne_bytes())
    }

    pub(crate) fn put_string(self, kind: u16, text: &str) -> Self {
        self.put(kind, &[text.as_bytes(), &[0]].concat())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(request: Vec<u8>) -> ErrorMessage {
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-libc::EBUSY);
        error.header = request;
        error
    }

    fn sentence() -> Vec<u8> {
        Attributes::default().put(2, &[0; 4]).put_string(NLMSGERR_ATTR_MSG, "too many").into_bytes()
    }

    #[test]
    fn extack_is_found_behind_a_capped_and_behind_a_whole_request() {
        let mut whole = vec![0; 24];
        whole[..4].copy_from_slice(&22_u32.to_ne_bytes());
        for (request, flags) in [(vec![0; MESSAGE_HEADER], NLM_F_CAPPED), (whole, 0)] {
            let message = error([request, sentence()].concat());
            assert_eq!(extack(NLM_F_ACK_TLVS | flags, &message).as_deref(), Some("too many"));
            assert_eq!(extack(flags, &message), None);
        }
    }

    #[test]
    fn extack_of_nonsense_is_none() {
        for length in 0..40 {
            assert_eq!(extack(NLM_F_ACK_TLVS, &error(vec![0xff; length])), None);
            assert_eq!(extack(NLM_F_ACK_TLVS | NLM_F_CAPPED, &error(vec![0xff; length])), None);
        }
    }

    #[test]
    fn attributes_read_back_as_they_were_written() {
        let inner = Attributes::default().put_string(1, "ab").put(3, &[]);
        let bytes = Attributes::default().put(7, &[1, 2, 3]).nest(9, &inner).into_bytes();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read[0], (7, &[1, 2, 3][..]));
        assert_eq!(read[1].0, 9);
        assert_eq!(attributes(read[1].1).collect::<Vec<_>>(), [(1, &b"ab\0"[..]), (3, &[][..])]);
        assert_eq!(attribute(&bytes, 7), Some(&[1, 2, 3][..]));
        assert_eq!(attribute(&bytes, 8), None);
    }

    #[test]
    fn an_attribute_that_is_cut_ends_the_run() {
        let bytes = Attributes::default().put(1, &[5]).put(2, &[6, 6, 6, 6, 6]).into_bytes();
        assert_eq!(attributes(&bytes[..bytes.len() - 4]).collect::<Vec<_>>(), [(1, &[5][..])]);
        assert_eq!(attributes(&[3, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
    }
}
