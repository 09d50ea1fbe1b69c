// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A packet counter by IP protocol with the rules of the kernel's classic xdp1 sample, as someone with clang and libbpf's
// headers writes it. What differs from object to object is given by -D (harness/tests/foreign.rs):
//
//   MAP_TYPE, KEY, VALUE, ENTRIES   the map; a per-CPU array of 256 u64 by u32 unless given
//   SECTION                         the program's section; "xdp" unless given
//   LEGACY                          the map in SEC("maps"), as it was done before BTF
//   SECOND_MAP                      one more map that could be the counter, and is not
//   PINNED                          the map is pinned by name
//   START                           what the slot of the very first packet holds before it
//   NARROW                          values may be narrower than what BPF adds to atomically
//   FIRST_60                        60 bytes are loaded first, and a shorter frame is dropped
//   UNCHECKED                       the frame's end is not looked at: no kernel takes that
//   SLOW                            so many multiplications for each frame, of which each waits for the one before it
//   ALSO                            every packet is counted under this key, too
//   LIES                            a frame that arrives on this receive queue is dropped, though counted: in the place of a driver
//                                   that keeps back what the program passes
//   RIVAL                           the same rules by rival.c, in fewer instructions

#ifdef RIVAL
#include "rival.c"
#else

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef MAP_TYPE
#define MAP_TYPE BPF_MAP_TYPE_PERCPU_ARRAY
#endif
#ifndef SECTION
#define SECTION "xdp"
#endif
#ifndef KEY
#define KEY __u32
#endif
#ifndef VALUE
#define VALUE __u64
#endif
#ifndef ENTRIES
#define ENTRIES 256
#endif

#ifdef LEGACY
struct legacy_map {
	__u32 type, key_size, value_size, max_entries, map_flags;
};
struct legacy_map packets SEC("maps") = {
	.type = MAP_TYPE,
	.key_size = sizeof(KEY),
	.value_size = sizeof(VALUE),
	.max_entries = ENTRIES,
};
#else
struct {
	__uint(type, MAP_TYPE);
	__type(key, KEY);
	__type(value, VALUE);
	__uint(max_entries, ENTRIES);
#ifdef PINNED
	__uint(pinning, LIBBPF_PIN_BY_NAME);
#endif
} packets SEC(".maps");
#endif

#ifdef SECOND_MAP
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 256);
} unused SEC(".maps");
#endif

#ifdef START
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} started SEC(".maps");
#endif

#define ETHERNET 14
#define TAG 4
#define IPV4 20
#define IPV6 40

#ifdef FIRST_60
#define HEAD 60
#define FITS(offset, length) ((offset) + (length) <= HEAD)
#elif defined(UNCHECKED)
#define FITS(offset, length) 1
#else
#define FITS(offset, length) (frame + (offset) + (length) <= end)
#endif
#define BYTE(offset) (((const __u8 *)frame)[offset])
#define BE16(offset) ((__u16)(BYTE(offset) << 8 | BYTE((offset) + 1)))

static __always_inline void count(KEY key)
{
	VALUE one = 1, *slot = bpf_map_lookup_elem(&packets, &key);

	if (!slot) {
		// A hash has no slot before its first packet; another CPU may make it meanwhile.
		if (!bpf_map_update_elem(&packets, &key, &one, BPF_NOEXIST))
			return;
		slot = bpf_map_lookup_elem(&packets, &key);
	}
#ifdef START
	__u32 first = 0, *already = bpf_map_lookup_elem(&started, &first);

	if (slot && already && !*already) {
		*already = 1;
		*slot = START;
	}
#endif
	if (slot)
#ifdef NARROW
		*slot += 1;
#else
		__sync_fetch_and_add(slot, 1);
#endif
}

#ifdef SLOW
static __always_inline void spend(__u64 number)
{
#pragma unroll
	for (int done = 0; done < SLOW; done++)
		// Nobody uses what comes out: in C they would be left out.
		asm volatile("%0 *= 3" : "+r"(number));
}
#endif

SEC(SECTION)
int count_by_protocol(struct xdp_md *ctx)
{
#ifdef FIRST_60
	__u8 frame[HEAD];

	if (bpf_xdp_load_bytes(ctx, 0, frame, HEAD))
		return XDP_DROP;
#else
	const void *frame = (const void *)(long)ctx->data;
#ifndef UNCHECKED
	const void *end = (const void *)(long)ctx->data_end;
#endif
#endif
	__u32 offset = ETHERNET;
	__u16 type;
	KEY key = 0;

	if (!FITS(0, ETHERNET))
		return XDP_DROP;
	type = BE16(ETHERNET - 2);
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		if (type != 0x8100 && type != 0x88a8)
			break;
		if (!FITS(offset, TAG))
			return XDP_DROP;
		type = BE16(offset + 2);
		offset += TAG;
	}
	if (type == 0x0800 && FITS(offset, IPV4))
		key = BYTE(offset + 9);
	else if (type == 0x86dd && FITS(offset, IPV6))
		key = BYTE(offset + 6);
#ifdef SECOND_MAP
	__u32 first = 0;
	bpf_map_lookup_elem(&unused, &first);
#endif
#ifdef SLOW
	spend(key);
#endif
	count(key);
#ifdef ALSO
	count(ALSO);
#endif
#ifdef LIES
	if (ctx->rx_queue_index == LIES)
		return XDP_DROP;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#endif
