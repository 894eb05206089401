/*
 * A boot sector that switches the processor to 64-bit mode, computes something there, and
 * tells QEMU's isa-debug-exit device (port 0xf4) the result: QEMU ends with status
 * (value << 1) | 1. accel.c boots it to find out whether 64-bit guests run at all.
 *
 * Intel SDM vol. 3A, 10.8.5 "Initializing IA-32e Mode".
 */

#define PML4	   0x1000	/* page tables; the first 2 MiB are mapped to themselves */
#define PDPT	   0x2000
#define PD	   0x3000
#define CODE64	   0x08
#define DEBUG_EXIT 0xf4
#define MSR_EFER   0xc0000080

	.section .rodata
	.globl probe64, probe64_size
probe64:
	.code16
0:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp

	/* Three empty page tables, then one entry in each. */
	movw	$PML4, %di
	movw	$0x3000 / 2, %cx
	cld
	rep stosw
	movw	$PDPT | 3, PML4
	movw	$PD | 3, PDPT
	movw	$0x83, PD

	/* PAE, long mode enable, then paging and protection together. */
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$PML4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$0x100, %eax
	wrmsr
	lgdtl	0x7c00 + (4f - 0b)
	movl	%cr0, %eax
	orl	$0x80000001, %eax
	movl	%eax, %cr0
	ljmpl	$CODE64, $0x7c00 + (2f - 0b)

	.code64
	/* Sums 1..1000 in a register that only 64-bit code has, shifted beyond 32 bits. */
2:	xorq	%r15, %r15
	movq	$1000, %r14
3:	addq	%r14, %r15
	decq	%r14
	jnz	3b
	shlq	$32, %r15
	movabsq	$500500 << 32, %rax
	cmpq	%rax, %r15
	movb	$0x2a, %al
	je	5f
	movb	$0x01, %al
5:	outb	%al, $DEBUG_EXIT
6:	hlt
	jmp	6b

	.balign	8
7:	.quad	0
	.quad	0x00209a0000000000	/* 64-bit code, present, ring 0 */
4:	.word	4b - 7b - 1
	.long	0x7c00 + (7b - 0b)

	.org	0b + 510
	.byte	0x55, 0xaa

probe64_size:
	.long	probe64_size - probe64

	.section .note.GNU-stack, "", @progbits
