//! One netlink socket and its requests: every request is acknowledged or refused, and a refusal carries the
//! kernel's own sentence.

use std::{convert::Infallible, fmt::Debug, io, iter, time::Duration};

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_proto::{Connection, ConnectionHandle, sys::AsyncSocket};
use netlink_sys::{
    SocketAddr,
    protocols::{NETLINK_GENERIC, NETLINK_ROUTE},
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::{runtime::Runtime, time::timeout};

use crate::{Error, Subject, generic::GenericMessage};

/// How long an answer may take. The kernel answers in microseconds, or in some seconds where a driver resets
/// its device; an answer that never comes means a message that could not be decoded.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// `struct nlmsghdr` and `struct nlattr` (`include/uapi/linux/netlink.h`).
const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLMSGERR_ATTR_MSG`: a zero-terminated string.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Upper bits of an attribute's type: `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | 1 << 14);

/// A socket of one netlink protocol, in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Channel<H> {
    handle: H,
}

/// A handle that sends requests: rtnetlink's for links, netlink-proto's own for generic netlink.
pub(crate) trait Requests {
    type Message: Debug + NetlinkSerializable + NetlinkDeserializable + Unpin + Send + 'static;

    /// Sends a request; `None` if the connection is gone.
    fn request(
        &self,
        message: NetlinkMessage<Self::Message>,
    ) -> Option<impl Stream<Item = NetlinkMessage<Self::Message>> + Unpin>;
}

impl Requests for rtnetlink::Handle {
    type Message = RouteNetlinkMessage;

    fn request(
        &self,
        message: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Option<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin> {
        Self::request(&mut self.clone(), message).ok().map(Box::pin)
    }
}

impl<M> Requests for ConnectionHandle<M>
where
    M: Debug + NetlinkSerializable + NetlinkDeserializable + Unpin + Send + 'static,
{
    type Message = M;

    fn request(&self, message: NetlinkMessage<M>) -> Option<impl Stream<Item = NetlinkMessage<M>> + Unpin> {
        Self::request(self, message, SocketAddr::new(0, 0)).ok()
    }
}

/// A message whose body is left as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMessage {
    pub(crate) kind: u16,
    /// What stands behind the message's header.
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

/// What is asked for, in words and in netlink flags.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) action: &'static str,
    pub(crate) subject: Option<Subject>,
    /// Flags beside `NLM_F_REQUEST` and, where it is no dump, `NLM_F_ACK`.
    pub(crate) flags: u16,
}

impl Ask {
    pub(crate) fn new(action: &'static str, subject: impl Into<Option<Subject>>) -> Self {
        Self { action, subject: subject.into(), flags: 0 }
    }

    pub(crate) fn with_flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    /// An answer that says too little.
    pub(crate) fn incomplete(&self, missing: &'static str) -> Error {
        Error::IncompleteAnswer { action: self.action, subject: self.subject.clone(), missing }
    }
}

impl Channel<rtnetlink::Handle> {
    /// Opens a socket for links and leaves its driving to the runtime.
    pub(crate) fn open_route(runtime: &Runtime) -> Result<Self, Error> {
        Self::open(runtime, rtnetlink::new_connection)
    }
}

impl Channel<ConnectionHandle<GenericMessage>> {
    /// Opens a socket for generic netlink and leaves its driving to the runtime.
    pub(crate) fn open_generic(runtime: &Runtime) -> Result<Self, Error> {
        Self::open(runtime, || netlink_proto::new_connection(NETLINK_GENERIC))
    }
}

impl Channel<ConnectionHandle<RawMessage>> {
    /// Opens a socket for what is to be given back as it was told, and leaves its driving to the runtime.
    pub(crate) fn open_raw(runtime: &Runtime) -> Result<Self, Error> {
        Self::open(runtime, || netlink_proto::new_connection(NETLINK_ROUTE))
    }
}

