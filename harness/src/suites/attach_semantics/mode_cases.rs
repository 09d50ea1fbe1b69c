//! Differences between generic and native mode: a case for each row of [`DIFFERENCES`](super::DIFFERENCES) and mode, with the
//! mode's outcome.
//!
//! An outcome that depends on how far the stack merges or cuts (the packets that carry 8 MiB) is bounded: every byte arrives, and
//! the number of packets lies where the mode puts it. Every other outcome is exact.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use rustix::io::Errno;
use xdproof_ebpf::abi;
use xdproof_netns::{
    Host, IfIndex, LinkName, LinkSetting, Offloads, PacketOptions, SkbLayout, VirtualKind, Worker, XdpMode,
};

use crate::{
    inject::tc_tools::{EgressAction, EgressTool, XdpTool},
    model::{Counts, observation::sum},
    suites::attach_semantics::{
        case::{AttachCase, CaseTarget},
        catalog::{GRO, GSO, INGRESS, JUMBO, JUMBO_FRAGS, SKBS, TAG_OFF, TAG_ON, TAP, TCP},
        deadlines::MUST_HAPPEN,
        error::{CaseError, failed_to},
        fixture::{AttachFixture, features},
        step::{AttachCondition, AttachMethod, AttachState, AttachStep, StepAction, TestProgram, done, only},
        traffic::{
            FRAMES, RECEIVED, arrive, capture, counted, counts, differing, ipv4, pattern, receive, same,
            send, send_skbs,
        },
    },
};
use TestProgram::{First, Frags, Second};
use XdpMode::{Generic, Native};

type CaseResult = Result<(), CaseError>;

/// An MTU beyond a page, and a frame that fills it.
const JUMBO_MTU: u32 = 9000;
const JUMBO_FRAME: usize = 9014;

/// Bytes of the TCP stream.
const STREAM: usize = 8 << 20;
/// Most bytes in a packet that the stack makes (`GSO_LEGACY_MAX_SIZE`, unless BIG TCP is asked for).
const MOST_IN_A_PACKET: usize = 65_536;
/// Most bytes in a frame on a link with an MTU of 1500: without options, 20 bytes each of IPv4 and TCP.
const MOST_IN_A_FRAME: usize = 1460;

/// A segment, and the number of segments in one packet: 14,534 bytes with the headers.
const SEGMENT: u16 = 1448;
const SEGMENTS: usize = 10;
/// Ethernet, IPv4 and TCP headers without options.
const TCP_HEADERS: u16 = 54;

/// Returns a case for every row, in every mode that the row is about.
#[must_use]
pub fn mode_cases() -> Vec<AttachCase> {
    let case = |row, name: &str, function: fn(&mut AttachFixture<'_>) -> CaseResult| {
        AttachCase::of_function(row, CaseTarget::VETH, &format!("modes/{name}"), function)
    };
    let mut cases = vec![
        case(GSO, "a_packet_of_ten_segments_counts_once::generic", |on| segments(on, Generic, 1)),
        case(GSO, "a_packet_of_ten_segments_counts_ten_times::native", |on| segments(on, Native, SEGMENTS)),
        case(TCP, "a_tcp_stream_comes_in_merged_packets::generic", |on| stream(on, Generic)),
        case(TCP, "a_tcp_stream_comes_in_frames_of_the_mtu::native", |on| stream(on, Native)),
        case(GRO, "frames_are_counted_before_gro_merges_them::native", before_gro),
        case(TAG_ON, "a_tag_beside_the_bytes_is_not_seen::generic", |on| tag(on, Generic, true)),
        case(TAG_ON, "a_tag_beside_the_bytes_is_not_seen::native", |on| tag(on, Native, true)),
        case(TAG_OFF, "a_tag_that_the_device_cannot_insert_is_seen::generic", |on| tag(on, Generic, false)),
        case(TAG_OFF, "a_tag_that_the_device_cannot_insert_is_seen::native", |on| tag(on, Native, false)),
        case(INGRESS, "redirected_to_ingress_is_counted::generic", |on| ingress(on, Generic, FRAMES)),
        case(INGRESS, "redirected_to_ingress_is_not_counted::native", |on| ingress(on, Native, 0)),
        case(JUMBO, "a_jumbo_frame_is_linear_for_the_linear_counter::generic", |on| {
            jumbo(on, Generic, First)
        }),
        case(JUMBO, "a_jumbo_mtu_refuses_the_linear_counter::native", refused_jumbo),
        case(SKBS, "a_packet_in_pieces_is_counted::generic", |on| pieces(on, Generic, First)),
        case(TAP, "a_tap_counts_frames_beyond_a_page::generic", |on| tap(on, Generic)),
        case(TAP, "a_tap_counts_frames_beyond_a_page::native", |on| tap(on, Native)),
    ];
    for mode in [Generic, Native] {
        let case = |row, fact: &str, function: fn(&mut AttachFixture<'_>, XdpMode) -> CaseResult| {
            let id = format!("modes/{fact}::{mode}");
            AttachCase::of_function(row, CaseTarget::VETH, &id, move |on| function(on, mode))
        };
        cases.extend([
            case(JUMBO_FRAGS, "a_jumbo_frame_is_in_pieces_for_the_frags_counter", |on, mode| {
                jumbo(on, mode, Frags)
            }),
            case(SKBS, "a_packet_in_pieces_is_counted_by_frags", |on, mode| pieces(on, mode, Frags)),
            case(SKBS, "a_clone_is_counted_and_left_as_it_is", cloned),
        ]);
    }
    let id = "modes/attaching_turns_lro_and_gro_hw_off::generic";
    cases.push(AttachCase::of_function(GRO, CaseTarget::Device, id, merging_in_the_device));
    cases
}

