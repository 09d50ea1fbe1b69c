//! Loading fixtures: what is read, and the errors for mistakes in a file.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::path::Path;

use xdproof_scenarios::fixture::{self, Fixture};
use xdproof_scenarios::load::LoadError;

/// A fixture with every part; each test changes one thing in it.
const SOUND: &str = r#"summary = "a SYN to the VIP goes to backend 2"
tags = ["lb"]

[program]
object = "../build/lb.o"
name = "balancer"

[globals]
backends = 2
config = { timeout = 5 }

[context]
rx_queue = 3

[[map]]
name = "vips"
entries = [
  { key = { addr = "192.0.2.10", port = "be:80" }, value = { backend = 2 } },
]

[[frame]]
layers = [{ ethernet = {} }, { ipv4 = {} }, { tcp = {} }]
expect = { action = "tx", length = 94, starts_with = "0200" }

[[frame]]
repeat = 2
hex = "ffffffffffff 020000000001 9000"

[expect]
action = "pass"
maps = [{ name = "stats", key = 0, value = { packets = 3, bytes = "sent:bytes" }, per_cpu = "sum" }]

[requires]
paths = ["test_run"]
mtu = 3000
min_kernel = "5.18"

[[deviation]]
driver = "ixgbe"
reason = "pads frames"
"#;

fn parse(text: &str) -> Result<Fixture, Vec<LoadError>> {
    fixture::fixture("lb/name".parse().unwrap(), text, Path::new("tests/lb"))
}

#[test]
fn a_sound_fixture_is_read_as_it_is_written() {
    let fixture = parse(SOUND).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(fixture.id.to_string(), "lb/name");
    assert_eq!(fixture.source, Path::new("tests/lb/name.toml"));
    assert_eq!(
        (fixture.summary.as_str(), &fixture.tags),
        ("a SYN to the VIP goes to backend 2", &vec!["lb".to_owned()])
    );
    assert_eq!(fixture.sent(), 3);
}
