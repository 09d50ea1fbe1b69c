//! Where generic and native mode differ: a rule a row of `DIFFERENCES` and mode, with what this mode must make of it.
//!
//! What depends on how far the stack merges or cuts (how many packets carry 8 MiB) is held to what cannot be otherwise:
//! every byte arrives, and the number of packets lies where the mode puts it. What does not is held exactly.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use xdproof_ebpf::abi;
use xdproof_netns::{
    Host, IfIndex, LinkName, LinkSetting, Offloads, PacketOptions, PacketSocket, SkbLayout, VirtualKind,
    Worker, XdpLink, XdpMode,
};
use xdproof_scenarios::{DUT_MAC, TESTER_MAC};

use crate::inject::tc_tools::{Shaper, XdpTool};
use crate::suites::attach_semantics::{
    case::{Answer, Errno, Ground, How, Rule, Then, Which},
    catalog::{GRO, GSO, INGRESS, JUMBO, JUMBO_FRAGS, SKBS, TAG_OFF, TAG_ON, TAP, TCP},
    fixture::{RuleError, Stand},
    lifetime::{MUST_HAPPEN, sum},
};
use XdpMode::{Generic, Native};

/// Frames of a trial: enough to tell each from once, few enough for any queue.
const FRAMES: usize = 10;

/// An MTU beyond a page, and a frame that fills it.
const JUMBO_MTU: u32 = 9000;
const JUMBO_FRAME: usize = 9014;

/// What 8 MiB of TCP are.
const STREAM: usize = 8 << 20;
/// No packet that the stack makes carries more (`GSO_LEGACY_MAX_SIZE`, unless BIG TCP is asked for).
const MOST_IN_A_PACKET: usize = 65_536;
/// No frame on a link with an MTU of 1500 carries more: without options, 20 bytes each of IPv4 and TCP.
const MOST_IN_A_FRAME: usize = 1460;

/// A segment, and how many of them are sent in one packet: 14,534 bytes with the headers.
const SEGMENT: u16 = 1448;
const SEGMENTS: usize = 10;
/// Ethernet, IPv4 and TCP headers without options.
const TCP_HEADERS: usize = 54;

const ONE_QUEUE: Ground = Ground::Veth { rx: 1, peer_tx: 1 };

/// A row in one mode, as a rule.
macro_rules! mode {
    ($id:literal, $row:expr, $what:expr, $($argument:expr),+) => {
        Rule { id: $id, row: $row, ground: ONE_QUEUE, how: How::Code(|stand| $what(stand, $($argument),+)) }
    };
}

/// Every row of the table, in every mode that it speaks of.
#[must_use]
pub fn modes() -> Vec<Rule> {
    vec![
        mode!("modes/a_packet_of_ten_segments_counts_once::generic", GSO, segments, Generic, 1),
        mode!("modes/a_packet_of_ten_segments_counts_ten_times::native", GSO, segments, Native, SEGMENTS),
        mode!("modes/a_tcp_stream_comes_in_merged_packets::generic", TCP, stream, Generic),
        mode!("modes/a_tcp_stream_comes_in_frames_of_the_mtu::native", TCP, stream, Native),
        mode!("modes/frames_are_counted_before_gro_merges_them::native", GRO, before_gro, Native),
        Rule {
            id: "modes/attaching_turns_lro_and_gro_hw_off::generic",
            row: GRO,
            ground: Ground::Device,
            how: How::Code(|stand| merging_in_the_device(stand, Generic)),
        },
        mode!("modes/a_tag_beside_the_bytes_is_not_seen::generic", TAG_ON, tag, Generic, true),
        mode!("modes/a_tag_beside_the_bytes_is_not_seen::native", TAG_ON, tag, Native, true),
        mode!("modes/a_tag_that_the_device_cannot_insert_is_seen::generic", TAG_OFF, tag, Generic, false),
        mode!("modes/a_tag_that_the_device_cannot_insert_is_seen::native", TAG_OFF, tag, Native, false),
        mode!("modes/redirected_to_ingress_is_counted::generic", INGRESS, ingress, Generic, FRAMES),
        mode!("modes/redirected_to_ingress_is_not_counted::native", INGRESS, ingress, Native, 0),
        mode!(
            "modes/a_jumbo_frame_is_linear_for_the_linear_counter::generic",
            JUMBO,
            jumbo,
            Generic,
            Which::First
        ),
        mode!("modes/a_jumbo_mtu_refuses_the_linear_counter::native", JUMBO, refused_jumbo, Native),
        mode!(
            "modes/a_jumbo_frame_is_in_pieces_for_the_frags_counter::generic",
            JUMBO_FRAGS,
            jumbo,
            Generic,
            Which::Frags
        ),
        mode!(
            "modes/a_jumbo_frame_is_in_pieces_for_the_frags_counter::native",
            JUMBO_FRAGS,
            jumbo,
            Native,
            Which::Frags
        ),
        mode!("modes/a_packet_in_pieces_is_counted::generic", SKBS, pieces, Generic, Which::First),
        mode!("modes/a_packet_in_pieces_is_counted_by_frags::generic", SKBS, pieces, Generic, Which::Frags),
        mode!("modes/a_packet_in_pieces_is_counted_by_frags::native", SKBS, pieces, Native, Which::Frags),
        mode!("modes/a_clone_is_counted_and_left_as_it_is::generic", SKBS, cloned, Generic),
        mode!("modes/a_clone_is_counted_and_left_as_it_is::native", SKBS, cloned, Native),
        mode!("modes/a_tap_counts_frames_beyond_a_page::generic", TAP, tap, Generic),
        mode!("modes/a_tap_counts_frames_beyond_a_page::native", TAP, tap, Native),
    ]
}

