#!/usr/bin/env python3
"""Writes vectors.json: for each guest, inputs and what it must do with them, computed here without running a guest.

An input is the whole input file, as it lies in memory from 0x1000_0008: chunks of an 8-byte little-endian length, the
data, and padding to 8 bytes. `outputs` are the leading public output words; those that follow are 0.
`exit_code` is null where the machine must refuse to go on; `trap` then says why.
"""

import hashlib
import json
import pathlib
import struct

MASK = 2**64 - 1


def chunk(data):
    return struct.pack("<Q", len(data)) + data + bytes(-len(data) % 8)


def words(data):
    data += bytes(-len(data) % 4)
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def vector(guest, name, data=None, exit_code=0, outputs=(), console="", trap=None):
    return {
        "guest": guest,
        "name": name,
        "input": "" if data is None else chunk(data).hex(),
        "exit_code": None if trap else exit_code,
        "outputs": list(outputs),
        "console": console,
        "trap": trap,
    }


# --- sha-hasher, fibonacci, hello, exit-one


def sha_hasher(guest, n):
    digest = bytes(32)
    for _ in range(n):
        digest = hashlib.sha256(digest).digest()
    return vector(guest, f"n = {n}", struct.pack("<Q", n), outputs=words(digest + struct.pack("<Q", n)))


def varint(value):
    """An unsigned integer as bincode's standard configuration writes it."""
    if value < 251:
        return bytes([value])
    for tag, size in ((251, "<H"), (252, "<I"), (253, "<Q")):
        if value < 256 ** struct.calcsize(size):
            return bytes([tag]) + struct.pack(size, value)
    raise ValueError(value)


def fibonacci(n):
    current, following = 0, 1
    for _ in range(n):
        current, following = following, (current + following) & MASK
    return vector("fibonacci", f"n = {n}", varint(n), outputs=words(varint(n) + varint(current)))


def hello(name):
    data = name.encode()
    return vector("hello", name or "no name", data, outputs=[len(data)], console=f"hello, {name}\n")


def not_utf8():
    """A panic: its place and message on the console."""
    lines = pathlib.Path(__file__).with_name("hello").joinpath("src/main.rs").read_text().splitlines()
    line, column = next((at + 1, text.index("expect(") + 1) for at, text in enumerate(lines) if "expect(" in text)
    message = "the name is UTF-8: Utf8Error { valid_up_to: 1, error_len: Some(1) }"
    console = f"panicked at hello/src/main.rs:{line}:{column}:\n{message}\n"
    return vector("hello", "not UTF-8", b"a\xff", exit_code=101, console=console)


# --- precompiles


