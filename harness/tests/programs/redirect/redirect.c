// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Three redirections, as lessons of xdp-tutorial and samples of the kernel have them: to a port by
// the source's MAC address, to a port whose devmap entry has a program, and to a CPU.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct mac {
	__u8 bytes[ETH_ALEN];
};

struct route {
	__u32 port;
	struct mac next_hop;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct mac);
	__type(value, struct route);
	__uint(max_entries, 64);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 8);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
	__uint(max_entries, 8);
} ports_with_program SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
	__uint(max_entries, 4);
} cpus SEC(".maps");

__u32 routed, at_egress;

SEC("xdp")
int route_by_source(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct route *route;
	struct mac source;

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(&source, ethernet->h_source, ETH_ALEN);
	route = bpf_map_lookup_elem(&routes, &source);
	if (!route)
		return XDP_PASS;
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, &route->next_hop, ETH_ALEN);
	__sync_fetch_and_add(&routed, 1);
	return bpf_redirect_map(&ports, route->port, XDP_DROP); // dropped if the slot is empty
}

SEC("xdp")
int to_port_with_program(struct xdp_md *ctx)
{
	(void)ctx;
	return bpf_redirect_map(&ports_with_program, 100, 0);
}

SEC("xdp/devmap")
int egress(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;

	if ((void *)(ethernet + 1) > end)
		return XDP_DROP;
	ethernet->h_source[5] = 0xee;
	__sync_fetch_and_add(&at_egress, 1);
	return XDP_PASS;
}

SEC("xdp")
int to_cpu(struct xdp_md *ctx)
{
	(void)ctx;
	return bpf_redirect_map(&cpus, 0, 0);
}

char _license[] SEC("license") = "GPL";
