//! Qdiscs and next hop objects of a link.

use libc::{RTM_GETQDISC, RTM_NEWQDISC, TCA_KIND};
use rtnetlink::packet_core::NLM_F_DUMP;

use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{RawMessage, Request, attribute, attribute_u32, string, u32_at},
};

const RTM_GETNEXTHOP: u16 = 106;
const NHA_ID: u16 = 1;
const NHA_OIF: u16 = 5;

/// A qdisc of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// Kind: `fq_codel`, `mq`, `noqueue`, `clsact`.
    pub kind: String,
    /// It is the root qdisc: neither the child of another one nor an ingress qdisc.
    pub root: bool,
    /// It was configured. The kernel's default has no handle (`attach_default_qdiscs()` in
    /// `net/sched/sch_generic.c`).
    pub configured: bool,
}

impl Host {
    /// Lists the qdiscs of a link. A move to another namespace removes the configured ones and their filters
    /// (`dev_shutdown()` in `net/sched/sch_generic.c`).
    pub fn qdiscs(&mut self, index: IfIndex) -> Result<Vec<Qdisc>, Error> {
        /// `struct tcmsg`: family, index, handle, parent, information.
        const HEADER: usize = 20;
        const TC_H_ROOT: u32 = u32::MAX;
        let request = Request::new("list the qdiscs", Subject::from(index)).with_flags(NLM_F_DUMP);
        let replies = self.route.send(&request, RawMessage { kind: RTM_GETQDISC, body: vec![0; HEADER] })?;
        Ok(replies
            .iter()
            .filter(|reply| reply.kind == RTM_NEWQDISC && u32_at(&reply.body, 4) == Some(index.get()))
            .filter_map(|RawMessage { kind: _, body }| {
                let kind = string(attribute(body.get(HEADER..)?, TCA_KIND)?)?;
                let (handle, parent) = (u32_at(body, 8)?, u32_at(body, 12)?);
                Some(Qdisc { kind, root: parent == TC_H_ROOT, configured: handle != 0 })
            })
            .collect())
    }

    /// Lists the ids of the next hop objects of a link (`ip nexthop`, Linux 5.3). They disappear with the
    /// link.
    pub fn next_hops(&mut self, index: IfIndex) -> Result<Vec<u32>, Error> {
        /// `struct nhmsg`.
        const HEADER: usize = 8;
        let request = Request::new("list the next hops", Subject::from(index)).with_flags(NLM_F_DUMP);
        let replies =
            match self.route.send(&request, RawMessage { kind: RTM_GETNEXTHOP, body: vec![0; HEADER] }) {
                Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
                replies => replies?,
            };
        let of = |reply: &RawMessage, kind| attribute_u32(reply.body.get(HEADER..)?, kind);
        Ok(replies
            .iter()
            .filter(|reply| of(reply, NHA_OIF) == Some(index.get()))
            .filter_map(|reply| of(reply, NHA_ID))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Host, testing::Pair};

    #[test]
    fn the_default_qdisc_is_not_configured() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let qdiscs = pair.at_near(Host::qdiscs).unwrap();
        assert_eq!(qdiscs.len(), 1, "{qdiscs:?}");
        assert_eq!((qdiscs[0].kind.as_str(), qdiscs[0].root, qdiscs[0].configured), ("noqueue", true, false));
        assert_eq!(pair.at_near(Host::next_hops).unwrap(), Vec::<u32>::new());
    }
}
