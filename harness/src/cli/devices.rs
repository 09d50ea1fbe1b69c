//! Two devices of this host as the testbed of a run; they are restored afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use crate::{
    cli::{Failure, Output, interface::InterfaceName, restore},
    model::{
        finding::{Finding, FindingKind, Severity},
        mode::{InjectorKind, Mode},
    },
    testbed::{ClaimOptions, DevicePair, DeviceTestbed, NotRestored, Testbed, VethTestbed},
};

/// Printed when a second signal ends the process before the devices are restored.
const ENDED_AT_ONCE: &str =
    "interrupted: restore the devices by `xdproof restore`, or by the next run on devices";

/// Options that name the testbed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Testbed")]
pub(super) struct DeviceArgs {
    /// Test this interface of the host instead of a veth pair.
    ///
    /// DUT and tester are interfaces of this host that are linked back to back: by a cable, by a silent switch or by the hub of an
    /// emulator. For the run they are moved to namespaces of ours; afterwards they are restored. A bond or a bridge, which the
    /// kernel does not move, stays where it is with its ports, and has no address meanwhile.
    #[arg(long, value_name = "DEV", requires = "tester")]
    pub(super) dut: Option<InterfaceName>,
    /// Send from this interface, linked back to back to the DUT.
    #[arg(long, value_name = "DEV", requires = "dut")]
    tester: Option<InterfaceName>,
    /// Call the DUT NAME in results [default: its driver's name].
    #[arg(long, value_name = "NAME", requires = "dut")]
    label: Option<String>,
    /// Keep at most N frames in flight, 1 to 64.
    ///
    /// The default is the number that the devices take without loss, at most 64.
    #[arg(long, value_name = "N", requires = "dut", value_parser = clap::value_parser!(u16).range(1..=64))]
    window: Option<u16>,
    /// Use the devices even if a safety check fails.
    ///
    /// A device is rejected if it carries an address in use, a default route or the SSH session.
    #[arg(long, requires = "dut")]
    force: bool,
}

impl DeviceArgs {
    /// Claims the devices, if some are named.
    pub(super) fn claim(&self, output: Output) -> Result<ClaimedDevices, Failure> {
        let (Some(dut), Some(tester)) = (&self.dut, &self.tester) else {
            return Ok(ClaimedDevices::default());
        };
        let options = ClaimOptions { force: self.force, ..ClaimOptions::default() };
        let pair = DevicePair::claim(&dut.resolve()?, &tester.resolve()?, options)?;
        if !pair.recovered.is_empty() {
            restore::print(&pair.recovered, output).map_err(Failure::output)?;
        }
        Ok(ClaimedDevices(Mutex::new(Some(pair))))
    }

    /// Returns the testbed, the path between the devices explored.
    ///
    /// `modes` are those in which the tags of the frames that a program gets matter.
    pub(super) fn testbed(
        &self,
        claimed: &ClaimedDevices,
        modes: &[Mode],
    ) -> Result<Arc<dyn Testbed>, Failure> {
        let pair = claimed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = pair.as_ref() else { return Ok(Arc::new(VethTestbed::default())) };
        let testbed = DeviceTestbed::explore(Arc::clone(&pair.testbed), self.label.clone())
            .and_then(|testbed| testbed.with_strips_seen(modes))
            .map_err(Failure::machine)?;
        let window = usize::from(self.window.unwrap_or(u16::MAX));
        Ok(Arc::new(testbed.with_window(window)))
    }

    /// Rejects injectors that cannot send from a device.
    pub(super) fn check_injectors(&self, injectors: &[InjectorKind]) -> Result<(), Failure> {
        if self.dut.is_some() && injectors.contains(&InjectorKind::LiveFrames) {
            return Err(Failure::input(anyhow::anyhow!(
                "live_frames needs a veth pair: few drivers send redirected frames, and none reports which it lost; \
                 use pnet or ring"
            )));
        }
        Ok(())
    }

    /// Returns what to print when a second signal ends the process at once.
    pub(super) fn hint_at_end(&self) -> Option<&'static str> {
        self.dut.is_some().then_some(ENDED_AT_ONCE)
    }
}

/// The devices of a run, until they are restored.
#[derive(Default)]
pub(super) struct ClaimedDevices(Mutex<Option<DevicePair>>);

impl ClaimedDevices {
    /// Restores them, and returns what could not be restored.
    pub(super) fn restore(&self) -> Vec<Finding> {
        let pair = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let left = pair.map(DevicePair::restore).and_then(Result::err);
        let finding = |left: NotRestored| Finding {
            kind: FindingKind::NotRestored,
            severity: Severity::Fault,
            nic: None,
            mode: None,
            message: left.to_string(),
        };
        left.into_iter().map(finding).collect()
    }
}
