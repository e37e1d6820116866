# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events a capture is read for, and which of their fields fill which column.

Fields are found by name: the layouts differ between kernels (``percpu_refill`` is stored since v6.0 only), and a probe
has its fields in the order in which somebody typed them.  Both readers, binary and text, follow this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pagelab.capture.events import CONTEXT_HARDIRQ, CONTEXT_IRQS_OFF, CONTEXT_NMI, CONTEXT_SOFTIRQ, Kind

Cast = Literal["", "int", "bool"]

#: The system (tracefs group) of the probes that ``pagelab record`` places.
PROBE_SYSTEM: Final = "pagelab"
#: sizeof(struct page) of every x86-64 kernel that Debian builds.
STRUCT_PAGE_SIZE: Final = 64
#: offsetof(struct page, lru), by which a page is on a list.
STRUCT_PAGE_LRU: Final = 8
#: pfns are below this: x86-64 has at most 52 bits of physical address.
MAX_PFN: Final = 1 << 40
#: order and migratetype: what a byte-wide column takes (pindex, the largest, is below 64 too).
MAX_SMALL: Final = 126


@dataclass(frozen=True, slots=True)
class Wanted:
    """How one event fills the columns.  Each tuple names fields, the first that the event has is taken.

    ``page``: the address of a struct page or of its member ``lru``, turned into a pfn with the event's own ``vmemmap``
    field; 0 stands for none.  ``arg_cast``: C type of the value, because a probe may have fetched a whole register for
    an ``int`` or a ``bool``.
    """

    kind: Kind
    pfn: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    migratetype: tuple[str, ...] = ()
    arg: tuple[str, ...] = ()
    arg2: tuple[str, ...] = ()
    arg_cast: Cast = ""

    @property
    def packed(self) -> bool:
        """Three fields share ``arg`` (see :class:`~pagelab.capture.events.Kind`)."""
        return self.kind == Kind.MM_PAGE_ALLOC_EXTFRAG


#: The fields that share ``arg`` in MM_PAGE_ALLOC_EXTFRAG, at bits 0, 8 and 16.
PACKED_FIELDS: Final = ("fallback_order", "fallback_migratetype", "change_ownership")

_ORDER, _TYPE, _ZONE = ("order",), ("migratetype",), ("zone",)
_START, _END = ("start_pfn", "start", "pfn"), ("end_pfn", "end")

TRACEPOINTS: Final[Mapping[tuple[str, str], Wanted]] = {
    ("kmem", "mm_page_alloc"): Wanted(Kind.MM_PAGE_ALLOC, ("pfn",), (), _ORDER, _TYPE, ("gfp_flags",)),
    ("kmem", "mm_page_alloc_zone_locked"): Wanted(
        Kind.MM_PAGE_ALLOC_ZONE_LOCKED, ("pfn",), (), _ORDER, _TYPE, ("percpu_refill",)
    ),
    ("kmem", "mm_page_free"): Wanted(Kind.MM_PAGE_FREE, ("pfn",), (), _ORDER),
    ("kmem", "mm_page_free_batched"): Wanted(Kind.MM_PAGE_FREE_BATCHED, ("pfn",)),
    ("kmem", "mm_page_pcpu_drain"): Wanted(Kind.MM_PAGE_PCPU_DRAIN, ("pfn",), (), _ORDER, _TYPE),
    ("kmem", "mm_page_alloc_extfrag"): Wanted(
        Kind.MM_PAGE_ALLOC_EXTFRAG, ("pfn",), (), ("alloc_order",), ("alloc_migratetype",), PACKED_FIELDS
    ),
    ("page_isolation", "test_pages_isolated"): Wanted(
        Kind.TEST_PAGES_ISOLATED, ("start_pfn",), arg=("end_pfn",), arg2=("fin_pfn",)
    ),
    ("vmscan", "mm_vmscan_kswapd_wake"): Wanted(Kind.WAKE_KSWAPD, order=_ORDER, arg=("nid",)),
    ("vmscan", "mm_vmscan_kswapd_sleep"): Wanted(Kind.KSWAPD_SLEEP, arg=("nid",)),
    ("compaction", "mm_compaction_begin"): Wanted(Kind.COMPACTION_BEGIN, ("zone_start",)),
    ("compaction", "mm_compaction_isolate_freepages"): Wanted(Kind.COMPACTION, ("start_pfn",), arg=("nr_taken",)),
}
#: Every other event of this system is a Kind.COMPACTION.
COMPACTION_SYSTEM: Final = "compaction"
COMPACTION_PREFIX: Final = "mm_compaction_"
COMPACTION: Final = Wanted(Kind.COMPACTION)

