; SPDX-License-Identifier: GPL-2.0-or-later
;
; The programs that work the guest's memory, as one static executable: `work MODE SEED CPU TARGET`.  machine.ll goes
; before this.
;
; Each mode pins itself to CPU and ends once TARGET pages have been allocated, counted by itself:
;   churn  a region of anonymous memory; random runs of pages are touched, or dropped with MADV_DONTNEED
;   files  sixteen files in the working directory (a tmpfs): appended to, truncated, removed
;   fork   children that write to memory they share with their parent (copy on write), and exit; three at a time
; and two helpers that a shell cannot be:
;   work busiest PAGES_PER_BLOCK BLOCK...   ends with the index (0, 1, ...) of the memory block that holds the most
;          anonymous or tmpfs pages as its exit status, 255 if /proc/kpageflags cannot be read
;   work extract FROM TO   copies page by page until there is nothing more: a trace_pipe_raw has no end, only O_NONBLOCK

; ---------------------------------------------------------------- numbers

; Marsaglia's xorshift64.
define internal i64 @next(i64 %x0) {
  %s1 = shl i64 %x0, 13
  %x1 = xor i64 %x0, %s1
  %s2 = lshr i64 %x1, 7
  %x2 = xor i64 %x1, %s2
  %s3 = shl i64 %x2, 17
  %x3 = xor i64 %x2, %s3
  ret i64 %x3
}

; A number below %bound out of the better bits of %x.
define internal i64 @below(i64 %x, i64 %bound) {
  %high = lshr i64 %x, 20
  %result = urem i64 %high, %bound
  ret i64 %result
}

; The start of a generator: seed and CPU mixed (splitmix64), never 0.
define internal i64 @seeded(i64 %seed, i64 %cpu) {
  %spread = mul i64 %cpu, 7046029254386353131
  %sum = add i64 %seed, %spread
  %z0 = add i64 %sum, -7046029254386353131
  %a = lshr i64 %z0, 30
  %z1 = xor i64 %z0, %a
  %z2 = mul i64 %z1, -4658895280553007687
  %b = lshr i64 %z2, 27
  %z3 = xor i64 %z2, %b
  %z4 = mul i64 %z3, -7723592293110705685
  %c = lshr i64 %z4, 31
  %z5 = xor i64 %z4, %c
  %z6 = or i64 %z5, 1
  ret i64 %z6
}

; ---------------------------------------------------------------- churn

; Writes to pages [%first, %first + %count) of the region; %present has a byte a page.  Returns how many were new.
define internal i64 @touch(i64 %region, i64 %present, i64 %first, i64 %count) {
entry:
  %end = add i64 %first, %count
  br label %loop
loop:
  %page = phi i64 [ %first, %entry ], [ %following, %body ]
  %new = phi i64 [ 0, %entry ], [ %more, %body ]
  %done = icmp eq i64 %page, %end
  br i1 %done, label %out, label %body
body:
  %flag = add i64 %present, %page
  %was = call i64 @load_byte(i64 %flag)
  %absent = sub i64 1, %was
  %more = add i64 %new, %absent
  call void @store_byte(i64 %flag, i64 1)
  %offset = shl i64 %page, 12
  %address = add i64 %region, %offset
  call void @store(i64 %address, i64 %page)
  %following = add i64 %page, 1
  br label %loop
out:
  ret i64 %new
}

; madvise(MADV_DONTNEED) on pages [%first, %first + %count).
define internal void @drop(i64 %region, i64 %present, i64 %first, i64 %count) {
entry:
  %end = add i64 %first, %count
  %offset = shl i64 %first, 12
  %address = add i64 %region, %offset
  %bytes = shl i64 %count, 12
  %result = call i64 @syscall(i64 28, i64 %address, i64 %bytes, i64 4, i64 0, i64 0, i64 0)
  br label %loop
loop:
  %page = phi i64 [ %first, %entry ], [ %following, %body ]
  %done = icmp eq i64 %page, %end
  br i1 %done, label %out, label %body
body:
  %flag = add i64 %present, %page
  call void @store_byte(i64 %flag, i64 0)
  %following = add i64 %page, 1
  br label %loop
out:
  ret void
}

