/* Calls, loops, recursion, jump tables, constants, division. */
#include "check.h"
.globl _start
.text
_start:
    la sp, stack_end
    li a0, 15
    call fibonacci
    check_equal a0, 610

    /* Sum of a table in constants. */
    la t0, table
    li t1, 8
    li a0, 0
1:  lw t2, 0(t0)
    add a0, a0, t2
    addi t0, t0, 4
    addi t1, t1, -1
    bnez t1, 1b
    check_equal a0, -4

    /* A jump table. */
    li s0, 0
    li s1, 0
next_case:
    la t0, jumps
    slli t1, s1, 3
    add t0, t0, t1
    ld t0, 0(t0)
    jr t0
case0:
    addi s0, s0, 1
    j after_case
case1:
    slli s0, s0, 4
    j after_case
case2:
    xori s0, s0, 0x55
after_case:
    addi s1, s1, 1
    li t0, 3
    bne s1, t0, next_case
    check_equal s0, 0x45

    /* jalr with rd = rs1, and with an odd target. */
    la t0, 2f
    addi t0, t0, 1
    jalr t0, 0(t0)
3:  j fail
2:  la t1, 3b
    sub t0, t0, t1
    check_equal t0, 0

    /* Greatest common divisor, and what does not divide. */
    li a0, 1071
    li a1, 462
4:  beqz a1, 5f
    remu t0, a0, a1
    mv a0, a1
    mv a1, t0
    j 4b
5:  check_equal a0, 21
    li t0, -9223372036854775808
    li t1, -1
    div t2, t0, t1
    check_equal t2, -9223372036854775808
    rem t2, t0, t1
    check_equal t2, 0
    divu t2, t0, zero
    check_equal t2, -1
    remw t2, t1, zero
    check_equal t2, -1
    mulh t2, t0, t0
    check_equal t2, 0x4000000000000000
    mulhsu t2, t0, t1
    check_equal t2, -9223372036854775808

    /* auipc and lui. */
    auipc t0, 0
6:  la t1, 6b
    sub t0, t1, t0
    check_equal t0, 4
    lui t0, 0x80000
    check_equal t0, -2147483648
    pass

fibonacci:
    li t0, 2
    blt a0, t0, 1f
    addi sp, sp, -24
    sd ra, 0(sp)
    sd s0, 8(sp)
    sd s1, 16(sp)
    mv s0, a0
    addi a0, s0, -1
    call fibonacci
    mv s1, a0
    addi a0, s0, -2
    call fibonacci
    add a0, a0, s1
    ld ra, 0(sp)
    ld s0, 8(sp)
    ld s1, 16(sp)
    addi sp, sp, 24
1:  ret

.balign 8
table: .word 1, 2, 3, 4, -5, -6, -7, 4
jumps: .dword case0, case1, case2
.data
.skip 4096
stack_end: .dword 0
