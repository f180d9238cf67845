//! A second RV64IMAC machine, written from the RISC-V manual with wide arithmetic and without looking at the crate's
//! decoder, translation or executor. Slow and plain.

#![allow(clippy::precedence, reason = "the manual's bit fields are long enough without parentheses")]

use std::collections::BTreeMap;

const RAM: std::ops::Range<i128> = 0xa000_0000..0xc000_0000;
const ROM: std::ops::Range<i128> = 0x8000_0000..0xa000_0000;
const INPUT: std::ops::Range<i128> = 0x1000_0000..0x3000_0000;

/// Any reason why the program cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck(pub String);

pub struct Reference {
    pub x: [u64; 32],
    pub pc: i128,
    /// Bytes of ROM and those of RAM that are not zero.
    pub bytes: BTreeMap<i128, u8>,
    pub compressed: bool,
    reservation: Option<i128>,
    code: std::ops::Range<i128>,
}

impl Reference {
    pub fn new(code: &[u8], address: i128, compressed: bool) -> Self {
        let bytes = (address..).zip(code.iter().copied()).collect();
        let code = address..address + code.len() as i128;
        Self { x: [0; 32], pc: address, bytes, compressed, reservation: None, code }
    }

    /// Runs to the exit call.
    pub fn run(&mut self, limit: usize) -> Result<(), Stuck> {
        for _ in 0..limit {
            if self.step()? {
                return Ok(());
            }
        }
        Err(Stuck("does not end".into()))
    }

    fn load(&self, address: i128, bytes: i128) -> Result<i128, Stuck> {
        let mut value = 0;
        for i in 0..bytes {
            let at = address + i;
            // ROM exists in words of 8 bytes.
            let exists = RAM.contains(&at)
                || INPUT.contains(&at)
                || ROM.contains(&at) && (0..8).any(|j| self.bytes.contains_key(&((at & !7) + j)));
            if !exists {
                return Err(Stuck(format!("load at {address:#x}")));
            }
            value += i128::from(self.bytes.get(&at).copied().unwrap_or(0)) << (8 * i);
        }
        Ok(value)
    }

    fn store(&mut self, address: i128, bytes: i128, value: u64) -> Result<(), Stuck> {
        for i in 0..bytes {
            if !RAM.contains(&(address + i)) {
                return Err(Stuck(format!("store at {address:#x}")));
            }
        }
        for i in 0..bytes {
            self.bytes.insert(address + i, (value >> (8 * i)) as u8);
        }
        Ok(())
    }

    fn halfword(&self, address: i128) -> Result<u32, Stuck> {
        let inside = |at| self.code.contains(&at);
        if !inside(address) || !inside(address + 1) {
            return Err(Stuck(format!("no code at {address:#x}")));
        }
        Ok(u32::from(self.bytes[&address]) + 256 * u32::from(self.bytes[&(address + 1)]))
    }

    /// One instruction; true at the exit call.
    fn step(&mut self) -> Result<bool, Stuck> {
        if self.pc % if self.compressed { 2 } else { 4 } != 0 {
            return Err(Stuck(format!("misaligned pc {:#x}", self.pc)));
        }
        let low = self.halfword(self.pc)?;
        let (word, length) = if low % 4 == 3 {
            (self.halfword(self.pc + 2)? * 65536 + low, 4)
        } else if self.compressed {
            (expand(low).ok_or_else(|| Stuck(format!("compressed {low:#x}")))?, 2)
        } else {
            return Err(Stuck(format!("instruction {low:#x}")));
        };
        self.execute(word, length)
    }

