// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Calls the program in slot 1 for UDP and that in slot 2 for everything else. User space fills the
// slots.

#include "protocol.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 4);
} slots SEC(".maps");

__u64 dropped, passed, missed;

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &slots, protocol_of(ctx) == IPPROTO_UDP ? 1 : 2);
	__sync_fetch_and_add(&missed, 1);
	return XDP_ABORTED;
}

SEC("xdp")
int dropper(struct xdp_md *ctx)
{
	(void)ctx;
	__sync_fetch_and_add(&dropped, 1);
	return XDP_DROP;
}

SEC("xdp")
int passer(struct xdp_md *ctx)
{
	(void)ctx;
	__sync_fetch_and_add(&passed, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
