// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Drops by the context: the receive queue, and a mark in the metadata in front of the frame.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 64);
} by_queue SEC(".maps");

SEC("xdp")
int by_context(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index;
	__u64 *packets = bpf_map_lookup_elem(&by_queue, &queue);
	__u32 *mark = (void *)(long)ctx->data_meta;

	if (packets)
		__sync_fetch_and_add(packets, 1);
	if ((void *)(mark + 1) <= (void *)(long)ctx->data && *mark == 0xd0d0d0d0)
		return XDP_DROP;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