    fn execute(&mut self, word: u32, length: i128) -> Result<bool, Stuck> {
        let illegal = || Stuck(format!("instruction {word:#x}"));
        let field = |from: u32, to: u32| i128::from(word >> to) % (1 << (from - to + 1));
        let (opcode, rd, f3) = (field(6, 0), field(11, 7) as usize, field(14, 12));
        let (rs1, rs2, f7) = (field(19, 15) as usize, field(24, 20) as usize, field(31, 25));
        // Unsigned and signed values of the operands.
        let (u1, u2) = (i128::from(self.x[rs1]), i128::from(self.x[rs2]));
        let (s1, s2) = (signed(u1, 64), signed(u2, 64));
        let imm_i = signed(field(31, 20), 12);
        let imm_s = signed(field(31, 25) * 32 + field(11, 7), 12);
        let imm_b = signed(field(31, 31) * 4096 + field(7, 7) * 2048 + field(30, 25) * 32 + field(11, 8) * 2, 13);
        let imm_u = signed(field(31, 12) * 4096, 32);
        let imm_j = signed(field(31, 31) * (1 << 20) + field(19, 12) * 4096 + field(20, 20) * 2048 + field(30, 21) * 2, 21);
        let mut next = self.pc + length;
        let result: Option<i128> = match opcode {
            0b0110111 => Some(imm_u),
            0b0010111 => Some(self.pc + imm_u),
            0b1101111 => {
                let link = next;
                next = self.pc + imm_j;
                Some(link)
            }
            0b1100111 if f3 == 0 => {
                let link = next;
                next = unsigned(s1 + imm_i, 64);
                next -= next % 2;
                Some(link)
            }
            0b1100011 => {
                let taken = match f3 {
                    0b000 => u1 == u2,
                    0b001 => u1 != u2,
                    0b100 => s1 < s2,
                    0b101 => s1 >= s2,
                    0b110 => u1 < u2,
                    0b111 => u1 >= u2,
                    _ => return Err(illegal()),
                };
                if taken {
                    next = self.pc + imm_b;
                }
                None
            }
            0b0000011 => {
                let bytes = 1 << (f3 % 4);
                let value = match f3 {
                    0b111 => return Err(illegal()),
                    _ => self.load(unsigned(s1 + imm_i, 64), bytes)?,
                };
                Some(if f3 < 4 { signed(value, 8 * bytes as u32) } else { value })
            }
            0b0100011 => {
                if f3 > 3 {
                    return Err(illegal());
                }
                self.store(unsigned(s1 + imm_s, 64), 1 << f3, self.x[rs2])?;
                None
            }
            0b0010011 => {
                let shift = field(25, 20) as u32;
                Some(match (f3, field(31, 26)) {
                    (0b000, _) => s1 + imm_i,
                    (0b010, _) => i128::from(s1 < imm_i),
                    (0b011, _) => i128::from(u1 < unsigned(imm_i, 64)),
                    (0b100, _) => s1 ^ imm_i,
                    (0b110, _) => s1 | imm_i,
                    (0b111, _) => s1 & imm_i,
                    (0b001, 0) => u1 << shift,
                    (0b101, 0) => u1 >> shift,
                    (0b101, 0b010000) => s1 >> shift,
                    _ => return Err(illegal()),
                })
            }
            0b0011011 => {
                let shift = field(24, 20) as u32;
                let (u, s) = (unsigned(u1, 32), signed(u1, 32));
                let value = match (f3, f7) {
                    (0b000, _) => s1 + imm_i,
                    (0b001, 0) => u << shift,
                    (0b101, 0) => u >> shift,
                    (0b101, 0b0100000) => s >> shift,
                    _ => return Err(illegal()),
                };
                Some(signed(value, 32))
            }
            0b0110011 => {
                let shift = (u2 % 64) as u32;
                Some(match (f7, f3) {
                    (0, 0b000) => s1 + s2,
                    (0b0100000, 0b000) => s1 - s2,
                    (0, 0b001) => u1 << shift,
                    (0, 0b010) => i128::from(s1 < s2),
                    (0, 0b011) => i128::from(u1 < u2),
                    (0, 0b100) => s1 ^ s2,
                    (0, 0b101) => u1 >> shift,
                    (0b0100000, 0b101) => s1 >> shift,
                    (0, 0b110) => s1 | s2,
                    (0, 0b111) => s1 & s2,
                    (1, 0b000) => s1.wrapping_mul(s2),
                    (1, 0b001) => (s1 * s2) >> 64,
                    (1, 0b010) => (s1 * u2) >> 64,
                    (1, 0b011) => (self.x[rs1] as u128 * self.x[rs2] as u128 >> 64) as i128,
                    (1, 0b100) => divide(s1, s2).0,
                    (1, 0b101) => divide(u1, u2).0,
                    (1, 0b110) => divide(s1, s2).1,
                    (1, 0b111) => divide(u1, u2).1,
                    _ => return Err(illegal()),
                })
            }
            0b0111011 => {
                let shift = (u2 % 32) as u32;
                let (u1, u2, s1, s2) = (unsigned(u1, 32), unsigned(u2, 32), signed(u1, 32), signed(u2, 32));
                let value = match (f7, f3) {
                    (0, 0b000) => s1 + s2,
                    (0b0100000, 0b000) => s1 - s2,
                    (0, 0b001) => u1 << shift,
                    (0, 0b101) => u1 >> shift,
                    (0b0100000, 0b101) => s1 >> shift,
                    (1, 0b000) => s1 * s2,
                    (1, 0b100) => divide(s1, s2).0,
                    (1, 0b101) => divide(u1, u2).0,
                    (1, 0b110) => divide(s1, s2).1,
                    (1, 0b111) => divide(u1, u2).1,
                    _ => return Err(illegal()),
                };
                Some(signed(value, 32))
            }
            0b0101111 => {
                let bits = match f3 {
                    0b010 => 32,
                    0b011 => 64,
                    _ => return Err(illegal()),
                };
                let funct = field(31, 27);
                let known = [0b00010, 0b00011, 0, 1, 0b00100, 0b01000, 0b01100, 0b10000, 0b10100, 0b11000, 0b11100];
                if !known.contains(&funct) || funct == 0b00010 && rs2 != 0 {
                    return Err(illegal());
                }
                let bytes = i128::from(bits / 8);
                if u1 % bytes != 0 {
                    return Err(Stuck(format!("misaligned atomic at {u1:#x}")));
                }
                let loaded = self.load(u1, bytes)?;
                let operand = u2;
                let (a, b) = (signed(loaded, bits), signed(operand, bits));
                let (ua, ub) = (unsigned(loaded, bits), unsigned(operand, bits));
                match funct {
                    0b00010 => {
                        self.reservation = Some(u1);
                        Some(a)
                    }
                    0b00011 => {
                        let success = self.reservation.take() == Some(u1);
                        if success {
                            self.store(u1, bytes, operand as u64)?;
                        }
                        Some(i128::from(!success))
                    }
                    _ => {
                        let value = match funct {
                            0b00000 => a + b,
                            0b00001 => b,
                            0b00100 => a ^ b,
                            0b01000 => a | b,
                            0b01100 => a & b,
                            0b10000 => a.min(b),
                            0b10100 => a.max(b),
                            0b11000 => ua.min(ub),
                            _ => ua.max(ub),
                        };
                        self.store(u1, bytes, unsigned(value, 64) as u64)?;
                        Some(a)
                    }
                }
            }
            0b0001111 if f3 < 2 => None,
            0b1110011 if word == 0x73 => {
                return if self.x[17] == 93 { Ok(true) } else { Err(Stuck("environment call".into())) };
            }
            // csrr rd, marchid
            0b1110011 if field(31, 20) == 0xf12 && rs1 == 0 && [2, 3, 6, 7].contains(&f3) => Some(0x0fff_eeee),
            _ => return Err(illegal()),
        };
        if let Some(value) = result
            && rd != 0
        {
            self.x[rd] = unsigned(value, 64) as u64;
        }
        self.pc = next;
        Ok(false)
    }
}