/// One TCP packet of ten segments, which whoever cannot take it whole must cut.
fn segments(stand: &mut Stand<'_>, mode: XdpMode, frames: usize) -> Result<(), RuleError> {
    let payload: Vec<u8> = (0..SEGMENTS * usize::from(SEGMENT)).map(pattern).collect();
    let mut packet = ipv4(6, TCP_HEADERS + payload.len(), &[]);
    packet[46..].fill(0);
    // Offset of the TCP payload in words, and ACK.
    packet[46..48].copy_from_slice(&[5 << 4, 1 << 4]);
    packet[TCP_HEADERS..].copy_from_slice(&payload);
    let _link = attach(stand, Which::First, mode)?;
    let capture = capture(stand)?;
    let (worker, index) = peer(stand)?;
    let sender =
        worker.call(move |host| host.packet_socket(index, PacketOptions::default())?.into_vnet_socket())?;
    let headers = u16::try_from(TCP_HEADERS).unwrap_or_default();
    sender.send(&packet, SkbLayout { linear: headers, gso_size: Some(SEGMENT) })?;
    let arrived = receive(&capture, |arrived| payload_of(arrived).len() >= payload.len())?;
    let whole = payload_of(&arrived) == payload;
    stand.check("send one packet of 10 segments", counts(6, frames), |stand| counted(stand, Which::First));
    let observed = format!("{} frames, payload as sent: {whole}", arrived.len());
    stand.check("see what the stack receives", format!("{frames} frames, payload as sent: true"), |_| {
        observed
    });
    Ok(())
}

/// The TCP payload of frames, in their order.
fn payload_of(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.get(TCP_HEADERS..).unwrap_or_default()).copied().collect()
}

/// Eight MiB of TCP from the tester to the DUT.
fn stream(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let (worker, peer) = peer(stand)?;
    worker.call(move |host| speak(host, peer, near))?;
    stand.on_device(move |host, index| speak(host, index, far))?;
    let _link = attach(stand, Which::First, mode)?;
    let listener = stand.dut.run(move |_| TcpListener::bind((far, 0)))?.map_err(process("listen"))?;
    let there = listener.local_addr().map_err(process("listen"))?;
    let data: Vec<u8> = (0..STREAM).map(pattern).collect();
    let intact = std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<(), RuleError> {
            let mut stream = worker.run(move |_| connect(there))?.map_err(process("connect"))?;
            stream.write_all(&data).map_err(process("send by TCP"))
        });
        // The other end is connected to, or the sender has failed: then nobody ever comes.
        listener.set_nonblocking(true).map_err(process("listen"))?;
        let begun = Instant::now();
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < MUST_HAPPEN => {
                    std::thread::yield_now();
                }
                Err(error) => return Err(process("accept a connection")(error)),
            }
        };
        let mut received = Vec::with_capacity(STREAM);
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(MUST_HAPPEN)))
            .and_then(|()| stream.read_to_end(&mut received))
            .map_err(process("receive by TCP"))?;
        sender.join().map_err(|_| RuleError::Late { awaited: "the end of the sending" })??;
        Ok::<_, RuleError>(received == data)
    })?;
    stand.check("send 8 MiB by TCP", "every byte arrives", |_| {
        if intact { "every byte arrives" } else { "other bytes arrive" }.to_owned()
    });
    let (least, most) = match mode {
        Native => (STREAM.div_ceil(MOST_IN_A_FRAME), usize::MAX),
        _ => (STREAM.div_ceil(MOST_IN_A_PACKET), STREAM / MOST_IN_A_FRAME - 1),
    };
    let total = sum(&stand.counter(Which::First)?.counts()?).get(&6).copied().unwrap_or(0);
    let bounds = if most == usize::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
    let lies = usize::try_from(total).is_ok_and(|total| (least..=most).contains(&total));
    let observed = if lies { bounds.clone() } else { total.to_string() };
    stand.check(format!("count the packets of TCP ({total})"), bounds, |_| observed);
    Ok(())
}