; Runs are 1 to 2^k pages long, k drawn from 0..9, so that single pages and long batches both occur.
define internal void @churn(i64 %seed, i64 %cpu, i64 %target) {
entry:
  %region = call i64 @anonymous(i64 67108864)
  %present = call i64 @anonymous(i64 16384)
  call void @pin(i64 %cpu, i64 %present)
  %word = lshr i64 %cpu, 6
  %where = shl i64 %word, 3
  %mask = add i64 %present, %where
  call void @store(i64 %mask, i64 0)
  %x0 = call i64 @seeded(i64 %seed, i64 %cpu)
  br label %loop
loop:
  %x = phi i64 [ %x0, %entry ], [ %x4, %next ]
  %touched = phi i64 [ 0, %entry ], [ %total, %next ]
  %enough = icmp uge i64 %touched, %target
  br i1 %enough, label %out, label %body
body:
  %x1 = call i64 @next(i64 %x)
  %first = call i64 @below(i64 %x1, i64 16384)
  %x2 = call i64 @next(i64 %x1)
  %k = call i64 @below(i64 %x2, i64 10)
  %longest = shl i64 1, %k
  %x3 = call i64 @next(i64 %x2)
  %short = call i64 @below(i64 %x3, i64 %longest)
  %wish = add i64 %short, 1
  %room = sub i64 16384, %first
  %fits = icmp ule i64 %wish, %room
  %count = select i1 %fits, i64 %wish, i64 %room
  %x4 = call i64 @next(i64 %x3)
  %coin = call i64 @below(i64 %x4, i64 2)
  %heads = icmp eq i64 %coin, 0
  br i1 %heads, label %dropping, label %touching
dropping:
  call void @drop(i64 %region, i64 %present, i64 %first, i64 %count)
  br label %next
touching:
  %new = call i64 @touch(i64 %region, i64 %present, i64 %first, i64 %count)
  br label %next
next:
  %fresh = phi i64 [ 0, %dropping ], [ %new, %touching ]
  %total = add i64 %touched, %fresh
  br label %loop
out:
  ret void
}

; ---------------------------------------------------------------- files

; Writes the name of a file, a letter for the CPU and one for the slot, to %path.
define internal void @name(i64 %path, i64 %cpu, i64 %slot) {
  %upper = add i64 %cpu, 65
  call void @store_byte(i64 %path, i64 %upper)
  %second = add i64 %path, 1
  %letter = add i64 %slot, 65
  call void @store_byte(i64 %second, i64 %letter)
  %third = add i64 %path, 2
  call void @store_byte(i64 %third, i64 0)
  ret void
}

; Of four draws two append 1 to 64 pages (up to 1024 in a file), one truncates to a random page, one removes the file.
define internal void @files(i64 %seed, i64 %cpu, i64 %target) {
entry:
  %buffer = call i64 @anonymous(i64 262144)
  %table = call i64 @anonymous(i64 4096)
  %path = add i64 %table, 2048
  call void @pin(i64 %cpu, i64 %path)
  %x0 = call i64 @seeded(i64 %seed, i64 %cpu)
  br label %loop
loop:
  %x = phi i64 [ %x0, %entry ], [ %x3, %next ]
  %written = phi i64 [ 0, %entry ], [ %total, %next ]
  %enough = icmp uge i64 %written, %target
  br i1 %enough, label %out, label %body
body:
  %x1 = call i64 @next(i64 %x)
  %slot = call i64 @below(i64 %x1, i64 16)
  call void @name(i64 %path, i64 %cpu, i64 %slot)
  %index = shl i64 %slot, 3
  %entry_address = add i64 %table, %index
  %size = call i64 @load(i64 %entry_address)
  %x2 = call i64 @next(i64 %x1)
  %x3 = call i64 @next(i64 %x2)
  %action = call i64 @below(i64 %x2, i64 4)
  switch i64 %action, label %appending [ i64 2, label %truncating
                                         i64 3, label %removing ]
appending:
  %short = call i64 @below(i64 %x3, i64 64)
  %count = add i64 %short, 1
  %grown = add i64 %size, %count
  %fits = icmp ule i64 %grown, 1024
  br i1 %fits, label %write, label %next
write:
  ; open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)
  %fd = call i64 @syscall(i64 2, i64 %path, i64 1089, i64 384, i64 0, i64 0, i64 0)
  %bytes = shl i64 %count, 12
  %done = call i64 @syscall(i64 1, i64 %fd, i64 %buffer, i64 %bytes, i64 0, i64 0, i64 0)
  %closed = call i64 @syscall(i64 3, i64 %fd, i64 0, i64 0, i64 0, i64 0, i64 0)
  %full = icmp ne i64 %done, %bytes
  br i1 %full, label %failed, label %wrote
