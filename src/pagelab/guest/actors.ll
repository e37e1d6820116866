; SPDX-License-Identifier: GPL-2.0-or-later
;
; The actors of a plan that is forced on a guest (pagelab.guest.steered): `actor MODE CPU ...`.  machine.ll goes before
; this.
;
; An actor pins itself to CPU, gets ready, and says so; then it sleeps until the host tells it to act, acts once, says
; so, and sleeps until it is killed.  It talks through words at a fixed address, which the host finds through its page
; tables (the page may be migrated), and reads and writes while the guest stands:
;   0x10000000   the host stores 1: act (for "call": 1 prepare, 2 act)
;   0x10000008   1 ready, 2 done
;   0x10000010   what the last system call of the act returned
;   0x10000400   the entries of /proc/self/pagemap of the pages to be freed
; Pages to be freed are at 0x20000000.  Before it touches them it touches FILLER pages at 0x30000000 and keeps these:
; that empties its CPU's pcplist where a refill takes a single page, and there the pages are in a row.
;   free CPU COUNT FILLER   the last reference to each page is given up singly: pages in a pipe that is closed
;   drop CPU COUNT FILLER   pages are freed as one list: MADV_DONTNEED
;   touch CPU TIMES FILLER  a page is allocated and freed again singly, a number of times
;   write CPU FILE TEXT     open(), write()
;   kill CPU PID            SIGINT
;   call CPU 0 FILLER       getppid() to prepare, to act, and once more; the host sends the CPU to another function of the
;                           kernel at the entry of one
;   stock CPU COUNT FILLER  pages are freed at once, before it is ready
;   wait CPU 0 FILLER       ends when it is told to act

; mmap() of anonymous memory at an address.
define internal void @map(i64 %address, i64 %bytes) {
  %got = call i64 @syscall(i64 9, i64 %address, i64 %bytes, i64 3, i64 50, i64 -1, i64 0)
  %wrong = icmp ne i64 %got, %address
  br i1 %wrong, label %none, label %some
none:
  call void @exit(i64 2)
  unreachable
some:
  ret void
}

; Writes to each of %count pages.
define internal void @touch(i64 %first, i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %body ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %offset = shl i64 %i, 12
  %address = add i64 %first, %offset
  call void @store(i64 %address, i64 1)
  %following = add i64 %i, 1
  br label %loop
out:
  ret void
}

; madvise(MADV_DONTNEED)
define internal i64 @drop(i64 %first, i64 %count) {
  %bytes = shl i64 %count, 12
  %result = call i64 @syscall(i64 28, i64 %first, i64 %bytes, i64 4, i64 0, i64 0, i64 0)
  ret i64 %result
}

; madvise(MADV_COLD) of the page with the words: it drains the CPU's batch of pages on their way to the LRU lists, which
; has a reference to each.
define internal void @drain_lru_batch() {
  %result = call i64 @syscall(i64 28, i64 268435456, i64 4096, i64 20, i64 0, i64 0, i64 0)
  ret void
}

; The last references to the pages at 0x20000000 are in pipes, whose descriptors are from 0x10000100 on.
define internal void @into_pipes(i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %fine ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %slot = shl i64 %i, 3
  %fds = add i64 %slot, 268435712
  %page_offset = shl i64 %i, 12
  %page = add i64 %page_offset, 536870912
  ; an iovec at 0x10000080
  call void @store(i64 268435584, i64 %page)
  call void @store(i64 268435592, i64 4096)
  %both = call i64 @load(i64 %fds)
  %writing = lshr i64 %both, 32
  %spliced = call i64 @syscall(i64 278, i64 %writing, i64 268435584, i64 1, i64 0, i64 0, i64 0)
  %failed = icmp ne i64 %spliced, 4096
  br i1 %failed, label %wrong, label %fine
wrong:
  call void @exit(i64 3)
  unreachable
fine:
  %following = add i64 %i, 1
  br label %loop
out:
  %dropped = call i64 @drop(i64 536870912, i64 %count)
  ret void
}

; pipe() for each page, before the pages are allocated.
define internal void @pipes(i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %body ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %slot = shl i64 %i, 3
  %fds = add i64 %slot, 268435712
  %made = call i64 @syscall(i64 22, i64 %fds, i64 0, i64 0, i64 0, i64 0, i64 0)
  %following = add i64 %i, 1
  br label %loop
out:
  ret void
}