/// Sends one TCP packet of ten segments, which a receiver that cannot take it whole must cut.
fn segments(fixture: &mut AttachFixture<'_>, mode: XdpMode, frames: usize) -> CaseResult {
    let headers = usize::from(TCP_HEADERS);
    let payload: Vec<u8> = (0..SEGMENTS * usize::from(SEGMENT)).map(pattern).collect();
    let payload_of = |frames: &[Vec<u8>]| -> Vec<u8> {
        frames.iter().flat_map(|frame| frame.get(headers..).unwrap_or_default()).copied().collect()
    };
    let mut packet = ipv4(6, headers + payload.len(), &[]);
    packet[46..].fill(0);
    // Offset of the TCP payload in words, and ACK.
    packet[46..48].copy_from_slice(&[5 << 4, 1 << 4]);
    packet[headers..].copy_from_slice(&payload);
    attach(fixture, First, mode)?;
    let capture = capture(fixture)?;
    send_skbs(fixture, &packet, 1, SkbLayout { linear: TCP_HEADERS, gso_size: Some(SEGMENT) })?;
    let arrived = receive(&capture, |arrived| payload_of(arrived).len() >= payload.len())?;
    let received = format!("{} frames, payload as sent: {}", arrived.len(), payload_of(&arrived) == payload);
    fixture.record("send one packet of 10 segments", counts(6, frames), counted(fixture, First));
    fixture.record(RECEIVED, format!("{frames} frames, payload as sent: true"), received);
    Ok(())
}

