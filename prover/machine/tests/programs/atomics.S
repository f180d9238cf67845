/* LR, SC and every AMO, on both halves of a word. */
#include "check.h"
.globl _start
.text
.macro amo op, before, operand, after
    la t0, cell
    li t1, \before
    sd t1, 0(t0)
    sd t1, 8(t0)
    li t2, \operand
    amo\op\().d t3, t2, (t0)
    check_equal t3, \before
    ld t3, 0(t0)
    check_equal t3, \after
    ld t3, 8(t0)
    check_equal t3, \before
.endm
.macro amow op, before, operand, after
    la t0, cell
    li t1, \before
    li t2, 0x1234567800000000
    sd t2, 0(t0)
    sw t1, 4(t0)
    addi t0, t0, 4
    li t2, \operand
    amo\op\().w t3, t2, (t0)
    check_equal t3, \before
    lw t3, 0(t0)
    check_equal t3, \after
    lw t3, -4(t0)
    check_equal t3, 0
.endm
_start:
    amo swap, 5, -7, -7
    amo add, 0x7fffffffffffffff, 1, -9223372036854775808
    amo xor, 0x0ff0, 0x00ff, 0x0f0f
    amo and, 0x0ff0, 0x00ff, 0x00f0
    amo or, 0x0ff0, 0x00ff, 0x0fff
    amo min, 3, -1, -1
    amo min, -1, 3, -1
    amo max, 3, -1, 3
    amo max, -1, 3, 3
    amo minu, 3, -1, 3
    amo minu, -1, 3, 3
    amo maxu, 3, -1, -1
    amo maxu, -1, 3, -1
    amow swap, 5, -7, -7
    amow add, 0x7fffffff, 1, -2147483648
    amow xor, 0x0ff0, 0x00ff, 0x0f0f
    amow and, 0x0ff0, 0x00ff, 0x00f0
    amow or, 0x0ff0, 0x00ff, 0x0fff
    amow min, 3, -1, -1
    amow min, -1, 3, -1
    amow max, 3, -1, 3
    amow max, -1, 3, 3
    amow minu, 3, 0xffffffff, 3
    amow minu, -1, 3, 3
    amow maxu, 3, 0x1ffffffff, -1
    amow maxu, -1, 0xf00000003, -1

    /* A lock taken and released, and a counter. */
    la s0, cell
    sd zero, 0(s0)
    li s1, 100
1:  lr.d t0, (s0)
    addi t0, t0, 3
    sc.d t1, t0, (s0)
    bnez t1, 1b
    addi s1, s1, -1
    bnez s1, 1b
    ld t0, 0(s0)
    check_equal t0, 300

    /* SC without reservation, after another SC, and elsewhere. */
    li t2, 7
    sc.w t1, t2, (s0)
    check_equal t1, 1
    lr.w t0, (s0)
    check_equal t0, 300
    sc.w t1, t2, (s0)
    check_equal t1, 0
    sc.w t1, t2, (s0)
    check_equal t1, 1
    lr.w t0, (s0)
    addi s1, s0, 4
    sc.w t1, t2, (s1)
    check_equal t1, 1
    ld t0, 0(s0)
    check_equal t0, 7

    /* rd is also an operand. */
    li t2, 9
    amoadd.d t2, t2, (s0)
    check_equal t2, 7
    mv t2, s0
    amoswap.d t2, s1, (t2)
    check_equal t2, 16
    fence
    pass
.data
.balign 16
cell: .dword 0, 0
