// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A layer-4 load balancer for IPv4. Frames to a virtual address (VIP) are encapsulated in IPIP
// (RFC 2003) and leave by the port that they arrived at, towards the backend that the hash of
// their flow selects. README.md has the rules.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAGMENT 0x3fff // more fragments, and the offset

struct tag {
	__be16 tci, type;
};

struct ports {
	__be16 source, destination;
};

// Source addresses, by the longest prefix that matches. The default is ALLOW.
enum policy { ALLOW, DENY };
struct prefix {
	__u32 length;
	__be32 address;
};
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct prefix);
	__type(value, enum policy);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} sources SEC(".maps");

// A VIP is served by `count` backends from number `first` on.
struct vip_key {
	__be32 address;
	__be16 port;
	__u8 protocol, reserved;
};
struct vip {
	__u32 first, count;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip_key);
	__type(value, struct vip);
	__uint(max_entries, 256);
} vips SEC(".maps");

struct backend {
	__be32 address; // 0: there is none
	__u8 mac[ETH_ALEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(max_entries, 64);
} backends SEC(".maps");

// Frames and bytes, as they arrived, by what became of them and by backend.
enum outcome { BALANCED, PASSED, EXPIRED, DENIED, MALFORMED, UNSERVED, OUTCOMES };
struct counters {
	__u64 packets, bytes;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32); // enum outcome
	__type(value, struct counters);
	__uint(max_entries, OUTCOMES);
} outcomes SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct counters);
	__uint(max_entries, 64);
} by_backend SEC(".maps");

// The program that encapsulates, in slot 0, and what it needs to know: the stack does not survive
// a tail call.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} next SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} chosen SEC(".maps");

const volatile __be32 own_address = bpf_htonl(0xc0000202); // 192.0.2.2: source of the outer headers

static const __u32 zero;

static __always_inline void add(struct counters *counters, __u64 bytes)
{
	if (!counters)
		return;
	counters->packets += 1;
	counters->bytes += bytes;
}

static __always_inline int end_with(__u32 outcome, __u64 bytes, int action)
{
	add(bpf_map_lookup_elem(&outcomes, &outcome), bytes);
	return action;
}

// Returns the 32-bit FNV-1a hash of the 13 bytes of a flow as they are in the frame.
static __always_inline __u32 hash(const struct iphdr *ip, const struct ports *ports)
{
	struct {
		__be32 source, destination;
		struct ports ports;
		__u8 protocol;
	} flow = { ip->saddr, ip->daddr, *ports, ip->protocol };
	__u32 value = 2166136261;

#pragma unroll
	for (int at = 0; at < 13; at++)
		value = (value ^ ((const __u8 *)&flow)[at]) * 16777619;
	return value;
}

// Returns the checksum of words that have this sum.
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

// Returns the checksum of an IPv4 header without options.
static __always_inline __u16 checksum(const struct iphdr *ip)
{
	__u32 sum = 0;

#pragma unroll
	for (int at = 0; at < (int)sizeof(*ip) / 2; at++)
		sum += ((const __u16 *)ip)[at];
	return fold(sum);
}

// Takes one from the TTL, the upper byte of its word, and updates the checksum for that (RFC 1624).
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	ip->ttl -= 1;
	ip->check = fold((__u16)~ip->check + (__u16)~bpf_htons(0x0100));
}

