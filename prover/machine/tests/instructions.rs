//! Every instruction against the reference machine, through translation, execution, segments and replay.
#![allow(clippy::precedence, reason = "fields of instructions")]

mod common;
mod reference;

use proptest::prelude::*;
use reference::Reference;
use zisk_machine::decode::{decode, decode_compressed};

use common::{CODE, elf, executable, final_state, run};

/// Values where arithmetic goes wrong first, and addresses: of RAM (aligned or not, at its ends), of code, of nothing.
const EDGES: [u64; 36] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    93,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0xffff_ffff_0000_0000,
    0xffff_ffff_7fff_ffff,
    0xffff_ffff_8000_0000,
    u64::MAX - 1,
    u64::MAX,
    0xa000_0800,
    0xa000_1001,
    0xa000_1802,
    0xa000_2004,
    0xa000_2807,
    0xa000_0800,
    0xa000_0800,
    0xbfff_fffd,
    0x9fff_fffe,
    0x8000_0104,
    0x8000_0180,
    0x2fff_ffff,
];

/// One valid encoding of every 32-bit instruction of RV64IMA, registers and constants zero.
const INSTRUCTIONS: [(&str, u32, u32); 93] = {
    const R: u32 = 0x01ff_8f80;
    const I: u32 = 0xffff_8f80;
    const SHIFT: u32 = 0x03ff_8f80;
    const SHIFT_W: u32 = R;
    [
        ("lui", 0x37, 0xffff_ff80),
        ("auipc", 0x17, 0xffff_ff80),
        ("jalr", 0x67, I),
        ("lb", 0x03, I),
        ("lh", 0x1003, I),
        ("lw", 0x2003, I),
        ("ld", 0x3003, I),
        ("lbu", 0x4003, I),
        ("lhu", 0x5003, I),
        ("lwu", 0x6003, I),
        ("sb", 0x23, I | R),
        ("sh", 0x1023, I | R),
        ("sw", 0x2023, I | R),
        ("sd", 0x3023, I | R),
        ("addi", 0x13, I),
        ("slti", 0x2013, I),
        ("sltiu", 0x3013, I),
        ("xori", 0x4013, I),
        ("ori", 0x6013, I),
        ("andi", 0x7013, I),
        ("slli", 0x1013, SHIFT),
        ("srli", 0x5013, SHIFT),
        ("srai", 0x4000_5013, SHIFT),
        ("addiw", 0x1b, I),
        ("slliw", 0x101b, SHIFT_W),
        ("srliw", 0x501b, SHIFT_W),
        ("sraiw", 0x4000_501b, SHIFT_W),
        ("add", 0x33, R),
        ("sub", 0x4000_0033, R),
        ("sll", 0x1033, R),
        ("slt", 0x2033, R),
        ("sltu", 0x3033, R),
        ("xor", 0x4033, R),
        ("srl", 0x5033, R),
        ("sra", 0x4000_5033, R),
        ("or", 0x6033, R),
        ("and", 0x7033, R),
        ("addw", 0x3b, R),
        ("subw", 0x4000_003b, R),
        ("sllw", 0x103b, R),
        ("srlw", 0x503b, R),
        ("sraw", 0x4000_503b, R),
        ("mul", 0x0200_0033, R),
        ("mulh", 0x0200_1033, R),
        ("mulhsu", 0x0200_2033, R),
        ("mulhu", 0x0200_3033, R),
        ("div", 0x0200_4033, R),
        ("divu", 0x0200_5033, R),
        ("rem", 0x0200_6033, R),
        ("remu", 0x0200_7033, R),
        ("mulw", 0x0200_003b, R),
        ("divw", 0x0200_403b, R),
        ("divuw", 0x0200_503b, R),
        ("remw", 0x0200_603b, R),
        ("remuw", 0x0200_703b, R),
        ("lr.w", 0x1000_202f, 0x060f_8f80),
        ("lr.d", 0x1000_302f, 0x060f_8f80),
        ("sc.w", 0x1800_202f, 0x07ff_8f80),
        ("sc.d", 0x1800_302f, 0x07ff_8f80),
        ("amoswap.w", 0x0800_202f, 0x07ff_8f80),
        ("amoadd.w", 0x0000_202f, 0x07ff_8f80),
        ("amoxor.w", 0x2000_202f, 0x07ff_8f80),
        ("amoand.w", 0x6000_202f, 0x07ff_8f80),
        ("amoor.w", 0x4000_202f, 0x07ff_8f80),
        ("amomin.w", 0x8000_202f, 0x07ff_8f80),
        ("amomax.w", 0xa000_202f, 0x07ff_8f80),
        ("amominu.w", 0xc000_202f, 0x07ff_8f80),
        ("amomaxu.w", 0xe000_202f, 0x07ff_8f80),
        ("amoswap.d", 0x0800_302f, 0x07ff_8f80),
        ("amoadd.d", 0x0000_302f, 0x07ff_8f80),
        ("amoxor.d", 0x2000_302f, 0x07ff_8f80),
        ("amoand.d", 0x6000_302f, 0x07ff_8f80),
        ("amoor.d", 0x4000_302f, 0x07ff_8f80),
        ("amomin.d", 0x8000_302f, 0x07ff_8f80),
        ("amomax.d", 0xa000_302f, 0x07ff_8f80),
        ("amominu.d", 0xc000_302f, 0x07ff_8f80),
        ("amomaxu.d", 0xe000_302f, 0x07ff_8f80),
        ("fence", 0x0f, I),
        ("fence.i", 0x100f, I),
        ("csrr marchid", 0xf120_2073, 0x0f80),
        // Branches and jumps over up to three instructions.
        ("beq +8", 0x0000_0463, 0x01ff_8000),
        ("bne +8", 0x0000_1463, 0x01ff_8000),
        ("blt +8", 0x0000_4463, 0x01ff_8000),
        ("bge +8", 0x0000_5463, 0x01ff_8000),
        ("bltu +8", 0x0000_6463, 0x01ff_8000),
        ("bgeu +8", 0x0000_7463, 0x01ff_8000),
        ("blt +16", 0x0000_4863, 0x01ff_8000),
        ("bgeu +12", 0x0000_7663, 0x01ff_8000),
        ("jal +8", 0x0080_006f, 0x0f80),
        ("jal +16", 0x0100_006f, 0x0f80),
        ("ebreak", 0x0010_0073, 0),
        ("ecall", 0x0000_0073, 0),
        ("anything", 0, u32::MAX),
    ]
};