/// A native program sees the frames of a stream although GRO, which merges them behind it, is on.
fn before_gro(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    stand.on_device(|host, index| host.set_offload(index, Offloads::GRO, true))?;
    stream(stand, mode)?;
    let on = |stand: &mut Stand<'_>| match stand.on_device(Host::offloads) {
        Ok(offloads) => offloads.get(Offloads::GRO).is_some_and(|state| state.active).to_string(),
        Err(error) => crate::error::chain(&error),
    };
    stand.check("ask whether GRO is on", "true", on);
    Ok(())
}

/// What merges frames in the device is turned off (`dev_disable_lro()`, `dev_disable_gro_hw()` of `net/core/dev.c`), for
/// there is no other way to give a program the frames.
fn merging_in_the_device(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    let merging = |stand: &Stand<'_>| -> Result<Vec<String>, RuleError> {
        let offloads = stand.on_device(Host::offloads)?;
        let active = |offload: &&str| offloads.get(offload).is_some_and(|state| state.active);
        Ok([Offloads::LRO, Offloads::GRO_HW].into_iter().filter(active).map(str::to_owned).collect())
    };
    if merging(stand)?.is_empty() {
        let reason = "the device merges nothing: it has neither LRO nor GRO_HW, or they are off".to_owned();
        return Err(RuleError::NotHere { reason });
    }
    let _link = attach(stand, Which::First, mode)?;
    let left = merging(stand)?;
    stand.check("ask what merges frames in the device", "nothing", |_| {
        if left.is_empty() { "nothing".to_owned() } else { left.join(", ") }
    });
    Ok(())
}

fn connect(there: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&there, MUST_HAPPEN)?;
    stream.set_write_timeout(Some(MUST_HAPPEN))?;
    Ok(stream)
}

/// Lets a link speak IPv4.
fn speak(host: &mut Host, index: IfIndex, address: Ipv4Addr) -> Result<(), xdproof_netns::Error> {
    host.set_link(index, &LinkSetting::Arp(true))?;
    host.add_address(index, address, 24)
}

/// Frames with two tags in their bytes get a third from tc. In the bytes it is one too many for the counter.
fn tag(stand: &mut Stand<'_>, mode: XdpMode, inserted_by_device: bool) -> Result<(), RuleError> {
    let frame = ipv4(17, 100, &[[0x88, 0xa8, 0, 100], [0x81, 0, 0, 10]]);
    let mut pushed = frame.clone();
    pushed.splice(12..12, abi::PUSHED_TAG);
    let (worker, index) = peer(stand)?;
    let name = worker.call(move |host| {
        host.set_offload(index, Offloads::TX_VLAN, inserted_by_device)?;
        host.link_by_index(index)
    })?;
    let _link = attach(stand, Which::First, mode)?;
    let capture = capture(stand)?;
    let _shaper = Shaper::push_tag(worker, &name.name)?;
    send(worker, index, &frame)?;
    let arrived = receive(&capture, |arrived| arrived.len() >= FRAMES)?;
    let key = if inserted_by_device { 17 } else { 0 };
    stand.check("send frames with two tags and push a third", counts(key, FRAMES), |stand| {
        counted(stand, Which::First)
    });
    came_through(stand, &arrived, &pushed);
    Ok(())
}

