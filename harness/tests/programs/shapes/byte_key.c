// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts by a key of one byte, in a hash that forgets the keys that were not used for longest.

#include "protocol.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u8);
	__type(value, __u32);
	__uint(max_entries, 256);
} counts SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u8 protocol = protocol_of(ctx);
	__u32 one = 1, *packets = bpf_map_lookup_elem(&counts, &protocol);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&counts, &protocol, &one, BPF_NOEXIST);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
