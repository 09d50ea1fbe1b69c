// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Sends UDP back by the port that it arrived at, with the MAC addresses swapped, and drops
// everything else; all are counted. The rules are those of the kernel's sample xdp2 before 6.3.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
} received SEC(".maps");

SEC("xdp")
int swap_macs(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct ipv6hdr *ip6 = (void *)(ethernet + 1);
	__u8 source[ETH_ALEN];
	__u32 protocol = 0;
	__u64 *count;

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end)
		protocol = ip->protocol;
	else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end)
		protocol = ip6->nexthdr;

	count = bpf_map_lookup_elem(&received, &protocol);
	if (count)
		*count += 1;
	if (protocol != IPPROTO_UDP)
		return XDP_DROP;
	__builtin_memcpy(source, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, source, ETH_ALEN);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
