//! Two devices of this host as a [`Testbed`].

use std::{collections::BTreeMap, sync::Arc};

use xdproof_netns::XdpFeatures;

use crate::{
    model::{
        device::DeviceRecord,
        facts::{Facts, FrameFate, PortNames},
        finding::{Finding, FindingKind, Severity},
        mode::Mode,
    },
    plan::needs::Needs,
    testbed::{
        DevicePath, PortPair, Testbed, TestbedError,
        devices::path::{LINK_UP, PathError},
    },
};

/// Drivers of devices that send the frames of a flow by several ports if they are told to
/// (`bond_xmit_roundrobin()` of `drivers/net/bonding/bond_main.c`).
const AGGREGATES: [&str; 2] = ["bonding", "team"];

/// A path between two devices that was explored.
#[derive(Debug)]
pub struct DeviceTestbed {
    path: DevicePath,
    facts: Facts,
}

impl DeviceTestbed {
    /// Returns the testbed that a path is.
    #[must_use]
    pub fn new(path: DevicePath) -> Self {
        let topology = &path.testbed.topology;
        let facts = Facts {
            driver: path.driver.clone(),
            label: path.nic.clone(),
            ports: Some(PortNames {
                dut: topology.dut.name.to_string(),
                tester: topology.tester.name.to_string(),
            }),
            exclusive: true,
            asynchronous: true,
            queues: Some(path.queues),
            usual_mtu: path.usual_mtu,
            window: path.traits.window,
            shortest: path.traits.shortest,
            padded_to: path.traits.padded_to,
            stack_strips: path.delivery(Mode::Generic).strips,
            driver_strips: path.delivery(Mode::Native).strips,
            stacked: path.is_stacked(Mode::Generic),
            aggregated: path.devices.iter().any(|device| AGGREGATES.contains(&device.driver.as_str())),
            advertises_native: path.advertised.map(|features| features.contains(XdpFeatures::BASIC)),
            link_up: LINK_UP,
        };
        Self { path, facts }
    }
}

impl Testbed for DeviceTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn acquire(&self, needs: &Needs) -> Result<Arc<PortPair>, TestbedError> {
        if let Some(reason) = needs.unmet(&self.facts) {
            return Err(TestbedError::Incapable(reason));
        }
        self.path.set_mtu(needs.mtu)?;
        // While nothing is attached.
        self.path.longest(needs.mtu)?;
        Ok(Arc::clone(&self.path.testbed))
    }

    fn settle(&self, _: &PortPair) -> Result<(), TestbedError> {
        Ok(self.path.settle()?)
    }

    fn set_offloads(&self, _: &PortPair, offloads: &BTreeMap<String, bool>) -> Result<(), TestbedError> {
        match self.path.set_offloads(offloads)? {
            None => Ok(self.path.wait_running()?),
            Some(name) => Err(TestbedError::Incapable(format!(
                "the DUT cannot change the offload {name}, which the scenario needs"
            ))),
        }
    }

    fn wait_released(&self) -> Result<(), TestbedError> {
        Ok(self.path.wait_bare()?)
    }

    fn survey(&self, mtu: u32, frames: &[&[u8]]) -> Result<(), TestbedError> {
        match self.path.set_mtu(mtu) {
            Ok(()) => Ok(self.path.survey(frames.iter().copied())?),
            // The trials that need this MTU say that it is not accepted.
            Err(PathError::Mtu { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn longest(&self, mtu: u32) -> Result<usize, TestbedError> {
        Ok(self.path.longest(mtu)?)
    }

    fn fate(&self, frame: &[u8]) -> Option<FrameFate> {
        self.path.fate(frame)
    }

    fn set_mtu(&self, _: &PortPair, mtu: u32) -> Result<(), TestbedError> {
        Ok(self.path.set_mtu_beneath(mtu)?)
    }

    fn pair(&self) -> Option<Arc<PortPair>> {
        Some(Arc::clone(&self.path.testbed))
    }

    fn devices(&self) -> &[DeviceRecord] {
        &self.path.devices
    }

    fn findings(&self) -> Vec<Finding> {
        let lost = self.path.lost();
        let altered = (lost > 0).then(|| Finding {
            kind: FindingKind::ModifiedFrames,
            severity: Severity::Note,
            nic: Some(self.path.nic.clone()),
            mode: None,
            message: format!(
                "{lost} of the frames do not arrive as they were sent, with or without a program; the trials that need them say which"
            ),
        });
        self.path.findings.iter().cloned().chain(altered).collect()
    }
}

impl From<PathError> for TestbedError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Mtu { .. } => Self::Incapable(error.to_string()),
            error => Self::Path(error),
        }
    }
}
