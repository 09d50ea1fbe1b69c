// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts frames by IP protocol and drops them all, by the rules of the kernel's sample xdp1 before
// 6.3.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, long);
	__uint(max_entries, 256);
} received SEC(".maps");

struct tag {
	__be16 tci, type;
};

static __always_inline __u32 protocol_of(void *at, void *end, __be16 type)
{
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;

		return (void *)(ip + 1) > end ? 0 : ip->protocol;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;

		return (void *)(ip + 1) > end ? 0 : ip->nexthdr;
	}
	return 0;
}

SEC("xdp")
int count_and_drop(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	void *at = ethernet + 1;
	__u32 protocol;
	__be16 type;
	long *count;

	if (at > end)
		return XDP_DROP;
	type = ethernet->h_proto;
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		struct tag *tag = at;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		at = tag + 1;
		if (at > end)
			return XDP_DROP;
		type = tag->type;
	}
	protocol = protocol_of(at, end, type);
	count = bpf_map_lookup_elem(&received, &protocol);
	if (count)
		*count += 1;
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
