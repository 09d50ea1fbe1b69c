//! Properties of any frame: nothing panics, and a frame that is crafted from layers counts as those layers intend.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use xdproof_scenarios::layer::{Arp, Echo, Ethernet, Ipv4, Ipv6, Payload, Tcp, Udp, Vlan};
use xdproof_scenarios::oracle::{CounterOutcome, outcome};
use xdproof_scenarios::{Frame, Layer, Protocol, SHORTEST_FRAME, Tpid, VlanId, capture_file, describe};

/// Fixes the cases of every run.
fn config() -> Config {
    Config {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(0x7864_7031),
        failure_persistence: None,
        ..Config::default()
    }
}

fn tag() -> impl Strategy<Value = Vlan> {
    (select(vec![0x8100_u16, 0x88a8, 0x9100]), 0..=4095_u64, any::<bool>()).prop_map(|(tpid, vid, dei)| {
        Vlan { tpid: Tpid(tpid), vid: VlanId::new(vid).unwrap(), dei, ..Vlan::default() }
    })
}

/// A network header, its length and the slot that it is counted in.
fn network() -> impl Strategy<Value = (Layer, usize, u8)> {
    let protocol = any::<u8>();
    prop_oneof![
        protocol.prop_map(|number| {
            (Layer::Ipv4(Ipv4 { protocol: Some(Protocol(number)), ..Ipv4::default() }), 20, number)
        }),
        protocol.prop_map(|number| {
            (Layer::Ipv6(Ipv6 { next_header: Some(Protocol(number)), ..Ipv6::default() }), 40, number)
        }),
        protocol.prop_map(|_| (Layer::Arp(Arp::default()), 0, 0)),
    ]
}