wrote:
  call void @store(i64 %entry_address, i64 %grown)
  br label %next
failed:
  call void @exit(i64 3)
  unreachable
truncating:
  %choices = add i64 %size, 1
  %shrunk = call i64 @below(i64 %x3, i64 %choices)
  %length = shl i64 %shrunk, 12
  %cut = call i64 @syscall(i64 76, i64 %path, i64 %length, i64 0, i64 0, i64 0, i64 0)
  call void @store(i64 %entry_address, i64 %shrunk)
  br label %next
removing:
  %gone = call i64 @syscall(i64 87, i64 %path, i64 0, i64 0, i64 0, i64 0, i64 0)
  call void @store(i64 %entry_address, i64 0)
  br label %next
next:
  %fresh = phi i64 [ 0, %appending ], [ %count, %wrote ], [ 0, %truncating ], [ 0, %removing ]
  %total = add i64 %written, %fresh
  br label %loop
out:
  ret void
}

; ---------------------------------------------------------------- fork

; The child's life: write to %count pages from %first on, and end.
define internal void @child(i64 %region, i64 %first, i64 %count) noreturn {
entry:
  %end = add i64 %first, %count
  br label %loop
loop:
  %page = phi i64 [ %first, %entry ], [ %following, %body ]
  %done = icmp eq i64 %page, %end
  br i1 %done, label %out, label %body
body:
  %offset = shl i64 %page, 12
  %address = add i64 %region, %offset
  call void @store(i64 %address, i64 1)
  %following = add i64 %page, 1
  br label %loop
out:
  call void @exit(i64 0)
  unreachable
}

define internal void @fork(i64 %seed, i64 %cpu, i64 %target) {
entry:
  %region = call i64 @anonymous(i64 8388608)
  %present = call i64 @anonymous(i64 4096)
  call void @pin(i64 %cpu, i64 %present)
  %word = lshr i64 %cpu, 6
  %where = shl i64 %word, 3
  %mask = add i64 %present, %where
  call void @store(i64 %mask, i64 0)
  %all = call i64 @touch(i64 %region, i64 %present, i64 0, i64 2048)
  %x0 = call i64 @seeded(i64 %seed, i64 %cpu)
  br label %loop
loop:
  %x = phi i64 [ %x0, %entry ], [ %x2, %next ]
  %copied = phi i64 [ 0, %entry ], [ %total, %next ]
  %alive = phi i64 [ 0, %entry ], [ %left, %next ]
  %enough = icmp uge i64 %copied, %target
  br i1 %enough, label %reap, label %body
body:
  %x1 = call i64 @next(i64 %x)
  %first = call i64 @below(i64 %x1, i64 1536)
  %x2 = call i64 @next(i64 %x1)
  %short = call i64 @below(i64 %x2, i64 512)
  %count = add i64 %short, 1
  %total = add i64 %copied, %count
  %pid = call i64 @syscall(i64 57, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0)
  %is_child = icmp eq i64 %pid, 0
  br i1 %is_child, label %in_child, label %in_parent
in_child:
  call void @child(i64 %region, i64 %first, i64 %count)
  unreachable
in_parent:
  %failed = icmp slt i64 %pid, 0
  br i1 %failed, label %no_more, label %born
no_more:
  call void @exit(i64 4)
  unreachable
born:
  %more = add i64 %alive, 1
  %crowd = icmp uge i64 %more, 3
  br i1 %crowd, label %wait, label %next
wait:
  %one = call i64 @syscall(i64 61, i64 -1, i64 0, i64 0, i64 0, i64 0, i64 0)
  %fewer = sub i64 %more, 1
  br label %next
next:
  %left = phi i64 [ %more, %born ], [ %fewer, %wait ]
  br label %loop
reap:
  %waited = call i64 @syscall(i64 61, i64 -1, i64 0, i64 0, i64 0, i64 0, i64 0)
  %was = icmp sgt i64 %waited, 0
  br i1 %was, label %reap, label %out
out:
  ret void
}