/// Sends eight MiB of TCP from the tester to the DUT.
fn stream(fixture: &mut AttachFixture<'_>, mode: XdpMode) -> CaseResult {
    const INTACT: &str = "every byte as sent";
    let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let configure = |address| {
        move |host: &mut Host, index| {
            host.set_link(index, &LinkSetting::Arp(true))?;
            host.add_address(index, address, 24)
        }
    };
    let (worker, peer) = fixture.peer()?;
    worker.call(move |host| configure(near)(host, peer))?;
    fixture.on_device(configure(far))?;
    attach(fixture, First, mode)?;
    let listener = fixture.dut.run(move |_| TcpListener::bind((far, 0)))?.map_err(failed_to("listen"))?;
    let target = listener.local_addr().map_err(failed_to("listen"))?;
    // The kernel completes the connection before it is accepted.
    let sender = worker.run(move |_| TcpStream::connect_timeout(&target, MUST_HAPPEN))?;
    let mut sender = sender.map_err(failed_to("connect"))?;
    let data: Vec<u8> = (0..STREAM).map(pattern).collect();
    let (mut receiver, _) = listener.accept().map_err(failed_to("accept a connection"))?;
    sender.set_write_timeout(Some(MUST_HAPPEN)).map_err(failed_to("send by TCP"))?;
    receiver.set_read_timeout(Some(MUST_HAPPEN)).map_err(failed_to("receive by TCP"))?;
    let mut received = Vec::with_capacity(STREAM);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = sender.write_all(&data);
            drop(sender);
            sent
        });
        receiver.read_to_end(&mut received).map_err(failed_to("receive by TCP"))?;
        let sent = sending.join().map_err(|_| CaseError::Timeout { awaited: "the end of sending" })?;
        sent.map_err(failed_to("send by TCP"))
    })?;
    let observed = if received == data { INTACT } else { "other bytes" };
    fixture.record("send 8 MiB by TCP", INTACT, observed);
    let (least, most) = match mode {
        Native => (STREAM.div_ceil(MOST_IN_A_FRAME), usize::MAX),
        _ => (STREAM.div_ceil(MOST_IN_A_PACKET), STREAM / MOST_IN_A_FRAME - 1),
    };
    let total = sum(&fixture.counter(First)?.counts()?).get(&6).copied().unwrap_or(0);
    let bounds = if most == usize::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
    let within = usize::try_from(total).is_ok_and(|total| (least..=most).contains(&total));
    let observed = if within { bounds.clone() } else { total.to_string() };
    fixture.record(format!("count the TCP packets ({total})"), bounds, observed);
    Ok(())
}

/// A native program sees the frames of a stream although GRO, which merges them behind it, is on.
fn before_gro(fixture: &mut AttachFixture<'_>) -> CaseResult {
    fixture.on_device(|host, index| host.set_offload(index, Offloads::GRO, true))?;
    stream(fixture, Native)?;
    let active = active(fixture, &[Offloads::GRO])?;
    fixture.record("read whether GRO is on", "true", (!active.is_empty()).to_string());
    Ok(())
}

/// The kernel turns off what merges frames in the device (`dev_disable_lro()`, `dev_disable_gro_hw()` of `net/core/dev.c`), for
/// there is no other way to give a program the frames.
fn merging_in_the_device(fixture: &mut AttachFixture<'_>) -> CaseResult {
    const MERGING: &[&str] = &[Offloads::LRO, Offloads::GRO_HW];
    if active(fixture, MERGING)?.is_empty() {
        let reason = "neither LRO nor GRO_HW is on".to_owned();
        return Err(CaseError::NotApplicable { reason });
    }
    attach(fixture, First, Generic)?;
    let left = active(fixture, MERGING)?;
    let left = if left.is_empty() { "nothing".to_owned() } else { left.join(", ") };
    fixture.record("read which offloads merge frames in the device", "nothing", left);
    Ok(())
}

/// Returns the names of the offloads that are on.
fn active(fixture: &AttachFixture<'_>, offloads: &[&str]) -> Result<Vec<String>, CaseError> {
    let all = fixture.on_device(Host::offloads)?;
    let active = |offload: &&&str| all.get(offload).is_some_and(|state| state.active);
    Ok(offloads.iter().filter(active).map(ToString::to_string).collect())
}

/// Has tc push a third tag onto frames with two. In the bytes it is one too many for the counter.
fn tag(fixture: &mut AttachFixture<'_>, mode: XdpMode, inserted_by_device: bool) -> CaseResult {
    let frame = ipv4(17, 100, &[[0x88, 0xa8, 0, 100], [0x81, 0, 0, 10]]);
    let mut pushed = frame.clone();
    pushed.splice(12..12, abi::PUSHED_TAG);
    let (worker, index) = fixture.peer()?;
    let link = worker.call(move |host| {
        host.set_offload(index, Offloads::TX_VLAN, inserted_by_device)?;
        host.link_by_index(index)
    })?;
    attach(fixture, First, mode)?;
    let capture = capture(fixture)?;
    let _tool = EgressTool::attach(worker, &link.name, EgressAction::PushTag)?;
    send(worker, index, &frame)?;
    let expected = counts(if inserted_by_device { 17 } else { 0 }, FRAMES);
    arrive(fixture, &capture, ("send frames with two tags and push a third", First, expected), &pushed)
}

