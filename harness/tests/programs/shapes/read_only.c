// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts in a map that user space cannot write.

#include "protocol.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_RDONLY);
} counts SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 protocol = protocol_of(ctx);
	__u64 *packets = bpf_map_lookup_elem(&counts, &protocol);

	if (packets)
		*packets += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
