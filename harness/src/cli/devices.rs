//! Two devices of this host as an option of `validate` and `bench`.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use xdproof_netns::LinkName;

use crate::{
    cli::{
        args::{Failure, Output},
        restore,
    },
    model::{
        finding::{Finding, FindingKind, Weight},
        mode::InjectorKind,
    },
    testbed::{ClaimOptions, DevicePair, DevicePath, DeviceTestbed, NotRestored, Testbed, VethTestbed},
};

/// Two devices to be taken.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices of this host")]
pub(super) struct DeviceArgs {
    /// The network interface to test. Both it and the tester are on this host and wired together: by a cable, a switch that is
    /// silent, a hub of an emulator. For the run they are moved to namespaces of ours; then they are put back as they were. A bond
    /// or a bridge, which the kernel keeps where it is, stays there with its ports, and has no address meanwhile.
    #[arg(long, value_name = "DEV", requires = "tester")]
    pub(super) dut: Option<LinkName>,
    /// The network interface that sends.
    #[arg(long, value_name = "DEV", requires = "dut")]
    tester: Option<LinkName>,
    /// What results call the DUT; the default is its driver's name.
    #[arg(long, value_name = "NAME", requires = "dut")]
    label: Option<String>,
    /// The most frames under way at once; the default is what the devices take without losing any, at most 64.
    #[arg(long, value_name = "N", requires = "dut", value_parser = clap::value_parser!(u16).range(1..=64))]
    window: Option<u16>,
    /// Take devices although something speaks against it: an address in use, a default route.
    #[arg(long, requires = "dut")]
    force: bool,
}

/// What is to be said to somebody who does not wait until devices are put back.
pub(super) const ENDED_AT_ONCE: &str =
    "ended at once: `xdproof restore` puts the devices back, or the next run does";

impl DeviceArgs {
    /// Takes the devices, if some are named.
    pub(super) fn take(&self, output: Output) -> Result<Option<DevicePair>, Failure> {
        let (Some(dut), Some(tester)) = (&self.dut, &self.tester) else { return Ok(None) };
        let options = ClaimOptions { force: self.force, ..ClaimOptions::default() };
        let pair = DevicePair::claim(dut, tester, options)?;
        if !pair.recovered.is_empty() {
            restore::print(&pair.recovered, output).map_err(Failure::output)?;
        }
        Ok(Some(pair))
    }

    /// Returns the testbed, the path between the devices explored.
    pub(super) fn testbed(&self, pair: Option<&DevicePair>) -> Result<Arc<dyn Testbed>, Failure> {
        let Some(pair) = pair else { return Ok(Arc::new(VethTestbed::default())) };
        let path = DevicePath::explore(Arc::clone(&pair.testbed), self.label.clone())
            .map_err(|error| Failure::Machine(error.into()))?;
        let window = usize::from(self.window.unwrap_or(u16::MAX));
        Ok(Arc::new(DeviceTestbed::new(path.with_window(window))))
    }

    /// Injectors that need no device of a kind.
    pub(super) fn allow(&self, injectors: &[InjectorKind]) -> Result<(), Failure> {
        if self.dut.is_some() && injectors.contains(&InjectorKind::LiveFrames) {
            return Err(Failure::Input(anyhow::anyhow!(
                "live frames are for veth pairs: not every driver sends redirected frames, and none says which it lost; use pnet or ring"
            )));
        }
        Ok(())
    }
}

/// Devices that wait to be put back.
pub(super) struct Taken(pub(super) Mutex<Option<DevicePair>>);

impl Taken {
    /// Puts them back, and says what could not be.
    pub(super) fn give_back(&self) -> Vec<Finding> {
        let pair = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let left = pair.map(DevicePair::restore).and_then(Result::err);
        let finding = |left: NotRestored| Finding {
            kind: FindingKind::NotRestored,
            weight: Weight::Fault,
            nic: None,
            mode: None,
            what: left.to_string(),
        };
        left.into_iter().map(finding).collect()
    }
}
