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
//   RACY                            adds to a slot without an atomic instruction; RACY_SLOT only to this one
//   BY_UPDATE                       adds by reading a slot and updating it
//   INSERTS                         a slot that a hash does not have is inserted, although another CPU may have done so meanwhile
//   METADATA                        so many bytes of metadata are reserved in front of the frame
//   NARROW                          values may be narrower than what BPF adds to atomically
//   FIRST_60                        60 bytes are loaded first, and a shorter frame is dropped
//   UNCHECKED                       the frame's end is not looked at: no kernel takes that
//   SLOW                            so many multiplications for each frame, of which each waits for the one before it
//   ALSO                            every packet is counted under this key, too
//   LIES                            a frame that arrives on this receive queue is dropped, though counted: in the place of a driver
//                                   that keeps back what the program passes
//   RIVAL                           the same rules by rival.c, in fewer instructions
//   RECORD                          a value is a structure of two numbers, as long as VALUE
//   BLOCKLIST                       one more map, of addresses, that could be read like a counter
//   FLAGS                           flags of the map
//   INNER                           the map lies in a map of maps, which the object fills
//   TAIL                            the program is called by another one, `entry`, through a PROG_ARRAY that the object fills
//   TAIL_EMPTY                      the same, and the object leaves the PROG_ARRAY empty
//   BESIDE                          the section of one more program
//   OPTION, FUNCTION, VARIABLE      extern symbols: of the kernel's configuration, a function and a variable of the kernel
//   MISSING                         an extern symbol that no kernel has
//   WEAK                            the same, and the program goes on without it
//   TRIE                            a map that the kernel takes only without the types of its key
//   GLOBALS                         global variables that the result depends on
//   CORE                            a CO-RE relocation that the result depends on
//   SUBPROGRAM                      the slot is found by a function of its own, in .text
//   COMPLEX                         more instructions than the verifier looks at
//   WITHOUT_LICENSE                 no license

#ifdef RIVAL
#include "rival.c"
#else

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#ifdef CORE
#include <bpf/bpf_core_read.h>
#endif

#ifdef RECORD
struct record {
	__u32 packets, bytes;
};
#define VALUE struct record
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
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
struct packets {
	__uint(type, MAP_TYPE);
	__type(key, KEY);
	__type(value, VALUE);
	__uint(max_entries, ENTRIES);
	__uint(map_flags, FLAGS);
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

#ifdef INNER
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 2);
	__array(values, struct packets);
} outer SEC(".maps") = { .values = { [1] = &packets } };
#endif

#ifdef BLOCKLIST
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1024);
} blocklist SEC(".maps");
#endif

#ifdef TRIE
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, __u64);
	__type(value, __u32);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} trie SEC(".maps");
#endif

#ifdef OPTION
extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern int CONFIG_NO_SUCH_OPTION __kconfig __weak;
#endif
#ifdef FUNCTION
// The kernel compares no more than its length.
struct bpf_iter_num {
	__u64 opaque;
};
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym __weak;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym __weak;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym __weak;
#endif
#ifdef VARIABLE
extern const void schedule __ksym;
#endif
#ifdef MISSING
extern void no_such_function(void) __ksym;
#endif
#ifdef WEAK
extern void no_such_function(void) __ksym __weak;
extern const void no_such_variable __ksym __weak;
#endif

#ifdef GLOBALS
const volatile __u32 constant = 3;
static volatile __u32 data = 4;
volatile __u32 zero;
#endif

#ifdef CORE
struct task_struct___mine {
	int pid;
} __attribute__((preserve_access_index));
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
#ifdef INNER
	__u32 second = 1;
	void *map = bpf_map_lookup_elem(&outer, &second);

	if (!map)
		return;
#else
#define map &packets
#endif
#ifdef RECORD
	VALUE one = { 1, 1 }, *slot = bpf_map_lookup_elem(map, &key);
#else
	VALUE one = 1, *slot = bpf_map_lookup_elem(map, &key);
