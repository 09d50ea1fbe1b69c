//! Layers of a frame and the fields that a scenario can set in each.
//!
//! One table defines the layers, their keys in TOML and their defaults; a test compares the reference in
//! `scenarios/README.md` with it. A field that is an [`Option`] is derived when the frame is crafted (from the layer behind
//! it, from lengths, or as a checksum) unless the scenario gives it. A given value is always used, right or wrong, to make
//! malformed frames.

#![expect(missing_docs, reason = "most fields are named like the header's field and need no more words")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr;

use crate::document::{Context, Field, Key, Node, Problem, Table, Value};
use crate::value::{
    Addresses, Bits, DUT_MAC, EtherType, Hex, MacAddr, Options, Protocol, TESTER_MAC, Tpid, VlanId,
};

const TESTER_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DUT_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const TESTER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DUT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Source port of UDP, TCP and SCTP.
const CLIENT_PORT: u16 = 40_000;
/// Destination port of UDP, TCP and SCTP: the discard service (RFC 863).
const DISCARD_PORT: u16 = 9;

/// Key of a field in TOML: its name, without the `r#` in front of a keyword of Rust.
const fn key(field: &'static str) -> &'static str {
    match field.split_at_checked(2) {
        Some((raw, key)) if matches!(raw.as_bytes(), b"r#") => key,
        _ => field,
    }
}

/// Headers by type, each with the layers that it is the header of, and its fields. A layer may have an IP protocol number and
/// a default of its own.
macro_rules! layers {
    ($(
        $(#[$doc:meta])*
        $header:ident: $($key:literal => $name:ident $([$protocol:literal])? $(($other:ident = $value:expr))?),+ {
            $( $(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr, )*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $header {
                $( $(#[$field_doc])* pub $field: $type, )*
            }

            impl Default for $header {
                fn default() -> Self {
                    Self { $( $field: $default, )* }
                }
            }

            impl $header {
                fn read(&mut self, table: &mut Table<'_>) {
                    $( if let Some(value) = table.take(const { key(stringify!($field)) }) {
                        self.$field = value;
                    } )*
                }

                /// Reads one field once more, because a variable in it has another value now.
                fn read_field(&mut self, name: &str, context: Context<'_>, node: &Node) {
                    $( if name == const { key(stringify!($field)) }
                        && let Some(value) = context.take(name, node)
                    {
                        self.$field = value;
                    } )*
                }
            }
        )*

        /// One header of a frame, or its payload.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Layer {
            $( $( $name($header), )+ )*
        }

        impl Layer {
            /// Keys that name a layer in a scenario.
            pub const NAMES: &[&str] = &[$( $( $key ),+ ),*];

            /// Returns the key that names this layer in a scenario.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $( $( Self::$name(_) => $key, )+ )*
                }
            }

            /// Returns the IP protocol or next-header number of this layer, if there is one.
            pub(crate) fn protocol(&self) -> Option<Protocol> {
                match self {
                    $( $( $( Self::$name(_) => Some(Protocol($protocol)), )? )+ )*
                    _ => None,
                }
            }

            fn read_fields(name: &str, context: Context<'_>, node: &Node) -> Option<Self> {
                match name {
                    $( $(
                        $key => {
                            let mut table = context.table(concat!("`", $key, "`"), node)?;
                            let mut header = $header { $( $other: $value, )? ..$header::default() };
                            header.read(&mut table);
                            table.finish();
                            Some(Self::$name(header))
                        }
                    )+ )*
                    _ => None,
                }
            }

            fn read_field(&mut self, name: &str, context: Context<'_>, node: &Node) {
                match self {
                    $( $( Self::$name(header) => header.read_field(name, context, node), )+ )*
                }
            }
        }
    };
}

layers! {
    /// An Ethernet header, 14 bytes (IEEE 802.3, clause 3).
    Ethernet: "ethernet" => Ethernet [143] {
        destination: MacAddr = MacAddr(DUT_MAC),
        source: MacAddr = MacAddr(TESTER_MAC),
        /// EtherType of the next layer, or its length in bytes in front of LLC.
        ethertype: Option<EtherType> = None,
    }

    /// A VLAN tag, 4 bytes (IEEE 802.1Q, clause 9): the TPID lies in the two bytes in front of it.
    Vlan: "vlan" => Vlan {
        /// EtherType that announces this tag, in the header in front of it.
        tpid: Tpid = Tpid::CUSTOMER,
        pcp: Bits<u8, 3> = Bits::default(),
        dei: bool = false,
        vid: VlanId = VlanId::default(),
        ethertype: Option<EtherType> = None,
    }

    /// An IEEE 802.2 LLC header with a one-byte control field, 3 bytes; the defaults announce SNAP.
    Llc: "llc" => Llc {
        /// Destination service access point; 0x42 is the spanning tree's.
        dsap: u8 = 0xaa,
        ssap: u8 = 0xaa,
        /// Control field; 3 is an unnumbered information frame.
        control: u8 = 0x03,
    }

    /// A SNAP header behind LLC, 5 bytes (RFC 1042).
    Snap: "snap" => Snap {
        /// Organization; 0 means that an EtherType follows.
        oui: Bits<u32, 24> = Bits::default(),
        ethertype: Option<EtherType> = None,
    }

    /// ARP for IPv4 over Ethernet, 28 bytes (RFC 826); RARP (RFC 903) has the same format.
    Arp: "arp" => Arp {
        /// 1 is a request, 2 a reply.
        operation: u16 = 1,
        sender_mac: MacAddr = MacAddr(TESTER_MAC),
        sender_ip: Ipv4Addr = TESTER_IPV4,
        target_mac: MacAddr = MacAddr([0; 6]),
        target_ip: Ipv4Addr = DUT_IPV4,
    }

    /// An IPv4 header, 20 bytes and its options (RFC 791 section 3.1).
    Ipv4: "ipv4" => Ipv4 [4] {
        version: Bits<u8, 4> = Bits(4),
        /// Header length in 32-bit words as the header claims it; `options` decide how long it is.
        ihl: Option<Bits<u8, 4>> = None,
        dscp: Bits<u8, 6> = Bits::default(),
        ecn: Bits<u8, 2> = Bits::default(),
        /// Length of header and payload in bytes.
        total_length: Option<u16> = None,
        identification: u16 = 0,
        dont_fragment: bool = false,
        more_fragments: bool = false,
        /// In units of 8 bytes.
        fragment_offset: Bits<u16, 13> = Bits::default(),
        ttl: u8 = 64,
        protocol: Option<Protocol> = None,
        /// Checksum of the header, as long as `ihl` claims it.
        checksum: Option<u16> = None,
        source: Ipv4Addr = TESTER_IPV4,
        destination: Ipv4Addr = DUT_IPV4,
        options: Options = Options::default(),
    }

    /// An IPv6 header, 40 bytes (RFC 8200 section 3).
    Ipv6: "ipv6" => Ipv6 [41] {
        version: Bits<u8, 4> = Bits(6),
        traffic_class: u8 = 0,
        flow_label: Bits<u32, 20> = Bits::default(),
        /// Length of everything behind this header in bytes.
        payload_length: Option<u16> = None,
        next_header: Option<Protocol> = None,
        hop_limit: u8 = 64,
        source: Ipv6Addr = TESTER_IPV6,
        destination: Ipv6Addr = DUT_IPV6,
    }

    /// An IPv6 options header, padded to whole 8 bytes: hop-by-hop (RFC 8200 section 4.3) or destination (section 4.6).
    Ipv6Options: "hop_by_hop" => HopByHop [0], "destination_options" => DestinationOptions [60] {
        next_header: Option<Protocol> = None,
        /// In units of 8 bytes, the first not counted.
        length: Option<u8> = None,
        /// Options; `Pad1` and `PadN` are added as needed.
        options: Hex = Hex::default(),
    }

    /// The IPv6 routing header (RFC 8200 section 4.4), filled with zeros to whole 8 bytes.
    Routing: "routing" => Routing [43] {
        next_header: Option<Protocol> = None,
        /// In units of 8 bytes, the first not counted.
        length: Option<u8> = None,
        /// Routing type; 4 is segment routing (RFC 8754), 0 is deprecated (RFC 5095).
        r#type: u8 = 4,
        segments_left: u8 = 0,
        /// Data of the routing type.
        data: Hex = Hex::default(),
    }

    /// The IPv6 fragment header, 8 bytes (RFC 8200 section 4.5).
    Fragment: "fragment" => Fragment [44] {
        next_header: Option<Protocol> = None,
        /// In units of 8 bytes.
        offset: Bits<u16, 13> = Bits::default(),
        more_fragments: bool = false,
        identification: u32 = 0,
    }

    /// The authentication header (RFC 4302 section 2): 12 bytes and the integrity check value.
    Ah: "ah" => Ah [51] {
        next_header: Option<Protocol> = None,
        /// In 32-bit words, minus 2.
        length: Option<u8> = None,
        spi: u32 = 0x100,
        sequence: u32 = 1,
        icv: Options = Options::default(),
    }

    /// An ESP header, 8 bytes (RFC 4303 section 2); the layers behind it take the place of the ciphertext.
    Esp: "esp" => Esp [50] {
        spi: u32 = 0x100,
        sequence: u32 = 1,
    }

    /// A GRE header, 4 bytes and its optional fields (RFC 2784, RFC 2890), each with its flag.
    Gre: "gre" => Gre [47] {
        ethertype: Option<EtherType> = None,
        key: Option<u32> = None,
        sequence: Option<u32> = None,
    }

    /// A UDP header, 8 bytes (RFC 768).
    Udp: "udp" => Udp [17] {
        source: u16 = CLIENT_PORT,
        destination: u16 = DISCARD_PORT,
        /// Length of header and payload in bytes.
        length: Option<u16> = None,
        /// 0 means that there is none.
        checksum: Option<u16> = None,
    }

    /// A TCP header, 20 bytes and its options (RFC 9293 section 3.1).
    Tcp: "tcp" => Tcp [6] {
        source: u16 = CLIENT_PORT,
        destination: u16 = DISCARD_PORT,
        sequence: u32 = 1,
        acknowledgement: u32 = 0,
        /// Header length in 32-bit words as the header claims it.
        data_offset: Option<Bits<u8, 4>> = None,
        flags: TcpFlags = TcpFlags::SYN,
        window: u16 = 64_240,
        checksum: Option<u16> = None,
        urgent: u16 = 0,
        options: Options = Options::default(),
    }

    /// The first 8 bytes of an ICMP (RFC 792) or `ICMPv6` (RFC 4443 section 4.1) message, an echo request by default.
    Echo: "icmp" => Icmp [1], "icmpv6" => Icmpv6 [58](r#type = 128) {
        r#type: u8 = 8,
        code: u8 = 0,
        checksum: Option<u16> = None,
        /// Identifier, or the first half of another type's word.
        identifier: u16 = 1,
        /// Sequence number, or the second half of another type's word.
        sequence: u16 = 1,
    }

    /// An IGMP message of version 2, 8 bytes, a membership report by default (RFC 2236 section 2).
    Igmp: "igmp" => Igmp [2] {
        r#type: u8 = 0x16,
        /// In tenths of a second.
        max_response: u8 = 0,
        checksum: Option<u16> = None,
        group: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 1),
    }

    /// An SCTP common header, 12 bytes (RFC 9260 section 3.1); chunks are given as `raw`.
    Sctp: "sctp" => Sctp [132] {
        source: u16 = CLIENT_PORT,
        destination: u16 = DISCARD_PORT,
        verification_tag: u32 = 0,
        /// Castagnoli CRC of the packet (RFC 9260 appendix A); a given one is written big-endian.
        checksum: Option<u32> = None,
    }

    /// Bytes as they are: a header that has no layer, or a malformed one.
    Raw: "raw" => Raw {
        hex: Hex = Hex::default(),
    }

    /// Bytes that nothing reads.
    Payload: "payload" => Payload {
        /// Number of bytes.
        length: u16 = 0,
        /// Value of each byte; 0, 1, 2, .. 255, 0, .. unless given, so that a cut or a shift shows.
        fill: Option<u8> = None,
    }
}

/// TCP flags: byte 13 of the header (RFC 9293 section 3.1, RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Flag of the first segment of a connection.
    pub const SYN: Self = Self(0x02);
    /// Names of the flags, from bit 0.
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
}

impl Field for TcpFlags {
    fn read(node: &Node) -> Result<Self, Problem> {
        Vec::<Node>::read(node)?.iter().try_fold(Self(0), |Self(flags), node| {
            let name = String::read(node)?;
            match Self::NAMES.iter().position(|known| *known == name) {
                Some(bit) => Ok(Self(flags | 1 << bit)),
                None => Err(Problem::unknown(node.span.clone(), "TCP flag", &name, Self::NAMES)),
            }
        })
    }
}

/// Layers of a frame that is read for one combination of values after another. A layer is read as a whole once, and
/// afterwards only its fields that vary.
///
/// Layers are identified by their address in memory, so one cache serves one document.
#[derive(Debug, Default)]
pub(crate) struct Layers(BTreeMap<*const Node, Known>);

/// A layer that was read without a problem.
#[derive(Debug)]
struct Known {
    layer: Layer,
    /// Indices of the fields that have a variable.
    varying: Vec<usize>,
}

impl Layers {
    /// Like [`Layer::read`].
    pub(crate) fn read(&mut self, context: Context<'_>, node: &Node) -> Option<Layer> {
        if let Some(Known { layer, varying }) = self.0.get(&ptr::from_ref(node)) {
            let mut layer = layer.clone();
            for (key, value) in varying.iter().filter_map(|index| Layer::fields(node)?.get(*index)) {
                layer.read_field(&key.name, context, value);
            }
            return Some(layer);
        }
        let before = context.problems.borrow().number();
        let layer = Layer::read(context, node)?;
        if context.problems.borrow().number() == before {
            let fields = Layer::fields(node).unwrap_or_default().iter().enumerate();
            let varying = fields.filter(|(_, (_, value))| value.has_variable()).map(|(index, _)| index);
            let known = Known { layer: layer.clone(), varying: varying.collect() };
            self.0.insert(ptr::from_ref(node), known);
        }
        Some(layer)
    }
}

impl Layer {
    /// Returns the fields of a layer.
    fn fields(node: &Node) -> Option<&[(Key, Node)]> {
        let Value::Table(entries) = &node.value else { return None };
        let [(_, Node { value: Value::Table(fields), .. })] = entries.as_slice() else { return None };
        Some(fields)
    }

    /// Reads one layer: a table with one key, its name.
    pub(crate) fn read(context: Context<'_>, node: &Node) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            context.report(node.problem("expected a layer, a table with one key like { udp = {} }"));
            return None;
        };
        let [(key, fields)] = entries.as_slice() else {
            let keys = entries.len();
            context.report(
                node.problem(format!("expected a layer, a table with one key, found {keys} keys"))
                    .hint("write each layer in its own braces, outermost first"),
            );
            return None;
        };
        if !Self::NAMES.contains(&key.name.as_str()) {
            let known = Self::NAMES.iter().copied();
            context.report(Problem::unknown(key.span.clone(), "layer", &key.name, known));
            return None;
        }
        Self::read_fields(&key.name, context, fields)
    }

    /// Returns the EtherType by which the header in front announces this layer, if there is one.
    pub(crate) fn ether_type(&self) -> Option<EtherType> {
        match self {
            Self::Vlan(vlan) => Some(EtherType(vlan.tpid.0)),
            Self::Arp(_) => Some(EtherType::ARP),
            Self::Ipv4(_) => Some(EtherType::IPV4),
            Self::Ipv6(_) => Some(EtherType::IPV6),
            Self::Ethernet(_) => Some(EtherType::TEB),
            _ => None,
        }
    }

    /// Returns the addresses of an IP header.
    pub(crate) fn addresses(&self) -> Option<Addresses> {
        match self {
            Self::Ipv4(ip) => Some(Addresses::V4(ip.source, ip.destination)),
            Self::Ipv6(ip) => Some(Addresses::V6(ip.source, ip.destination)),
            _ => None,
        }
    }
}
