//! A firewall for IPv4: denied prefixes, allowed services with their TCP flows, and a default. README.md has the rules.

#![no_std]
#![no_main]

use aya_ebpf::{
    Global,
    bindings::{
        BPF_ANY,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    btf_maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
    macros::{btf_map, xdp},
    programs::XdpContext,
};

const IPV4: u16 = 0x0800;
const VLAN: u16 = 0x8100;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ECHO_REQUEST: u8 = 8;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// Action for IPv4 packets that no rule decides about.
#[unsafe(no_mangle)]
static DEFAULT_ACTION: Global<u32> = Global::new(XDP_DROP);

/// Whether echo requests pass.
#[unsafe(no_mangle)]
static ALLOW_PING: Global<bool> = Global::new(true);

/// A port in host byte order, and the protocol.
#[repr(C)]
pub struct Service {
    port: u16,
    protocol: u8,
    reserved: u8,
}

/// A TCP connection as the client's frames name it; ports in host byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    client: [u8; 4],
    server: [u8; 4],
    client_port: u16,
    server_port: u16,
}

#[repr(C)]
pub struct Counters {
    packets: u64,
    bytes: u64,
}

/// Prefixes of sources that are denied, each with the number of its rule.
#[btf_map(name = "denied")]
static DENIED: LpmTrie<[u8; 4], u32, 1024> = LpmTrie::new();

/// Frames that a rule has denied, by the number of the rule.
#[btf_map(name = "by_rule")]
static BY_RULE: PerCpuArray<u64, 16> = PerCpuArray::new();

/// Services that are allowed. A value of 0 disables the entry.
#[btf_map(name = "services")]
static SERVICES: HashMap<Service, u8, 1024> = HashMap::new();

/// Frames of each flow, its SYN included.
#[btf_map(name = "flows")]
static FLOWS: LruHashMap<Flow, u64, 4096> = LruHashMap::new();

/// Frames and bytes by XDP action.
#[btf_map(name = "actions")]
static ACTIONS: PerCpuArray<Counters, 5> = PerCpuArray::new();

#[xdp]
fn firewall(ctx: XdpContext) -> u32 {
    let action = decide(&ctx).unwrap_or(XDP_DROP);
    if let Some(counters) = ACTIONS.get_ptr_mut(action) {
        // SAFETY: the pointer is to the value of this CPU, which nothing else writes while an XDP program runs.
        let counters = unsafe { &mut *counters };
        counters.packets += 1;
        counters.bytes += (ctx.data_end() - ctx.data()) as u64;
    }
    action
}

/// Returns the action, or `None` for a frame that ends within a header.
#[inline(always)]
fn decide(ctx: &XdpContext) -> Option<u32> {
    let mut at = 14;
    let mut ethertype = u16::from_be_bytes(load(ctx, 12)?);
    if ethertype == VLAN {
        ethertype = u16::from_be_bytes(load(ctx, 16)?);
        at = 18;
    }
    if ethertype != IPV4 {
        return Some(XDP_PASS);
    }

    let header: [u8; IPV4_HEADER] = load(ctx, at)?;
    let length = usize::from(header[0] & 0x0f) * 4;
    if length < IPV4_HEADER {
        return None;
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    if let Some(rule) = DENIED.get(&Key::new(32, [s0, s1, s2, s3])) {
        count(*rule);
        return Some(XDP_DROP);
    }

    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let next = at + length;
    let is_allowed = match header[9] {
        _ if is_later_fragment => false,
        ICMP => load::<ICMP_HEADER>(ctx, next)?[0] == ECHO_REQUEST && ALLOW_PING.load(),
        UDP => {
            let udp: [u8; UDP_HEADER] = load(ctx, next)?;
            is_service(u16::from_be_bytes([udp[2], udp[3]]), UDP)
        }
        TCP => {
            let tcp: [u8; TCP_HEADER] = load(ctx, next)?;
            let flow = Flow {
                client: [s0, s1, s2, s3],
                server: [d0, d1, d2, d3],
                client_port: u16::from_be_bytes([tcp[0], tcp[1]]),
                server_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            };
            is_service(flow.server_port, TCP) && is_in_flow(&flow, tcp[13])
        }
        _ => false,
    };
    Some(if is_allowed { XDP_PASS } else { DEFAULT_ACTION.load() })
}

#[inline(always)]
fn is_service(port: u16, protocol: u8) -> bool {
    // SAFETY: entries are changed by user space only, a byte each.
    unsafe { SERVICES.get(Service { port, protocol, reserved: 0 }) }.is_some_and(|enabled| *enabled != 0)
}

/// Returns whether a segment opens a flow or belongs to one. A reset closes it.
#[inline(always)]
fn is_in_flow(flow: &Flow, flags: u8) -> bool {
    if flags & (SYN | ACK | RST) == SYN {
        return FLOWS.insert(flow, 1, BPF_ANY.into()).is_ok();
    }
    let Some(frames) = FLOWS.get_ptr_mut(flow) else {
        return false;
    };
    if flags & RST != 0 {
        return FLOWS.remove(flow).is_ok();
    }
    // SAFETY: frames of a flow arrive on one CPU, so that nothing else writes its value.
    unsafe { *frames += 1 };
    true
}

#[inline(always)]
fn count(rule: u32) {
    if let Some(frames) = BY_RULE.get_ptr_mut(rule) {
        // SAFETY: as in `firewall`.
        unsafe { *frames += 1 };
    }
}

/// Returns `N` bytes of the frame, unless it ends before.
#[inline(always)]
fn load<const N: usize>(ctx: &XdpContext, at: usize) -> Option<[u8; N]> {
    let start = ctx.data() + at;
    if start + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie within the frame.
    Some(unsafe { (start as *const [u8; N]).read() })
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