impl<H: Requests> Channel<H> {
    fn open<U>(
        runtime: &Runtime,
        connect: impl FnOnce() -> io::Result<(Connection<H::Message>, H, U)>,
    ) -> Result<Self, Error> {
        let open = || {
            let _entered = runtime.enter();
            let (mut connection, handle, _unsolicited) = connect()?;
            // Without these a lost connection would look like a request that was done.
            connection.set_forward_ack(true);
            connection.set_forward_done(true);
            // Linux 4.12 and 4.3 (net/netlink/af_netlink.c, netlink_setsockopt): say why, do not send the
            // request back.
            let socket = connection.socket_mut().socket_mut();
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            runtime.spawn(connection);
            Ok(Self { handle })
        };
        open().map_err(Error::refused::<io::Error>("open a netlink socket", None))
    }

    /// Sends one message and gives what is answered, once the kernel has said that it is all.
    ///
    /// # Errors
    /// [`Error::Refused`] with the errno and the extack, or [`Error::Timeout`].
    pub(crate) fn ask(
        &self,
        runtime: &Runtime,
        ask: &Ask,
        message: H::Message,
    ) -> Result<Vec<H::Message>, Error> {
        let mut header = NetlinkHeader::default();
        // A dump ends with NLMSG_DONE; an acknowledgement would come on top of it.
        let ending = if ask.flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        header.flags = NLM_F_REQUEST | ending | ask.flags;
        let message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        match runtime.block_on(async { timeout(ANSWER_DEADLINE, self.exchange(message)).await }) {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(Refusal { source, extack })) => {
                Err(Error::Refused { action: ask.action, subject: ask.subject.clone(), extack, source })
            }
            Err(_elapsed) => Err(Error::Timeout {
                action: ask.action,
                subject: ask.subject.clone(),
                deadline: ANSWER_DEADLINE,
            }),
        }
    }

    async fn exchange(&self, message: NetlinkMessage<H::Message>) -> Result<Vec<H::Message>, Refusal> {
        let closed = || Refusal::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let mut replies = self.handle.request(message).ok_or_else(closed)?;
        let mut answers = Vec::new();
        while let Some(reply) = replies.next().await {
            match reply.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                NetlinkPayload::Error(error) => {
                    let extack = extack(reply.header.flags, &error);
                    return Err(Refusal { source: error.to_io(), extack });
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code).into());
                }
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Overrun(_) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS).into()),
                _ => {}
            }
        }
        Err(closed())
    }
}

struct Refusal {
    source: io::Error,
    extack: Option<String>,
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, extack: None }
    }
}

/// The kernel's sentence in an error message (`netlink_ack()` of `net/netlink/af_netlink.c`): behind the
/// header of the refused request, and behind its body too unless `NLM_F_CAPPED` says that it was left out.
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
    attributes(request.get(skipped..)?)
        .find(|&(kind, _)| kind == NLMSGERR_ATTR_MSG)
        .and_then(|(_, text)| string(text))
}

/// The attributes in a run of bytes: type without flags, and value. A malformed one ends the run.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let &[a, b, c, d] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
    })
}

/// The first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A zero-terminated string.
pub(crate) fn string(value: &[u8]) -> Option<String> {
    let text = value.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A run of attributes being written. What is written here is a few short names and numbers: an attribute's
/// length, 16 bits, is never near its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Strict families insist on the flag (`NL_VALIDATE_NESTED` of `include/net/netlink.h`).
    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NLA_F_NESTED, &inner.0)
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
    fn extack_is_found_behind_a_capped_request() {
        let message = error([vec![0; MESSAGE_HEADER], sentence()].concat());
        assert_eq!(extack(NLM_F_ACK_TLVS | NLM_F_CAPPED, &message).as_deref(), Some("too many"));
        assert_eq!(extack(NLM_F_CAPPED, &message), None);
    }

    #[test]
    fn extack_is_found_behind_a_whole_request() {
        let mut request = vec![0; 24];
        request[..4].copy_from_slice(&22_u32.to_ne_bytes());
        assert_eq!(
            extack(NLM_F_ACK_TLVS, &error([request, sentence()].concat())).as_deref(),
            Some("too many")
        );
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