; ---------------------------------------------------------------- busiest

; How many of %count entries of 8 bytes at %buffer are swap-backed pages (KPF_SWAPBACKED, bit 14: anonymous and tmpfs).
define internal i64 @swapbacked(i64 %buffer, i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %body ]
  %sum = phi i64 [ 0, %entry ], [ %more, %body ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %offset = shl i64 %i, 3
  %address = add i64 %buffer, %offset
  %flags = call i64 @load(i64 %address)
  %shifted = lshr i64 %flags, 14
  %bit = and i64 %shifted, 1
  %more = add i64 %sum, %bit
  %following = add i64 %i, 1
  br label %loop
out:
  ret i64 %sum
}

; %argv: address of the pointer to the number of pages of a block; %blocks numbers of blocks follow it.
define internal void @busiest(i64 %argv, i64 %blocks) {
entry:
  %string = call i64 @load(i64 %argv)
  %pages = call i64 @decimal(i64 %string)
  %bytes = shl i64 %pages, 3
  %buffer = call i64 @anonymous(i64 %bytes)
  ; "/proc/kpageflags" as two words, and a zero byte that fresh memory has by itself
  call void @store(i64 %buffer, i64 8100620458874007599)
  %second = add i64 %buffer, 8
  call void @store(i64 %second, i64 8315722355165194081)
  %fd = call i64 @syscall(i64 2, i64 %buffer, i64 0, i64 0, i64 0, i64 0, i64 0)
  %closed = icmp slt i64 %fd, 0
  br i1 %closed, label %failed, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %compare ]
  %best = phi i64 [ 0, %entry ], [ %new_best, %compare ]
  %most = phi i64 [ -1, %entry ], [ %new_most, %compare ]
  %done = icmp eq i64 %i, %blocks
  br i1 %done, label %out, label %body
body:
  %following = add i64 %i, 1
  %offset = shl i64 %following, 3
  %slot = add i64 %argv, %offset
  %number_string = call i64 @load(i64 %slot)
  %number = call i64 @decimal(i64 %number_string)
  %position = mul i64 %number, %bytes
  %got = call i64 @syscall(i64 17, i64 %fd, i64 %buffer, i64 %bytes, i64 %position, i64 0, i64 0)
  %short = icmp ne i64 %got, %bytes
  br i1 %short, label %failed, label %compare
compare:
  %used = call i64 @swapbacked(i64 %buffer, i64 %pages)
  %better = icmp sgt i64 %used, %most
  %new_most = select i1 %better, i64 %used, i64 %most
  %new_best = select i1 %better, i64 %i, i64 %best
  br label %loop
failed:
  call void @exit(i64 255)
  unreachable
out:
  call void @exit(i64 %best)
  unreachable
}

; ---------------------------------------------------------------- extract

