//! The headers that a frame is declared with, each with the fields that a scenario can set.
//!
//! One table defines the layers, their keys in TOML and their defaults. A field that is an [`Option`] is
//! derived while the frame is crafted (from the layer behind it, from lengths, or as a checksum) unless the
//! scenario gives it; a given value always stands, right or wrong: that is how malformed frames are made.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr;

use crate::document::{Context, Field, Key, Node, Problem, Value};
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

/// A field's key in TOML: its name without the `r#` of one that is a keyword of Rust.
const fn key(field: &'static str) -> &'static str {
    match field.split_at_checked(2) {
        Some((raw, key)) if matches!(raw.as_bytes(), b"r#") => key,
        _ => field,
    }
}

macro_rules! layers {
    ($(
        $(#[$doc:meta])*
        $key:literal => $name:ident {
            $( $(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr, )*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name {
                $( $(#[$field_doc])* pub $field: $type, )*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $( $field: $default, )* }
                }
            }
        )*

        /// One header of a frame, or its payload.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Layer {
            $( $(#[$doc])* $name($name), )*
        }

        $(
            impl From<$name> for Layer {
                fn from(layer: $name) -> Self {
                    Self::$name(layer)
                }
            }
        )*

        impl Layer {
            /// The keys that name a layer in a scenario.
            pub const NAMES: &[&str] = &[$( $key ),*];

            /// The key that names this layer in a scenario.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$name(_) => $key, )*
                }
            }

            fn read_fields(name: &str, context: Context<'_>, node: &Node) -> Option<Self> {
                match name {
                    $(
                        $key => {
                            let mut table = context.table(concat!("`", $key, "`"), node)?;
                            let layer = $name {
                                $( $field: table
                                    .take(const { key(stringify!($field)) })
                                    .unwrap_or_else(|| $default), )*
                            };
                            table.finish();
                            Some(layer.into())
                        }
                    )*
                    _ => None,
                }
            }

            /// Reads one field once more, because a variable in it has another value now.
            fn read_field(&mut self, name: &str, context: Context<'_>, node: &Node) {
                match self {
                    $(
                        Self::$name(layer) => {
                            $( if name == const { key(stringify!($field)) } {
                                layer.$field = context.take(name, node).unwrap_or_else(|| $default);
                            } )*
                        }
                    )*
                }
            }
        }
    };
}

layers! {
    /// An Ethernet header, 14 bytes (IEEE 802.3, clause 3).
    "ethernet" => Ethernet {
        /// Destination address; the DUT's by default.
        destination: MacAddr = MacAddr(DUT_MAC),
        /// Source address; the tester's by default.
        source: MacAddr = MacAddr(TESTER_MAC),
        /// EtherType of what follows, or its length in bytes before LLC.
        ethertype: Option<EtherType> = None,
    }

    /// A VLAN tag, 4 bytes (IEEE 802.1Q, clause 9): the TPID lies in the two bytes in front of it.
    "vlan" => Vlan {
        /// The EtherType that announces this tag, in the header in front of it.
        tpid: Tpid = Tpid::CUSTOMER,
        /// Priority code point, 0 to 7.
        pcp: Bits<u8, 3> = Bits::default(),
        /// Drop eligible indicator.
        dei: bool = false,
        /// VLAN identifier, 0 to 4095.
        vid: VlanId = VlanId::default(),
        /// EtherType of what follows the tag.
        ethertype: Option<EtherType> = None,
    }

    /// An IEEE 802.2 LLC header with a one-byte control field, 3 bytes; the defaults announce SNAP.
    "llc" => Llc {
        /// Destination service access point; 0x42 is the spanning tree's.
        dsap: u8 = 0xaa,
        /// Source service access point.
        ssap: u8 = 0xaa,
        /// Control field; 3 is an unnumbered information frame.
        control: u8 = 0x03,
    }

    /// A SNAP header behind LLC, 5 bytes (RFC 1042).
    "snap" => Snap {
        /// Organization, 3 bytes; 0 says that an EtherType follows.
        oui: Bits<u32, 24> = Bits::default(),
        /// EtherType of what follows.
        ethertype: Option<EtherType> = None,
    }

    /// ARP for IPv4 over Ethernet, 28 bytes (RFC 826); RARP (RFC 903) has the same shape.
    "arp" => Arp {
        /// 1 asks, 2 answers.
        operation: u16 = 1,
        /// Sender's hardware address.
        sender_mac: MacAddr = MacAddr(TESTER_MAC),
        /// Sender's protocol address.
        sender_ip: Ipv4Addr = TESTER_IPV4,
        /// Target's hardware address; unknown to one who asks.
        target_mac: MacAddr = MacAddr([0; 6]),
        /// Target's protocol address.
        target_ip: Ipv4Addr = DUT_IPV4,
    }

    /// An IPv4 header, 20 bytes and its options (RFC 791 section 3.1).
    "ipv4" => Ipv4 {
        /// Version.
        version: Bits<u8, 4> = Bits(4),
        /// Header length in 32-bit words as the header claims it; how long it is, `options` decide.
        ihl: Option<Bits<u8, 4>> = None,
        /// Differentiated services code point.
        dscp: Bits<u8, 6> = Bits::default(),
        /// Explicit congestion notification.
        ecn: Bits<u8, 2> = Bits::default(),
        /// Length of header and payload in bytes.
        total_length: Option<u16> = None,
        /// Identification, the same in every fragment of a datagram.
        identification: u16 = 0,
        /// Don't fragment.
        dont_fragment: bool = false,
        /// More fragments follow.
        more_fragments: bool = false,
        /// Place of this fragment in its datagram, in units of 8 bytes.
        fragment_offset: Bits<u16, 13> = Bits::default(),
        /// Time to live.
        ttl: u8 = 64,
        /// Protocol of the payload.
        protocol: Option<Protocol> = None,
        /// Checksum of the header, as long as `ihl` claims it.
        checksum: Option<u16> = None,
        /// Source address.
        source: Ipv4Addr = TESTER_IPV4,
        /// Destination address.
        destination: Ipv4Addr = DUT_IPV4,
        /// Options, whole 32-bit words.
        options: Options = Options::default(),
    }

    /// An IPv6 header, 40 bytes (RFC 8200 section 3).
    "ipv6" => Ipv6 {
        /// Version.
        version: Bits<u8, 4> = Bits(6),
        /// Traffic class.
        traffic_class: u8 = 0,
        /// Flow label.
        flow_label: Bits<u32, 20> = Bits::default(),
        /// Length of everything behind this header in bytes.
        payload_length: Option<u16> = None,
        /// Type of the header that follows.
        next_header: Option<Protocol> = None,
        /// Hop limit.
        hop_limit: u8 = 64,
        /// Source address.
        source: Ipv6Addr = TESTER_IPV6,
        /// Destination address.
        destination: Ipv6Addr = DUT_IPV6,
    }

    /// The IPv6 hop-by-hop options header (RFC 8200 section 4.3), padded to whole 8 bytes.
    "hop_by_hop" => HopByHop {
        /// Type of the header that follows.
        next_header: Option<Protocol> = None,
        /// Length in units of 8 bytes, the first not counted.
        length: Option<u8> = None,
        /// Options; `Pad1` and `PadN` are added as needed.
        options: Hex = Hex::default(),
    }

    /// The IPv6 destination options header (RFC 8200 section 4.6), padded to whole 8 bytes.
    "destination_options" => DestinationOptions {
        /// Type of the header that follows.
        next_header: Option<Protocol> = None,
        /// Length in units of 8 bytes, the first not counted.
        length: Option<u8> = None,
        /// Options; `Pad1` and `PadN` are added as needed.
        options: Hex = Hex::default(),
    }

    /// The IPv6 routing header (RFC 8200 section 4.4), filled with zeros to whole 8 bytes.
    "routing" => Routing {
        /// Type of the header that follows.
        next_header: Option<Protocol> = None,
        /// Length in units of 8 bytes, the first not counted.
        length: Option<u8> = None,
        /// Routing type; 4 is segment routing (RFC 8754), 0 is deprecated (RFC 5095).
        r#type: u8 = 4,
        /// Segments left to visit.
        segments_left: u8 = 0,
        /// Data of the routing type.
        data: Hex = Hex::default(),
    }

    /// The IPv6 fragment header, 8 bytes (RFC 8200 section 4.5).
    "fragment" => Fragment {
        /// Type of the header that follows in the whole datagram.
        next_header: Option<Protocol> = None,
        /// Place of this fragment in its datagram, in units of 8 bytes.
        offset: Bits<u16, 13> = Bits::default(),
        /// More fragments follow.
        more_fragments: bool = false,
        /// Identification, the same in every fragment of a datagram.
        identification: u32 = 0,
    }

    /// The authentication header (RFC 4302 section 2): 12 bytes and the integrity check value.
    "ah" => Ah {
        /// Type of the header that follows.
        next_header: Option<Protocol> = None,
        /// Length in 32-bit words, minus 2.
        length: Option<u8> = None,
        /// Security parameters index.
        spi: u32 = 0x100,
        /// Sequence number.
        sequence: u32 = 1,
        /// Integrity check value, whole 32-bit words.
        icv: Options = Options::default(),
    }

    /// An encapsulating security payload header, 8 bytes (RFC 4303 section 2); what follows stands for the
    /// ciphertext.
    "esp" => Esp {
        /// Security parameters index.
        spi: u32 = 0x100,
        /// Sequence number.
        sequence: u32 = 1,
    }

    /// A GRE header, 4 bytes and its optional fields (RFC 2784, RFC 2890).
    "gre" => Gre {
        /// EtherType of what follows.
        ethertype: Option<EtherType> = None,
        /// Key; sets its flag.
        key: Option<u32> = None,
        /// Sequence number; sets its flag.
        sequence: Option<u32> = None,
    }

    /// A UDP header, 8 bytes (RFC 768).
    "udp" => Udp {
        /// Source port.
        source: u16 = CLIENT_PORT,
        /// Destination port.
        destination: u16 = DISCARD_PORT,
        /// Length of header and payload in bytes.
        length: Option<u16> = None,
        /// Checksum; 0 says that there is none.
        checksum: Option<u16> = None,
    }

    /// A TCP header, 20 bytes and its options (RFC 9293 section 3.1).
    "tcp" => Tcp {
        /// Source port.
        source: u16 = CLIENT_PORT,
        /// Destination port.
        destination: u16 = DISCARD_PORT,
        /// Sequence number.
        sequence: u32 = 1,
        /// Acknowledgement number.
        acknowledgement: u32 = 0,
        /// Header length in 32-bit words as the header claims it.
        data_offset: Option<Bits<u8, 4>> = None,
        /// Flags, by name.
        flags: TcpFlags = TcpFlags::SYN,
        /// Window.
        window: u16 = 64_240,
        /// Checksum.
        checksum: Option<u16> = None,
        /// Urgent pointer.
        urgent: u16 = 0,
        /// Options, whole 32-bit words.
        options: Options = Options::default(),
    }

    /// An ICMP message's first 8 bytes, an echo request by default (RFC 792).
    "icmp" => Icmp {
        /// Type.
        r#type: u8 = 8,
        /// Code.
        code: u8 = 0,
        /// Checksum.
        checksum: Option<u16> = None,
        /// Identifier, or the first half of another type's word.
        identifier: u16 = 1,
        /// Sequence number, or the second half of another type's word.
        sequence: u16 = 1,
    }

    /// The first 8 bytes of an ICMP message for IPv6, an echo request by default (RFC 4443 section 4.1).
    "icmpv6" => Icmpv6 {
        /// Type.
        r#type: u8 = 128,
        /// Code.
        code: u8 = 0,
        /// Checksum.
        checksum: Option<u16> = None,
        /// Identifier, or the first half of another type's word.
        identifier: u16 = 1,
        /// Sequence number, or the second half of another type's word.
        sequence: u16 = 1,
    }

    /// An IGMP message of version 2, 8 bytes, a membership report by default (RFC 2236 section 2).
    "igmp" => Igmp {
        /// Type.
        r#type: u8 = 0x16,
        /// Maximum response time in tenths of a second.
        max_response: u8 = 0,
        /// Checksum.
        checksum: Option<u16> = None,
        /// Group address.
        group: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 1),
    }

    /// An SCTP common header, 12 bytes (RFC 9260 section 3.1); chunks are given as `raw`.
    "sctp" => Sctp {
        /// Source port.
        source: u16 = CLIENT_PORT,
        /// Destination port.
        destination: u16 = DISCARD_PORT,
        /// Verification tag.
        verification_tag: u32 = 0,
        /// Checksum of the packet, Castagnoli's CRC (RFC 9260 appendix A); a given one is written big-endian.
        checksum: Option<u32> = None,
    }

    /// Bytes as they are: a header that has no layer of its own, or a malformed one.
    "raw" => Raw {
        /// The bytes.
        hex: Hex = Hex::default(),
    }

    /// Bytes that nothing reads.
    "payload" => Payload {
        /// Number of bytes.
        length: u16 = 0,
        /// The value of each byte; 0, 1, 2, .. 255, 0, .. unless given, so that a cut or a shift shows.
        fill: Option<u8> = None,
    }
}

/// TCP flags: the low byte of the header's fourth word's first half (RFC 9293 section 3.1, RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The flag of a connection's first segment.
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

impl Field for Node {
    fn read(node: &Node) -> Result<Self, Problem> {
        Ok(node.clone())
    }
}

/// The layers of a frame that is read for one combination of its variables' values after another. A layer is read as a
/// whole once, and afterwards only its fields that vary.
///
/// Layers are told apart by where they are in memory, so that one of these serves one document.
#[derive(Debug, Default)]
pub(crate) struct Layers(BTreeMap<*const Node, Known>);

/// A layer that was read, and nothing was wrong with it.
#[derive(Debug)]
struct Known {
    layer: Layer,
    /// Those of its fields that have a variable, by their places in its table.
    varying: Vec<usize>,
}

impl Layers {
    /// As [`Layer::read`].
    pub(crate) fn read(&mut self, context: Context<'_>, node: &Node) -> Option<Layer> {
        if let Some(Known { layer, varying }) = self.0.get(&ptr::from_ref(node)) {
            let mut layer = layer.clone();
            for (key, value) in varying.iter().filter_map(|index| Layer::fields(node)?.get(*index)) {
                layer.read_field(&key.name, context, value);
            }
            return Some(layer);
        }
        let before = context.problems.borrow().len();
        let layer = Layer::read(context, node)?;
        if context.problems.borrow().len() == before {
            let fields = Layer::fields(node).unwrap_or_default().iter().enumerate();
            let varying = fields.filter(|(_, (_, value))| value.has_variable()).map(|(index, _)| index);
            let known = Known { layer: layer.clone(), varying: varying.collect() };
            self.0.insert(ptr::from_ref(node), known);
        }
        Some(layer)
    }
}

impl Layer {
    /// The fields of a layer that can be read.
    fn fields(node: &Node) -> Option<&[(Key, Node)]> {
        let Value::Table(entries) = &node.value else { return None };
        let [(_, Node { value: Value::Table(fields), .. })] = entries.as_slice() else { return None };
        Some(fields)
    }

    /// Reads one layer: a table with one key, which names it.
    pub(crate) fn read(context: Context<'_>, node: &Node) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            context.report(Problem::new(
                node.span.clone(),
                "a layer is a table with one key, like { udp = {} }",
            ));
            return None;
        };
        let [(key, fields)] = entries.as_slice() else {
            let keys = entries.len();
            context.report(
                Problem::new(node.span.clone(), format!("a layer is a table with one key, found {keys}"))
                    .hint("give each layer its own braces, outermost first"),
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

    /// The EtherType by which a header in front announces this layer, if it has one.
    pub(crate) fn ether_type(&self) -> Option<EtherType> {
        match self {
            Self::Vlan(vlan) => Some(vlan.tpid.into()),
            Self::Arp(_) => Some(EtherType::ARP),
            Self::Ipv4(_) => Some(EtherType::IPV4),
            Self::Ipv6(_) => Some(EtherType::IPV6),
            Self::Ethernet(_) => Some(EtherType::TEB),
            _ => None,
        }
    }

    /// The IP protocol or next-header number of this layer, if it has one.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let number = match self {
            Self::HopByHop(_) => 0,
            Self::Icmp(_) => 1,
            Self::Igmp(_) => 2,
            Self::Ipv4(_) => 4,
            Self::Tcp(_) => 6,
            Self::Udp(_) => 17,
            Self::Ipv6(_) => 41,
            Self::Routing(_) => 43,
            Self::Fragment(_) => 44,
            Self::Gre(_) => 47,
            Self::Esp(_) => 50,
            Self::Ah(_) => 51,
            Self::Icmpv6(_) => 58,
            Self::DestinationOptions(_) => 60,
            Self::Sctp(_) => 132,
            Self::Ethernet(_) => 143,
            _ => return None,
        };
        Some(Protocol(number))
    }

    /// The addresses of an IP header.
    pub(crate) fn addresses(&self) -> Option<Addresses> {
        match self {
            Self::Ipv4(ip) => Some(Addresses::V4(ip.source, ip.destination)),
            Self::Ipv6(ip) => Some(Addresses::V6(ip.source, ip.destination)),
            _ => None,
        }
    }
}