/// Returns the outcome that the construction intends, by the positions of its layers and not by their bytes.
fn intended(tags: &[Vlan], (needs, key): (usize, u8), length: usize) -> CounterOutcome {
    let mut offset = 14;
    for (index, tag) in tags.iter().enumerate() {
        if index == 2 || ![Tpid::CUSTOMER, Tpid::SERVICE].contains(&tag.tpid) {
            return if length < offset { CounterOutcome::Dropped } else { CounterOutcome::Counted(0) };
        }
        offset += 4;
        if length < offset {
            return CounterOutcome::Dropped;
        }
    }
    match length {
        short if short < offset => CounterOutcome::Dropped,
        short if short < offset + needs => CounterOutcome::Counted(0),
        _ => CounterOutcome::Counted(key),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_bytes_make_the_oracle_or_the_description_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(bytes.len() >= SHORTEST_FRAME || outcome(&bytes) == CounterOutcome::Dropped);
        prop_assert!(!describe(&bytes).contains('\n'));
    }

    #[test]
    fn no_bytes_behind_a_known_type_make_the_oracle_or_the_description_panic(
        types in vec(select(vec![0x8100_u16, 0x88a8, 0x9100, 0x0800, 0x86dd, 0x0806, 0x88e5]), 1..5),
        rest in vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![0; 12];
        for ether_type in types {
            bytes.extend(ether_type.to_be_bytes());
            bytes.extend([0, 1]);
        }
        bytes.truncate(bytes.len() - 2);
        // A version that fits makes the decoder go on.
        bytes.extend(rest.first().map(|byte| if byte % 2 == 0 { 0x45 } else { 0x60 }));
        bytes.extend(&rest);
        prop_assert!(bytes.len() >= SHORTEST_FRAME || outcome(&bytes) == CounterOutcome::Dropped);
        prop_assert!(!describe(&bytes).contains('\n'));
    }

    #[test]
    fn no_file_makes_the_pcap_reader_panic(
        magic in select(vec![*b"\xd4\xc3\xb2\xa1", *b"\xa1\xb2\xc3\xd4"]),
        mut bytes in vec(any::<u8>(), 4..100),
    ) {
        bytes[..4].copy_from_slice(&magic);
        capture_file::read(bytes.as_slice()).ok();
    }

    #[test]
    fn no_block_makes_the_pcapng_reader_panic(
        kind in select(vec![1_u32, 2, 3, 4, 5, 6, 9, 10, 0xbad, 0x4000_0bad, 0x8000_0001, 0x0a0d_0d0a]),
        options in vec(any::<[u8; 4]>(), 0..8),
        body in vec(any::<[u8; 4]>(), 0..20),
    ) {
        let block = |kind: u32, body: &[u8]| {
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes()[..], &length, body, &length].concat()
        };
        let section = block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
        let interface = block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0][..], &options.concat()].concat());
        capture_file::read([section, interface, block(kind, &body.concat())].concat().as_slice()).ok();
    }

    #[test]
    fn a_frame_counts_as_its_layers_intend_at_any_length(
        tags in vec(tag(), 0..4),
        (network, needs, key) in network(),
        payload in 0..40_u16,
        cut in 0..160_usize,
    ) {
        let mut layers = vec![Layer::Ethernet(Ethernet::default())];
        layers.extend(tags.iter().cloned().map(Layer::Vlan));
        layers.extend([network, Layer::Payload(Payload { length: payload, fill: None })]);
        let mut bytes = Frame::craft(layers, 1).unwrap().bytes;
        bytes.truncate(cut);
        prop_assert_eq!(outcome(&bytes), intended(&tags, (needs, key), bytes.len()));
    }

    #[test]
    fn computed_checksums_are_the_ones_that_another_implementation_computes(
        ipv6 in any::<bool>(),
        transport in 0..3_usize,
        (source, ttl) in any::<(u32, u8)>(),
        (port, length, fill) in (any::<u16>(), 0..600_u16, any::<Option<u8>>()),
    ) {
        let ip = if ipv6 {
            Layer::Ipv6(Ipv6 { source: u128::from(source).into(), hop_limit: ttl, ..Ipv6::default() })
        } else {
            Layer::Ipv4(Ipv4 { source: source.into(), ttl, ..Ipv4::default() })
        };
        let segment = match transport {
            0 => Layer::Udp(Udp { source: port, ..Udp::default() }),
            1 => Layer::Tcp(Tcp { source: port, ..Tcp::default() }),
            _ if ipv6 => Layer::Icmpv6(Echo { r#type: 128, identifier: port, ..Echo::default() }),
            _ => Layer::Icmp(Echo { identifier: port, ..Echo::default() }),
        };
        let layers = vec![Layer::Ethernet(Ethernet::default()), ip, segment, Layer::Payload(Payload { length, fill })];
        let bytes = Frame::craft(layers, 1).unwrap().bytes;
        let packet = LaxSlicedPacket::from_ethernet(&bytes).unwrap();
        prop_assert_eq!(&packet.stop_err, &None);
        let (header4, header6) = match packet.net.unwrap() {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                (Some(header), None)
            }
            LaxNetSlice::Ipv6(ip) => (None, Some(ip.header().to_header())),
            LaxNetSlice::Arp(_) => unreachable!("an IP header was crafted"),
        };
        match (packet.transport.unwrap(), header4, header6) {
            (TransportSlice::Udp(udp), Some(ip), _) => prop_assert_eq!(
                udp.checksum(), udp.to_header().calc_checksum_ipv4(&ip, udp.payload()).unwrap()),
            (TransportSlice::Udp(udp), _, Some(ip)) => prop_assert_eq!(
                udp.checksum(), udp.to_header().calc_checksum_ipv6(&ip, udp.payload()).unwrap()),
            (TransportSlice::Tcp(tcp), Some(ip), _) => prop_assert_eq!(
                tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload()).unwrap()),
            (TransportSlice::Tcp(tcp), _, Some(ip)) => prop_assert_eq!(
                tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&ip, tcp.payload()).unwrap()),
            (TransportSlice::Icmpv4(icmp), ..) => prop_assert_eq!(
                icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload())),
            (TransportSlice::Icmpv6(icmp), _, Some(ip)) => {
                prop_assert!(icmp.is_checksum_valid(ip.source, ip.destination));
            }
            other => unreachable!("another header was crafted than {other:?}"),
        }
    }
}
