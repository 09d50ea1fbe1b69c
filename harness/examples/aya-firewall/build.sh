#!/usr/bin/env bash
# Builds the program and puts its object into build/, as firewall.o. Needs bpf-linker, and a compiler that has `core` for BPF: the
# toolchain that XDPROOF_EBPF_TOOLCHAIN names, a rustup nightly with rust-src, or Debian's rustc-web (`ci/bootstrap` installs one).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

toolchain=${XDPROOF_EBPF_TOOLCHAIN-}
if [[ ! $toolchain ]]; then
    toolchain=/usr
    root=$(rustup run nightly rustc --print sysroot 2>/dev/null) || root=/usr
    [[ ! -d $root/lib/rustlib/src/rust/library/core ]] || toolchain=nightly
fi
in_toolchain=()
! type -P rustup >/dev/null || in_toolchain=(rustup run "$toolchain")
version=$("${in_toolchain[@]}" rustc -vV)
core=()
[[ $version != *nightly* ]] || core=(-Z build-std=core)
triple=bpfel-unknown-none
[[ $version != *host:\ s390x* ]] || triple=bpfeb-unknown-none

target=${CARGO_TARGET_DIR:-$PWD/target}/bpf
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f%s\x1f%s' "--cfg=bpf_target_arch=\"$(uname -m)\"" -Cdebuginfo=2 -Clink-arg=--btf)
export CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=aya_ebpf # a stable compiler lets aya-ebpf use the one unstable feature that it needs
"${in_toolchain[@]}" cargo build --quiet --release --bins --features bpf "${core[@]}" --target "$triple" --target-dir "$target"
mkdir -p build
for source in src/main.rs src/bin/*.rs; do
    [[ -e $source ]] || continue
    name=$(basename "$source" .rs)
    [[ $name != main ]] || name=firewall
    cp "$target/$triple/release/$name" "build/$name.o"
done
