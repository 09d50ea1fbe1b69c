//! Listing, adding, removing and awaiting [`Record`]s.

use std::time::Duration;

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};

use super::{Record, RecordKind};
use crate::{
    Error, Host, IfIndex, Subject,
    netlink::{RawMessage, Request},
};

/// Added to `RTM_NEW*` for `RTM_DEL*` and `RTM_GET*` (`include/uapi/linux/rtnetlink.h`).
const DEL: u16 = 1;
const GET: u16 = 2;

/// Multicast groups of rtnetlink that announce changes of records.
const RECORD_CHANGES: i32 = libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE
    | libc::RTMGRP_NEIGH;

impl Host {
    /// Lists the records of a link, or of all links, in the kernel's order: `ip address`,
    /// `ip route show table all`, `ip neighbour` (permanent and proxy entries), of IPv4 and IPv6.
    pub fn records(
        &mut self,
        kind: RecordKind,
        index: impl Into<Option<IfIndex>>,
    ) -> Result<Vec<Record>, Error> {
        let index = index.into();
        let action = match kind {
            RecordKind::Address => "list the addresses",
            RecordKind::Route => "list the routes",
            RecordKind::Neighbour => "list the neighbours",
        };
        let mut records = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for proxies in [false, true] {
                let mut header = vec![0; kind.header()];
                header[0] = u8::try_from(family).unwrap_or_default();
                match (kind, proxies) {
                    (RecordKind::Neighbour, true) => header[10] = libc::NTF_PROXY,
                    (_, true) => continue,
                    (_, false) => {}
                }
                let request = Request::new(action, index.map(Subject::from)).with_flags(NLM_F_DUMP);
                let message = RawMessage { kind: kind.message() + GET, body: header };
                let replies = self.route.send(&request, message)?;
                for reply in replies.into_iter().filter(|reply| reply.kind == kind.message()) {
                    let record = Record::new(kind, reply.body)?;
                    // A kernel without a family replies with those of every family.
                    let own = i32::from(record.head(0)) == family;
                    let wanted = index.is_none_or(|index| record.goes_through(index));
                    if own && wanted && record.is_configured() {
                        records.push(record);
                    }
                }
            }
        }
        Ok(records)
    }

    /// Waits until the records of a link meet a condition. The kernel creates some in the background: IPv6
    /// adds an address's route after duplicate address detection (`addrconf_dad_work()` in
    /// `net/ipv6/addrconf.c`). `awaited` describes the condition in words that follow "failed to".
    pub fn wait_records(
        &mut self,
        kind: RecordKind,
        index: IfIndex,
        awaited: &'static str,
        deadline: Duration,
        wanted: impl Fn(&[Record]) -> bool,
    ) -> Result<Vec<Record>, Error> {
        self.wait_changes(RECORD_CHANGES, index, awaited, deadline, |host| {
            host.records(kind, index).map(|records| Some(records).filter(|records| wanted(records)))
        })
    }

    /// Adds the records that a link lacks, some time after they were read (lifetimes have run on), to a link
    /// that may have another index by now. Returns those that could not be added. Expired records are
    /// skipped.
    ///
    /// # Errors
    /// [`Error::Refused`] if the present records cannot be listed.
    pub fn add_records(
        &mut self,
        kind: RecordKind,
        index: IfIndex,
        records: &[Record],
        recorded_index: IfIndex,
        age: Duration,
    ) -> Result<Vec<(Record, Error)>, Error> {
        let present = self.records(kind, index)?;
        let mut missing: Vec<&Record> = records
            .iter()
            .filter(|record| record.kind() == kind)
            .filter(|record| !present.iter().any(|other| record.is_like(recorded_index, other, index)))
            .collect();
        match kind {
            // The kernel lists the newest IPv6 address of a scope first (ipv6_link_dev_addr() in
            // net/ipv6/addrconf.c).
            RecordKind::Address => {
                let (mut six, four): (Vec<_>, Vec<_>) =
                    missing.into_iter().partition(|record| record.is_ipv6());
                six.reverse();
                missing = [four, six].concat();
            }
            RecordKind::Route => missing.sort_by_key(|record| record.has_gateway()),
            RecordKind::Neighbour => {}
        }
        // A gateway may be behind another route: while any record can be added, the others are retried.
        loop {
            let (before, mut failed) = (missing.len(), Vec::new());
            for record in missing {
                if let Err(error) = self.send_record(record, recorded_index, index, age, NLM_F_APPEND) {
                    failed.push((record, error));
                }
            }
            if failed.is_empty() || failed.len() == before {
                return Ok(failed.into_iter().map(|(record, error)| (record.clone(), error)).collect());
            }
            missing = failed.into_iter().map(|(record, _)| record).collect();
        }
    }

    /// Adds a route of a link before or behind its [competitors](Record::competition_key), some time after it
    /// was read. IPv6 cannot add a route before others.
    pub fn add_route(
        &mut self,
        index: IfIndex,
        record: &Record,
        first: bool,
        age: Duration,
    ) -> Result<(), Error> {
        // Without a flag, IPv4 inserts it before the others (fib_table_insert() in net/ipv4/fib_trie.c).
        let order = if first { 0 } else { NLM_F_APPEND };
        self.send_record(record, index, index, age, order)
    }

    fn send_record(
        &mut self,
        record: &Record,
        recorded_index: IfIndex,
        index: IfIndex,
        age: Duration,
        order: u16,
    ) -> Result<(), Error> {
        let Some(body) = record.to_request(recorded_index, index, age) else { return Ok(()) };
        let (action, flags) = match record.kind() {
            RecordKind::Address => ("add an address", NLM_F_CREATE | NLM_F_EXCL),
            // The rest of a multipath route, which lost the next hop at this link, is replaced by the whole
            // route.
            RecordKind::Route if record.is_ipv6_multipath() => ("add a route", NLM_F_CREATE | NLM_F_REPLACE),
            RecordKind::Route if record.is_ipv6() => ("add a route", NLM_F_CREATE),
            RecordKind::Route => ("add a route", NLM_F_CREATE | order),
            RecordKind::Neighbour => ("add a neighbour", NLM_F_CREATE | NLM_F_REPLACE),
        };
        let request = Request::new(action, Subject::from(index)).with_flags(flags);
        self.route.send(&request, RawMessage { kind: record.kind().message(), body }).map(drop)
    }

    /// Removes a record of a link.
    ///
    /// # Errors
    /// [`Error::Refused`]: `EADDRNOTAVAIL`, `ESRCH` or `ENOENT` if there is none.
    pub fn remove_record(&mut self, index: IfIndex, record: &Record) -> Result<(), Error> {
        let request = Request::new("remove an address, route or neighbour", Subject::from(index));
        let body = record.to_request(index, index, Duration::ZERO).unwrap_or_else(|| record.body().to_vec());
        self.route.send(&request, RawMessage { kind: record.kind().message() + DEL, body }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rtnetlink::{RouteMessageBuilder, packet_core::Emitable as _};

    use super::*;
    use crate::{
        Worker,
        netlink::Attributes,
        record::FOREVER,
        testing::{ARRIVAL, Pair},
    };

    fn records(pair: &Pair, kind: RecordKind) -> Vec<Record> {
        pair.at_near(move |host, index| host.records(kind, index)).unwrap()
    }

    /// The message of an address of this link, with a lifetime in seconds.
    fn lease(index: IfIndex, seconds: u32) -> Record {
        let times = [seconds, seconds, 7, 7].map(u32::to_ne_bytes).concat();
        let attributes = Attributes::default()
            .put(libc::IFA_LOCAL, &[192, 0, 2, 7])
            .put(libc::IFA_ADDRESS, &[192, 0, 2, 7])
            .put(libc::IFA_CACHEINFO, &times)
            .into_bytes();
        let header = [vec![2, 24, 0, 0], index.get().to_ne_bytes().to_vec()].concat();
        Record::new(RecordKind::Address, [header, attributes].concat()).unwrap()
    }

    #[test]
    fn addresses_and_routes_are_restored() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let address = Ipv4Addr::new(192, 0, 2, 1);
        pair.at_near(move |host, index| host.add_address(index, address, 24)).unwrap();
        let (addresses, routes) = (records(&pair, RecordKind::Address), records(&pair, RecordKind::Route));
        assert_eq!(addresses[0].to_string(), "address 192.0.2.1/24");
        assert_eq!(addresses[0].address(), Some(address.into()));
        let words: Vec<_> = routes.iter().map(ToString::to_string).collect();
        assert!(words.contains(&"route 192.0.2.0/24 in table 254".to_owned()), "{words:?}");
        assert!(routes.iter().all(|route| route.is_kernel_made() && !route.is_default_route()));
        let kept = addresses.clone();
        let failed = pair
            .at_near(move |host, index| {
                host.remove_record(index, &kept[0])?;
                assert_eq!(host.records(RecordKind::Address, index)?, []);
                host.add_records(RecordKind::Address, index, &kept, index, Duration::ZERO)
            })
            .unwrap();
        assert!(failed.is_empty());
        let index = pair.near_index;
        for (before, now) in
            [(addresses, records(&pair, RecordKind::Address)), (routes, records(&pair, RecordKind::Route))]
        {
            assert_eq!(before.len(), now.len());
            assert!(before.iter().zip(&now).all(|(before, now)| before.is_like(index, now, index)));
        }
    }

    #[test]
    fn a_lifetime_runs_on_after_the_record_was_read() {
        let Some(pair) = Pair::create() else { return };
        let index = pair.near_index;
        let (long, over) = (lease(index, 1000), lease(index, 30));
        assert!(over.has_expired(Duration::from_secs(30)) && !over.has_expired(Duration::from_secs(29)));
        let left = pair
            .at_near(move |host, index| {
                let age = Duration::from_secs(400);
                let failed = host.add_records(RecordKind::Address, index, &[over, long], index, age)?;
                assert!(failed.is_empty());
                host.records(RecordKind::Address, index)
            })
            .unwrap();
        assert_eq!(left.len(), 1, "the expired address was added");
        let seconds = left[0].seconds_left().unwrap();
        assert!((590..=600).contains(&seconds), "{seconds} s remain of 600");
    }

    #[test]
    fn a_record_is_added_to_a_link_of_another_index() {
        let Some(pair) = Pair::create() else { return };
        let (index, other) = (pair.near_index, IfIndex::new(4_000).unwrap());
        let record = lease(other, FOREVER);
        assert!(record.goes_through(other) && !record.goes_through(index));
        let failed = pair
            .at_near(move |host, index| {
                host.add_records(RecordKind::Address, index, &[record], other, Duration::ZERO)
            })
            .unwrap();
        assert!(failed.is_empty());
        let there = records(&pair, RecordKind::Address);
        assert_eq!(there[0].to_string(), "address 192.0.2.7/24");
        assert!(there[0].goes_through(index));
    }

    #[test]
    fn a_refused_record_is_returned_with_the_reason() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        // No route leads to the gateway.
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::new(203, 0, 113, 0), 24)
            .gateway(Ipv4Addr::new(198, 51, 100, 9))
            .output_interface(pair.near_index.get())
            .build();
        let mut body = vec![0; route.buffer_len()];
        route.emit(&mut body);
        let route = Record::new(RecordKind::Route, body).unwrap();
        assert_eq!(route.to_string(), "route 203.0.113.0/24 via 198.51.100.9 in table 254");
        let failed = pair
            .at_near(move |host, index| {
                host.add_records(RecordKind::Route, index, &[route], index, Duration::ZERO)
            })
            .unwrap();
        assert_eq!(failed[0].1.errno(), Some(libc::ENETUNREACH));
    }

    #[test]
    fn a_list_that_changes_meanwhile_is_whole() {
        const ADDRESSES: u8 = 250;
        const ROUNDS: usize = 100;
        const CHANGES: usize = 20;
        let Some(pair) = Pair::create() else { return };
        let address = |number: u8| Ipv4Addr::new(192, 0, 2, number);
        pair.at_near(move |host, index| {
            (0..ADDRESSES).try_for_each(|number| host.add_address(index, address(number), 32))
        })
        .unwrap();
        let all = records(&pair, RecordKind::Address);
        let (index, changer) = (pair.near_index, Worker::spawn(pair.near.namespace(), "changer").unwrap());
        let mut order = all.iter().zip(0..ADDRESSES).cycle();
        for round in 0..ROUNDS {
            // The first address becomes the last one, again and again: those behind it move up.
            let moved: Vec<(Record, u8)> =
                order.by_ref().take(CHANGES).map(|(record, number)| (record.clone(), number)).collect();
            std::thread::scope(|scope| {
                let changing = scope.spawn(|| {
                    changer.call(move |host| {
                        moved.iter().try_for_each(|(record, number)| {
                            host.remove_record(index, record)?;
                            host.add_address(index, address(*number), 32)
                        })
                    })
                });
                let there = records(&pair, RecordKind::Address);
                let mut distinct: Vec<_> = there.iter().filter_map(Record::address).collect();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), there.len(), "an address is listed twice in round {round}");
                assert!(there.len() + 1 >= all.len(), "{} addresses in round {round}", there.len());
                changing.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn a_later_record_is_waited_for() {
        let Some(pair) = Pair::create().map(Pair::up) else { return };
        let index = pair.near_index;
        let late = pair.near.call(move |host| {
            host.wait_records(RecordKind::Address, index, "see one", Duration::from_millis(50), |there| {
                !there.is_empty()
            })
        });
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
        let second = Worker::spawn(pair.near.namespace(), "second").unwrap();
        let waiting = std::thread::spawn(move || {
            second.call(move |host| {
                host.wait_records(RecordKind::Address, index, "see one", ARRIVAL, |there| !there.is_empty())
            })
        });
        pair.at_near(|host, index| host.add_address(index, Ipv4Addr::new(192, 0, 2, 1), 24)).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().len(), 1);
    }
}
