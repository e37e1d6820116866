# SPDX-License-Identifier: GPL-2.0-or-later
"""Doubly linked lists through mem_map: the free lists and the pcplists.  NIL ends them both ways."""

from __future__ import annotations

from pagelab.lang.declare import NIL
from pagelab.linux.state import free_area, mem_map, pcp_list


def free_list_add(page: int, order: int, migratetype: int) -> None:
    """list_add() to a free list: at its head."""
    head = free_area[order, migratetype].head
    mem_map[page].next = head
    mem_map[page].prev = NIL
    if head == NIL:
        free_area[order, migratetype].tail = page
    else:
        mem_map[head].prev = page
    free_area[order, migratetype].head = page
    mem_map[page].free_list = migratetype


def free_list_add_tail(page: int, order: int, migratetype: int) -> None:
    """list_add_tail() to a free list."""
    tail = free_area[order, migratetype].tail
    mem_map[page].next = NIL
    mem_map[page].prev = tail
    if tail == NIL:
        free_area[order, migratetype].head = page
    else:
        mem_map[tail].next = page
    free_area[order, migratetype].tail = page
    mem_map[page].free_list = migratetype


def free_list_del(page: int, order: int, migratetype: int) -> None:
    """list_del() from a free list."""
    next_page = mem_map[page].next
    prev_page = mem_map[page].prev
    if prev_page == NIL:
        free_area[order, migratetype].head = next_page
    else:
        mem_map[prev_page].next = next_page
    if next_page == NIL:
        free_area[order, migratetype].tail = prev_page
    else:
        mem_map[next_page].prev = prev_page


def pcp_list_add(page: int, owner: int, pindex: int) -> None:
    """list_add() to a pcplist: at its head."""
    head = pcp_list[owner, pindex].head
    mem_map[page].next = head
    mem_map[page].prev = NIL
    if head == NIL:
        pcp_list[owner, pindex].tail = page
    else:
        mem_map[head].prev = page
    pcp_list[owner, pindex].head = page


def pcp_list_add_tail(page: int, owner: int, pindex: int) -> None:
    """list_add_tail() to a pcplist."""
    tail = pcp_list[owner, pindex].tail
    mem_map[page].next = NIL
    mem_map[page].prev = tail
    if tail == NIL:
        pcp_list[owner, pindex].head = page
    else:
        mem_map[tail].next = page
    pcp_list[owner, pindex].tail = page


def pcp_list_del_head(page: int, owner: int, pindex: int) -> None:
    """list_del() of the first page of a pcplist."""
    next_page = mem_map[page].next
    pcp_list[owner, pindex].head = next_page
    if next_page == NIL:
        pcp_list[owner, pindex].tail = NIL
    else:
        mem_map[next_page].prev = NIL


def pcp_list_del_tail(page: int, owner: int, pindex: int) -> None:
    """list_del() of the last page of a pcplist."""
    prev_page = mem_map[page].prev
    pcp_list[owner, pindex].tail = prev_page
    if prev_page == NIL:
        pcp_list[owner, pindex].head = NIL
    else:
        mem_map[prev_page].next = NIL
