use p3_field::PrimeCharacteristicRing;
use zisk_machine::program::Op;

use super::columns::ShiftColumns;
use crate::stark::table::{Bus, Columns, Table, TableBuilder};
use crate::tables::adapter::{F, code, one_flag, three_operands, top_bit};
use crate::tables::bitwise::bytes::bytes;

/// 1 / 64.
pub(super) const INV_64: F = F::new(2_097_414_145);

/// The table.
pub struct Shift;

impl Table for Shift {
    fn name(&self) -> &'static str {
        "shift"
    }

    fn width(&self) -> usize {
        ShiftColumns::<F>::WIDTH
    }

    fn eval<B: TableBuilder>(&self, _: &[B::Expr], row: &[B::Expr], b: &mut B) {
        let row = ShiftColumns::<B::Expr>::of(row);
        let ShiftColumns { common, is_sll, is_srl, is_sra, is_sll_w, is_srl_w, is_sra_w, moved, carry, sign, .. } = row;
        let one = B::Expr::ONE;

        // Exactly one operation on a real row, and the row the program has for it.
        let real = one_flag(b, &[is_sll, is_srl, is_sra, is_sll_w, is_srl_w, is_sra_w]);
        let number = is_sll.clone() * F::from_u32(code(Op::Sll, false))
            + is_srl.clone() * F::from_u32(code(Op::Srl, false))
            + is_sra.clone() * F::from_u32(code(Op::Sra, false))
            + is_sll_w.clone() * F::from_u32(code(Op::SllW, false))
            + is_srl_w.clone() * F::from_u32(code(Op::SrlW, false))
            + is_sra_w.clone() * F::from_u32(code(Op::SraW, false));
        three_operands(b, &real, number, common);
        let word = is_sll_w.clone() + is_srl_w.clone() + is_sra_w.clone();
        let right_long = is_srl.clone() + is_sra.clone();
        let right_word = is_srl_w.clone() + is_sra_w.clone();
        let left = is_sll.clone() + is_sll_w.clone();
        let right = right_long.clone() + right_word.clone();

        // The amount's parts: bits, and at most one of the marks for the bytes to move by.
        for bit in &row.bits {
            b.assert_bool(bit.clone());
        }
        let [bit0, bit1, bit2] = &row.bits;
        let mut moves = B::Expr::ZERO;
        let mut amount = bit0.clone() + bit1.clone() * F::TWO + bit2.clone() * F::from_u32(4);
        for (mark, n) in row.move_bytes.iter().zip(1..) {
            b.assert_bool(mark.clone());
            moves += mark.clone();
            amount += mark.clone() * F::from_u32(8 * n);
        }
        b.assert_bool(moves.clone());
        let mut moves_by = vec![one.clone() - moves];
        moves_by.extend(row.move_bytes.iter().cloned());
        // 32-bit operations take the amount mod 32.
        for mark in &moves_by[4..] {
            b.assert_zero(word.clone() * mark.clone());
        }
        b.assert_bool(row.ignored_bit.clone());
        b.assert_zero((one.clone() - word.clone()) * row.ignored_bit.clone());
        // c's low limb (16 bits) = low + 64 high with low < 64 and high < 2^16, over the integers as both sides are small.
        let low = amount + row.ignored_bit.clone() * F::from_u32(32);
        b.send(Bus::Range16, real.clone(), &[(common.c.value[0].clone() - low) * INV_64]);
        // 2^(amount mod 8).
        let power = row.power_less_1.clone() + F::ONE;
        b.assert_eq(
            power.clone(),
            (bit0.clone() + F::ONE) * (bit1.clone() * F::from_u32(3) + F::ONE) * (bit2.clone() * F::from_u32(15) + F::ONE),
        );

        // Bytes of b.
        let b_bytes = bytes(&common.b, &row.b_low);
        for pair in b_bytes.chunks_exact(2) {
            b.send(Bus::Bytes, real.clone(), pair);
        }

        // One sign per row: of what is shifted for Sra and SraW, of the result for the other 32-bit operations. For Sll and Srl
        // `signed` is 0, and so is its top bit.
        let signed = is_sra.clone() * common.b[3].clone()
            + is_sra_w.clone() * common.b[1].clone()
            + (is_sll_w.clone() + is_srl_w.clone()) * common.a[1].clone();
        b.assert_eq(row.signed.clone(), signed);
        top_bit(b, &real, &row.signed, sign);

        // b moved by whole bytes. For 32-bit operations the upper half of `moved` is zero and not used.
        for j in 0..4 {
            let mut sum = B::Expr::ZERO;
            for (n, mark) in moves_by.iter().enumerate() {
                let (mut up, mut down_long, mut down_word) = (B::Expr::ZERO, B::Expr::ZERO, B::Expr::ZERO);
                for (k, weight) in [(2 * j, F::ONE), (2 * j + 1, F::from_u32(256))] {
                    if k >= n {
                        up += b_bytes[k - n].clone() * weight;
                    }
                    if k + n < 8 {
                        down_long += right_long.clone() * b_bytes[k + n].clone() * weight;
                    } else {
                        down_long += is_sra.clone() * sign.clone() * (weight * F::from_u32(255));
                    }
                    if k + n < 4 {
                        down_word += right_word.clone() * b_bytes[k + n].clone() * weight;
                    } else {
                        down_word += is_sra_w.clone() * sign.clone() * (weight * F::from_u32(255));
                    }
                }
                sum += mark.clone()
                    * if j < 2 {
                        left.clone() * up + down_long + if n < 4 { down_word } else { B::Expr::ZERO }
                    } else {
                        is_sll.clone() * up + down_long
                    };
            }
            b.assert_eq(moved[j].clone(), sum);
        }

        // Left: moved * power = result + what falls out at the top. Right: result * power + rest = moved, with rest < power; for a
        // negative value 2^64 (or 2^32) is taken off both the result and `moved`, so there is (power - 1) 2^64 more on the right.
        // Limb by limb x * power + carry in = y + 2^16 carry out; x and y have 16 bits, carries are bytes, power is at most 128: both
        // sides are below 2^24, so each equation holds over the integers and, multiplying from below, has one solution.
        for a in &common.a {
            b.send(Bus::Range16, real.clone(), &[a.clone()]);
        }
        b.send(Bus::Bytes, real.clone(), &[carry[0].clone(), carry[1].clone()]);
        b.send(Bus::Bytes, real.clone(), &[carry[2].clone(), carry[3].clone()]);
        for j in 0..4 {
            let (lefts, rights) = if j < 2 { (left.clone(), right.clone()) } else { (is_sll.clone(), right_long.clone()) };
            // `rest` is zero for left shifts, see below.
            let carry_in = if j == 0 { row.rest.clone() } else { carry[j - 1].clone() };
            let carries = carry_in - carry[j].clone() * F::from_u32(1 << 16);
            b.assert_zero(lefts * (moved[j].clone() * power.clone() + carries.clone() - common.a[j].clone()));
            b.assert_zero(rights * (common.a[j].clone() * power.clone() + carries - moved[j].clone()));
        }
        let fill = row.power_less_1.clone() * sign.clone();
        b.assert_zero(is_srl.clone() * carry[3].clone());
        b.assert_zero(is_sra.clone() * (carry[3].clone() - fill.clone()));
        b.assert_zero(is_srl_w.clone() * carry[1].clone());
        b.assert_zero(is_sra_w.clone() * (carry[1].clone() - fill));
        b.assert_zero(word.clone() * carry[2].clone());
        b.assert_zero(word.clone() * carry[3].clone());
        // rest < power: rest * 256 = power * (a byte). Both are bytes, so this holds over the integers.
        b.send(Bus::Bytes, real.clone(), &[row.rest.clone(), row.rest_up.clone()]);
        b.assert_eq(row.rest.clone() * F::from_u32(256), row.rest_up.clone() * power);
        b.assert_zero((one - right) * row.rest.clone());

        // 32-bit results are sign-extended. (SraW's sign is that of the value, so also of the result.)
        for a in &common.a[2..] {
            b.assert_zero(word.clone() * (a.clone() - sign.clone() * F::from_u32(0xffff)));
        }
    }
}
