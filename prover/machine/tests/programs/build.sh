#!/bin/sh
# Rebuilds the test programs (Debian: gcc-riscv64-unknown-elf). Each exits with 0, or with the number of the check that
# failed; `qemu-riscv64 NAME.elf` agrees.
set -eu
cd "$(dirname "$0")"
for source in *.S; do
    name=${source%.S}
    march=rv64ima
    [ "$name" = compressed ] && march=rv64imac
    riscv64-unknown-elf-gcc -march=$march -mabi=lp64 -nostdlib -static -s -Wl,--build-id=none \
        -Wl,--no-dynamic-linker -Wl,-Ttext=0x80001000,-Tdata=0xa0430000 -o "$name.elf" "$source"
done
