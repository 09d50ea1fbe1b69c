//! Generic netlink: families are looked up by name, and attributes are left as bytes.

use crate::{
    Error, Host, Subject,
    netlink::{Attributes, RawMessage, Request, attribute},
};

/// `struct genlmsghdr` (`include/uapi/linux/genetlink.h`): command, version, 16 reserved bits.
const HEADER: usize = 4;
/// The controller, the one family with a fixed number.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// The version of every family used here. No family checks it.
const VERSION: u8 = 1;

impl Host {
    /// Sends one command to a family and returns the attributes of each reply.
    pub(crate) fn generic(
        &mut self,
        family: &'static str,
        command: u8,
        request: &Request,
        attributes: Attributes,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let family = self.family(family)?;
        self.command(family, command, request, attributes)
    }

    /// Returns the number of a family, which is looked up once. `ENOENT` where the kernel has no such family.
    pub(crate) fn family(&mut self, name: &'static str) -> Result<u16, Error> {
        if let Some(&id) = self.families.get(name) {
            return Ok(id);
        }
        let request = Request::new("look up", Subject::Family(name));
        let query = Attributes::default().put_string(CTRL_ATTR_FAMILY_NAME, name);
        let replies = self.command(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &request, query)?;
        let id = replies
            .iter()
            .find_map(|body| attribute(body, CTRL_ATTR_FAMILY_ID)?.first_chunk().copied())
            .map(u16::from_ne_bytes)
            .ok_or_else(|| request.incomplete("family number"))?;
        self.families.insert(name, id);
        Ok(id)
    }

    fn command(
        &mut self,
        family: u16,
        command: u8,
        request: &Request,
        attributes: Attributes,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut body = vec![command, VERSION, 0, 0];
        body.extend(attributes.into_bytes());
        let replies = self.generic.send(request, RawMessage { kind: family, body })?;
        Ok(replies.into_iter().map(|reply| reply.body.get(HEADER..).unwrap_or_default().to_vec()).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Pair;

    #[test]
    fn an_unknown_family_fails_with_enoent() {
        let Some(pair) = Pair::create() else { return };
        let error = pair.near.call(|host| host.family("xdproof-none")).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(error.to_string(), "look up (netlink family xdproof-none)");
    }
}
