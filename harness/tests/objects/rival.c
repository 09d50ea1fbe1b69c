// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The counter's rules as someone writes them in C who counts instructions: 16-bit loads that are compared with constants in
// network order, and the slot of this CPU added to without a lock. What our own counter is held against:
//
//   clang-19 -O2 -g -target bpf -c rival.c && xdproof bench --against rival.o --injector test_run --mix udp,qinq_ipv6

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
} packets SEC(".maps");

// struct ethhdr is packed, and its fields are loaded byte by byte.
struct ethernet {
	__u8 destination[6], source[6];
	__be16 type;
};

struct tag {
	__be16 tci, type;
};

SEC("xdp")
int rival(struct xdp_md *ctx)
{
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethernet *ethernet = (const void *)(long)ctx->data;
	const void *next = ethernet + 1;
	__u32 key = 0;
	__u64 *slot;
	__be16 type;

	if (next > end)
		return XDP_DROP;
	type = ethernet->type;
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		const struct tag *tag = next;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		next = tag + 1;
		if (next > end)
			return XDP_DROP;
		type = tag->type;
	}
	if (type == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = next;

		if ((const void *)(ip + 1) <= end)
			key = ip->protocol;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = next;

		if ((const void *)(ip + 1) <= end)
			key = ip->nexthdr;
	}
	slot = bpf_map_lookup_elem(&packets, &key);
	if (slot)
		*slot += 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
