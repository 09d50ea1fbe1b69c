//! License and panic handler of every object.

// The object is under this project's "MIT OR Apache-2.0"; the kernel knows MIT as GPL-compatible under this name
// (include/linux/license.h, license_is_gpl_compatible).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

// An endless loop: the verifier rejects any program in which a panic is reachable.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