/// Frames that tc redirects to the DUT's way in.
fn ingress(stand: &mut Stand<'_>, mode: XdpMode, expected: usize) -> Result<(), RuleError> {
    let frame = ipv4(17, 100, &[]);
    let _link = attach(stand, Which::First, mode)?;
    let capture = capture(stand)?;
    let name: LinkName = "feeder".parse()?;
    let feeder = name.clone();
    let index = stand.dut.call(move |host| {
        host.create_virtual(&feeder, VirtualKind::Ifb)?;
        let index = host.link(&feeder)?.index;
        host.set_up(index, true).map(|()| index)
    })?;
    let _shaper = Shaper::to_ingress(stand.dut, &name, stand.index)?;
    send(stand.dut, index, &frame)?;
    let arrived = receive(&capture, |arrived| arrived.len() >= FRAMES)?;
    stand.check("redirect frames to ingress", counts(17, expected), |stand| counted(stand, Which::First));
    came_through(stand, &arrived, &frame);
    Ok(())
}

/// A frame beyond a page: whole for a program that takes linear frames only, in pieces for one that takes both.
fn jumbo(stand: &mut Stand<'_>, mode: XdpMode, which: Which) -> Result<(), RuleError> {
    let frame = ipv4(17, JUMBO_FRAME, &[]);
    let (worker, index) = large_mtu(stand)?;
    let link = attach(stand, which, mode)?;
    let watch = capture(stand)?;
    send(worker, index, &frame)?;
    let arrived = receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    stand.check("send frames of 9,014 bytes", counts(17, FRAMES), |stand| counted(stand, which));
    came_through(stand, &arrived, &frame);
    drop(link);
    let (name, expected) = match which {
        Which::Frags => (abi::LENGTHS_PROGRAM, "a part of 9014 bytes is linear"),
        Which::First | Which::Second => (abi::LINEAR_LENGTHS_PROGRAM, "all of 9014 bytes are linear"),
    };
    let mut tool = XdpTool::load(name)?;
    let _link = attach_tool(stand, tool.descriptor()?, mode)?;
    let watch = capture(stand)?;
    send(worker, index, &frame)?;
    receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    let lengths = tool.lengths()?;
    stand.check(format!("ask what is linear ({} bytes)", lengths.linear), expected, |_| {
        let (linear, whole) = (lengths.linear, lengths.whole);
        if linear == whole {
            format!("all of {whole} bytes are linear")
        } else if (1..whole).contains(&linear) {
            format!("a part of {whole} bytes is linear")
        } else {
            format!("{linear} of {whole} bytes are linear")
        }
    });
    Ok(())
}

/// A program that takes linear frames only does not get a driver that would have to hand it others.
fn refused_jumbo(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    large_mtu(stand)?;
    let answer = match link(stand, stand.descriptor(Which::First)?, mode) {
        Ok(_) => Answer::Done.to_string(),
        Err(error) => error.errno().map_or_else(
            || error.to_string(),
            |errno| Errno(rustix::io::Errno::from_raw_os_error(errno)).to_string(),
        ),
    };
    stand.check("attach the first program by bpf_link", "ERANGE", |_| answer);
    stand.check("look what is attached", Then::Nothing.to_string(), |stand| stand.attached());
    Ok(())
}

/// A packet of which only the IPv4 header's bytes lie in one piece.
fn pieces(stand: &mut Stand<'_>, mode: XdpMode, which: Which) -> Result<(), RuleError> {
    let frame = ipv4(17, JUMBO_FRAME, &[]);
    let (worker, index) = large_mtu(stand)?;
    let _link = attach(stand, which, mode)?;
    let watch = capture(stand)?;
    let sender =
        worker.call(move |host| host.packet_socket(index, PacketOptions::default())?.into_vnet_socket())?;
    for _ in 0..FRAMES {
        sender.send(&frame, SkbLayout { linear: 34, gso_size: None })?;
    }
    let arrived = receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    stand.check("send packets of 34 linear bytes and 8,980 more", counts(17, FRAMES), |stand| {
        counted(stand, which)
    });
    came_through(stand, &arrived, &frame);
    Ok(())
}

/// A capture at the tester makes a clone of every frame that leaves. What a program does to the frame must not be done
/// to the clone, whose bytes are the same memory until someone copies them.
fn cloned(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    let frame = ipv4(17, 100, &[]);
    let (worker, index) = peer(stand)?;
    let witness = worker.call(move |host| {
        host.packet_socket(index, PacketOptions { outgoing: true, ..Default::default() })
    })?;
    let counting = attach(stand, Which::First, mode)?;
    let watch = capture(stand)?;
    send(worker, index, &frame)?;
    let arrived = receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    let clones = receive(&witness, |clones| clones.len() >= FRAMES)?;
    stand.check("send frames while someone captures them", counts(17, FRAMES), |stand| {
        counted(stand, Which::First)
    });
    came_through(stand, &arrived, &frame);
    stand.check("see what is captured at the tester", same(&frame), |_| differing(&clones, &frame));
    drop(counting);
    let mut tool = XdpTool::load(abi::SCRIBBLE_PROGRAM)?;
    let _link = attach_tool(stand, tool.descriptor()?, mode)?;
    let watch = capture(stand)?;
    send(worker, index, &frame)?;
    let mut changed = frame.clone();
    changed[11] = !changed[11];
    let arrived = receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    let clones = receive(&witness, |clones| clones.len() >= FRAMES)?;
    stand.check("let a program change the frames", same(&changed), |_| differing(&arrived, &changed));
    stand.check("see what is captured at the tester", same(&frame), |_| differing(&clones, &frame));
    Ok(())
}

