//! Attacks on the instruction tables: each cell of honest rows is changed; see `stark::check::attack_rows`.

use zisk_machine::program::{Op, Row, Src2};
use zisk_machine::trace::Step;

use super::adapter::F;
use super::{add, instruction};
use crate::stark::check::{Balance, attack_rows, check_table};
use crate::stark::table::{Columns, Table};

/// Values at which carries, signs and limbs change.
pub const EDGES: [u64; 12] = [
    0,
    1,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    0x0123_4567_89ab_cdef,
];

/// A step of `rd = rs1 op src2` with result `a`, at plausible times, and its row (whose index is `index`).
pub fn step(index: u32, op: Op, b: u64, c: u64, a: u64, imm: bool) -> (Step, Row) {
    let row = Row {
        pc: 0x9000_0000 + 4 * index,
        op,
        rd: 5,
        rs1: 6,
        src2: if imm { Src2::Imm(c as i64) } else { Src2::Reg(7) },
        offset: 0,
        next_pc: 0x9000_0004 + 4 * index,
        alt_pc: 0,
        advice: None,
    };
    let clk = 20_000 + index;
    let step = Step {
        clk,
        row: index,
        next_pc: row.next_pc,
        b,
        c,
        a,
        prev_a: 0x1111_2222_3333_4444,
        ts_b: 4 * clk - 70_000,
        ts_c: if imm { 0 } else { 4 * clk - 1 },
        ts_a: 4 * clk - 66_000,
        ..Step::default()
    };
    (step, row)
}

/// Checks that honest rows hold and that no cell of a real row can be changed unnoticed, except the columns listed (by index).
pub fn attack_instruction<C: Columns<F>>(
    table: &impl Table,
    steps: &[(Step, Row)],
    fill: impl Fn(&mut C, &Step, &Row) + Sync,
    free_columns: &[usize],
) {
    let (steps, rows): (Vec<_>, Vec<_>) = steps.iter().cloned().unzip();
    let trace = instruction::steps(&steps, &rows, fill);
    let mut balance = Balance::new();
    check_table(table, None, &trace, 1, &mut balance).expect("honest rows hold");
    // Every look-up of an honest row must be answered by its fixed table.
    for (bus, tuple) in balance.keys() {
        assert_ne!(bus.look_up(tuple), Some(false), "table {} asks {bus:?} {tuple:?}", table.name());
    }
    let free: Vec<_> = attack_rows(table, None, &trace, 1, 0..steps.len())
        .into_iter()
        .filter(|cell| !free_columns.contains(&cell.column))
        .collect();
    assert!(free.is_empty(), "table {}: free cells {free:?}", table.name());
}

#[test]
fn no_cell_of_add_is_free() {
    let mut steps = Vec::new();
    for (i, &b) in EDGES.iter().enumerate() {
        for &c in &EDGES {
            let n = steps.len() as u32;
            let word = |x: u64| x as u32 as i32 as u64;
            steps.push(match (i + n as usize) % 4 {
                0 => step(n, Op::Add, b, c, b.wrapping_add(c), false),
                1 => step(n, Op::Sub, b, c, b.wrapping_sub(c), false),
                2 => step(n, Op::AddW, b, c, word(b.wrapping_add(c)), false),
                _ => step(n, Op::SubW, b, c, word(b.wrapping_sub(c)), false),
            });
        }
        let n = steps.len() as u32;
        steps.push(step(n, Op::Add, b, 0xffff_ffff_ffff_fff8, b.wrapping_sub(8), true));
    }
    attack_instruction(&add::Add, &steps, add::fill, &[]);
}