_PROBES = (
    Wanted(Kind.ZONE_PCP_DISABLE, arg2=_ZONE),
    Wanted(Kind.ZONE_PCP_DISABLE_DONE),
    Wanted(Kind.ZONE_PCP_ENABLE, arg2=_ZONE),
    Wanted(Kind.ZONE_PCP_UPDATE, arg=("cpu_online",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.DRAIN_ALL_PAGES, arg=("force", "force_all_cpus"), arg2=_ZONE, arg_cast="bool"),
    Wanted(Kind.DRAIN_PAGES_ZONE, arg=("cpu",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.FREE_PCPPAGES_BULK, migratetype=("pindex",), arg=("count",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.RMQUEUE_BULK, order=_ORDER, migratetype=_TYPE, arg=("count",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.MOVE_FREEPAGES_BLOCK, ("pfn", "start_pfn"), ("page",), migratetype=_TYPE, arg2=_ZONE),
    Wanted(Kind.MOVE_FREEPAGES_BLOCK_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.START_ISOLATE_PAGE_RANGE, _START, migratetype=_TYPE, arg=_END),
    Wanted(Kind.START_ISOLATE_PAGE_RANGE_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.UNDO_ISOLATE_PAGE_RANGE, _START, migratetype=_TYPE, arg=_END),
    Wanted(Kind.OFFLINE_ISOLATED_PAGES, _START, arg=_END),
    Wanted(Kind.OFFLINE_PAGES, _START, arg=("nr_pages",), arg2=_ZONE),
    Wanted(Kind.OFFLINE_PAGES_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.ONLINE_PAGES, ("pfn", "start_pfn", "start"), arg=("nr_pages",), arg2=_ZONE),
    Wanted(Kind.ONLINE_PAGES_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.DRAIN_LOCAL_PAGES, arg2=_ZONE),
    Wanted(Kind.ZONE_SET_PAGESET, ("high",), arg=("batch",), arg2=_ZONE),
    Wanted(Kind.UNSET_MIGRATETYPE_ISOLATE, ("pfn",), ("page",), migratetype=_TYPE),
    Wanted(Kind.ALLOC_PAGES_BULK, migratetype=_TYPE, arg=("nr_pages",), arg2=("gfp",), arg_cast="int"),
    Wanted(Kind.ALLOC_PAGES_BULK_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.FREE_PAGES_COUNTED, arg=("delta",), arg2=_ZONE),
    Wanted(Kind.ALLOC_PAGES_BULK_PAGE, ("pfn",), ("page",)),
    Wanted(Kind.RMQUEUE_PCPLIST_PAGE, ("pfn",), ("page",)),
    Wanted(Kind.FREE_ONE_PAGE, ("pfn",), ("page",), _ORDER, _TYPE, arg=("fpi_flags",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.ISOLATE_FREE_PAGE, ("pfn",), ("page",), _ORDER),
    Wanted(Kind.ISOLATE_FREE_PAGE_DONE, arg=("ret",), arg_cast="int"),
    Wanted(Kind.FREE_UNREF_PAGE_COMMIT, ("pfn",), ("page",), _ORDER, _TYPE, ("fpi_flags",), _ZONE, "int"),
    Wanted(Kind.SPLIT_LARGE_BUDDY, ("pfn",), (), _ORDER, arg=("fpi_flags",), arg2=_ZONE, arg_cast="int"),
    Wanted(Kind.DECAY_PCP_HIGH, arg2=_ZONE),
    Wanted(Kind.ADJUST_MANAGED_PAGE_COUNT, ("pfn",), ("page",), arg=("count",)),
    Wanted(Kind.SPLIT_FREE_PAGE, ("pfn",), ("page",), _ORDER, arg=("split_pfn_offset",)),
    Wanted(Kind.SPLIT_FREE_PAGE_PART, ("pfn",), (), _ORDER, _TYPE),
    Wanted(Kind.MOVE_FREEPAGES_BLOCK_ISOLATE, ("pfn",), ("page",), (), _TYPE, ("isolate",), _ZONE, "int"),
)
#: Probes by the event's name, which is the kind's in small letters.
PROBES: Final[Mapping[str, Wanted]] = {wanted.kind.name.lower(): wanted for wanted in _PROBES}


def wanted_event(system: str, name: str) -> Wanted | None:
    """How the event ``system:name`` fills the columns, ``None`` if no kind stands for it."""
    if system == COMPACTION_SYSTEM:
        return TRACEPOINTS.get((system, name), COMPACTION)
    if system == PROBE_SYSTEM:
        return PROBES.get(name)
    return TRACEPOINTS.get((system, name))


def _by_name() -> dict[str, Wanted]:
    names = {name: wanted for (_, name), wanted in TRACEPOINTS.items()}
    # Its text gives the range in other words, and it is not needed there.
    names["mm_compaction_isolate_freepages"] = Wanted(Kind.COMPACTION, arg=("nr_taken",))
    return {**PROBES, **names}


#: Tracepoints and probes by name alone, as the text of ftrace shows them.
BY_NAME: Final[Mapping[str, Wanted]] = _by_name()

# enum trace_flag_type of include/linux/trace_events.h; the other bits say nothing about the context.
_FLAG_CONTEXT = ((0x01, CONTEXT_IRQS_OFF), (0x08, CONTEXT_HARDIRQ), (0x10, CONTEXT_SOFTIRQ), (0x40, CONTEXT_NMI))


def context_of_flags(flags: int) -> int:
    """The low bits of the ``context`` column for a value of ``common_flags`` (0..255)."""
    return sum(context for bit, context in _FLAG_CONTEXT if flags & bit)
