// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NO_IPV4 256

// Returns the protocol of an IPv4 packet that has no tag in front, or NO_IPV4.
static __always_inline __u32 protocol_of(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return NO_IPV4;
	return ip->protocol;
}
