//! Frames to measure with: those that the tests send.

use xdproof_scenarios::{Frame, Scenario, load};

/// Scenarios, one for each path through the classifier. The first frame represents the kind.
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

/// Returns the built-in corpus.
pub(crate) fn corpus() -> Vec<Scenario> {
    load::builtin().expect("the corpus that is built in loads")
}

/// Returns a frame of each kind, with the id of its scenario.
pub(crate) fn kinds(corpus: &[Scenario]) -> Vec<(&str, &Frame)> {
    let first = |id: &str| {
        let scenario = corpus.iter().find(|scenario| scenario.id.as_ref() == id)?;
        Some((scenario.id.as_ref(), scenario.frames.first()?))
    };
    KINDS.iter().map(|id| first(id).expect("each kind is a scenario of the corpus")).collect()
}
