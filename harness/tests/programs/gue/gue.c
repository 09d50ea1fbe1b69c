// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A layer-4 load balancer with maps like katran's: a ring of backends ("reals") for each VIP, a
// table of connections that precedes the ring, keys that are unions of IPv4 and IPv6 addresses.
// Packets leave in UDP without a header of GUE (variant 1, draft-ietf-intarea-gue), over IPv4 or
// IPv6, towards a gateway.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define RING 7
#define VIPS 16
#define GUE_PORT 9886
#define REAL_IPV6 1
#define SYN 2

union address {
	__be32 v4;
	__be32 v6[4];
};

struct vip_key {
	union address address;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

struct vip_meta {
	__u32 flags;
	__u32 number;
};

struct flow {
	union address source, destination;
	union {
		__u32 ports;
		__be16 port[2];
	};
	__u32 protocol;
};

struct real {
	union address address;
	__u8 flags;
};

struct stats {
	__u64 packets, bytes;
};

struct control {
	__u8 gateway[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip_key);
	__type(value, struct vip_meta);
	__uint(max_entries, VIPS);
} vip_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, VIPS * RING);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct real);
	__uint(max_entries, 64);
} reals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow);
	__type(value, __u32);
	__uint(max_entries, 1024);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct stats);
	__uint(max_entries, VIPS);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct control);
	__uint(max_entries, 1);
} control SEC(".maps");

const volatile union address source_v4, source_v6;

static __always_inline __u32 hash(const struct flow *flow)
{
	__u32 value = flow->ports;

#pragma unroll
	for (int at = 0; at < 4; at++)
		value ^= flow->source.v6[at] ^ flow->destination.v6[at];
	value = bpf_ntohl(value) * 0x9e3779b1;
	return value ^ value >> 15;
}

// Returns the number of the backend, or 0 if there is none. Connections keep theirs; a SYN opens a
// new one.
static __always_inline __u32 choose(const struct flow *flow, __u32 vip, __u32 hash, int opens)
{
	__u32 *number = 0, key = vip * RING + hash % RING;

	if (!opens)
		number = bpf_map_lookup_elem(&connections, flow);
	if (number)
		return *number;
	number = bpf_map_lookup_elem(&rings, &key);
	if (!number || !*number)
		return 0;
	bpf_map_update_elem(&connections, flow, number, BPF_ANY);
	return *number;
}

static __always_inline __u16 checksum(const struct iphdr *ip)
{
	__u32 sum = 0;

#pragma unroll
	for (int at = 0; at < 10; at++)
		sum += ((const __u16 *)ip)[at];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline void fill_udp(struct udphdr *udp, __u32 hash, __u16 length)
{
	*udp = (struct udphdr){
		.source = bpf_htons(0x8000 | (hash & 0x7fff)),
		.dest = bpf_htons(GUE_PORT),
		.len = bpf_htons(sizeof(*udp) + length),
	};
}

static __always_inline int encapsulate(struct xdp_md *ctx, const struct real *real, __u32 hash, __u16 length)
{
	__u32 zero = 0;
	struct control *to = bpf_map_lookup_elem(&control, &zero);
	int added = sizeof(struct udphdr);
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u8 own[ETH_ALEN];

	if (!to || (void *)(ethernet + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(own, ethernet->h_dest, ETH_ALEN);
	added += real->flags & REAL_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (bpf_xdp_adjust_head(ctx, -added))
		return XDP_DROP;
	ethernet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(ethernet + 1) + sizeof(struct ipv6hdr) > end)
		return XDP_DROP;
	__builtin_memcpy(ethernet->h_source, own, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, to->gateway, ETH_ALEN);

	if (real->flags & REAL_IPV6) {
		struct ipv6hdr *ip = (void *)(ethernet + 1);
		struct udphdr *udp = (void *)(ip + 1);

		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		ethernet->h_proto = bpf_htons(ETH_P_IPV6);
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 6;
		ip->payload_len = bpf_htons(sizeof(*udp) + length);
		ip->nexthdr = IPPROTO_UDP;
		ip->hop_limit = 64;
		for (int at = 0; at < 4; at++) // a memcpy would read a constant, not the variable
			ip->saddr.in6_u.u6_addr32[at] = source_v6.v6[at];
		__builtin_memcpy(&ip->daddr, &real->address, sizeof(ip->daddr));
		fill_udp(udp, hash, length);
		return XDP_TX;
	}
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);

	ethernet->h_proto = bpf_htons(ETH_P_IP);
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(*ip) + sizeof(*udp) + length),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = source_v4.v4,
		.daddr = real->address.v4,
	};
	ip->check = checksum(ip);
	fill_udp(udp, hash, length);
	return XDP_TX;
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	__u64 bytes = end - (void *)ethernet;
	struct vip_key key = {};
	struct flow flow = {};
	struct vip_meta *vip;
	struct stats *counted;
	struct real *real;
	__u32 number, value;
	__be32 *transport;
	__u16 length;
	int opens = 0;

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);

		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return XDP_DROP;
		if (ip->frag_off & bpf_htons(0x3fff))
			return XDP_DROP;
		flow.source.v4 = ip->saddr;
		flow.destination.v4 = ip->daddr;
		flow.protocol = ip->protocol;
		length = bpf_ntohs(ip->tot_len);
		transport = (void *)(ip + 1);
	} else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(ethernet + 1);

		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		__builtin_memcpy(&flow.source, &ip->saddr, sizeof(flow.source));
		__builtin_memcpy(&flow.destination, &ip->daddr, sizeof(flow.destination));
		flow.protocol = ip->nexthdr;
		length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
		transport = (void *)(ip + 1);
	} else {
		return XDP_PASS;
	}
	if (flow.protocol == IPPROTO_TCP) {
		if ((void *)(transport + 5) > end)
			return XDP_DROP;
		opens = ((__u8 *)transport)[13] & SYN;
	} else if (flow.protocol != IPPROTO_UDP) {
		return XDP_PASS;
	} else if ((void *)(transport + 2) > end) {
		return XDP_DROP;
	}
	flow.ports = *transport;

	key.address = flow.destination;
	key.port = flow.port[1];
	key.protocol = flow.protocol;
	vip = bpf_map_lookup_elem(&vip_map, &key);
	if (!vip)
		return XDP_PASS;
	value = hash(&flow);
	number = choose(&flow, vip->number, value, opens);
	real = number ? bpf_map_lookup_elem(&reals, &number) : 0;
	if (!real)
		return XDP_DROP;
	number = vip->number;
	counted = bpf_map_lookup_elem(&stats, &number);
	if (counted) {
		counted->packets += 1;
		counted->bytes += bytes;
	}
	return encapsulate(ctx, real, value, length);
}

char _license[] SEC("license") = "GPL";
