//! The link between two claimed devices.

use std::{io, time::Duration};

use xdproof::{
    error::chain,
    model::device::PortRole,
    testbed::{DeviceError, DevicePair, devices::inventory},
};
use xdproof_netns::{PacketOptions, RecordKind};

use crate::{
    cli::Result,
    host::{TestHost, expect},
};

const TWO_PAIRS: &str = "
ip link add t0 type veth peer name t1
ip link add d0 type veth peer name d1
ip address add 192.0.2.1/24 dev t0
ip link set t0 up
ip link set d0 up
";

pub(crate) fn not_connected() -> Result {
    let host = TestHost::with(&format!("{TWO_PAIRS}ip link set t1 up\nip link set d1 up"))?;
    host.settle(&["t0", "t1", "d0", "d1"])?;
    let before = host.state()?;
    let error = host.claim().err().ok_or("they were claimed")?;
    let is_short = |waited| waited < Duration::from_secs(3);
    expect(matches!(error, DeviceError::NoPeer { waited, .. } if is_short(waited)), &chain(&error))?;
    expect(chain(&error).contains("check that they are connected to each other"), &chain(&error))?;
    host.expect_state(&before)?;
    expect(host.runs()?.is_empty(), "the journal is still there")
}

pub(crate) fn no_carrier() -> Result {
    let host = TestHost::with(TWO_PAIRS)?;
    let before = host.state()?;
    let error = host.claim().err().ok_or("they were claimed")?;
    expect(matches!(error, DeviceError::NoCarrier { .. }), &chain(&error))?;
    host.expect_state(&before)
}

/// The other tests rely on it: a test that goes on without the devices fails for a reason that is not the cause.
pub(crate) fn child_without_carrier() -> Result {
    let host = TestHost::with(TWO_PAIRS)?;
    let error = host.start().err().ok_or("they were claimed")?;
    let message = error.message().unwrap_or_default();
    expect(message.contains("t0 has no carrier after 2s"), message)
}

pub(crate) fn silent() -> Result {
    let host = TestHost::configured()?;
    let pair = host.claim().map_err(|error| chain(&error))?;
    let index = pair.testbed.topology.dut.index;
    let socket = pair.testbed.dut.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    expect(!socket.wait_readable(Duration::from_millis(300))?, "a frame arrived that nobody sent")?;
    let left = pair.testbed.dut.call(move |host| host.records(RecordKind::Address, index))?;
    expect(
        left.is_empty() && !pair.testbed.dut.call(move |host| host.link_by_index(index))?.settings.arp,
        "it may use ARP",
    )?;
    Ok(pair.restore()?)
}

/// Two taps between whose user ends a thread forwards.
pub(crate) fn taps() -> Result {
    let host = TestHost::with("ip link set lo up")?;
    let ends =
        host.worker.call(|host| Ok([host.create_tap(&"t0".parse()?)?, host.create_tap(&"d0".parse()?)?]))?;
    for line in [
        "ip link set t0 up",
        "ip link set d0 up",
        "ip address add 192.0.2.1/24 dev t0",
        "ip link set d0 mtu 1400",
    ] {
        host.sh(line)?;
    }
    host.settle(&["t0", "d0"])?;
    let before = host.state()?;
    let [near, far] = ends;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let forwarder = std::thread::spawn(move || -> io::Result<_> {
        let mut frame = [0; 2048];
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            for (from, to) in [(&near, &far), (&far, &near)] {
                if let Some(length) = from.receive(&mut frame, Duration::from_millis(5))? {
                    // The other one may be down.
                    drop(to.send(&frame[..length]));
                }
            }
        }
        // They go with their users' ends.
        Ok((near, far))
    });
    let pair = host.claim().map_err(|error| chain(&error));
    let record = pair.as_ref().map(|pair| {
        inventory::describe(&pair.testbed.dut, pair.testbed.topology.dut.index, PortRole::Dut, "tap")
    });
    let record = record.map_err(Clone::clone)??;
    let restored = pair.map(DevicePair::restore);
    drop(stop);
    let _ends = forwarder.join().map_err(|_| "the forwarder panicked")??;
    restored??;
    expect(record.driver == "tun" && record.bus.is_none(), &format!("{record:?}"))?;
    host.expect_state(&before)
}

/// Those of more than 15 bytes are no link names.
pub(crate) fn alternative_names() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip link property add dev d0 altname the-device-under-test")?;
    host.sh("ip link property add dev t0 altname short")?;
    let words = ["validate", "--dut", "the-device-under-test", "--tester", "short", "--scenario", "ipv4/udp"];
    crate::cli::expect_code(&host.xdproof(&words)?, 0)?;
    expect(host.sh("ip link show dev d0")?.contains("altname the-device-under-test"), "the name is lost")?;
    let words = ["validate", "--dut", "another-device-under-test", "--tester", "t0"];
    crate::cli::expect_one_error(&host.xdproof(&words)?, 3, &["another-device-under-test"])
}
