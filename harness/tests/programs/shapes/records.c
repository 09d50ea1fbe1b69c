// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts packets and bytes, by protocol in one map and by XDP action in another: UDP is dropped.

#include "protocol.h"

struct record {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, __u32);
	__type(value, struct record);
	__uint(max_entries, 256);
} by_protocol SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct record);
	__uint(max_entries, 5);
} by_action SEC(".maps");

static __always_inline void add(struct record *record, __u64 bytes)
{
	record->packets++;
	record->bytes += bytes;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u64 bytes = ctx->data_end - ctx->data;
	__u32 protocol = protocol_of(ctx);
	__u32 action = protocol == IPPROTO_UDP ? XDP_DROP : XDP_PASS;
	struct record first = { 1, bytes }, *record;

	record = bpf_map_lookup_elem(&by_protocol, &protocol);
	if (record)
		add(record, bytes);
	else
		bpf_map_update_elem(&by_protocol, &protocol, &first, BPF_ANY);
	record = bpf_map_lookup_elem(&by_action, &action);
	if (record)
		add(record, bytes);
	return action;
}

char _license[] SEC("license") = "GPL";
