#!/usr/bin/env bash
# Builds the guests (guests/README.md) into guests/elf, byte for byte the same wherever the checkout lies.
set -euo pipefail

# The compiler, its linker and its core library come from one pinned toolchain: another one gives other bytes.
toolchain=1.95.0
target=riscv64imac-unknown-none-elf
guests=(exit-one fibonacci hello memory precompiles sha-hasher trap)
# Built a second time as <guest>-im.elf, close to what ZisK's own compiler makes: nothing compressed, and atomics of
# dependencies lowered to plain loads and stores. No core library comes ready for that, so it is built too.
plain_target=riscv64im-unknown-none-elf
plain_guests=(sha-hasher)

usage() {
    cat <<USAGE
usage: scripts/build-guests.sh [--check] [--debian]

Builds every guest with Rust $toolchain and puts the ELFs into guests/elf.

  --check   build from nothing into a temporary folder, and fail if an ELF differs from the one in guests/elf
  --debian  use Debian's compiler (rustc-web) instead, for machines that rustup cannot reach; the ELFs run the same
            but their bytes differ, so they go into guests/elf-debian and --check is refused
USAGE
}

die() {
    echo "build-guests.sh: $*" >&2
    exit 1
}

check=false
debian=false
for argument in "$@"; do
    case $argument in
    --check) check=true ;;
    --debian) debian=true ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done
if $check && $debian; then
    die "--check compares bytes that only Rust $toolchain makes; leave out --debian"
fi

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cargo_home=${CARGO_HOME:-$HOME/.cargo}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    command -v apt-get >/dev/null || die "missing: $*; install them (no apt-get here) and run this again"
    echo "installing $*" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
        die "could not install $*; try 'apt-get update' first"
}

# A folder with both libclang and the headers it comes with: a dependency of ziskos runs bindgen when it is built.
libclang_folder() {
    local header library newest=
    for header in /usr/lib/llvm-*/lib/clang/*/include/stdbool.h; do
        [ -e "$header" ] || continue
        library=${header%/clang/*}
        compgen -G "$library/libclang*.so*" >/dev/null && newest=$library
    done
    echo "$newest"
}

if [ -z "${LIBCLANG_PATH:-}" ]; then
    LIBCLANG_PATH=$(libclang_folder)
    if [ -z "$LIBCLANG_PATH" ] && command -v apt-cache >/dev/null; then
        version=$(apt-cache pkgnames libclang1- | sed -n 's/^libclang1-\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
        apt_install "libclang1-${version:-14}" "libclang-common-${version:-14}-dev"
        LIBCLANG_PATH=$(libclang_folder)
    fi
    [ -n "$LIBCLANG_PATH" ] || die "found no libclang; install clang and set LIBCLANG_PATH to the folder of libclang.so"
    export LIBCLANG_PATH
fi

if $debian; then
    if ! [ -x /usr/bin/cargo ] || ! [ -d /usr/lib/rustlib/src/rust/library ] || ! [ -x /usr/bin/ld.lld ]; then
        apt_install rustc-web cargo-web rust-web-src lld
    fi
    export RUSTC=/usr/bin/rustc
    cargo=(/usr/bin/cargo)
    linker_flags=(-Clinker=/usr/bin/ld.lld -Clinker-flavor=ld.lld)
    sysroot=/usr
    elf_folder=$repository/guests/elf-debian
else
    command -v rustup >/dev/null || die "rustup is missing (https://rustup.rs); or try --debian"
    rustup toolchain list | grep -q "^$toolchain-" ||
        rustup toolchain install "$toolchain" --profile minimal >&2 ||
        die "rustup could not fetch Rust $toolchain; or try --debian"
    rustup target add --toolchain "$toolchain" "$target" >&2 ||
        die "rustup could not fetch target $target; or try --debian"
    rustup component add --toolchain "$toolchain" rust-src >&2 ||
        die "rustup could not fetch rust-src; or try --debian"
    cargo=(cargo "+$toolchain")
    linker_flags=(-Clinker=rust-lld)
    sysroot=$(rustc "+$toolchain" --print sysroot)
    elf_folder=$repository/guests/elf
fi

if $check; then
    target_folder=$(mktemp -d)
    trap 'rm -rf "$target_folder"' EXIT
else
    target_folder=${ZISK_GUEST_TARGET_DIR:-${TMPDIR:-/tmp}/zisk-guests-$(id -u)}
fi

# Cargo and the linker run in guests/, so link.ld needs no path.
cd "$repository/guests"
"${cargo[@]}" fetch --locked >&2

# No path of this machine may reach the ELF. Panic messages name source files.
flags=("${linker_flags[@]}" -Clink-arg=-Tlink.ld)
flags+=("--remap-path-prefix=$repository/guests=/guests" "--remap-path-prefix=$target_folder=/target")
flags+=("--remap-path-prefix=$sysroot=/rust")
for registry in "$cargo_home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/registry")
done

differing=()

# build TARGET SUFFIX FLAGS CORE GUEST...: builds the guests, then compares or installs <guest><suffix>.elf.
# FLAGS are for rustc, separated by spaces. CORE is `ready` or `build`: where the core library comes from.
build() {
    local for_target=$1 suffix=$2 extra_flags core=$4 options=() selection=() guest bootstrap
    read -ra extra_flags <<<"$3"
    shift 4
    # ziskos uses the unstable feature `linkage`; for all crates only where building a core library needs it, since some
    # dependencies build differently where everything unstable is allowed.
    bootstrap=ziskos
    if [ "$core" = build ]; then
        bootstrap=1
        options=("-Zbuild-std=core,alloc")
    fi
    for guest in "$@"; do selection+=(--bin "$guest"); done
    CARGO_ENCODED_RUSTFLAGS=$(
        IFS=$'\x1f'
        all=("${flags[@]}" "${extra_flags[@]}")
        echo "${all[*]}"
    ) RUSTC_BOOTSTRAP=$bootstrap "${cargo[@]}" build --release --locked --target "$for_target" --target-dir "$target_folder" \
        "${options[@]}" "${selection[@]}" >&2
    for guest in "$@"; do
        local built=$target_folder/$for_target/release/$guest installed=$elf_folder/$guest$suffix.elf
        if $check; then
            cmp "$built" "$installed" || differing+=("$guest$suffix")
        else
            install -D -m 644 "$built" "$installed"
        fi
    done
}

if $debian; then core=build; else core=ready; fi
build "$target" "" "" "$core" "${guests[@]}"
build "$plain_target" -im "-Cpanic=abort -Cpasses=lower-atomic" build "${plain_guests[@]}"

if ((${#differing[@]})); then
    die "not what guests/elf holds: ${differing[*]}; if the source changed, run scripts/build-guests.sh and commit the result"
fi
if $check; then echo "guests/elf: every ELF is what its source makes"; else wc -c "$elf_folder"/*.elf; fi
