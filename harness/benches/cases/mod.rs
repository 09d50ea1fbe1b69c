//! Frames to measure with: those that the tests send.

use xdproof_scenarios::{Frame, Scenario, load};

/// A scenario for each way through the classifier. Its first frame stands for the kind.
const KINDS: [&str; 11] = [
    "boundary/ipv4_33_34",
    "boundary/tag_17",
    "ethernet/full_mtu",
    "ipv4/udp",
    "ipv6/extension_chain",
    "ipv6/udp",
    "non_ip/arp",
    "vlan/qinq_ipv4_udp",
    "vlan/qinq_ipv6",
    "vlan/single_8021q",
    "vlan/three_tags",
];

/// The built-in corpus.
pub(crate) fn corpus() -> Vec<Scenario> {
    load::builtin().expect("the corpus that is built in loads")
}

/// Each kind of frame by the id of its scenario.
pub(crate) fn kinds(corpus: &[Scenario]) -> Vec<(&str, &Frame)> {
    let first = |id: &str| {
        let scenario = corpus.iter().find(|scenario| scenario.id.as_ref() == id)?;
        Some((scenario.id.as_ref(), scenario.frames.first()?))
    };
    KINDS.iter().map(|id| first(id).expect("each kind is a scenario of the corpus")).collect()
}
