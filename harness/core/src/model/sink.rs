//! The places at which a frame can come out.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A redirect target of the DUT, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// A place at which a frame can come out of the DUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sink {
    /// The DUT's stack: `XDP_PASS`.
    Stack,
    /// The tester's port: `XDP_TX`.
    Tester,
    /// Another device of the DUT: `XDP_REDIRECT`.
    Device(PortId),
    /// None: `XDP_DROP` and `XDP_ABORTED`.
    Nowhere,
}

/// The name of [`Sink::Nowhere`] and what those of [`Sink::Device`] begin with.
const DROPPED: &str = "dropped";
const DEVICE: &str = "device ";

impl Sink {
    /// The frames there, as the subject of a sentence.
    #[must_use]
    pub fn frames(self) -> String {
        match self {
            Self::Stack | Self::Tester => format!("frames at the {self}"),
            Self::Device(_) => format!("frames at {self}"),
            Self::Nowhere => format!("{self} frames"),
        }
    }
}

impl fmt::Display for Sink {
    /// The key that results use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack => f.pad("stack"),
            Self::Tester => f.pad("tester"),
            Self::Device(PortId(number)) => f.pad(&format!("{DEVICE}{number}")),
            Self::Nowhere => f.pad(DROPPED),
        }
    }
}

impl FromStr for Sink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stack" => Ok(Self::Stack),
            "tester" => Ok(Self::Tester),
            DROPPED => Ok(Self::Nowhere),
            _ => {
                let number = text.strip_prefix(DEVICE).and_then(|number| number.parse().ok());
                let device = number.map(|number| Self::Device(PortId(number)));
                device.ok_or_else(|| {
                    format!("expected `stack`, `tester`, `device N` or `{DROPPED}`, got `{text}`")
                })
            }
        }
    }
}

impl Serialize for Sink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Sink {
    fn schema_name() -> Cow<'static, str> {
        "Sink".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A place at which a frame can come out of the DUT.",
            "type": "string",
            "pattern": "^(stack|tester|dropped|device [0-9]+)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_sink_is_a_key_of_a_result() {
        let sinks = [Sink::Stack, Sink::Tester, Sink::Device(PortId(2)), Sink::Nowhere];
        let frames: BTreeMap<Sink, u64> = sinks.into_iter().zip(1..).collect();
        let text = serde_json::to_string(&frames).unwrap();
        assert_eq!(text, r#"{"stack":1,"tester":2,"device 2":3,"dropped":4}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<Sink, u64>>(&text).unwrap(), frames);
        assert!("device".parse::<Sink>().is_err() && "device -1".parse::<Sink>().is_err());
    }
}