fn unsigned(value: i128, bits: u32) -> i128 {
    value.rem_euclid(1 << bits)
}

fn signed(value: i128, bits: u32) -> i128 {
    let value = unsigned(value, bits);
    if value >= 1 << (bits - 1) { value - (1 << bits) } else { value }
}

/// Quotient and remainder as the M extension defines them; overflow comes out right when the result is truncated.
fn divide(a: i128, b: i128) -> (i128, i128) {
    if b == 0 { (-1, a) } else { (a / b, a % b) }
}

/// The 32-bit instruction a compressed one stands for; None if it is reserved or not of RV64IMAC. From the tables "RVC
/// instruction listing" of the manual.
pub fn expand(half: u32) -> Option<u32> {
    // `at(bits)` gathers the named bits of the halfword, most significant first.
    let at = |bits: &[u32]| bits.iter().fold(0, |value, bit| value * 2 + (half >> bit) % 2);
    let rd = at(&[11, 10, 9, 8, 7]);
    let rs2 = at(&[6, 5, 4, 3, 2]);
    let rd_p = at(&[9, 8, 7]) + 8;
    let rs2_p = at(&[4, 3, 2]) + 8;
    let imm6 = at(&[12, 6, 5, 4, 3, 2]);
    let imm6_signed = if imm6 >= 32 { 0xfc0 + imm6 } else { imm6 };
    let i = |imm: u32, rs1: u32, f3: u32, rd: u32, op: u32| (imm & 0xfff) << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
    let r = |f7: u32, rs2: u32, rs1: u32, f3: u32, rd: u32, op: u32| f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
    let s = |imm: u32, rs2: u32, rs1: u32, f3: u32| r(imm >> 5, rs2, rs1, f3, imm % 32, 0b0100011);
    let (lw, ld, sw, sd) = (2, 3, 2, 3);
    Some(match (half % 4, half >> 13) {
        (0, 0b000) => {
            let imm = at(&[10, 9, 8, 7, 12, 11, 5, 6]) * 4;
            if imm == 0 {
                return None;
            }
            i(imm, 2, 0, rs2_p, 0b0010011)
        }
        (0, 0b010) => i(at(&[5, 12, 11, 10, 6]) * 4, rd_p, lw, rs2_p, 0b0000011),
        (0, 0b011) => i(at(&[6, 5, 12, 11, 10]) * 8, rd_p, ld, rs2_p, 0b0000011),
        (0, 0b110) => s(at(&[5, 12, 11, 10, 6]) * 4, rs2_p, rd_p, sw),
        (0, 0b111) => s(at(&[6, 5, 12, 11, 10]) * 8, rs2_p, rd_p, sd),
        (1, 0b000) => i(imm6_signed, rd, 0, rd, 0b0010011),
        (1, 0b001) if rd != 0 => i(imm6_signed, rd, 0, rd, 0b0011011),
        (1, 0b010) => i(imm6_signed, 0, 0, rd, 0b0010011),
        (1, 0b011) if imm6 == 0 => return None,
        (1, 0b011) if rd == 2 => {
            let imm = at(&[12, 4, 3, 5, 2, 6]) * 16;
            i(if imm >= 512 { imm + 0xc00 } else { imm }, 2, 0, 2, 0b0010011)
        }
        (1, 0b011) => (if imm6 >= 32 { 0xfffc0 + imm6 } else { imm6 }) << 12 | rd << 7 | 0b0110111,
        (1, 0b100) => match (at(&[11, 10]), at(&[12]), at(&[6, 5])) {
            (0b00, _, _) => i(imm6, rd_p, 0b101, rd_p, 0b0010011),
            (0b01, _, _) => i(imm6 + 0x400, rd_p, 0b101, rd_p, 0b0010011),
            (0b10, _, _) => i(imm6_signed, rd_p, 0b111, rd_p, 0b0010011),
            (_, 0, 0b00) => r(0b0100000, rs2_p, rd_p, 0b000, rd_p, 0b0110011),
            (_, 0, 0b01) => r(0, rs2_p, rd_p, 0b100, rd_p, 0b0110011),
            (_, 0, 0b10) => r(0, rs2_p, rd_p, 0b110, rd_p, 0b0110011),
            (_, 0, 0b11) => r(0, rs2_p, rd_p, 0b111, rd_p, 0b0110011),
            (_, _, 0b00) => r(0b0100000, rs2_p, rd_p, 0b000, rd_p, 0b0111011),
            (_, _, 0b01) => r(0, rs2_p, rd_p, 0b000, rd_p, 0b0111011),
            _ => return None,
        },
        (1, 0b101) => {
            let bit = |n: u32| at(&[n]);
            // offset[11|4|9:8|10|6|7|3:1|5] in bits 12 to 2
            let offset = bit(12) << 11
                | bit(11) << 4
                | at(&[10, 9]) << 8
                | bit(8) << 10
                | bit(7) << 6
                | bit(6) << 7
                | at(&[5, 4, 3]) << 1
                | bit(2) << 5;
            let offset = if offset >= 2048 { offset + 0x1f_f000 } else { offset };
            let imm = (offset >> 20) % 2 << 19 | (offset >> 1) % 1024 << 9 | (offset >> 11) % 2 << 8 | (offset >> 12) % 256;
            imm << 12 | 0b1101111
        }
        (1, f3 @ (0b110 | 0b111)) => {
            let bit = |n: u32| at(&[n]);
            // offset[8|4:3] in bits 12 to 10, offset[7:6|2:1|5] in bits 6 to 2
            let offset = bit(12) << 8 | at(&[11, 10]) << 3 | at(&[6, 5]) << 6 | at(&[4, 3]) << 1 | bit(2) << 5;
            let offset = if offset >= 256 { offset + 0x1e00 } else { offset };
            let high = (offset >> 12) % 2 << 6 | (offset >> 5) % 64;
            let low = (offset >> 1) % 16 << 1 | (offset >> 11) % 2;
            r(high, 0, rd_p, f3 - 0b110, low, 0b1100011)
        }
        (2, 0b000) => i(imm6, rd, 0b001, rd, 0b0010011),
        (2, 0b010) if rd != 0 => i(at(&[3, 2, 12, 6, 5, 4]) * 4, 2, lw, rd, 0b0000011),
        (2, 0b011) if rd != 0 => i(at(&[4, 3, 2, 12, 6, 5]) * 8, 2, ld, rd, 0b0000011),
        (2, 0b100) => match (at(&[12]), rd, rs2) {
            (0, 0, 0) => return None,
            (0, _, 0) => i(0, rd, 0, 0, 0b1100111),
            (0, _, _) => r(0, rs2, 0, 0, rd, 0b0110011),
            (_, 0, 0) => 0x0010_0073,
            (_, _, 0) => i(0, rd, 0, 1, 0b1100111),
            _ => r(0, rs2, rd, 0, rd, 0b0110011),
        },
        (2, 0b110) => s(at(&[8, 7, 12, 11, 10, 9]) * 4, rs2, 2, sw),
        (2, 0b111) => s(at(&[9, 8, 7, 12, 11, 10]) * 8, rs2, 2, sd),
        _ => return None,
    })
}
