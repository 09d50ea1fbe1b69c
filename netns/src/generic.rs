//! Generic netlink: families that are found by name, and messages whose attributes are left as bytes.

use std::convert::Infallible;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

use crate::{
    Error, Host, Subject,
    netlink::{Ask, Attributes, attribute},
};

/// `struct genlmsghdr` (`include/uapi/linux/genetlink.h`): command, version, 16 reserved bits.
const HEADER: usize = 4;
/// The controller, the one family with a fixed number.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// The version of every family used here. No family looks at it.
const VERSION: u8 = 1;

/// A message of any family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GenericMessage {
    family: u16,
    command: u8,
    /// Attributes, as they stand on the socket.
    body: Vec<u8>,
}

impl NetlinkSerializable for GenericMessage {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (header, body) = buffer.split_at_mut(HEADER);
        header.copy_from_slice(&[self.command, VERSION, 0, 0]);
        body.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for GenericMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            family: header.message_type,
            command: payload.first().copied().unwrap_or_default(),
            body: payload.get(HEADER..).unwrap_or_default().to_vec(),
        })
    }
}

impl Host {
    /// Sends one command to a family and gives the attributes of each answer.
    pub(crate) fn generic(
        &mut self,
        family: &'static str,
        command: u8,
        ask: &Ask,
        attributes: Attributes,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let family = self.family(family)?;
        self.command(family, command, ask, attributes)
    }

    /// A family's number, asked for once. `ENOENT` where the kernel has no such family.
    pub(crate) fn family(&mut self, name: &'static str) -> Result<u16, Error> {
        if let Some(&id) = self.families.get(name) {
            return Ok(id);
        }
        let ask = Ask::new("look up", Subject::Family(name));
        let query = Attributes::default().put_string(CTRL_ATTR_FAMILY_NAME, name);
        let answers = self.command(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &ask, query)?;
        let id = answers
            .iter()
            .find_map(|body| attribute(body, CTRL_ATTR_FAMILY_ID)?.first_chunk().copied())
            .map(u16::from_ne_bytes)
            .ok_or_else(|| ask.incomplete("family number"))?;
        self.families.insert(name, id);
        Ok(id)
    }

    fn command(
        &self,
        family: u16,
        command: u8,
        ask: &Ask,
        attributes: Attributes,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let message = GenericMessage { family, command, body: attributes.into_bytes() };
        let answers = self.generic.ask(&self.runtime, ask, message)?;
        Ok(answers.into_iter().map(|answer| answer.body).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    #[test]
    fn a_family_that_no_kernel_has_is_refused_with_enoent() {
        let Some(pair) = Pair::create() else { return };
        let error = pair.near.call(|host| host.family("xdproof-none")).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(error.to_string(), "look up (netlink family xdproof-none)");
    }

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let body = Attributes::default().put_string(1, "x").into_bytes();
        let message = GenericMessage { family: 21, command: 5, body };
        let mut buffer = vec![0xa5; message.buffer_len()];
        message.serialize(&mut buffer);
        let mut header = NetlinkHeader::default();
        header.message_type = message.message_type();
        assert_eq!(GenericMessage::deserialize(&header, &buffer), Ok(message));
    }
}