#endif

	if (!slot) {
		// A hash has no slot before its first packet; another CPU may make it meanwhile.
#ifdef INSERTS
		bpf_map_update_elem(map, &key, &one, BPF_ANY);
		return;
#endif
		if (!bpf_map_update_elem(map, &key, &one, BPF_NOEXIST))
			return;
		slot = bpf_map_lookup_elem(map, &key);
	}
#ifdef START
	__u32 first = 0, *already = bpf_map_lookup_elem(&started, &first);

	if (slot && already && !*already) {
		*already = 1;
		*slot = START;
	}
#endif
#ifdef RACY_SLOT
	if (slot && key == RACY_SLOT) {
		*slot += 1;
		return;
	}
#endif
#ifdef BY_UPDATE
	if (slot) {
		VALUE next = *slot + 1;

		bpf_map_update_elem(map, &key, &next, BPF_ANY);
		return;
	}
#endif
	if (slot)
#if defined(RECORD)
		slot->packets++;
#elif defined(NARROW) || defined(RACY)
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

#ifdef SUBPROGRAM
__noinline __u32 changed(__u32 key)
{
	asm volatile("%0 ^= 1" : "+r"(key));
	return key;
}
#endif

/// Returns whether everything is as the object says and the kernel is.
static __always_inline int is_as_said(void)
{
#ifdef OPTION
	if (LINUX_KERNEL_VERSION < 0x40000 || !CONFIG_BPF_SYSCALL || CONFIG_NO_SUCH_OPTION)
		return 0;
#endif
#ifdef FUNCTION
	struct bpf_iter_num it;
	int *first, is_three;

	bpf_iter_num_new(&it, 3, 5);
	first = bpf_iter_num_next(&it);
	is_three = first && *first == 3;
	bpf_iter_num_destroy(&it);
	if (!is_three)
		return 0;
#endif
#ifdef VARIABLE
	volatile __u64 address_of_schedule = (__u64)&schedule;

	if (!address_of_schedule)
		return 0;
#endif
#ifdef MISSING
	no_such_function();
#endif
#ifdef WEAK
	if (no_such_function)
		no_such_function();
	if (&no_such_variable)
		return 0;
#endif
#ifdef GLOBALS
	if (constant != 3 || data != 4 || zero)
		return 0;
#endif
#ifdef CORE
	if (!bpf_core_field_exists(((struct task_struct___mine *)0)->pid))
		return 0;
#endif
#ifdef TRIE
	__u64 address = 32;

	bpf_map_lookup_elem(&trie, &address);
#endif
#ifdef BLOCKLIST
	__u32 blocked = 0;

	if (bpf_map_lookup_elem(&blocklist, &blocked))
		return 0;
#endif
#ifdef COMPLEX
	volatile int sum = 0;

	for (int round = 0; round < 5000000; round++)
		sum += round;
#endif
	return 1;
}

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

	if (!is_as_said())
		return XDP_ABORTED;
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
#ifdef SUBPROGRAM
	key = changed(changed(key));
#endif
	count(key);
#ifdef ALSO
	count(ALSO);
#endif
#ifdef METADATA
	if (bpf_xdp_adjust_meta(ctx, -METADATA))
		return XDP_ABORTED;
#endif
#ifdef LIES
	if (ctx->rx_queue_index == LIES)
		return XDP_DROP;
#endif
	return XDP_PASS;
}

#if defined(TAIL) || defined(TAIL_EMPTY)
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, 4);
	__array(values, int(void *));
} table SEC(".maps")
#ifdef TAIL
	= { .values = { [3] = (void *)&count_by_protocol } }
#endif
;

SEC(SECTION)
int entry(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &table, 3);
	return XDP_ABORTED;
}
#endif

#ifdef BESIDE
SEC(BESIDE)
int beside(void *ctx)
{
	return 0;
}
#endif

#ifndef WITHOUT_LICENSE
char LICENSE[] SEC("license") = "Dual MIT/GPL";
#endif

#endif
