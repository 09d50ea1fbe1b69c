//! The description of a device.

use xdproof::{
    error::chain,
    model::device::{PortRole, StatisticSource},
    testbed::{StatisticsReading, devices::inventory},
};
use xdproof_netns::PacketOptions;

use crate::{
    cli::Result,
    host::{PATIENCE, TestHost, expect, wait_until},
};

pub(crate) fn veth() -> Result {
    let host = TestHost::configured()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let (tester, dut) = (pair.testbed.topology.tester.index, pair.testbed.topology.dut.index);
    let record = inventory::describe(&pair.testbed.dut, dut, PortRole::Dut, "veth")?;
    expect(record.driver == "veth" && record.mtu == 1437 && record.name == "d0", &format!("{record:?}"))?;
    expect(
        record.rings.is_none() && record.pci_id.is_none() && record.bus.is_none(),
        &format!("{record:?}"),
    )?;
    expect(
        record.channels.is_some_and(|channels| channels.tx == 3 && channels.tx_max == 4),
        &format!("{record:?}"),
    )?;
    expect(
        record.features.get("rx-gro").is_some_and(|gro| gro.changeable),
        &format!("{:?}", record.features),
    )?;
    expect(
        record.advertised.as_ref().is_none_or(|names| names.iter().any(|name| name == "basic")),
        &format!("{:?}", record.advertised),
    )?;
    let before = StatisticsReading::read(&pair.testbed.dut, dut)?;
    let (to, from) = (
        pair.testbed.tester.call(move |host| host.packet_socket(tester, PacketOptions::default()))?,
        pair.testbed.dut.call(move |host| host.packet_socket(dut, PacketOptions::default()))?,
    );
    to.send(&[0xff; 60])?;
    expect(from.wait_readable(PATIENCE)?, "the frame did not arrive")?;
    let mut changed = Vec::new();
    wait_until("the frame was not counted", || {
        changed = StatisticsReading::read(&pair.testbed.dut, dut)?.since(&before);
        Ok(changed.iter().any(|counter| counter.name == "rx_packets"))
    })?;
    let frames = changed
        .iter()
        .find(|counter| counter.name == "rx_packets" && counter.source == StatisticSource::Kernel);
    expect(frames.is_some_and(|counter| counter.after == counter.before + 1), &format!("{changed:?}"))?;
    Ok(pair.restore()?)
}
