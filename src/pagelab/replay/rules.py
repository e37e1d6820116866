# SPDX-License-Identifier: GPL-2.0-or-later
"""Why events are judged as they are: the rule of the replay, what the kernel does there, and what would decide it."""

from __future__ import annotations

from typing import NamedTuple

from pagelab.capture.events import Kind
from pagelab.replay import tables


class Rule(NamedTuple):
    """In words: the rule, the behaviour of the kernel behind it, what would decide it where the trace does not."""

    rule: str
    kernel: str
    decides: str


#: Why what follows is unknown, by reason.
UNKNOWN = {
    tables.REASON_LOST: Rule(
        "the model starts from a known state and needs every event; there is no way back into step",
        "ftrace drops events, and counts them, when a CPU's ring buffer is full before anybody reads it",
        "larger buffers: record --buffer, or a shorter or lighter workload",
    ),
    tables.REASON_DIVERGED: Rule(
        "after a divergence the model's lists are not the kernel's, so nothing after it is scored",
        "",
        "explain the first divergence; with it mended the rest can be judged",
    ),
    tables.REASON_RECLAIM: Rule(
        "high bounds a pcplist; while reclaim is active it is lower (nr_pcp_high())",
        "kswapd sets ZONE_RECLAIM_ACTIVE and clears it again without an event",
        "a probe on free_pcppages_bulk(): how many pages were given back tells which bound was used",
    ),
    tables.REASON_HIGH: Rule(
        "pcp->high follows the load since v6.7; how many pages are moved is judged where it is known",
        "flags that no event shows let it fall in reclaim, a refill that finds nothing lets it rise",
        "a probe in nr_pcp_high() and nr_pcp_alloc(), which are inlined, or a watchpoint on pcp->high",
    ),
    tables.REASON_UNMODELLED: Rule(
        "what no design models ends the judgement, it is not guessed",
        "",
        "the feature in the model: see `pagelab features`",
    ),
    tables.REASON_DRAIN: Rule(
        "mm_page_pcpu_drain names the page, not the CPU whose pcplist it was on",
        "drain_all_pages() and the vmstat worker empty pcplists of other CPUs",
        "a probe on drain_pages_zone() or free_pcppages_bulk()",
    ),
    tables.REASON_START: Rule(
        "the state at the start is known only if the zone was empty then (R10)",
        "the order of free lists is not visible in /proc",
        "record from before the memory came online, or take it offline and online again",
    ),
    tables.REASON_MOMENT: Rule(
        "mm_page_free shows that a page is freed, not when it reaches the free list (R3, R4)",
        "a free whose pcp->lock was taken goes past the pcplists and waits for zone->lock, unseen",
        "a probe behind the spin_lock in free_one_page()",
    ),
    tables.REASON_BULK: Rule(
        "pages that leave a pcplist through __alloc_pages_bulk() show no event (R8)",
        "the bulk allocator pops pages one by one under pcp->lock and traces none of them",
        "a probe in __alloc_pages_bulk() where it has taken a page",
    ),
    tables.REASON_COMPACTION: Rule(
        "compaction's events tell what was searched and how many free pages were taken, not which (R9)",
        "the free scanner takes free pages off their lists; for an order above 0 it also puts the part of a list that "
        "it has searched behind the rest (move_freelist_head(), move_freelist_tail()), without an event",
        "probes where __isolate_free_page() is called, and where the lists are cut",
    ),
    tables.REASON_LEFT_OUT: Rule(
        "a probe that is hit within the handler of another one is left out (kprobe_profile counts those)",
        "the handler of a probe at a return begins in ftrace, with interrupts on: one frees or allocates pages there",
        "another recording: it is seen about once in 100 captures",
    ),
    tables.REASON_INTERRUPT: Rule(
        "mm_page_alloc is logged after the page has left its pcplist, and an interrupt may come in between (R2, R11)",
        "rmqueue_pcplist() leaves irqs on; an interrupt that frees or allocates comes after it and is logged first",
        "a probe in rmqueue_pcplist() where it has taken the page",
    ),
    tables.REASON_FAULT: Rule(
        "a fault of the model ends the judgement: its state cannot be trusted any more",
        "",
        "the fault is a defect of the model, or of the capture; it is printed with the score",
    ),
}
#: What is predicted of an event, by its kind.
PREDICTED = {
    Kind.MM_PAGE_ALLOC: Rule(
        "an allocation gets what the model took when it was served: the head of the pcplist, or what the free lists "
        "gave (R2)",
        "rmqueue_pcplist() takes the first page of the list of the order and migratetype, rmqueue_buddy() splits",
        "",
    ),
    Kind.MM_PAGE_ALLOC_ZONE_LOCKED: Rule(
        "pages come from the free lists in the order in which __rmqueue_smallest() finds them, as many as the refill "
        "wants (R1)",
        "rmqueue_bulk() takes them in one hold of zone->lock",
        "",
    ),
    Kind.MM_PAGE_PCPU_DRAIN: Rule(
        "pages go back in the order of free_pcppages_bulk(), with the type of the list that they go to (R5)",
        "each page is traced under zone->lock, so the order is that of the free lists",
        "",
    ),
    Kind.MM_PAGE_FREE: Rule(
        "a page that is freed must be one that the model holds for allocated, with that order (R3, R6)",
        "mm_page_free fires before the page is on any list",
        "",
    ),
    Kind.MOVE_FREEPAGES_BLOCK_DONE: Rule(
        "isolation moves as many free pages as the pageblock has in the model (R9)",
        "move_freepages_block() moves them silently; a probe at its return tells how many",
        "",
    ),
    Kind.ZONE_SET_PAGESET: Rule(
        "high and batch follow from the sizes of zones and watermarks",
        "__zone_set_pageset_high_and_batch() stores them for all CPUs",
        "",
    ),
}
SILENT = Rule("nothing is predicted of this event; it tells the model what to do, or where the kernel is", "", "")