/// Frames below and beyond a page into a tap. The kernel says that the mode is native, and runs the program on the larger
/// ones behind the driver (`tun_get_user()` of `drivers/net/tun.c`): every one is counted once all the same.
fn tap(stand: &mut Stand<'_>, mode: XdpMode) -> Result<(), RuleError> {
    let (small, large) = (ipv4(17, 100, &[]), ipv4(6, 5014, &[]));
    let name: LinkName = "tap".parse()?;
    let (tap, index) = stand.dut.call(move |host| {
        let tap = host.create_tap(&name)?;
        let index = host.link(&name)?.index;
        host.set_mtu(index, JUMBO_MTU)?;
        host.set_up(index, true).map(|()| (tap, index))
    })?;
    let veth = std::mem::replace(&mut stand.index, index);
    let tried = (|| {
        let _link = attach(stand, Which::First, mode)?;
        let watch = capture(stand)?;
        for frame in [&small, &large] {
            for _ in 0..FRAMES {
                tap.send(frame).map_err(process("write to the tap"))?;
            }
        }
        let arrived = receive(&watch, |arrived| arrived.len() >= 2 * FRAMES)?;
        let both = format!(
            "{:?}",
            crate::model::observation::Counts::from([(6, FRAMES as u64), (17, FRAMES as u64)])
        );
        stand.check("write frames of 100 and of 5,014 bytes", both, |stand| counted(stand, Which::First));
        let (first, second) = arrived.split_at(arrived.len().min(FRAMES));
        came_through(stand, first, &small);
        came_through(stand, second, &large);
        stand.check("look what is attached", Then::Has(mode, Which::First).to_string(), |stand| {
            stand.attached()
        });
        Ok(())
    })();
    stand.index = veth;
    tried
}

/// What a tap advertises.
pub(super) fn tap_features(stand: &mut Stand<'_>, bits: u64) -> Result<(), RuleError> {
    let name: LinkName = "tap".parse()?;
    let features = stand.dut.call(move |host| {
        let _tap = host.create_tap(&name)?;
        let index = host.link(&name)?.index;
        host.xdp_features(index)
    })?;
    let Some(features) = features else {
        return Err(RuleError::NotHere { reason: "this kernel tells no XDP features (6.3 does)".to_owned() });
    };
    stand.check("read what a tap advertises", format!("{bits:#x}"), |_| format!("{:#x}", features.bits()));
    Ok(())
}

/// An IPv4 frame of so many bytes, tags before its type, and behind its header bytes that tell their places.
fn ipv4(protocol: u8, length: usize, tags: &[[u8; 4]]) -> Vec<u8> {
    let mut bytes = [DUT_MAC, TESTER_MAC].concat();
    bytes.extend(tags.concat());
    let inside = u16::try_from(length.saturating_sub(bytes.len() + 2)).unwrap_or(u16::MAX);
    bytes.extend([0x08, 0x00, 0x45, 0]);
    bytes.extend(inside.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend((bytes.len()..length).map(pattern));
    bytes
}

/// The byte at a place: 251 is prime to every length of a piece.
fn pattern(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap_or_default()
}

fn process(action: &'static str) -> impl Fn(io::Error) -> RuleError {
    move |source| RuleError::Process { action, source }
}

fn peer<'a>(stand: &Stand<'a>) -> Result<(&'a Worker, IfIndex), RuleError> {
    stand.peer.ok_or(RuleError::Table { missing: "no peer" })
}

/// Lets both ends take jumbo frames.
fn large_mtu<'a>(stand: &Stand<'a>) -> Result<(&'a Worker, IfIndex), RuleError> {
    let (worker, index) = peer(stand)?;
    worker.call(move |host| host.set_mtu(index, JUMBO_MTU))?;
    stand.on_device(|host, index| host.set_mtu(index, JUMBO_MTU))?;
    Ok((worker, index))
}