def keccak_f(state):
    """Keccak-f[1600] on 25 lanes, lane x + 5 y."""

    def rotate(value, by):
        return (value << by | value >> (64 - by)) & MASK if by else value

    register = 1
    for _ in range(24):
        parity = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
        state = [state[i] ^ parity[(i % 5 - 1) % 5] ^ rotate(parity[(i % 5 + 1) % 5], 1) for i in range(25)]
        x, y, moved = 1, 0, list(state)
        lane = state[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            lane, moved[x + 5 * y] = state[x + 5 * y], rotate(lane, (step + 1) * (step + 2) // 2 % 64)
        state = [
            moved[x + 5 * y] ^ (~moved[(x + 1) % 5 + 5 * y] & moved[(x + 2) % 5 + 5 * y] & MASK)
            for y in range(5)
            for x in range(5)
        ]
        for bit in range(7):
            if register & 1:
                state[0] ^= 1 << ((1 << bit) - 1)
            register = (register << 1) ^ (0x171 if register >> 7 else 0)
    return state


def sponge(data, domain):
    rate = 136
    data += bytes([domain]) + bytes(-(len(data) + 1) % rate)
    data = data[:-1] + bytes([data[-1] | 0x80])
    state = [0] * 25
    for start in range(0, len(data), rate):
        lanes = struct.unpack("<17Q", data[start : start + rate])
        state = keccak_f([lane ^ (lanes[i] if i < 17 else 0) for i, lane in enumerate(state)])
    return struct.pack("<4Q", *state[:4])


def precompiles(name, data):
    assert sponge(data, 0x06) == hashlib.sha3_256(data).digest(), "Keccak-f above is wrong"
    digests = sponge(data, 0x01) + hashlib.sha256(data).digest() + hashlib.sha256(data[1:]).digest()
    return vector("precompiles", name, data, outputs=words(digests))


# --- memory: one function per check, in the order of CHECKS in memory/src/main.rs


class Random:
    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return self.state ^ self.state >> 32

    def below(self, bound):
        return self.next() % bound

    def bytes(self, count):
        return bytearray(self.next() & 0xFF for _ in range(count))


class Digest:
    def __init__(self, index):
        self.value = index

    def add(self, value):
        value = ((self.value ^ (value & MASK)) * 0x100000001B3) & MASK
        self.value = (value << 23 | value >> 41) & MASK

    def add_bytes(self, data):
        for byte in data:
            self.add(byte)

    def word(self):
        return (self.value ^ self.value >> 32) & 0xFFFFFFFF


def signed(value, bits=64):
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def sort(random, digest):
    values = sorted({random.next() % 1000 for _ in range(500)})
    digest.add(len(values))
    for value in values:
        digest.add(value)


def count_strings(random, digest):
    counts = {}
    for _ in range(200):
        key = f"{random.next() % 300:x}"
        counts[key] = counts.get(key, 0) + 1
    for key in sorted(counts):
        digest.add_bytes(key.encode())
        digest.add(counts[key])


SIZE, LONGEST = 256, 57


def span(random):
    return random.below(SIZE - LONGEST), random.below(SIZE - LONGEST), random.below(LONGEST + 1)


def copy(random, digest):
    buffer, other = random.bytes(SIZE), random.bytes(SIZE)
    for _ in range(150):
        start, to, length = span(random)
        buffer[to : to + length] = bytes(buffer[start : start + length])
        start, to, length = span(random)
        other[to : to + length] = buffer[start : start + length]
    digest.add_bytes(buffer)
    digest.add_bytes(other)


def fill(random, digest):
    buffer = random.bytes(SIZE)
    for turn in range(150):
        at, _, length = span(random)
        value = 0 if turn % 4 == 0 else random.next() & 0xFF
        buffer[at : at + length] = bytes([value]) * length
        digest.add(buffer[at])
    digest.add_bytes(buffer)


def order(left, right):
    return (left > right) - (left < right) + 1


def compare(random, digest):
    buffer = bytes(byte ^ 0x83 if byte < 8 else 0x7F for byte in random.bytes(SIZE))
    for _ in range(300):
        left, right, length = span(random)
        left, right = buffer[left : left + length], buffer[right : right + length]
        digest.add(order(left, right))
        digest.add(left == right)


def calls(random, digest):
    source, target = random.bytes(64), random.bytes(64)
    target[:37] = b"\x5a" * 37
    digest.add_bytes(target)
    target[:29] = source[:29]
    digest.add_bytes(target)
    length = 20 + random.below(20)
    target[:length] = bytes(length)
    digest.add_bytes(target)
    target[:length] = source[:length]
    digest.add_bytes(target)
    for count in (20, 64, length + 5):
        digest.add(order(target[:count], source[:count]))


def operands(random):
    one, half = random.next(), random.next() >> 32
    return [0, 1, 2, MASK, 2**63 - 1, 2**63, signed(2**31, 32) & MASK, 2**31 - 1, one, half]


def quotient(left, right):
    """Towards zero, as RISC-V and Rust divide."""
    magnitude = abs(left) // abs(right)
    return magnitude if (left < 0) == (right < 0) else -magnitude


def divide(random, digest):
    values = operands(random)
    for left in values:
        for right in values:
            for bits in (64, 32):
                for convert in (signed, lambda value, bits: value & (2**bits - 1)):
                    dividend, divisor = convert(left, bits), convert(right, bits)
                    result = quotient(dividend, divisor) if divisor else -1
                    digest.add(signed(result, bits))
                # RISC-V's order is div, divu, rem, remu.
                for convert in (signed, lambda value, bits: value & (2**bits - 1)):
                    dividend, divisor = convert(left, bits), convert(right, bits)
                    result = dividend - quotient(dividend, divisor) * divisor if divisor else dividend
                    digest.add(signed(result, bits))


def multiply(random, digest):
    values = operands(random)
    for left in values:
        for right in values:
            digest.add(left * right)
            digest.add(signed(left) * signed(right) >> 64)
            digest.add(signed(left) * right >> 64)
            digest.add(left * right >> 64)
            digest.add(signed(left * right, 32))


def wide(random, digest):
    value = random.next() << 64
    value |= random.next()
    for _ in range(30):
        factor = random.next()
        divisor = random.next() << random.below(60) | 1
        product = (value * factor + divisor) % 2**128
        value = product // divisor ^ (product % divisor << 7) % 2**128
        digest.add(value)
        digest.add(value >> 64)
        digest.add(quotient(signed(value, 128), -divisor))


def atomics(random, digest):
    for bits, convert in ((64, int), (64, signed), (32, int), (32, lambda value: signed(value, 32))):
        mask = 2**bits - 1

        def operand():
            return convert(random.next() & mask)

        cell = operand()
        for _ in range(20):
            for operation in (
                lambda old, new: old + new,
                max,
                lambda old, new: old & new,
                lambda old, new: old | new,
                min,
                lambda old, new: old ^ new,
                lambda old, new: new,
            ):
                digest.add(cell)
                cell = convert(operation(cell, operand()) & mask)
            same = random.next() & 1 == 0
            new = operand()
            cell = new if same else cell
            digest.add(same)
            digest.add(cell)


def misaligned(random, digest):
    buffer = random.bytes(32)
    for offset in range(16):
        for size in (1, 2, 4):
            value = int.from_bytes(buffer[offset : offset + size], "little")
            digest.add(signed(value, 8 * size))
            digest.add(value)
        digest.add(int.from_bytes(buffer[offset : offset + 8], "little"))
        for size in (8, 4, 2, 1):
            buffer[offset : offset + size] = random.next().to_bytes(8, "little")[:size]
    digest.add_bytes(buffer)


CHECKS = [sort, count_strings, copy, fill, compare, calls, divide, multiply, wide, atomics, misaligned]


def memory(seed):
    outputs = []
    for index, check in enumerate(CHECKS):
        digest = Digest(index)
        check(Random(seed + index), digest)
        outputs.append(digest.word())
    return vector("memory", f"seed = {seed}", struct.pack("<Q", seed), outputs=outputs)


# --- trap

TRAPS = {
    "l": "load outside the map",
    "n": "load at address 0",
    "h": "load above 2^32",
    "s": "store outside the map",
    "r": "store into the code",
    "w": "store into the input",
    "u": "undefined instruction",
    "b": "breakpoint",
    "f": "floating-point instruction",
    "c": "unknown CSR",
    "p": "missing precompile",
    "e": "environment call other than exit",
    "j": "jump into RAM",
    "z": "jump to address 0",
    "x": "endless loop",
    "o": "stack overflow",
}


def all_vectors():
    yield from (sha_hasher(guest, n) for guest in ("sha-hasher", "sha-hasher-im") for n in (0, 1, 20, 1000))
    yield vector("sha-hasher", "input too short", b"\x01\x02", exit_code=2)
    yield vector("sha-hasher", "no input", exit_code=2)
    yield from (fibonacci(n) for n in (0, 1, 10, 93, 250, 251, 70_000))
    yield from (hello(name) for name in ("world", "", "Łódź, 東京"))
    yield not_utf8()
    yield vector("exit-one", "no input", exit_code=1, outputs=[0xDEADBEEF])
    yield precompiles("short", b"abc")
    yield precompiles("one byte", b"\x00")
    yield precompiles("several blocks", bytes(i * 7 % 256 for i in range(1000)))
    yield from (memory(seed) for seed in (0, 1, 0xFEDC_BA98_7654_3210))
    yield from (vector("trap", cause, key.encode(), trap=cause) for key, cause in TRAPS.items())
    yield vector("trap", "unknown key", b"?", exit_code=2)


def main():
    lines = ",\n".join(json.dumps(entry) for entry in all_vectors())
    path = pathlib.Path(__file__).with_name("vectors.json")
    path.write_text(f"[\n{lines}\n]\n")


main()
