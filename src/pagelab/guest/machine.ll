; SPDX-License-Identifier: GPL-2.0-or-later
;
; What the programs that run in a guest share: how they start, reach memory, and call the kernel.
;
; Why LLVM text: a user's machine need not have a compiler, and llvmlite is a dependency of pagelab anyway.  A shell or
; perl script would allocate for itself, differently in each release; this touches exactly what it says, from a seed,
; fast enough under emulation.  Memory is reached through @load and @store on plain i64 addresses, so that the text
; is valid for every LLVM that llvmlite has carried (typed or opaque pointers).  There is no data section and
; no relocation: guest/elf.py wraps the code as it is.

target triple = "x86_64-unknown-linux-gnu"

module asm ".text"
module asm "_start:"
module asm "  xorl %ebp, %ebp"
module asm "  movq %rsp, %rdi"
module asm "  andq $-16, %rsp"
module asm "  call run"
module asm "  ud2"

; ---------------------------------------------------------------- the machine

define internal i64 @syscall(i64 %number, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f) noinline {
  %result = call i64 asm sideeffect "syscall", "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}"(i64 %number, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f)
  ret i64 %result
}

define internal i64 @load(i64 %address) {
  %value = call i64 asm sideeffect "movq ($1), $0", "=r,r,~{memory}"(i64 %address)
  ret i64 %value
}

define internal void @store(i64 %address, i64 %value) {
  call void asm sideeffect "movq $1, ($0)", "r,r,~{memory}"(i64 %address, i64 %value)
  ret void
}

define internal i64 @load_byte(i64 %address) {
  %value = call i64 asm sideeffect "movzbq ($1), $0", "=r,r,~{memory}"(i64 %address)
  ret i64 %value
}

define internal void @store_byte(i64 %address, i64 %value) {
  call void asm sideeffect "movb ${1:b}, ($0)", "r,q,~{memory}"(i64 %address, i64 %value)
  ret void
}

; ---------------------------------------------------------------- system calls

define internal void @exit(i64 %status) noreturn {
  %never = call i64 @syscall(i64 231, i64 %status, i64 0, i64 0, i64 0, i64 0, i64 0)
  unreachable
}

; Private anonymous memory, readable and writable; ends the program with status 2 if there is none.
define internal i64 @anonymous(i64 %bytes) {
  %address = call i64 @syscall(i64 9, i64 0, i64 %bytes, i64 3, i64 34, i64 -1, i64 0)
  %failed = icmp ugt i64 %address, -4096
  br i1 %failed, label %none, label %some
none:
  call void @exit(i64 2)
  unreachable
some:
  ret i64 %address
}

; Runs only on this CPU from here on (sched_setaffinity); %scratch has room for the 128 byte mask.
define internal void @pin(i64 %cpu, i64 %scratch) {
  %word = lshr i64 %cpu, 6
  %bit = and i64 %cpu, 63
  %mask = shl i64 1, %bit
  %offset = shl i64 %word, 3
  %address = add i64 %scratch, %offset
  call void @store(i64 %address, i64 %mask)
  %result = call i64 @syscall(i64 203, i64 0, i64 128, i64 %scratch, i64 0, i64 0, i64 0)
  ret void
}

; A decimal number from a string that ends with a zero byte.
define internal i64 @decimal(i64 %string) {
entry:
  br label %loop
loop:
  %at = phi i64 [ %string, %entry ], [ %following, %digit ]
  %value = phi i64 [ 0, %entry ], [ %larger, %digit ]
  %char = call i64 @load_byte(i64 %at)
  %end = icmp eq i64 %char, 0
  br i1 %end, label %done, label %digit
digit:
  %tens = mul i64 %value, 10
  %units = sub i64 %char, 48
  %larger = add i64 %tens, %units
  %following = add i64 %at, 1
  br label %loop
done:
  ret i64 %value
}
