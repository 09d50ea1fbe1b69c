// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Counts in variables of .bss and .data, as the constants in .rodata say, and has no other map.

#include "protocol.h"

enum mode { COUNT_ALL, COUNT_ONE, COUNT_NONE };

const volatile enum mode mode = COUNT_ALL;
const volatile struct {
	__u8 protocol;
	char name[8];
} one = { IPPROTO_UDP, "udp" };

__u64 protocols[256];
__s32 budget = 1000;
__u64 total;

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 protocol = protocol_of(ctx);

	if (protocol == NO_IPV4 || mode == COUNT_NONE)
		return XDP_PASS;
	if (mode == COUNT_ONE && protocol != one.protocol)
		return XDP_PASS;
	if (one.name[0] == '!')
		return XDP_ABORTED;
	__sync_fetch_and_add(&protocols[protocol & 255], 1);
	__sync_fetch_and_add(&total, 1);
	__sync_fetch_and_add(&budget, -300);
	return budget < 0 ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
