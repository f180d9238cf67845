/* Each compressed instruction, written as such. */
#include "check.h"
.globl _start
.text
.option rvc
_start:
    la sp, stack
    c.addi4spn a0, sp, 16
    sub t0, a0, sp
    check_equal t0, 16
    c.li a1, -5
    check_equal a1, -5
    c.sw a1, 4(a0)
    c.lw a2, 4(a0)
    check_equal a2, -5
    c.sd a1, 120(a0)
    c.ld a3, 120(a0)
    check_equal a3, -5
    c.swsp a1, 252(sp)
    c.lwsp s0, 252(sp)
    check_equal s0, -5
    c.sdsp a1, 504(sp)
    c.ldsp s1, 504(sp)
    check_equal s1, -5
    c.nop
    c.addi s1, 31
    check_equal s1, 26
    c.addi s1, -32
    check_equal s1, -6
    c.li s1, -1
    c.srli s1, 1
    check_equal s1, 0x7fffffffffffffff
    c.addiw s1, 2
    check_equal s1, 1
    c.li s1, -1
    c.slli s1, 63
    check_equal s1, -9223372036854775808
    c.srai s1, 62
    check_equal s1, -2
    c.andi s1, 11
    check_equal s1, 10
    c.li s0, 12
    c.mv a4, s0
    c.sub a4, s1
    check_equal a4, 2
    c.mv a4, s0
    c.xor a4, s1
    check_equal a4, 6
    c.mv a4, s0
    c.or a4, s1
    check_equal a4, 14
    c.mv a4, s0
    c.and a4, s1
    check_equal a4, 8
    lui a4, 0x80000
    c.mv a5, a4
    c.subw a5, s1
    check_equal a5, 0x7ffffff6
    c.mv a5, a4
    c.addw a5, a4
    check_equal a5, 0
    c.add a5, s1
    check_equal a5, 10
    c.lui a5, 0xfffe1
    check_equal a5, -126976
    c.lui a5, 31
    check_equal a5, 126976
    mv t0, sp
    c.addi16sp sp, -512
    c.addi16sp sp, 496
    sub t0, sp, t0
    check_equal t0, -16
    c.j 1f
    j fail
1:  c.li a0, 0
    c.beqz a0, 2f
    j fail
2:  c.bnez a0, 3f
    c.li a0, 7
3:  c.bnez a0, 4f
    j fail
4:  la t0, function
    c.jalr t0
    check_equal a0, 8
    la t0, 5f
    c.jr t0
    j fail
5:  /* A loop of instructions of both lengths, some across words. */
    c.li a0, 0
    li a1, 1000
6:  addi a0, a0, 3
    c.addi a1, -1
    bnez a1, 6b
    check_equal a0, 3000
    la t0, 7f
    /* Into the middle of an instruction, where another one stands: c.li a0, 1; c.nop. */
    addi t0, t0, 2
    c.jr t0
7:  .word 0x45050537
    c.nop
    check_equal a0, 1
    pass
function:
    c.addi a0, 1
    ret
.data
.balign 16
stack: .skip 1024
