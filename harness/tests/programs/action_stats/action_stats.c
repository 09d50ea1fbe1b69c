// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Three programs that return one action each, and count frames and bytes by it, as the first
// lessons of xdp-tutorial do.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct datarec {
	__u64 rx_packets;
	__u64 rx_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32); // enum xdp_action
	__type(value, struct datarec);
	__uint(max_entries, XDP_REDIRECT + 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xdp_stats_map SEC(".maps");

static __always_inline __u32 record(struct xdp_md *ctx, __u32 action)
{
	struct datarec *record = bpf_map_lookup_elem(&xdp_stats_map, &action);

	if (!record)
		return XDP_ABORTED;
	record->rx_packets++;
	record->rx_bytes += ctx->data_end - ctx->data;
	return action;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return record(ctx, XDP_PASS);
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return record(ctx, XDP_DROP);
}

SEC("xdp")
int aborted(struct xdp_md *ctx)
{
	return record(ctx, XDP_ABORTED);
}

char _license[] SEC("license") = "GPL";
