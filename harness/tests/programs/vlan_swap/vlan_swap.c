// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Removes the outer VLAN tag of tagged frames, and gives untagged ones a tag, as the lesson of
// xdp-tutorial about rewriting does.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct tag {
	__be16 tci, type;
};

const volatile __u16 vlan = 1;

static __always_inline int pop(struct xdp_md *ctx, struct ethhdr *ethernet, void *end)
{
	struct tag *tag = (void *)(ethernet + 1);
	struct ethhdr moved;

	if ((void *)(tag + 1) > end)
		return XDP_PASS;
	__builtin_memcpy(&moved, ethernet, sizeof(moved));
	moved.h_proto = tag->type;
	if (bpf_xdp_adjust_head(ctx, sizeof(*tag)))
		return XDP_ABORTED;
	ethernet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(ethernet + 1) > end)
		return XDP_ABORTED;
	*ethernet = moved;
	return XDP_PASS;
}

static __always_inline int push(struct xdp_md *ctx, struct ethhdr *ethernet, void *end)
{
	struct ethhdr moved;
	struct tag *tag;

	__builtin_memcpy(&moved, ethernet, sizeof(moved));
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*tag)))
		return XDP_ABORTED;
	ethernet = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	tag = (void *)(ethernet + 1);
	if ((void *)(tag + 1) > end)
		return XDP_ABORTED;
	tag->tci = bpf_htons(vlan);
	tag->type = moved.h_proto;
	*ethernet = moved;
	ethernet->h_proto = bpf_htons(ETH_P_8021Q);
	return XDP_PASS;
}

SEC("xdp")
int swap_tags(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	if (ethernet->h_proto == bpf_htons(ETH_P_8021Q) || ethernet->h_proto == bpf_htons(ETH_P_8021AD))
		return pop(ctx, ethernet, end);
	return push(ctx, ethernet, end);
}

char _license[] SEC("license") = "GPL";
