// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Two maps that are pinned by name, as xdp-tutorial and xdp-filter have them: counts, and addresses
// that user space blocks.

#include "protocol.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __be32);
	__type(value, __u8);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} blocked SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	struct iphdr *ip = (void *)(long)ctx->data + sizeof(struct ethhdr);
	__u32 protocol = protocol_of(ctx);
	__be32 source;
	__u64 *packets;

	if (protocol == NO_IPV4 || (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	source = ip->saddr;
	if (bpf_map_lookup_elem(&blocked, &source))
		return XDP_DROP;
	packets = bpf_map_lookup_elem(&counts, &protocol);
	if (packets)
		*packets += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
