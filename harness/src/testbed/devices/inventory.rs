//! Description of a device by the kernel, its bus and its driver, and their statistics.
//!
//! Promises: a question that a driver does not support is left out; a question that failed is an error.

use std::{fs, io, path::Path};

use xdproof_netns::{Error, Host, IfIndex, Link, Worker};

use crate::model::device::{Channels, DeviceRecord, Feature, PortRole, Rings, Statistic, StatisticSource};

/// Directory of all PCI devices, whatever `/sys/class/net` shows of this namespace.
const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// Describes a device, without statistics and without the properties of its path.
pub fn describe(worker: &Worker, index: IfIndex, role: PortRole, nic: &str) -> Result<DeviceRecord, Error> {
    let nic = nic.to_owned();
    worker.call(move |host| {
        let link = host.link_by_index(index)?;
        record(host, &link, role, nic)
    })
}

fn record(host: &mut Host, link: &Link, role: PortRole, nic: String) -> Result<DeviceRecord, Error> {
    let index = link.index;
    let stated = |text: String| Some(text).filter(|text| !text.is_empty() && text != "N/A");
    let driver = host.driver(index)?.unwrap_or_default();
    // A virtual link is on no bus, whatever its driver says (tun says "tap").
    let bus = stated(driver.bus).filter(|_| link.kind.is_none()).or_else(|| link.parent.clone());
    let features = host.offloads(index)?;
    Ok(DeviceRecord {
        role,
        nic,
        name: link.name.to_string(),
        driver: stated(driver.name).or_else(|| link.kind.clone()).unwrap_or_else(|| "unknown".to_owned()),
        driver_version: stated(driver.version),
        firmware: stated(driver.firmware),
        pci_id: bus.as_deref().or(link.parent.as_deref()).and_then(|bus| pci_id(Path::new(PCI_DEVICES), bus)),
        bus,
        mac: link.settings.mac.map(|mac| mac.to_string()),
        speed_mbps: host.speed(index)?,
        mtu: link.settings.mtu,
        max_mtu: link.max_mtu,
        rx_queues: link.rx_queues,
        tx_queues: link.tx_queues,
        rings: host.rings(index)?.map(rings),
        channels: host.channels(index)?.map(channels),
        features: features
            .iter()
            // A bit that this kernel no longer uses has no name.
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, state)| {
                (name.to_string(), Feature { on: state.active, changeable: state.changeable })
            })
            .collect(),
        advertised: host.xdp_features(index)?.map(|features| features.names().collect()),
        statistics: Vec::new(),
        path: None,
    })
}

fn rings(rings: xdproof_netns::Rings) -> Rings {
    let xdproof_netns::Rings { rx, rx_max, tx, tx_max } = rings;
    Rings { rx, rx_max, tx, tx_max }
}

fn channels(channels: xdproof_netns::Channels) -> Channels {
    let xdproof_netns::Channels { rx, rx_max, tx, tx_max, combined, combined_max } = channels;
    Channels { rx, rx_max, tx, tx_max, combined, combined_max }
}

/// Returns the PCI vendor and device ids of a device by its name on its bus, or of its PCI parent (of `virtio0`).
fn pci_id(devices: &Path, bus: &str) -> Option<String> {
    let read = |device: &Path, file| -> Option<String> {
        let text = fs::read_to_string(device.join(file)).ok()?;
        Some(text.trim().strip_prefix("0x")?.to_owned())
    };
    let own = devices.join(bus);
    let device = if own.exists() { own } else { parent(devices, bus).ok().flatten()? };
    Some(format!("{}:{}", read(&device, "vendor")?, read(&device, "device")?))
}

fn parent(devices: &Path, bus: &str) -> io::Result<Option<std::path::PathBuf>> {
    // A name is one component of a path.
    if bus.contains('/') || bus.starts_with('.') {
        return Ok(None);
    }
    for entry in fs::read_dir(devices)? {
        let path = entry?.path();
        if path.join(bus).exists() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Counters of a device at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsReading(Vec<(StatisticSource, String, u64)>);

impl StatisticsReading {
    /// Reads the counters of the kernel and the driver.
    pub fn read(worker: &Worker, index: IfIndex) -> Result<Self, Error> {
        let (link, driver) =
            worker.call(move |host| Ok((host.link_by_index(index)?, host.driver_statistics(index)?)))?;
        let xdproof_netns::Statistics {
            rx_packets,
            tx_packets,
            rx_bytes,
            tx_bytes,
            rx_dropped,
            tx_dropped,
            rx_errors,
            tx_errors,
            rx_missed,
        } = link.statistics;
        let kernel = [
            ("rx_packets", rx_packets),
            ("tx_packets", tx_packets),
            ("rx_bytes", rx_bytes),
            ("tx_bytes", tx_bytes),
            ("rx_dropped", rx_dropped),
            ("tx_dropped", tx_dropped),
            ("rx_errors", rx_errors),
            ("tx_errors", tx_errors),
            ("rx_missed_errors", rx_missed),
        ];
        let kernel =
            kernel.into_iter().map(|(name, value)| (StatisticSource::Kernel, name.to_owned(), value));
        let driver = driver.into_iter().map(|(name, value)| (StatisticSource::Driver, name, value));
        Ok(Self(kernel.chain(driver).collect()))
    }

    /// Returns the value of one counter.
    #[must_use]
    pub fn get(&self, source: StatisticSource, name: &str) -> Option<u64> {
        self.0.iter().find(|(whose, named, _)| *whose == source && named == name).map(|(_, _, value)| *value)
    }

    /// Lists the counters that have changed, the kernel's first. One that is new began at 0, such as that of a queue that was opened
    /// since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<Statistic> {
        self.0
            .iter()
            .map(|(source, name, after)| Statistic {
                name: name.clone(),
                source: *source,
                before: before.get(*source, name).unwrap_or(0),
                after: *after,
            })
            .filter(|statistic| statistic.before != statistic.after)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(counters: &[(&str, u64)]) -> StatisticsReading {
        StatisticsReading(
            counters
                .iter()
                .map(|(name, value)| (StatisticSource::Driver, (*name).to_owned(), *value))
                .collect(),
        )
    }

    #[test]
    fn only_counters_that_changed_are_listed() {
        let (before, after) = (reading(&[("a", 1), ("b", 2)]), reading(&[("a", 1), ("b", 5), ("c", 7)]));
        let stated: Vec<_> = after
            .since(&before)
            .into_iter()
            .map(|Statistic { name, source: _, before, after }| (name, before, after))
            .collect();
        assert_eq!(stated, [("b".to_owned(), 2, 5), ("c".to_owned(), 0, 7)]);
    }

    #[test]
    fn a_pci_id_is_that_of_the_device_or_of_its_parent() {
        let devices = tempfile::tempdir().unwrap();
        let device = devices.path().join("0000:00:03.0");
        fs::create_dir_all(device.join("virtio0")).unwrap();
        fs::write(device.join("vendor"), "0x1af4\n").unwrap();
        fs::write(device.join("device"), "0x1041\n").unwrap();
        for bus in ["0000:00:03.0", "virtio0"] {
            assert_eq!(pci_id(devices.path(), bus).as_deref(), Some("1af4:1041"));
        }
        for bus in ["virtio1", "..", "0000:00:03.0/.."] {
            assert_eq!(pci_id(devices.path(), bus), None, "{bus}");
        }
    }
}
