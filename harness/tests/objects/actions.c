/* A program whose action, target and bytes the first bytes of a frame choose, for tests of fixtures. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct state {
    __u64 packets;
    __u64 bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u32);
} devices SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, struct state);
} states SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} seen SEC(".maps");

const volatile __u32 default_action = XDP_PASS;
__u64 runs = 0;

#ifndef SECTION
#define SECTION "xdp"
#endif

#ifdef CONTEXT
static __u32 first_device(void)
{
    __u32 first = 0, *device = bpf_map_lookup_elem(&devices, &first);

    return device ? *device : 0;
}
#endif

/* The destination address says what happens: its first byte is the action (16 times, plus 2 for a local address), its second one the
 * target or a byte that is written behind the header. */
SEC(SECTION)
int act(struct xdp_md *ctx)
{
    __u8 *data = (__u8 *)(long)ctx->data;
    __u8 *end = (__u8 *)(long)ctx->data_end;
    __u32 action = default_action;
    struct state *state;
    __u64 one = 1, *count;
    __u32 key;

    runs++;
    if (data + 16 > end)
        return XDP_DROP;
    if (data[0] >> 4)
        action = (data[0] >> 4) - 1;
    key = data[1];
#ifdef CONTEXT
    key = ctx->rx_queue_index;
    if (ctx->data_meta < ctx->data)
        key = 100;
    if (ctx->ingress_ifindex == first_device())
        key = 200;
#endif
    state = bpf_map_lookup_elem(&states, &action);
    if (state) {
        state->packets++;
#ifdef LINEAR_ONLY
        state->bytes += end - data;
#else
        state->bytes += bpf_xdp_get_buff_len(ctx);
#endif
    }
    count = bpf_map_lookup_elem(&seen, &key);
    if (count)
        (*count)++;
    else
        bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
    if (data[2])
        data[15] = data[2];
    if (action == XDP_REDIRECT)
        return bpf_redirect_map(&devices, key, 0);
    return action;
}

char _license[] SEC("license") = "GPL";