define internal i64 @close_pipes(i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %body ]
  %last = phi i64 [ 0, %entry ], [ %closed, %body ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %slot = shl i64 %i, 3
  %fds = add i64 %slot, 268435712
  %both = call i64 @load(i64 %fds)
  %writing = lshr i64 %both, 32
  %reading = and i64 %both, 4294967295
  %first = call i64 @syscall(i64 3, i64 %writing, i64 0, i64 0, i64 0, i64 0, i64 0)
  %closed = call i64 @syscall(i64 3, i64 %reading, i64 0, i64 0, i64 0, i64 0, i64 0)
  %following = add i64 %i, 1
  br label %loop
out:
  ret i64 %last
}

; Each page goes into the pipe, and read() gives up the last reference to it.
define internal i64 @touch_and_free(i64 %times) {
entry:
  %both = call i64 @load(i64 268435712)
  %reading = and i64 %both, 4294967295
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %body ]
  %last = phi i64 [ 0, %entry ], [ %got, %body ]
  %done = icmp eq i64 %i, %times
  br i1 %done, label %out, label %body
body:
  call void @touch(i64 536870912, i64 1)
  call void @drain_lru_batch()
  call void @into_pipes(i64 1)
  %got = call i64 @syscall(i64 0, i64 %reading, i64 805306368, i64 4096, i64 0, i64 0, i64 0)
  %following = add i64 %i, 1
  br label %loop
out:
  ret i64 %last
}

; open(file, O_WRONLY), write(text)
define internal i64 @write(i64 %file, i64 %text) {
entry:
  %fd = call i64 @syscall(i64 2, i64 %file, i64 1, i64 0, i64 0, i64 0, i64 0)
  %failed = icmp slt i64 %fd, 0
  br i1 %failed, label %out, label %loop
loop:
  %length = phi i64 [ 0, %entry ], [ %longer, %loop ]
  %at = add i64 %text, %length
  %char = call i64 @load_byte(i64 %at)
  %longer = add i64 %length, 1
  %end = icmp eq i64 %char, 0
  br i1 %end, label %whole, label %loop
whole:
  %written = call i64 @syscall(i64 1, i64 %fd, i64 %text, i64 %length, i64 0, i64 0, i64 0)
  br label %out
out:
  %result = phi i64 [ %fd, %entry ], [ %written, %whole ]
  ret i64 %result
}

; Two milliseconds; the timespec is at 0x10000020.
define internal void @nap() {
  call void @store(i64 268435496, i64 2000000)
  %slept = call i64 @syscall(i64 35, i64 268435488, i64 0, i64 0, i64 0, i64 0, i64 0)
  ret void
}

define internal void @wait_for(i64 %least) {
entry:
  br label %loop
loop:
  call void @nap()
  %told = call i64 @load(i64 268435456)
  %act = icmp uge i64 %told, %least
  br i1 %act, label %out, label %loop
out:
  ret void
}

define internal void @ready_and_wait() {
  call void @store(i64 268435464, i64 1)
  call void @wait_for(i64 1)
  ret void
}

