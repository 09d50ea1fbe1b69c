// SPDX-License-Identifier: MIT OR Apache-2.0
//
// XDP programs in the shapes that people have them in. Each -D of harness/tests/program_maps.rs is one of them.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef AF_INET
#define AF_INET 2
#endif
#ifndef SECTION
#define SECTION "xdp"
#endif
#ifndef LICENSE
#define LICENSE "GPL"
#endif
#ifndef FLAGS
#define FLAGS 0
#endif

/* Returns the IPv4 header of a frame, if it has one. */
__attribute__((unused)) static __always_inline struct iphdr *ipv4(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);

	return (void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) ? 0 : ip;
}

#ifdef HASH
/* Counts by a 5-tuple in a hash of any type. */
struct tuple {
	__be32 from, to;
	__be16 from_port, to_port;
	__u8 protocol;
	__u8 unused[3];
};

struct {
	__uint(type, HASH);
#ifndef UNSIZED
	__uint(max_entries, 64);
#endif
	__uint(map_flags, FLAGS);
	__type(key, struct tuple);
	__type(value, struct { __u32 packets; __u32 bytes; });
} flows SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	struct { __u32 packets, bytes; } first = { 1, ctx->data_end - ctx->data }, *found;
	struct iphdr *ip = ipv4(ctx);
	struct tuple key = {};

	if (!ip)
		return XDP_ABORTED;
	key.to = ip->daddr;
	key.protocol = ip->protocol;
	found = bpf_map_lookup_elem(&flows, &key);
	if (found)
		found->packets++;
	else
		bpf_map_update_elem(&flows, &key, &first, BPF_ANY);
	return XDP_PASS;
}
#endif

#ifdef TRIE
struct prefix {
	__u32 prefixlen;
	__be32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
#ifdef UNTYPED
	__uint(key_size, 8);
	__uint(value_size, 4);
#else
	__type(key, struct prefix);
	__type(value, enum xdp_action);
#endif
} routes SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);
	struct prefix key = { .prefixlen = 32 };
	__u32 *action;

	if (!ip)
		return XDP_ABORTED;
	key.address = ip->daddr;
	action = bpf_map_lookup_elem(&routes, &key);
	return action ? *action : XDP_PASS;
}
#endif

#ifdef OF_MAPS
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

/* Only user space puts them into the outer map. */
struct inner inner_one SEC(".maps"), inner_two SEC(".maps");

struct {
	__uint(type, OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 key = 2, zero = 0, *action;
	void *inner = bpf_map_lookup_elem(&outer, &key);

	if (!inner)
		return XDP_ABORTED;
	action = bpf_map_lookup_elem(inner, &zero);
	return action ? *action : XDP_ABORTED;
}
#endif

#ifdef DEVICES
struct {
	__uint(type, DEVICES);
	__uint(max_entries, 8);
	__type(key, __u32);
#ifdef VALUE_SIZE
	__uint(value_size, VALUE_SIZE);
#else
	__type(value, struct bpf_devmap_val);
#endif
} ports SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 2, XDP_DROP);
}

SEC("xdp/devmap")
int behind(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

#ifdef CPUS
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
#ifndef UNSIZED
	__uint(max_entries, 4);
#endif
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	return bpf_redirect_map(&cpus, 0, XDP_DROP);
}

SEC("xdp/cpumap")
int behind(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

#ifdef SOCKETS
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}
#endif

