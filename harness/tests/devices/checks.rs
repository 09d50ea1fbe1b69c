//! Checks before devices are claimed.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    os::fd::AsFd as _,
    process::Command,
};

use xdproof::{
    error::chain,
    inject::tc_tools::{EgressAction, EgressTool},
    program::{Object, Program},
    testbed::{ClaimOptions, DeviceError, DevicePair, devices::preflight::Objection},
};
use xdproof_netns::{LinkName, PacketOptions, XdpMode};

use crate::{
    child::ORDER,
    cli::{self, Result, stdout},
    host::{TestHost, expect},
};

pub(crate) fn same() -> Result {
    let host = TestHost::plain()?;
    for force in [false, true] {
        let error = host.claim_with("d0", "d0", ClaimOptions { force, ..host.options() }).err();
        expect(matches!(error, Some(DeviceError::Same { .. })), "one device is both ends")?;
    }
    Ok(())
}

pub(crate) fn absent() -> Result {
    let host = TestHost::plain()?;
    let error = host.claim_with("d0", "nobody", host.options()).err().ok_or("it was claimed")?;
    expect(chain(&error) == "no network interface is named nobody here", &chain(&error))
}

pub(crate) fn loopback() -> Result {
    let host = TestHost::plain()?;
    for force in [false, true] {
        let error = host
            .claim_with("lo", "t0", ClaimOptions { force, ..host.options() })
            .err()
            .ok_or("it was claimed")?;
        expect(chain(&error) == "lo cannot be used: it is the loopback", &chain(&error))?;
    }
    Ok(())
}

pub(crate) fn default_route() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0; ip route add default via 192.0.2.9")?;
    host.expect_rejection(
        "t0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route (--force",
    )
}

pub(crate) fn default_route_in_table() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip route add default dev d0 table 77")?;
    host.expect_rejection(
        "d0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route",
    )
}

pub(crate) fn default_route_multipath() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip -6 route add default nexthop via fe80::1 dev t0 nexthop via fe80::2 dev d0")?;
    host.expect_rejection(
        "t0",
        |objection| *objection == Objection::DefaultRoute,
        "it carries a default route",
    )
}

pub(crate) fn used_address() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0; ip address add 2001:db8::1/64 dev d0 nodad")?;
    host.settle(&["t0", "d0"])?;
    let is_it = |objection: &Objection| matches!(objection, Objection::AddressInUse(..));
    let listener = host.worker.run(|_| TcpListener::bind("192.0.2.1:0"))??;
    let port = listener.local_addr()?.port();
    host.expect_rejection(
        "t0",
        is_it,
        &format!("its address 192.0.2.1 is used by a listening TCP socket (port {port})"),
    )?;
    let mut client = host.worker.run(move |_| std::net::TcpStream::connect(("192.0.2.1", port)))??;
    let (_server, _) = listener.accept()?;
    drop(listener);
    host.expect_rejection("t0", is_it, "its address 192.0.2.1 is used by a TCP connection with 192.0.2.1")?;
    // A closed connection does not matter any more.
    client.shutdown(std::net::Shutdown::Both)?;
    drop(client.read(&mut [0]));
    drop((client, _server));
    let _socket = host.worker.run(|_| UdpSocket::bind("[2001:db8::1]:0"))??;
    host.sh("ip address del 192.0.2.1/24 dev t0")?;
    host.expect_rejection("d0", is_it, "its address 2001:db8::1 is used by a UDP socket")
}

pub(crate) fn wildcard() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0")?;
    let _sockets = host.worker.run(|_| (TcpListener::bind("0.0.0.0:0"), UdpSocket::bind("[::]:0")))?;
    Ok(host.claim().map_err(|error| chain(&error))?.restore()?)
}

pub(crate) fn packet_socket() -> Result {
    let host = TestHost::plain()?;
    let name: LinkName = "t0".parse()?;
    let _socket = host.worker.call(move |host| {
        let index = host.link(&name)?.index;
        host.packet_socket(index, PacketOptions::default())
    })?;
    host.expect_rejection(
        "t0",
        |objection| *objection == Objection::PacketSocket,
        "a packet socket is bound to it",
    )
}

pub(crate) fn bridge_port() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip link add br0 type bridge; ip link set d0 master br0")?;
    host.expect_rejection("d0", |objection| matches!(objection, Objection::PortOf(_)), "it is a port of br0")
}

pub(crate) fn bridge() -> Result {
    let host = TestHost::with(
        "ip link add d0 type bridge\nip link add t0 type veth peer name t1\nip link add t2 type veth peer name t3\nip link set t1 master d0\nip link set t2 master d0",
    )?;
    let is_it = |objection: &Objection| matches!(objection, Objection::Floods(2));
    host.expect_rejection(
        "d0",
        is_it,
        "it is a bridge of 2 ports, which would forward the frames of the trial to all of them",
    )
}

pub(crate) fn upper_devices() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip link add link d0 name mv0 type macvlan; ip link add link d0 name mv1 type macvlan")?;
    host.expect_rejection(
        "d0",
        |objection| matches!(objection, Objection::UpperDevices(names) if names.len() == 2),
        "upper devices depend on it and would be lost: mv0, mv1",
    )
}

