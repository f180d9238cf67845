//! A prover may choose every `Advice` and may take `alt_pc` of a load or store without need. Neither may change what a
//! program does: these tests run rows as such a prover would.
#![allow(clippy::precedence, reason = "fields of instructions")]

mod common;

use std::collections::BTreeMap;

use common::executable;
use proptest::prelude::*;
use zisk_machine::memory_map::{HALT_PC, REGISTERS};
use zisk_machine::program::{Op, Program, Row, Src2};

/// Where a run of rows ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Halted {
        exit_code: u64,
    },
    /// At a pc without a row: there is no proof.
    Stuck,
}

/// Runs rows; `advise` makes up advice from the honest one, and `detour` is whether to take the way around a load or
/// store.
fn forge(program: &Program, mut advise: impl FnMut(u64) -> u64, mut detour: impl FnMut(&Row) -> bool) -> End {
    let rows: BTreeMap<u32, &Row> = program.rows.iter().map(|row| (row.pc, row)).collect();
    let mut bytes: BTreeMap<u64, u8> = BTreeMap::new();
    for (word, value) in &program.image {
        bytes.extend((u64::from(*word) * 8..).zip(value.to_le_bytes()));
    }
    let mut x = [0u64; REGISTERS];
    let mut pc = program.entry;
    while let Some(row) = rows.get(&pc) {
        let b = x[row.rs1 as usize];
        let c = match row.src2 {
            Src2::Reg(rs2) => x[rs2 as usize],
            Src2::Imm(value) => value as u64,
        };
        pc = row.next_pc;
        let sext = |value: u64| value as i32 as u64;
        let mut branch = |taken: bool| {
            if taken {
                pc = row.alt_pc;
            }
            None
        };
        let result = match row.op {
            Op::Add => Some(b.wrapping_add(c)),
            Op::Sub => Some(b.wrapping_sub(c)),
            Op::AddW => Some(sext(b.wrapping_add(c))),
            Op::SubW => Some(sext(b.wrapping_sub(c))),
            Op::Advice => Some(advise(b.checked_div(c).unwrap_or(0))),
            Op::And => Some(b & c),
            Op::Or => Some(b | c),
            Op::Xor => Some(b ^ c),
            Op::Sll => Some(b.wrapping_shl(c as u32)),
            Op::Srl => Some(b.wrapping_shr(c as u32)),
            Op::Sra => Some((b as i64).wrapping_shr(c as u32) as u64),
            Op::SllW => Some((b as i32).wrapping_shl(c as u32) as u64),
            Op::SrlW => Some(sext((b as u32).wrapping_shr(c as u32).into())),
            Op::SraW => Some((b as i32).wrapping_shr(c as u32) as u64),
            Op::Slt => Some(u64::from((b as i64) < c as i64)),
            Op::Sltu => Some(u64::from(b < c)),
            Op::Mul => Some(b.wrapping_mul(c)),
            Op::Mulhu => Some((u128::from(b) * u128::from(c) >> 64) as u64),
            Op::Beq => branch(b == c),
            Op::Bne => branch(b != c),
            Op::Blt => branch((b as i64) < c as i64),
            Op::Bge => branch(b as i64 >= c as i64),
            Op::Bltu => branch(b < c),
            Op::Bgeu => branch(b >= c),
            Op::Jalr | Op::Return => {
                let target = b.wrapping_add(c);
                let Ok(target) = u32::try_from(target) else { return End::Stuck };
                pc = if row.op == Op::Jalr { target & !1 } else { target };
                Some(row.next_pc.into())
            }
            op => {
                let width = u64::from(op.width());
                let store = matches!(op, Op::Sb | Op::Sh | Op::Sw | Op::Sd);
                let address = b.wrapping_add(if store { row.offset as u64 } else { c });
                if width > 1 && (address % width != 0 || detour(row)) {
                    pc = row.alt_pc;
                    None
                } else if store {
                    bytes.extend((address..).zip(c.to_le_bytes()).take(width as usize));
                    None
                } else {
                    let value = (0..width)
                        .rev()
                        .fold(0, |value, at| value << 8 | u64::from(bytes.get(&(address + at)).copied().unwrap_or(0)));
                    Some(match op {
                        Op::Lb => value as i8 as u64,
                        Op::Lh => value as i16 as u64,
                        Op::Lw => value as i32 as u64,
                        _ => value,
                    })
                }
            }
        };
        if let Some(value) = result {
            assert!(row.rd != 0);
            x[row.rd as usize] = value;
        }
    }
    if pc == HALT_PC { End::Halted { exit_code: x[10] } } else { End::Stuck }
}

