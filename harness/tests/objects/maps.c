// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A program that counts packets and bytes in maps of many types, as people have them. harness/tests/program_maps.rs sets and
// reads them.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct datarec {
	__u64 packets;
	__u64 bytes;
};

enum reason { REASON_NONE, REASON_POLICY = 7, REASON_BROKEN };

struct flow {
	__be32 addr;
	__be16 port;
	__u8 protocol;
};

struct service {
	__u32 backend;
	enum reason reason;
	unsigned char mac[ETH_ALEN];
	char name[10];
	_Bool enabled;
	union {
		__u32 timeout;
		__u16 ports[2];
	};
	__u8 low : 3, high : 5;
	__s16 weight;
};

/* As xdp-tutorial counts: by action, per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, struct datarec);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, struct flow);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

/* No program uses it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16);
	__uint(key_size, 6);
	__uint(value_size, 4);
} seen SEC(".maps");

struct config {
	__u32 timeout;
	__u32 limits[2];
};

const volatile __u32 action = XDP_PASS;
const volatile struct config config = { .timeout = 30 };
__u64 counter;
static volatile __u32 previous = 5;
struct datarec all = { .packets = 100 };

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 key = action, length = end - (void *)ethernet;
	struct datarec *record = bpf_map_lookup_elem(&stats, &key);
	struct service *service;
	struct flow flow = {};
	__u64 *total;

	counter++;
	all.packets += config.limits[1];
	previous = ctx->rx_queue_index;
	if (record) {
		record->packets++;
		record->bytes += length;
	}
	key = 1;
	total = bpf_map_lookup_elem(&totals, &key);
	if (total)
		*total += length;
	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return action;
	flow.addr = ip->daddr;
	flow.port = bpf_htons(53);
	flow.protocol = ip->protocol;
	service = bpf_map_lookup_elem(&services, &flow);
	if (!service)
		return action;
	service->backend++;
	return service->reason == REASON_POLICY ? XDP_DROP : action;
}

/* Returns what the context of the frame has. */
SEC("xdp")
int context(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 *metadata = (void *)(long)ctx->data_meta;

	counter = ctx->ingress_ifindex;
	previous = ctx->rx_queue_index;
	if ((void *)(metadata + 1) > data)
		return XDP_PASS;
	all.bytes = *metadata;
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