pub(crate) fn qdisc() -> Result {
    let host = TestHost::plain()?;
    host.sh("tc qdisc add dev d0 clsact")?;
    let is_it = |objection: &Objection| matches!(objection, Objection::Qdisc(_));
    host.expect_rejection("d0", is_it, "a configured qdisc (clsact)")?;
    host.sh("tc qdisc del dev d0 clsact; tc qdisc add dev t0 root pfifo limit 9")?;
    host.expect_rejection("t0", is_it, "a configured qdisc (pfifo)")
}

pub(crate) fn traffic_program() -> Result {
    let host = TestHost::plain()?;
    let _tool = EgressTool::attach(&host.worker, &"d0".parse()?, EgressAction::PushTag)?;
    // Before Linux 6.6 it is attached to a qdisc.
    let is_it = |objection: &Objection| matches!(objection, Objection::TcxPrograms | Objection::Qdisc(_));
    host.expect_rejection("d0", is_it, "it")
}

pub(crate) fn next_hops() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0; ip nexthop add id 7 via 192.0.2.9 dev t0")?;
    host.expect_rejection(
        "t0",
        |objection| matches!(objection, Objection::NextHops(ids) if *ids == [7]),
        "nexthop objects use it and would be lost: 7",
    )
}

pub(crate) fn bpf_link() -> Result {
    let host = TestHost::plain()?;
    let counter = Program::load(&Object::default())?.descriptor()?;
    let name: LinkName = "d0".parse()?;
    let _link = host.worker.call(move |host| {
        let index = host.link(&name)?.index;
        host.link_xdp(index, counter.as_fd(), &[XdpMode::Generic], false)
    })?;
    host.expect_rejection("d0", |objection| *objection == Objection::BpfLink, "by a bpf_link")?;
    let forced = host
        .claim_with("d0", "t0", ClaimOptions { force: true, ..host.options() })
        .err()
        .ok_or("force claimed it")?;
    expect(!chain(&forced).contains("--force"), &chain(&forced))
}

pub(crate) fn ssh_session() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0")?;
    // An ancestor has the variable, as under sudo, which drops it.
    let this = std::env::current_exe()?;
    let line = format!("env -u SSH_CONNECTION {ORDER}='d0 t0' {} </dev/null; true", this.display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22");
    let output = host.run(command)?;
    expect(
        cli::stderr(&output).contains("your SSH session uses its address 192.0.2.1"),
        &cli::stderr(&output),
    )?;
    expect(host.sh("ip address show dev t0")?.contains("192.0.2.1"), "it was changed")
}

/// The only test on the machine's own interfaces: they must be rejected before anything is changed.
pub(crate) fn uplink() -> Result {
    let print =
        |arguments: &[&str]| -> Result<String> { Ok(stdout(&Command::new("ip").args(arguments).output()?)) };
    let routes = print(&["route", "show", "default"])?;
    let mut words = routes.split_whitespace().skip_while(|word| *word != "dev");
    let Some(uplink) = words.nth(1) else { return Ok(()) };
    let before = (print(&["-d", "address"])?, print(&["route"])?);
    let journals = tempfile::tempdir()?;
    // The other end cannot be claimed either, whatever the first check says.
    let options = ClaimOptions { journals: journals.path().to_owned(), ..ClaimOptions::default() };
    let error =
        DevicePair::claim(&"lo".parse()?, &uplink.parse()?, options).err().ok_or("the uplink was claimed")?;
    let text = chain(&error);
    let DeviceError::Rejected { device, objections } = error else { return Err(text.into()) };
    expect(device.as_ref() == uplink && objections.contains(&Objection::DefaultRoute), &text)?;
    let times =
        |text: &str| text.lines().filter(|line| !line.contains("valid_lft")).collect::<Vec<_>>().join("\n");
    let after = (print(&["-d", "address"])?, print(&["route"])?);
    expect(times(&before.0) == times(&after.0) && before.1 == after.1, "something was changed")?;
    expect(fs::read_dir(journals.path())?.count() == 1, "there is more than the lock")
}

pub(crate) fn force() -> Result {
    let host = TestHost::plain()?;
    host.sh("ip address add 192.0.2.1/24 dev t0; ip route add default via 192.0.2.9")?;
    host.sh(
        "ip link add br0 type bridge; ip link set d0 master br0; ip link add link t0 name mv0 type macvlan",
    )?;
    let before = host.sh("ip route show table all; ip -d link show d0")?;
    let pair = host
        .claim_with("d0", "t0", ClaimOptions { force: true, ..host.options() })
        .map_err(|error| chain(&error))?;
    let left = pair.restore().err().ok_or("everything was restored, its upper device too")?;
    let lost: Vec<String> = left.left.iter().map(|one| format!("{}: {}", one.device, one.what)).collect();
    expect(
        lost == ["t0: upper device mv0", "d0: its settings as a port of br0"] && !left.kept,
        &left.to_string(),
    )?;
    let after = host.sh("ip route show table all; ip -d link show d0")?;
    expect(before == after, &format!("{before}\n{after}"))
}