fn link(stand: &Stand<'_>, program: OwnedFd, mode: XdpMode) -> Result<XdpLink, xdproof_netns::Error> {
    stand.on_device(move |host, index| host.link_xdp(index, program.as_fd(), &[mode], false))
}

/// Attaches a counter and asks whether it is what is attached. A refusal departs from every rule that attaches one.
fn attach(stand: &mut Stand<'_>, which: Which, mode: XdpMode) -> Result<XdpLink, RuleError> {
    let made = link(stand, stand.descriptor(which)?, mode);
    let refusal = made.as_ref().err().map(|error| crate::error::chain(error));
    stand.check(
        format!("attach {which} by bpf_link in {mode} mode"),
        Then::Has(mode, which).to_string(),
        |stand| refusal.unwrap_or_else(|| stand.attached()),
    );
    made.map_err(|_| RuleError::Departed)
}

/// Attaches a program that is no counter and asks whether it is in its mode.
fn attach_tool(stand: &mut Stand<'_>, program: OwnedFd, mode: XdpMode) -> Result<XdpLink, RuleError> {
    let link = link(stand, program, mode)?;
    let id = link.program()?;
    let state = stand.on_device(Host::xdp)?;
    stand.check("attach a tool by bpf_link", format!("attached in {mode} mode"), |_| {
        if state.iter().eq([(mode, id)]) { format!("attached in {mode} mode") } else { state.to_string() }
    });
    Ok(link)
}

/// A socket that sees what the DUT's stack receives, nothing merged.
fn capture(stand: &Stand<'_>) -> Result<PacketSocket, RuleError> {
    Ok(stand.on_device(|host, index| {
        host.set_offload(index, Offloads::GRO, false)?;
        host.packet_socket(index, PacketOptions::default())
    })?)
}

/// Sends a frame as often as a trial does.
fn send(worker: &Worker, index: IfIndex, frame: &[u8]) -> Result<(), RuleError> {
    let socket = worker.call(move |host| host.packet_socket(index, PacketOptions::default()))?;
    for _ in 0..FRAMES {
        socket.send(frame)?;
    }
    Ok(())
}

/// What comes until it is enough, or nothing has come for too long; then whatever else waits.
fn receive(socket: &PacketSocket, enough: impl Fn(&[Vec<u8>]) -> bool) -> Result<Vec<Vec<u8>>, RuleError> {
    let mut arrived = Vec::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        while let Some(received) = socket.receive(&mut buffer)? {
            arrived.push(buffer.get(..received.len).unwrap_or_default().to_vec());
        }
        let deadline = if enough(&arrived) { Duration::ZERO } else { ARRIVAL };
        if !socket.wait_readable(deadline)? {
            return Ok(arrived);
        }
    }
}

/// How long the next frame may take.
const ARRIVAL: Duration = Duration::from_secs(3);

/// The counts of one protocol, as [`counted`] tells them.
fn counts(protocol: u8, frames: usize) -> String {
    if frames == 0 { "{}".to_owned() } else { format!("{{{protocol}: {frames}}}") }
}

/// What a counter has counted since it was loaded.
fn counted(stand: &Stand<'_>, which: Which) -> String {
    match stand.counter(which).and_then(|counter| Ok(counter.counts()?)) {
        Ok(per_cpu) => format!("{:?}", sum(&per_cpu)),
        Err(error) => crate::error::chain(&error),
    }
}

/// Records whether every frame came through as it had to.
fn came_through(stand: &mut Stand<'_>, arrived: &[Vec<u8>], frame: &[u8]) {
    stand.check("see what the stack receives", same(frame), |_| differing(arrived, frame));
}

fn same(frame: &[u8]) -> String {
    format!("{FRAMES} frames of {} bytes, all as they must be", frame.len())
}

fn differing(arrived: &[Vec<u8>], frame: &[u8]) -> String {
    match arrived.iter().find(|other| other.as_slice() != frame) {
        None => format!("{} frames of {} bytes, all as they must be", arrived.len(), frame.len()),
        Some(other) => {
            let place = other.iter().zip(frame).position(|(one, two)| one != two);
            let place =
                place.map_or_else(|| "nowhere before its end".to_owned(), |place| format!("at byte {place}"));
            format!("{} frames, one of {} bytes that differs {place}", arrived.len(), other.len())
        }
    }
}
