# Sourced by ci/xdproof and ci/matrix: one build serves both. The programs are linked statically, so that the guests of ci/matrix
# run the same file. Callers set `root` (the repository) and `self` (their name, for messages).
# shellcheck shell=bash
: "${root:?}" "${self:?}"

fail() { echo "$self: $1" >&2 && exit 3; }

by_sudo() { ((!EUID)) && [[ ${SUDO_USER:-root} != root ]]; }

# as_owner COMMAND...: runs a command as the user who has called by sudo, so that nothing in the work tree belongs to root.
as_owner() {
    local home
    if ! by_sudo; then
        "$@"
        return
    fi
    home=$(getent passwd "$SUDO_USER" | cut -d : -f 6)
    runuser -u "$SUDO_USER" -- env HOME="$home" PATH="$home/.cargo/bin:$home/.local/bin:$PATH" "$@"
}

# build PACKAGE PROGRAM: installs missing prerequisites of the build, and builds. Sets `programs`, the directory of the programs.
build() {
    local target=${CARGO_TARGET_DIR:-target} quiet=() triple changed
    [[ $target == /* ]] || target=$root/$target
    ! by_sudo || [[ ! -e $target ]] || as_owner test -w "$target" ||
        fail "$SUDO_USER cannot write to $target; change its owner: sudo chown -R $SUDO_USER $target"
    as_owner "$root/ci/bootstrap" >&2 || exit 3
    triple=$(as_owner rustc -vV | sed -n 's/^host: //p')
    programs=$target/$triple/release
    # What a build waits for is shown; one that finds nothing to do prints only errors.
    if [[ -e $programs/$2 ]]; then
        changed=$(find "$root" \( -path "$root/.git" -o -path "$target" \) -prune -o -type f -newer "$programs/$2" -print -quit)
        [[ $changed ]] || quiet=(--quiet)
    fi
    [[ ${quiet[*]} ]] || ! by_sudo || echo "$self: building as $SUDO_USER, not as root" >&2
    (cd "$root" && as_owner cargo build "${quiet[@]}" --locked --release --package "$1" --target "$triple" \
        --config "target.$triple.rustflags = ['-C', 'target-feature=+crt-static']") >&2 || fail "failed to build $1"
}
