// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts IPv4 by protocol, and passes what it cannot read. The oracle of the corpus counts more.

#include "protocol.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
} protocol_count SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 protocol = protocol_of(ctx);
	__u64 *packets = bpf_map_lookup_elem(&protocol_count, &protocol);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
