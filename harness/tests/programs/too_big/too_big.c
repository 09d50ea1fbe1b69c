// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Answers IPv4 packets that are longer than `limit` with ICMP "fragmentation needed" (RFC 1191),
// made of the packet itself: bpf_xdp_adjust_tail cuts it, bpf_xdp_adjust_head makes room for the
// headers. After the kernel's sample xdp_adjust_tail.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct icmp {
	__u8 type, code;
	__u16 checksum;
	__be16 unused, mtu;
};

#define QUOTED (sizeof(struct iphdr) + 8) // of the packet, which an ICMP error quotes
#define ADDED (sizeof(struct iphdr) + sizeof(struct icmp))

const volatile __u16 limit = 600;

__u64 answers;

static __always_inline __u16 checksum(const void *data, int length)
{
	const __u16 *words = data;
	__u32 sum = 0;

#pragma unroll
	for (int at = 0; at < length / 2; at++)
		sum += words[at];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

SEC("xdp")
int too_big(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data, old;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct icmp *icmp;
	__be32 source, destination;
	int excess;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (end - (void *)ip <= limit || ip->ihl != 5)
		return XDP_PASS;
	// No error answers an error, nor a fragment that is not the first.
	if (ip->protocol == IPPROTO_ICMP || ip->frag_off & bpf_htons(0x1fff))
		return XDP_PASS;

	excess = end - (void *)ip - QUOTED;
	old = *ethernet;
	source = ip->saddr;
	destination = ip->daddr;
	if (bpf_xdp_adjust_tail(ctx, -excess))
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -(int)ADDED))
		return XDP_ABORTED;

	ethernet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = (void *)(ethernet + 1);
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) + QUOTED > end)
		return XDP_ABORTED;
	__builtin_memcpy(ethernet->h_dest, old.h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, old.h_dest, ETH_ALEN);
	ethernet->h_proto = old.h_proto;
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(ADDED + QUOTED),
		.ttl = 64,
		.protocol = IPPROTO_ICMP,
		.saddr = destination,
		.daddr = source,
	};
	ip->check = checksum(ip, sizeof(*ip));
	*icmp = (struct icmp){ .type = 3, .code = 4, .mtu = bpf_htons(limit) };
	icmp->checksum = checksum(icmp, sizeof(*icmp) + QUOTED);
	__sync_fetch_and_add(&answers, 1);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
