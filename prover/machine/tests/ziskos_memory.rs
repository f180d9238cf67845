//! memcpy, memmove, memset and memcmp of ziskos, by their CSR instructions, against Rust's own.
#![allow(clippy::precedence, reason = "fields of instructions")]

mod common;

use common::{CODE, elf_with, executable, final_state, run};
use proptest::prelude::*;

const BUFFER: u32 = 0xa043_0000;
const SIZE: usize = 256;
const MEMCPY: u32 = 0x813;
const MEMCMP: u32 = 0x814;
const MEMSET: u32 = 0x816;

/// addi rd, rs1, imm
fn addi(rd: u32, rs1: u32, imm: u32) -> u32 {
    imm << 20 | rs1 << 15 | rd << 7 | 0x13
}

/// add x0, rs1, rs2
fn operands(rs1: u32, rs2: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | 0x33
}

/// csrrs rd, csr, rs1
fn csrrs(rd: u32, csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | 2 << 12 | rd << 7 | 0x73
}

/// Does `call` with x10 = `to`, x11 = `from` (offsets in the buffer) and x12 = `count`; gives the buffer and x10 to x12.
fn call(buffer: &[u8], call: &[u32], to: usize, from: usize, count: usize) -> (Vec<u8>, [u64; 3]) {
    let mut words = vec![
        0xa043_0537,                            // lui x10, 0xa0430, which sign-extends
        10 << 7 | 10 << 15 | 32 << 20 | 0x1013, // slli x10, x10, 32
        10 << 7 | 10 << 15 | 32 << 20 | 0x5013, // srli x10, x10, 32
    ];
    words.extend([addi(11, 10, from as u32), addi(10, 10, to as u32), addi(12, 0, count as u32)]);
    words.extend(call);
    words.extend([addi(17, 0, 93), 0x73]);
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let machine = executable(&elf_with(false, &[(CODE, &code, 5), (BUFFER, buffer, 6)]));
    let (_, segments) = run(&machine, &[], 9).expect("no trap");
    let (x, memory) = final_state(&segments);
    let word = |at: u32| memory.get(&(BUFFER / 8 + at)).copied().unwrap_or(0).to_le_bytes();
    ((0..SIZE as u32 / 8).flat_map(word).collect(), [x[10], x[11], x[12]])
}

fn buffer() -> impl Strategy<Value = Vec<u8>> {
    // Few values, so that comparisons find long equal parts.
    prop_oneof![prop::collection::vec(any::<u8>(), SIZE), prop::collection::vec(0..2u8, SIZE), Just(vec![9; SIZE])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn copies(buffer in buffer(), to in 0..128usize, from in 0..128usize, count in 0..128usize, constant in any::<bool>()) {
        let size = if constant { addi(0, 10, count as u32) } else { operands(10, 12) };
        let (actual, registers) = call(&buffer, &[csrrs(0, MEMCPY, 11), size], to, from, count);
        let mut expected = buffer;
        expected.copy_within(from..from + count, to);
        prop_assert_eq!(actual, expected);
        // The call changes no register.
        let base = u64::from(BUFFER);
        prop_assert_eq!(registers, [base + to as u64, base + from as u64, count as u64]);
    }

    #[test]
    fn fills(buffer in buffer(), to in 0..128usize, count in 0..128usize, value in any::<u8>(), constant in any::<bool>()) {
        let value_operand = addi(0, 12, value.into());
        let instructions = if constant {
            // csrsi, then size and value, both constant.
            vec![MEMSET << 20 | 2 << 15 | 6 << 12 | 0x73, addi(0, 10, count as u32), addi(0, 10, value.into())]
        } else {
            vec![csrrs(0, MEMSET, 10), value_operand]
        };
        let (actual, _) = call(&buffer, &instructions, to, 0, count);
        let mut expected = buffer;
        expected[to..to + count].fill(value);
        prop_assert_eq!(actual, expected);
    }

    #[test]
    fn compares(buffer in buffer(), a in 0..128usize, b in 0..128usize, count in 0..128usize, rd in prop_oneof![Just(0u32), 10..13u32]) {
        let (actual, registers) = call(&buffer, &[csrrs(rd, MEMCMP, 11), operands(10, 12)], a, b, count);
        let differ = buffer[a..a + count].iter().zip(&buffer[b..b + count]).find(|(a, b)| a != b);
        let expected = differ.map_or(0, |(a, b)| i64::from(*a) - i64::from(*b));
        prop_assert_eq!(actual, buffer);
        if let Some(register) = rd.checked_sub(10) {
            prop_assert_eq!(registers[register as usize] as i64, expected);
        }
    }
}