/// Has tc redirect frames to the ingress of the DUT.
fn ingress(fixture: &mut AttachFixture<'_>, mode: XdpMode, expected: usize) -> CaseResult {
    let frame = ipv4(17, 100, &[]);
    attach(fixture, First, mode)?;
    let capture = capture(fixture)?;
    let name: LinkName = "feeder".parse()?;
    let feeder = name.clone();
    let index = fixture.dut.call(move |host| {
        host.create_virtual(&feeder, VirtualKind::Ifb)?;
        let index = host.link(&feeder)?.index;
        host.set_up(index, true).map(|()| index)
    })?;
    let redirect = EgressAction::RedirectToIngress(fixture.index);
    let _tool = EgressTool::attach(fixture.dut, &name, redirect)?;
    send(fixture.dut, index, &frame)?;
    arrive(fixture, &capture, ("redirect frames to ingress", First, counts(17, expected)), &frame)
}

/// Sends frames beyond a page: linear for a program that takes nothing else, in pieces for a multi-buffer program.
fn jumbo(fixture: &mut AttachFixture<'_>, mode: XdpMode, program: TestProgram) -> CaseResult {
    let frame = ipv4(17, JUMBO_FRAME, &[]);
    let (worker, index) = raise_mtu(fixture)?;
    attach(fixture, program, mode)?;
    let watch = capture(fixture)?;
    send(worker, index, &frame)?;
    arrive(fixture, &watch, ("send frames of 9,014 bytes", program, counts(17, FRAMES)), &frame)?;
    fixture.close_link()?;
    let (name, expected) = match program {
        Frags => (abi::LENGTHS_PROGRAM, "a part of 9014 bytes is linear"),
        First | Second => (abi::LINEAR_LENGTHS_PROGRAM, "all of 9014 bytes are linear"),
    };
    let mut tool = XdpTool::load(name)?;
    attach_tool(fixture, tool.descriptor()?, mode)?;
    let watch = capture(fixture)?;
    send(worker, index, &frame)?;
    receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    let (linear, whole) = tool.lengths()?;
    let observed = if linear == whole {
        format!("all of {whole} bytes are linear")
    } else if (1..whole).contains(&linear) {
        format!("a part of {whole} bytes is linear")
    } else {
        format!("{linear} of {whole} bytes are linear")
    };
    fixture.record(format!("read the linear length ({linear} bytes)"), expected, observed);
    Ok(())
}

/// A driver that would have to hand over frames in pieces refuses a program that takes linear frames only.
fn refused_jumbo(fixture: &mut AttachFixture<'_>) -> CaseResult {
    raise_mtu(fixture)?;
    fixture.perform(&[by_link(First, Native).fails(Errno::RANGE)])
}

/// Sends packets of which only the IPv4 header's bytes lie in one piece.
fn pieces(fixture: &mut AttachFixture<'_>, mode: XdpMode, program: TestProgram) -> CaseResult {
    let frame = ipv4(17, JUMBO_FRAME, &[]);
    raise_mtu(fixture)?;
    attach(fixture, program, mode)?;
    let watch = capture(fixture)?;
    send_skbs(fixture, &frame, FRAMES, SkbLayout { linear: 34, gso_size: None })?;
    let action = "send packets of 34 linear bytes and 8,980 more";
    arrive(fixture, &watch, (action, program, counts(17, FRAMES)), &frame)
}

/// Captures at the tester, which makes a clone of every frame that leaves. A program's changes to the frame must not reach the
/// clone, whose bytes are the same memory until someone copies them.
fn cloned(fixture: &mut AttachFixture<'_>, mode: XdpMode) -> CaseResult {
    let frame = ipv4(17, 100, &[]);
    let (worker, index) = fixture.peer()?;
    let options = PacketOptions { outgoing: true, ..Default::default() };
    let witness = worker.call(move |host| host.packet_socket(index, options))?;
    let see_clones = |fixture: &mut AttachFixture<'_>| -> CaseResult {
        let clones = receive(&witness, |clones| clones.len() >= FRAMES)?;
        fixture.record("compare the frames captured at the tester", same(&frame), differing(&clones, &frame));
        Ok(())
    };
    attach(fixture, First, mode)?;
    let watch = capture(fixture)?;
    send(worker, index, &frame)?;
    let action = "send frames while a socket captures them";
    arrive(fixture, &watch, (action, First, counts(17, FRAMES)), &frame)?;
    see_clones(fixture)?;
    fixture.close_link()?;
    let mut tool = XdpTool::load(abi::SCRIBBLE_PROGRAM)?;
    attach_tool(fixture, tool.descriptor()?, mode)?;
    let watch = capture(fixture)?;
    send(worker, index, &frame)?;
    let mut changed = frame.clone();
    changed[11] = !changed[11];
    let arrived = receive(&watch, |arrived| arrived.len() >= FRAMES)?;
    fixture.record("change the frames in a program", same(&changed), differing(&arrived, &changed));
    see_clones(fixture)
}