/// The program: loads x1 to x31 from constants behind the code, does `body`, exits.
fn program(body: &[u8], registers: &[u64; 31]) -> Vec<u8> {
    let mut code: Vec<u8> = Vec::new();
    let mut word = |word: u32| code.extend(word.to_le_bytes());
    const DATA: u32 = 1024;
    word(0x0000_0f97); // auipc x31, 0
    for register in 1..32u32 {
        word((DATA + 8 * register) << 20 | 31 << 15 | 3 << 12 | register << 7 | 0x03);
    }
    code.extend(body);
    let mut word = |word: u32| code.extend(word.to_le_bytes());
    for _ in 0..4 {
        word(0x13);
    }
    word(93 << 20 | 17 << 7 | 0x13);
    word(0x73);
    assert!(code.len() <= DATA as usize);
    code.resize(DATA as usize + 8, 0);
    for value in registers {
        code.extend(value.to_le_bytes());
    }
    code
}

/// Both machines do the same.
fn agree(body: &[u8], registers: &[u64; 31], compressed: bool) {
    let code = program(body, registers);
    let mut reference = Reference::new(&code, CODE.into(), compressed);
    let expected = reference.run(1000);
    let machine = executable(&elf(&code, compressed));
    match (expected, run_limited(&machine)) {
        (Ok(()), Ok((x, memory))) => {
            assert_eq!(x, reference.x);
            let mut bytes = reference.bytes;
            bytes.retain(|_, byte| *byte != 0);
            let actual = memory
                .into_iter()
                .flat_map(|(word, value)| (i128::from(word) * 8..).zip(value.to_le_bytes()))
                .filter(|(_, byte)| *byte != 0)
                .collect();
            assert_eq!(bytes, actual);
        }
        (Err(_), Err(_)) => {}
        (expected, actual) => panic!("reference: {expected:?}, machine: {:?}", actual.map(|_| ())),
    }
}

