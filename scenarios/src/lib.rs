//! Frames that xdproof sends and the counts that they must lead to: pure data and pure functions, no socket and no
//! privilege.
//!
//! A scenario is a TOML file: frames as layers, and the values of the counter once all of them are sent. The loader
//! ([`load`]) reads it and makes bytes of the layers ([`Frame::craft`]); from those bytes alone the [`oracle`] computes the
//! expectation again, and the two must agree. `scenarios/README.md` documents the format.
//!
//! A fixture ([`mod@fixture`]) is a test of any XDP program: the same frames, with the action, the bytes and the state of maps that
//! are expected of it. `scenarios/FIXTURES.md` documents that format.
//!
//! ```
//! let text = r#"
//! summary = "UDP over IPv4 counts as UDP"
//!
//! [[frame]]
//! repeat = 4
//! layers = [{ ethernet = {} }, { ipv4 = {} }, { udp = { destination = 9 } }, { payload = { length = 18 } }]
//!
//! [expect]
//! counts = { udp = 4 }
//! passed = 4
//! dropped = 0
//! "#;
//! let scenario = xdproof_scenarios::load::scenario("ipv4/udp".parse()?, text, ".".as_ref());
//! let scenario = scenario.map_err(|errors| errors[0].clone())?;
//! assert_eq!(scenario.frames[0].bytes.len(), 60);
//! assert_eq!(scenario.expect.counts[&17], 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod capture;
pub mod capture_file;
pub mod fixture;
pub mod input;
pub mod layer;
pub mod load;
pub mod oracle;

mod capture_error;
mod capture_frames;
mod conditions;
mod describe;
mod document;
mod files;
mod frame;
mod frames;
mod kernel;
mod load_error;
mod matrix;
mod model;
mod pcap;
mod pcapng;
mod position;
mod value;

pub use describe::describe;
pub use frame::{CraftError, Frame};
pub use kernel::{KernelRange, KernelVersion};
pub use layer::Layer;
pub use model::{
    Deviation, Expectation, INJECTORS, MODES, OFFLOADS, Requires, SHORTEST_FRAME, Scenario, ScenarioId,
    Spread,
};
pub use value::{
    Bits, DUT_MAC, EtherType, Hex, MacAddr, Options, ParseError, Protocol, TESTER_MAC, Tpid, VlanId,
};
