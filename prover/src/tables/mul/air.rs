use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::MulColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, code, one_flag, three_operands};
use crate::tables::bitwise::bytes::bytes;

/// The table.
pub struct Mul;

impl Table for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn width(&self) -> usize {
        MulColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let MulColumns { common, is_mul, is_mulhu, b_low, c_low, low, carry } = MulColumns::<B::Expr>::of(row);

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_mul, is_mulhu]);
        let number = is_mul.clone() * F::from_u32(code(Op::Mul, false)) + is_mulhu.clone() * F::from_u32(code(Op::Mulhu, false));
        three_operands(b, &real, number, common);

        let b_bytes = bytes(&common.b, b_low);
        let c_bytes = bytes(&common.c.value, c_low);
        for bytes in [&b_bytes, &c_bytes] {
            for pair in bytes.chunks_exact(2) {
                b.send(Bus::Bytes, real.clone(), pair);
            }
        }

        // Limb by limb: products of bytes + carry in = limb + 2^16 carry out. The left side is below 8 * 257 * 255^2 + 2^14 < p.
        // Limbs have 16 bits. Carries have 16 bits each and their sum is below 2^14 (in an honest row below 8200), so each is, and
        // the right side is below 2^30 < p: each equation has one solution.
        // The high half only counts for Mulhu, where a has its limbs; so for Mul its carries are zero.
        for t in 0..8 {
            let mut sum = if t == 0 { B::Expr::ZERO } else { carry[t - 1].clone() };
            for k in [2 * t, 2 * t + 1] {
                let weight = if k % 2 == 0 { F::ONE } else { F::from_u32(256) };
                for i in k.saturating_sub(7)..=k.min(7) {
                    sum += b_bytes[i].clone() * c_bytes[k - i].clone() * weight;
                }
            }
            if t < 7 {
                sum -= carry[t].clone() * F::from_u32(1 << 16);
            }
            if t < 4 {
                b.assert_eq(sum, low[t].clone());
                b.assert_zero(is_mul.clone() * (common.a[t].clone() - low[t].clone()));
            } else {
                b.assert_zero(is_mulhu.clone() * (sum - common.a[t - 4].clone()));
            }
        }
        for high in &carry[4..] {
            b.assert_zero(is_mul.clone() * high.clone());
        }
        // The last limb is what the product of 64-bit values has above 2^112, so it has 16 bits without a look-up.
        for x in low.iter().chain(&common.a[..3]).chain(carry) {
            b.send(Bus::Range16, real.clone(), &[x.clone()]);
        }
        let carries = carry.iter().cloned().fold(B::Expr::ZERO, |sum, x| sum + x);
        b.send(Bus::Range16, real, &[carries * F::from_u32(4)]);
    }
}