define internal void @extract(i64 %argv) {
entry:
  %to_slot = add i64 %argv, 8
  %from = call i64 @load(i64 %argv)
  %to = call i64 @load(i64 %to_slot)
  %buffer = call i64 @anonymous(i64 4096)
  ; open(from, O_RDONLY | O_NONBLOCK), open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600)
  %in = call i64 @syscall(i64 2, i64 %from, i64 2048, i64 0, i64 0, i64 0, i64 0)
  %out = call i64 @syscall(i64 2, i64 %to, i64 577, i64 384, i64 0, i64 0, i64 0)
  %fds = or i64 %in, %out
  %closed = icmp slt i64 %fds, 0
  br i1 %closed, label %failed, label %loop
loop:
  %got = call i64 @syscall(i64 0, i64 %in, i64 %buffer, i64 4096, i64 0, i64 0, i64 0)
  %some = icmp sgt i64 %got, 0
  br i1 %some, label %write, label %end
write:
  %put = call i64 @syscall(i64 1, i64 %out, i64 %buffer, i64 %got, i64 0, i64 0, i64 0)
  %whole = icmp eq i64 %put, %got
  br i1 %whole, label %loop, label %failed
end:
  ; 0 at the end of a file, -EAGAIN at the end of a trace
  %eof = icmp eq i64 %got, 0
  %dry = icmp eq i64 %got, -11
  %fine = or i1 %eof, %dry
  br i1 %fine, label %done, label %failed
failed:
  call void @exit(i64 255)
  unreachable
done:
  ret void
}

; ---------------------------------------------------------------- main

; The mode is told by the second letter of its name: c(h)urn, f(i)les, f(o)rk, b(u)siest, e(x)tract.
define internal void @run(i64 %stack) {
  %argc = call i64 @load(i64 %stack)
  %few = icmp ult i64 %argc, 4
  br i1 %few, label %usage, label %enough
enough:
  %argv1 = add i64 %stack, 16
  %argv2 = add i64 %stack, 24
  %argv3 = add i64 %stack, 32
  %argv4 = add i64 %stack, 40
  %mode = call i64 @load(i64 %argv1)
  %at = add i64 %mode, 1
  %letter = call i64 @load_byte(i64 %at)
  %is_busiest = icmp eq i64 %letter, 117
  br i1 %is_busiest, label %do_busiest, label %more
do_busiest:
  %blocks = sub i64 %argc, 3
  call void @busiest(i64 %argv2, i64 %blocks)
  br label %fine
more:
  %is_extract = icmp eq i64 %letter, 120
  br i1 %is_extract, label %do_extract, label %works
do_extract:
  call void @extract(i64 %argv2)
  br label %fine
works:
  %too_few = icmp ult i64 %argc, 5
  br i1 %too_few, label %usage, label %numbers
numbers:
  %seed_string = call i64 @load(i64 %argv2)
  %seed = call i64 @decimal(i64 %seed_string)
  %cpu_string = call i64 @load(i64 %argv3)
  %cpu = call i64 @decimal(i64 %cpu_string)
  %target_string = call i64 @load(i64 %argv4)
  %target = call i64 @decimal(i64 %target_string)
  %is_churn = icmp eq i64 %letter, 104
  br i1 %is_churn, label %do_churn, label %not_churn
do_churn:
  call void @churn(i64 %seed, i64 %cpu, i64 %target)
  br label %fine
not_churn:
  %is_files = icmp eq i64 %letter, 105
  br i1 %is_files, label %do_files, label %not_files
do_files:
  call void @files(i64 %seed, i64 %cpu, i64 %target)
  br label %fine
not_files:
  %is_fork = icmp eq i64 %letter, 111
  br i1 %is_fork, label %do_fork, label %usage
do_fork:
  call void @fork(i64 %seed, i64 %cpu, i64 %target)
  br label %fine
fine:
  call void @exit(i64 0)
  unreachable
usage:
  call void @exit(i64 1)
  unreachable
}
