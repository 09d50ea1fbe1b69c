//! An interface of this network namespace, by its name or by an alternative name.

use std::{fmt, str::FromStr};

use xdproof_netns::{LinkName, NetNs, Worker};

use crate::cli::Failure;

/// The longest alternative name in bytes (`ALTIFNAMSIZ` without the terminating NUL, include/uapi/linux/if.h).
const LONGEST: usize = 127;

/// A name of an interface, as a user writes it.
#[derive(Clone, Debug)]
pub(super) struct InterfaceName(String);

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<LinkName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_)
                if text.len() > LinkName::MAX_LEN && text.len() <= LONGEST && !text.contains(['/', ' ']) =>
            {
                Ok(Self(text.to_owned()))
            }
            Err(error) => Err(format!("failed to {error}")),
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl InterfaceName {
    /// Returns the name that the kernel prints for the interface. A short name that is not there is returned as it is: a killed run may
    /// have the device.
    pub(super) fn resolve(&self) -> Result<LinkName, Failure> {
        let name = self.0.clone();
        let found = NetNs::current()
            .and_then(|here| Worker::spawn(&here, "interface"))
            .and_then(|worker| worker.call(move |host| host.link_called(&name)));
        let found = found.map_err(|error| {
            Failure::machine(anyhow::Error::new(error).context("failed to look up an interface"))
        })?;
        match (found, self.0.parse()) {
            (Some(link), _) => Ok(link.name),
            (None, Ok(name)) => Ok(name),
            (None, Err(_)) => {
                Err(Failure::machine(anyhow::anyhow!("no interface `{self}` in this network namespace")))
            }
        }
    }
}