/// Writes frames below and beyond a page into a tap. The kernel says that the mode is native, and runs the program on the larger
/// ones behind the driver (`tun_get_user()` of `drivers/net/tun.c`): every one is counted once all the same.
fn tap(fixture: &mut AttachFixture<'_>, mode: XdpMode) -> CaseResult {
    let (small, large) = (ipv4(17, 100, &[]), ipv4(6, 5014, &[]));
    let name: LinkName = "tap".parse()?;
    let (tap, index) = fixture.dut.call(move |host| {
        let tap = host.create_tap(&name)?;
        let index = host.link(&name)?.index;
        host.set_mtu(index, JUMBO_MTU)?;
        host.set_up(index, true).map(|()| (tap, index))
    })?;
    let veth = std::mem::replace(&mut fixture.index, index);
    let tested = (|| {
        attach(fixture, First, mode)?;
        let watch = capture(fixture)?;
        for frame in [&small, &large] {
            for _ in 0..FRAMES {
                tap.send(frame).map_err(failed_to("write to the tap"))?;
            }
        }
        let arrived = receive(&watch, |arrived| arrived.len() >= 2 * FRAMES)?;
        let both = format!("{:?}", Counts::from([(6, FRAMES as u64), (17, FRAMES as u64)]));
        fixture.record("write frames of 100 and of 5,014 bytes", both, counted(fixture, First));
        let (first, second) = arrived.split_at(arrived.len().min(FRAMES));
        fixture.record(RECEIVED, same(&small), differing(first, &small));
        fixture.record(RECEIVED, same(&large), differing(second, &large));
        fixture.record("read the state", AttachState::Attached(mode, First), fixture.attached());
        Ok(())
    })();
    fixture.index = veth;
    tested
}

/// Reads the features that a tap advertises.
pub(super) fn tap_features(fixture: &mut AttachFixture<'_>, bits: &str) -> CaseResult {
    let name: LinkName = "tap".parse()?;
    let observed = fixture.dut.call(move |host| {
        let _tap = host.create_tap(&name)?;
        let index = host.link(&name)?.index;
        host.xdp_features(index)
    })?;
    fixture.record("read the features that a tap advertises", bits, features(observed)?);
    Ok(())
}

/// Lets both ends take jumbo frames; returns the peer.
fn raise_mtu<'a>(fixture: &AttachFixture<'a>) -> Result<(&'a Worker, IfIndex), CaseError> {
    let (worker, index) = fixture.peer()?;
    worker.call(move |host| host.set_mtu(index, JUMBO_MTU))?;
    fixture.on_device(|host, index| host.set_mtu(index, JUMBO_MTU))?;
    Ok((worker, index))
}

fn by_link(program: TestProgram, mode: XdpMode) -> AttachStep {
    done(StepAction::Attach(AttachMethod::BpfLink, program, only(mode), AttachCondition::Always))
}

/// Attaches a counter and reads back what is attached.
fn attach(fixture: &mut AttachFixture<'_>, program: TestProgram, mode: XdpMode) -> CaseResult {
    fixture.perform(&[by_link(program, mode)])
}

/// Attaches a program that is no counter and reads back its mode.
fn attach_tool(fixture: &mut AttachFixture<'_>, program: OwnedFd, mode: XdpMode) -> CaseResult {
    fixture.attach_program(program, mode)?;
    let id = fixture.newest_link()?.program()?;
    let state = fixture.on_device(Host::xdp)?;
    let expected = format!("attached in {mode} mode");
    let observed = if state.iter().eq([(mode, id)]) { expected.clone() } else { state.to_string() };
    fixture.record("attach another program by bpf_link", expected, observed);
    Ok(())
}
