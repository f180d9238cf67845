/* Loads and stores of every width at every alignment, across words, against single bytes. */
#include "check.h"
.globl _start
.text

/* After a store of s2 at s0 + offset: the bytes there are those of s2, the bytes around it are kept. */
.macro store_and_load width, bytes, load, loadu
    li s3, 0
1:  /* offset */
    la s0, buffer
    li t0, 0
2:  add t1, s0, t0
    li t2, 0xa5
    sb t2, 0(t1)
    addi t0, t0, 1
    li t2, 32
    bne t0, t2, 2b
    add s4, s0, s3
    s\width s2, 8(s4)
    /* every byte */
    li t0, 0
3:  add t1, s0, t0
    lbu t1, 0(t1)
    sub t2, t0, s3
    addi t2, t2, -8
    li t3, \bytes
    bgeu t2, t3, 4f
    slli t2, t2, 3
    srl t2, s2, t2
    andi t2, t2, 0xff
    j 5f
4:  li t2, 0xa5
5:  sub t1, t1, t2
    check_equal t1, 0
    addi t0, t0, 1
    li t2, 32
    bne t0, t2, 3b
    /* loads, also into their own base */
    \load t1, 8(s4)
    li t0, 64 - 8 * \bytes
    sll t2, s2, t0
    sra t2, t2, t0
    sub t1, t1, t2
    check_equal t1, 0
    addi t1, s4, 8
    \loadu t1, 0(t1)
    sll t2, s2, t0
    srl t2, t2, t0
    sub t1, t1, t2
    check_equal t1, 0
    addi s3, s3, 1
    li t0, 9
    bne s3, t0, 1b
.endm

_start:
    li s2, 0xfedcba9876543281
    li s5, 2
again:
    store_and_load b, 1, lb, lbu
    store_and_load h, 2, lh, lhu
    store_and_load w, 4, lw, lwu
    store_and_load d, 8, ld, ld
    li s2, 0x0123456789abcdef
    addi s5, s5, -1
    bnez s5, again

    /* Constants in code, not aligned; the same into x0. */
    la t0, constants
    ld t1, 1(t0)
    check_equal t1, 0x0807060504030201
    lw t1, 3(t0)
    check_equal t1, 0x06050403
    lh zero, 3(t0)
    check_equal zero, 0
    pass
.balign 8
constants: .byte 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
.data
buffer: .skip 64