// Returns the IPv4 header, behind one VLAN tag at most, or nothing. `length` is that of the
// headers in front.
static __always_inline struct iphdr *find_ip(void *data, void *end, __u32 *length)
{
	struct ethhdr *ethernet = data;
	struct tag *tag = (void *)(ethernet + 1);
	__be16 type;

	if ((void *)tag > end)
		return 0;
	type = ethernet->h_proto;
	*length = sizeof(*ethernet);
	if (type == bpf_htons(ETH_P_8021Q)) {
		if ((void *)(tag + 1) > end)
			return 0;
		type = tag->type;
		*length += sizeof(*tag);
	}
	return type == bpf_htons(ETH_P_IP) ? data + *length : 0;
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 bytes = end - data;
	__u32 length, *choice;
	struct iphdr *ip = find_ip(data, end, &length);
	struct prefix prefix = { .length = 32 };
	struct vip_key key = {};
	enum policy *policy;
	struct ports *ports;
	struct vip *vip;

	if (!ip)
		return end_with(PASSED, bytes, XDP_PASS);
	if ((void *)(ip + 1) > end || ip->ihl < 5 || length + bpf_ntohs(ip->tot_len) > bytes)
		return end_with(MALFORMED, bytes, XDP_DROP);

	prefix.address = ip->saddr;
	policy = bpf_map_lookup_elem(&sources, &prefix);
	if (policy && *policy == DENY)
		return end_with(DENIED, bytes, XDP_DROP);

	// A fragment has no ports, or not all of the flow has them.
	if ((ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || ip->frag_off & bpf_htons(FRAGMENT))
		return end_with(PASSED, bytes, XDP_PASS);
	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > end || ip->ihl * 4 + sizeof(*ports) > bpf_ntohs(ip->tot_len))
		return end_with(MALFORMED, bytes, XDP_DROP);
	key.address = ip->daddr;
	key.port = ports->destination;
	key.protocol = ip->protocol;
	vip = bpf_map_lookup_elem(&vips, &key);
	if (!vip)
		return end_with(PASSED, bytes, XDP_PASS);
	if (ip->ttl <= 1) // the stack answers with Time Exceeded
		return end_with(EXPIRED, bytes, XDP_PASS);

	choice = bpf_map_lookup_elem(&chosen, &zero);
	if (!choice || !vip->count)
		return end_with(UNSERVED, bytes, XDP_DROP);
	*choice = vip->first + hash(ip, ports) % vip->count;
	bpf_tail_call(ctx, &next, 0);
	return end_with(UNSERVED, bytes, XDP_ABORTED);
}

SEC("xdp")
int encapsulate(struct xdp_md *ctx)
{
	__u64 bytes = ctx->data_end - ctx->data;
	__u32 length, *choice = bpf_map_lookup_elem(&chosen, &zero);
	struct backend *backend = choice ? bpf_map_lookup_elem(&backends, choice) : 0;
	struct { __u8 bytes[sizeof(struct ethhdr) + sizeof(struct tag)]; } head = {};
	struct ethhdr *ethernet;
	struct iphdr *outer, *inner;
	void *data, *end;

	if (!backend || !backend->address)
		return end_with(UNSERVED, bytes, XDP_DROP);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer)))
		return end_with(UNSERVED, bytes, XDP_ABORTED);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ethernet = data + sizeof(*outer);
	inner = find_ip(ethernet, end, &length);
	if (!inner || (void *)(inner + 1) > end)
		return end_with(MALFORMED, bytes, XDP_ABORTED);

	// The headers in front of IP move to the new start of the frame. Without a tag, 4 bytes of
	// IP do, too: `outer` covers them.
	outer = (void *)inner - sizeof(*outer);
	__builtin_memcpy(&head, ethernet, sizeof(head));
	__builtin_memcpy(data, &head, sizeof(head));
	ethernet = data;
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, backend->mac, ETH_ALEN);

	decrement_ttl(inner);
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = inner->tos,
		.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + sizeof(*outer)),
		.frag_off = bpf_htons(0x4000), // don't fragment
		.ttl = 64,
		.protocol = IPPROTO_IPIP,
		.saddr = own_address,
		.daddr = backend->address,
	};
	outer->check = checksum(outer);
	add(bpf_map_lookup_elem(&by_backend, choice), bytes);
	return end_with(BALANCED, bytes, XDP_TX);
}

char _license[] SEC("license") = "Dual MIT/GPL";
