// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Drops ICMPv6 echo requests with an even sequence number, behind two VLAN tags at most, as the
// lesson of xdp-tutorial about parsing does. Everything else passes.

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct tag {
	__be16 tci, type;
};

struct cursor {
	void *at, *end;
};

// Returns the header at the cursor and moves behind it, or nothing.
#define TAKE(cursor, type) ((type *)take(cursor, sizeof(type)))
static __always_inline void *take(struct cursor *cursor, __u64 length)
{
	void *header = cursor->at;

	if (header + length > cursor->end)
		return 0;
	cursor->at = header + length;
	return header;
}

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

SEC("xdp")
int drop_even(struct xdp_md *ctx)
{
	struct cursor cursor = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct ethhdr *ethernet = TAKE(&cursor, struct ethhdr);
	struct icmp6hdr *icmp;
	struct ipv6hdr *ip;
	__be16 type;

	if (!ethernet)
		return XDP_ABORTED;
	type = ethernet->h_proto;
#pragma unroll
	for (int depth = 0; depth < 2 && is_tag(type); depth++) {
		struct tag *tag = TAKE(&cursor, struct tag);

		if (!tag)
			return XDP_ABORTED;
		type = tag->type;
	}
	if (type != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	ip = TAKE(&cursor, struct ipv6hdr);
	if (!ip)
		return XDP_ABORTED;
	if (ip->nexthdr != IPPROTO_ICMPV6)
		return XDP_PASS;
	icmp = TAKE(&cursor, struct icmp6hdr);
	if (!icmp)
		return XDP_ABORTED;
	if (icmp->icmp6_type != ICMPV6_ECHO_REQUEST)
		return XDP_PASS;
	return bpf_ntohs(icmp->icmp6_sequence) % 2 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
