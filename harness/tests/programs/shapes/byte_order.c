// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts UDP by keys and into values that are in network byte order, as they are in the frame.

#include "protocol.h"

struct endpoint {
	__be32 address;
	__be16 port;
} __attribute__((packed));

struct seen {
	__be16 last_length;
	__u16 packets;
	__be32 last_source;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct endpoint);
	__type(value, struct seen);
	__uint(max_entries, 64);
} endpoints SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct endpoint to;
	struct seen seen = {}, *before;

	if (protocol_of(ctx) != IPPROTO_UDP || (void *)(udp + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	to.address = ip->daddr;
	to.port = udp->dest;
	before = bpf_map_lookup_elem(&endpoints, &to);
	if (before)
		seen.packets = before->packets;
	seen.packets += 1;
	seen.last_length = udp->len;
	seen.last_source = ip->saddr;
	bpf_map_update_elem(&endpoints, &to, &seen, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