/// Loads and stores whose way around is not a failing check.
fn passable(program: &Program) -> impl Fn(&Row) -> bool {
    let pcs: std::collections::HashSet<u32> = program.rows.iter().map(|row| row.pc).collect();
    move |row: &Row| pcs.contains(&row.alt_pc)
}

#[test]
fn needless_detours_change_nothing() {
    let elves: [&[u8]; 4] = [
        include_bytes!("programs/control.elf"),
        include_bytes!("programs/misaligned.elf"),
        include_bytes!("programs/atomics.elf"),
        include_bytes!("programs/compressed.elf"),
    ];
    for elf in elves {
        let machine = executable(elf);
        let program = machine.program();
        let passable = passable(program);
        assert_eq!(forge(program, |honest| honest, |_| false), End::Halted { exit_code: 0 });
        assert_eq!(forge(program, |honest| honest, &passable), End::Halted { exit_code: 0 });
        let mut odd = false;
        let some = |row: &Row| {
            odd = !odd;
            odd && passable(row)
        };
        assert_eq!(forge(program, |honest| honest, some), End::Halted { exit_code: 0 });
    }
}

/// Every detour that leads to a check is stuck, at once.
#[test]
fn detours_of_atomics_are_stuck() {
    let machine = executable(include_bytes!("programs/atomics.elf"));
    let program = machine.program();
    let passable = passable(program);
    assert_eq!(forge(program, |honest| honest, |row| !passable(row)), End::Stuck);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Only the honest quotient gets through.
    #[test]
    fn wrong_quotients_are_stuck(
        op in 0..8u32,
        word in any::<bool>(),
        (a, b) in (edge(), edge()),
        difference in prop_oneof![-3..=3i64, any::<i64>()],
        exponent in 0..65u32,
    ) {
        let opcode = if word && op >= 4 { 0x3b } else { 0x33 };
        let op = 4 + op % 4;
        // ld x10, 32(x31); ld x11, 40(x31); div x10, x10, x11; li a7, 93; ecall
        let words = [
            0x0000_0f97,
            0x020f_b503,
            0x028f_b583,
            0x0200_0000 | 11 << 20 | 10 << 15 | op << 12 | 10 << 7 | opcode,
            0x05d0_0893,
            0x73,
            0,
            0,
        ];
        let mut code: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        code.extend(a.to_le_bytes());
        code.extend(b.to_le_bytes());
        let machine = executable(&common::elf(&code, false));
        let program = machine.program();
        let honest = forge(program, |honest| honest, |_| false);
        prop_assert_ne!(&honest, &End::Stuck);
        let mut changed = false;
        let forged = forge(
            program,
            |honest| {
                let step = 1u64.checked_shl(exponent).unwrap_or(1);
                let value = honest.wrapping_add((difference as u64).wrapping_mul(step));
                changed = value != honest;
                value
            },
            |_| false,
        );
        prop_assert_eq!(forged, if changed { End::Stuck } else { honest });
    }
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        prop::sample::select(vec![0, 1, 2, 3, 1 << 31, 1 << 32, 1 << 63, u64::MAX, u64::MAX - 1, 0xffff_ffff]),
        (any::<u64>(), 0..64u32).prop_map(|(value, shift)| value >> shift),
    ]
}