; The mode is told by its first letter.  (A jump table would be data.)
define internal void @run(i64 %stack) "no-jump-tables"="true" {
entry:
  %argv1 = add i64 %stack, 16
  %argv2 = add i64 %stack, 24
  %argv3 = add i64 %stack, 32
  %argv4 = add i64 %stack, 40
  %mode = call i64 @load(i64 %argv1)
  %letter = call i64 @load_byte(i64 %mode)
  %cpu_string = call i64 @load(i64 %argv2)
  %cpu = call i64 @decimal(i64 %cpu_string)
  %third = call i64 @load(i64 %argv3)
  %fourth = call i64 @load(i64 %argv4)
  call void @map(i64 268435456, i64 4096)
  call void @pin(i64 %cpu, i64 268435968)
  switch i64 %letter, label %usage [ i64 102, label %free
                                     i64 100, label %drop
                                     i64 116, label %touch
                                     i64 119, label %writing
                                     i64 107, label %kill
                                     i64 99, label %call
                                     i64 115, label %stock ]
free:
  %pages = call i64 @decimal(i64 %third)
  %filler = call i64 @decimal(i64 %fourth)
  call void @allocate(i64 %pages, i64 %filler)
  call void @into_pipes(i64 %pages)
  call void @ready_and_wait()
  %closed = call i64 @close_pipes(i64 %pages)
  br label %done
drop:
  %listed = call i64 @decimal(i64 %third)
  %filler2 = call i64 @decimal(i64 %fourth)
  call void @allocate(i64 %listed, i64 %filler2)
  call void @ready_and_wait()
  %dropped = call i64 @drop(i64 536870912, i64 %listed)
  br label %done
touch:
  %times = call i64 @decimal(i64 %third)
  %filler3 = call i64 @decimal(i64 %fourth)
  call void @pipes(i64 1)
  call void @allocate(i64 0, i64 %filler3)
  call void @ready_and_wait()
  %touched = call i64 @touch_and_free(i64 %times)
  br label %done
writing:
  ; "write" or "wait"
  %second = add i64 %mode, 1
  %next = call i64 @load_byte(i64 %second)
  %waits = icmp eq i64 %next, 97
  br i1 %waits, label %waiting, label %write
waiting:
  %filler4 = call i64 @decimal(i64 %fourth)
  call void @allocate(i64 0, i64 %filler4)
  call void @ready_and_wait()
  call void @exit(i64 0)
  unreachable
write:
  call void @ready_and_wait()
  %written = call i64 @write(i64 %third, i64 %fourth)
  br label %done
kill:
  %pid = call i64 @decimal(i64 %third)
  call void @ready_and_wait()
  %killed = call i64 @syscall(i64 62, i64 %pid, i64 2, i64 0, i64 0, i64 0, i64 0)
  br label %done
call:
  %filler6 = call i64 @decimal(i64 %fourth)
  call void @allocate(i64 0, i64 %filler6)
  call void @ready_and_wait()
  %prepared = call i64 @syscall(i64 110, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0)
  call void @store(i64 268435472, i64 %prepared)
  call void @wait_for(i64 2)
  %called = call i64 @syscall(i64 110, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0)
  call void @store(i64 268435472, i64 %called)
  %once_more = call i64 @syscall(i64 110, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0)
  br label %done
stock:
  %stocked = call i64 @decimal(i64 %third)
  %filler5 = call i64 @decimal(i64 %fourth)
  call void @allocate(i64 %stocked, i64 %filler5)
  %freed = call i64 @drop(i64 536870912, i64 %stocked)
  call void @ready_and_wait()
  br label %done
done:
  %result = phi i64 [ %closed, %free ], [ %dropped, %drop ], [ %touched, %touch ], [ %written, %write ], [ %killed, %kill ], [ %freed, %stock ], [ %called, %call ]
  call void @store(i64 268435472, i64 %result)
  call void @store(i64 268435464, i64 2)
  br label %asleep
asleep:
  call void @nap()
  br label %asleep
usage:
  call void @exit(i64 1)
  unreachable
}

; The pages of an actor: those to free are the last that it touches.
define internal void @allocate(i64 %count, i64 %filler) {
  ; one more page is touched behind them, so that the page table is there, and there stays
  %more = add i64 %count, 2
  %bytes = shl i64 %more, 12
  call void @map(i64 536870912, i64 %bytes)
  %more_filler = add i64 %filler, 1
  %filler_bytes = shl i64 %more_filler, 12
  call void @map(i64 805306368, i64 %filler_bytes)
  call void @pipes(i64 %count)
  %last = add i64 %bytes, 536866816
  call void @touch(i64 %last, i64 1)
  call void @touch(i64 805306368, i64 %filler)
  call void @touch(i64 536870912, i64 %count)
  call void @tell_frames(i64 %count)
  call void @drain_lru_batch()
  ret void
}

define internal void @tell_frames(i64 %count) {
  ; "/proc/self/pagemap" at 0x10000300
  call void @store(i64 268436224, i64 7310238724270485551)
  call void @store(i64 268436232, i64 7882820390973564524)
  call void @store(i64 268436240, i64 28769)
  %fd = call i64 @syscall(i64 2, i64 268436224, i64 0, i64 0, i64 0, i64 0, i64 0)
  %bytes = shl i64 %count, 3
  %got = call i64 @syscall(i64 17, i64 %fd, i64 268436480, i64 %bytes, i64 1048576, i64 0, i64 0)
  %closed = call i64 @syscall(i64 3, i64 %fd, i64 0, i64 0, i64 0, i64 0, i64 0)
  ret void
}