#ifdef TAIL
/* User space fills it. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__uint(value_size, 4);
} table SEC(".maps");

SEC(SECTION)
int shape(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &table, 1);
	return XDP_ABORTED;
}

SEC(SECTION)
int next(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp/devmap")
int behind(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

#ifdef EVENTS
struct {
	__uint(type, EVENTS);
#ifdef ENTRIES
	__uint(max_entries, ENTRIES);
#else
	__uint(key_size, 4);
	__uint(value_size, 4);
#endif
} events SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;

#ifdef ENTRIES
	bpf_ringbuf_output(&events, &length, sizeof(length), 0);
#else
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &length, sizeof(length));
#endif
	return XDP_PASS;
}
#endif

#ifdef BLOOM
struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__type(value, __be32);
} blocked SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4(ctx);
	__be32 address;

	if (!ip)
		return XDP_ABORTED;
	address = ip->daddr;
	return bpf_map_peek_elem(&blocked, &address) ? XDP_PASS : XDP_DROP;
}
#endif

#ifdef QUEUE
struct {
	__uint(type, QUEUE);
	__uint(max_entries, 4);
	__type(value, __u32);
} waiting SEC(".maps");

/* Takes an action out of the queue, and puts the length of the frame into it. */
SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 action = XDP_ABORTED, length = ctx->data_end - ctx->data;

	bpf_map_pop_elem(&waiting, &action);
	bpf_map_push_elem(&waiting, &length, 0);
	return action;
}
#endif

#ifdef PINNED
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} PINNED SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&PINNED, &key);

	if (value)
		++*value;
	return XDP_PASS;
}
#endif

#ifdef TIMER
struct timed {
	struct bpf_timer timer;
	__u32 started;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

static int expired(void *map, int *key, struct timed *value)
{
	value->started = 0;
	return 0;
}

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *value = bpf_map_lookup_elem(&timers, &key);

	if (!value)
		return XDP_ABORTED;
	bpf_timer_init(&value->timer, &timers, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&value->timer, expired);
	value->started++;
	return XDP_PASS;
}
#endif

#ifdef LOCKED
struct locked {
	struct bpf_spin_lock lock;
	__u32 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} counts SEC(".maps");

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	__u32 key = 7;
	struct locked *value = bpf_map_lookup_elem(&counts, &key);

	if (!value)
		return XDP_ABORTED;
	bpf_spin_lock(&value->lock);
	value->packets++;
	bpf_spin_unlock(&value->lock);
	return XDP_PASS;
}
#endif

#ifdef ADJUST
/* Pushes 4 bytes, writes metadata, and cuts the end. */
SEC(SECTION)
int shape(struct xdp_md *ctx)
{
	__u32 *metadata;

	if (bpf_xdp_adjust_head(ctx, -4) || bpf_xdp_adjust_tail(ctx, -10) || bpf_xdp_adjust_meta(ctx, -4))
		return XDP_ABORTED;
	metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	*metadata = 1;
	return XDP_TX;
}
#endif

#ifdef ROUTE
SEC("xdp")
int shape(struct xdp_md *ctx)
{
	struct bpf_fib_lookup fib = { .family = AF_INET, .ifindex = ctx->ingress_ifindex };
	struct iphdr *ip = ipv4(ctx);

	if (!ip)
		return XDP_ABORTED;
	fib.ipv4_dst = ip->daddr;
	return bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) < 0 ? XDP_ABORTED : XDP_PASS;
}
#endif

#ifdef FUNCTIONS
/* A global function, which the verifier checks on its own, and one that it checks where it is called. */
__attribute__((noinline)) int add(int one, int other)
{
	volatile int sum = one;

	return sum + other;
}

static __attribute__((noinline)) int pass(struct xdp_md *ctx)
{
	return add(ctx->data_end > ctx->data, 1);
}

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	return pass(ctx);
}
#endif

#ifdef DISPATCHED
/* As XDP_RUN_CONFIG() of xdp-tools: for libxdp's dispatcher. */
struct {
	__uint(priority, 10);
	__uint(XDP_PASS, 1);
} _shape SEC(".xdp_run_config");

__u64 dispatched SEC("xdp_metadata") = 1;

SEC("xdp")
int shape(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

#ifdef LEGACY
struct bpf_map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def SEC("maps") counts = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = 4,
	.value_size = 16,
	.max_entries = 5,
};

SEC("xdp_stats1")
int shape(struct xdp_md *ctx)
{
	__u32 key = XDP_PASS;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	if (value)
		value[0]++;
	return XDP_PASS;
}
#endif

#ifndef UNLICENSED
char _license[] SEC("license") = LICENSE;
#endif