type FinalState = ([u64; 32], std::collections::BTreeMap<u32, u64>);

fn run_limited(machine: &zisk_machine::executable::Executable) -> Result<FinalState, String> {
    let limited = zisk_machine::executor::Executor::new(machine).max_steps(50_000);
    limited.execute(&[]).map_err(|error| error.to_string())?;
    let (_, segments) = run(machine, &[], 6).map_err(|error| error.to_string())?;
    Ok(final_state(&segments))
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => prop::sample::select(&EDGES[..]),
        1 => any::<u64>(),
        1 => any::<i32>().prop_map(|value| value as u64),
        1 => (any::<u64>(), 0..64u32).prop_map(|(value, shift)| value >> shift),
    ]
}

fn registers() -> impl Strategy<Value = [u64; 31]> {
    prop::collection::vec(value(), 31).prop_map(|values| values.try_into().expect("31 values"))
}

/// Constants of loads and stores near zero too, so that addresses stay where the register points.
fn fields() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), any::<u32>().prop_map(|fields| fields & 0x007f_ffff)]
}

fn instruction() -> impl Strategy<Value = u32> {
    (prop::sample::select(&INSTRUCTIONS[..INSTRUCTIONS.len() - 3]), fields())
        .prop_map(|((_, base, mask), fields)| base | fields & mask)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn each_instruction_alone() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
    for (name, base, mask) in INSTRUCTIONS {
        let result = runner.run(&(fields(), registers()), |(fields, registers)| {
            agree(&bytes(&[base | fields & mask]), &registers, false);
            Ok(())
        });
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

/// All pairs of edge values for what has two operands and the most cases.
#[test]
fn division_and_multiplication_of_edges() {
    let division = |name: &str| ["mul", "div", "rem"].iter().any(|start| name.starts_with(start));
    for (_, base, _) in INSTRUCTIONS.iter().filter(|(name, ..)| division(name)) {
        for a in EDGES[..24].iter() {
            // 24 divisors at a time: x1 is divided by x2 to x25, which are replaced by the results.
            let mut registers = [*a; 31];
            registers[1..25].copy_from_slice(&EDGES[..24]);
            let body: Vec<_> = (2..26).map(|x| base | 1 << 15 | x << 20 | x << 7).collect();
            agree(&bytes(&body), &registers, false);
        }
    }
}

#[test]
fn compressed_instructions_expand_as_the_manual_says() {
    for half in (0..=u16::MAX).filter(|half| half & 3 != 3) {
        match (decode_compressed(half), reference::expand(half.into())) {
            (Ok(actual), Some(word)) => assert_eq!(Ok(actual), decode(word), "{half:#06x}"),
            (Err(_), None) => {}
            (actual, expected) => panic!("{half:#06x}: {actual:?} instead of {expected:x?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sequences(words in prop::collection::vec(instruction(), 1..30), registers in registers()) {
        agree(&bytes(&words), &registers, false);
    }

    #[test]
    fn compressed_sequences(
        parts in prop::collection::vec(prop_oneof![
            2 => any::<u16>().prop_map(|half| (half & !3 | half % 3).to_le_bytes().to_vec()),
            1 => instruction().prop_map(|word| word.to_le_bytes().to_vec()),
        ], 1..20),
        registers in registers(),
    ) {
        agree(&parts.concat(), &registers, true);
    }

    #[test]
    fn reservations(words in prop::collection::vec((0..6usize, 1..4u32, 1..4u32), 1..20)) {
        // x1 to x3 hold addresses of which two are equal.
        const LR_SC: [u32; 6] = [0x1000_202f, 0x1000_302f, 0x1800_202f, 0x1800_302f, 0x0800_302f, 0x3023];
        let mut registers = [5; 31];
        registers[..3].copy_from_slice(&[0xa000_0100, 0xa000_0100, 0xa000_0108]);
        let words: Vec<_> = (4..)
            .zip(words)
            .map(|(rd, (op, rs1, rs2))| {
                let rd = if op == 5 { 0 } else { rd };
                LR_SC[op] | rd << 7 | rs1 << 15 | if op < 2 { 0 } else { rs2 << 20 }
            })
            .collect();
        agree(&bytes(&words), &registers, false);
    }
}
