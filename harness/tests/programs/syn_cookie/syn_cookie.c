// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Answers a SYN to a port of `guarded` with a SYN-ACK, whose sequence number is a cookie of the
// connection, and passes segments that acknowledge it, as the kernel's xdp_synproxy does. The
// cookie is a function of `secret`, addresses and ports alone, so that a test can know it.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MSS_OPTION 0x020405b4 // 1460 bytes
#define SEGMENT (sizeof(struct tcphdr) + sizeof(__be32))
#define ANSWER (sizeof(struct ethhdr) + sizeof(struct iphdr) + SEGMENT)

struct connection {
	__be32 client, server;
	__be16 client_port, server_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u16); // in host byte order
	__type(value, __u8);
	__uint(max_entries, 16);
} guarded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct connection);
	__type(value, __u64); // segments
	__uint(max_entries, 1024);
} verified SEC(".maps");

const volatile __u32 secret = 0x5eed5eed;

struct counts {
	__u64 answered, verified, rejected;
} counts;

static __always_inline __u32 mix(__u32 value, __u32 word)
{
	value = (value ^ word) * 0x01000193;
	return value ^ value >> 16;
}

static __always_inline __u32 cookie(const struct connection *of)
{
	__u32 value = mix(mix(secret, bpf_ntohl(of->client)), bpf_ntohl(of->server));

	return mix(value, (__u32)bpf_ntohs(of->client_port) << 16 | bpf_ntohs(of->server_port));
}

static __always_inline __u32 sum(const void *data, int length, __u32 from)
{
#pragma unroll
	for (int at = 0; at < length / 2; at++)
		from += ((const __u16 *)data)[at];
	return from;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

// Makes the SYN-ACK of the frame that has the SYN.
static __always_inline int answer(struct xdp_md *ctx, const struct connection *to, __u32 sequence)
{
	int length = ctx->data_end - ctx->data;
	struct ethhdr *ethernet;
	__u8 client[ETH_ALEN];
	struct tcphdr *tcp;
	struct iphdr *ip;
	__be32 *option;

	if (bpf_xdp_adjust_tail(ctx, (int)ANSWER - length))
		return XDP_DROP;
	ethernet = (void *)(long)ctx->data;
	ip = (void *)(ethernet + 1);
	tcp = (void *)(ip + 1);
	option = (void *)(tcp + 1);
	if ((void *)(option + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(client, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, client, ETH_ALEN);
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(*ip) + SEGMENT),
		.frag_off = bpf_htons(0x4000),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = to->server,
		.daddr = to->client,
	};
	ip->check = fold(sum(ip, sizeof(*ip), 0));
	*tcp = (struct tcphdr){
		.source = to->server_port,
		.dest = to->client_port,
		.seq = bpf_htonl(cookie(to)),
		.ack_seq = bpf_htonl(sequence + 1),
		.doff = SEGMENT / 4,
		.syn = 1,
		.ack = 1,
		.window = bpf_htons(65535),
	};
	*option = bpf_htonl(MSS_OPTION);
	tcp->check = fold(sum(tcp, SEGMENT, sum(&ip->saddr, 8, bpf_htons(IPPROTO_TCP) + bpf_htons(SEGMENT))));
	__sync_fetch_and_add(&counts.answered, 1);
	return XDP_TX;
}

SEC("xdp")
int guard(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct connection connection;
	struct tcphdr *tcp;
	__u64 one = 1, *segments;
	__u16 port;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP || ip->ihl != 5 || ip->frag_off & bpf_htons(0x1fff))
		return XDP_PASS;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	port = bpf_ntohs(tcp->dest);
	if (!bpf_map_lookup_elem(&guarded, &port))
		return XDP_PASS;
	connection = (struct connection){ ip->saddr, ip->daddr, tcp->source, tcp->dest };
	if (tcp->syn && !tcp->ack)
		return answer(ctx, &connection, bpf_ntohl(tcp->seq));

	segments = bpf_map_lookup_elem(&verified, &connection);
	if (segments) {
		__sync_fetch_and_add(segments, 1);
		return XDP_PASS;
	}
	if (tcp->syn || !tcp->ack || bpf_ntohl(tcp->ack_seq) - 1 != cookie(&connection)) {
		__sync_fetch_and_add(&counts.rejected, 1);
		return XDP_DROP;
	}
	bpf_map_update_elem(&verified, &connection, &one, BPF_ANY);
	__sync_fetch_and_add(&counts.verified, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
