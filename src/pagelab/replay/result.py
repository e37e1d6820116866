# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of a replay, as the command line contract wants it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pagelab.replay import tables

#: What is scored, in the order of tables.SCORE_*.
SCORED = ("alloc", "refill", "drain", "free", "isolate", "pageset", "fallback")
#: What an unknown event is due to, in the order of tables.REASON_*.
REASONS = {
    tables.REASON_LOST: "events were lost before it, so the lists are not known any more",
    tables.REASON_DIVERGED: "it comes after the first divergence",
    tables.REASON_RECLAIM: "kswapd was at work, and the trace does not tell if it had lowered the limit of pcplists",
    tables.REASON_HIGH: "pcp->high had followed what no event shows: reclaim, refills in vain, limits just being set",
    tables.REASON_UNMODELLED: "the kernel did something before it that no design models yet",
    tables.REASON_DRAIN: "a pcplist was drained before it, and no probe told whose",
    tables.REASON_START: "the zone was not empty when the trace began",
    tables.REASON_MOMENT: "a page was freed past the pcplists before it, and the trace does not show when",
    tables.REASON_BULK: "pages were allocated in bulk before it, and the trace does not tell which",
    tables.REASON_COMPACTION: "compaction changed the free lists before it, and the trace does not tell how",
    tables.REASON_INTERRUPT: "an interrupt came before it, and the trace does not tell if the page was taken by then",
    tables.REASON_LEFT_OUT: "the kernel left out hits of probes, so the trace shows less than happened",
    tables.REASON_FAULT: "the model stopped with a fault before it",
}


@dataclass(frozen=True, slots=True)
class Score:
    """Events of one sort: how many, how many predicted as they happened, how many that cannot be judged."""

    total: int
    exact: int
    unknown: int

    @property
    def missed(self) -> int:
        """Events that happened otherwise than predicted."""
        return self.total - self.exact - self.unknown


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first event that the model predicted otherwise.

    ``event``: its number in the trace, from 0.  ``observed``, ``predicted``: in words.  ``lists``: the model's, there.
    """

    event: int
    time: int
    cpu: int
    pid: int
    kind: str
    observed: str
    predicted: str
    around: list[str]
    lists: list[str]


@dataclass(frozen=True, slots=True)
class Result:
    """All that a replay found.  ``fault``: what stopped the model, a defect of it unless it is ``unmodelled`` yet.

    ``unknown_from``: by reason the number in the trace of the event that made the rest unknown; -1: known beforehand.
    ``seconds``: the replay itself; ``seconds_total``: with reading and compiling.
    """

    kernel: str
    design: str
    features: list[str]
    zone: str
    cpus: int
    events: int
    scores: dict[str, Score]
    unknown_reasons: dict[str, int]
    unknown_from: dict[str, int]
    first_divergence: Divergence | None
    fault: str
    unmodelled: bool
    seconds: float
    seconds_total: float
    warnings: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Nothing missed, nothing unknown."""
        return self.missed == 0 and self.unknown == 0 and not self.fault

    @property
    def missed(self) -> int:
        """Events predicted otherwise than they happened."""
        return sum(score.missed for score in self.scores.values())

    @property
    def unknown(self) -> int:
        """Events that the capture cannot decide."""
        return sum(score.unknown for score in self.scores.values())

    @property
    def pages_exact(self) -> bool:
        """Every page as predicted; what cannot be judged are values of high and batch, and what follows from them."""
        return self.missed == 0 and self.unknown == self.scores["pageset"].unknown and not self.fault

    @property
    def status(self) -> int:
        """Exit status: 0 exact, 1 something was missed, 4 nothing was missed but not all could be judged."""
        if self.missed or (self.fault and not self.unmodelled):
            return 1
        return 4 if self.unknown or self.fault else 0

    def to_json(self) -> dict[str, Any]:
        """The document of ``replay --json``."""
        document: dict[str, Any] = {
            "kernel": self.kernel,
            "design": self.design,
            "features": self.features,
            "zone": self.zone,
            "cpus": self.cpus,
            "events": self.events,
        }
        document |= {name: asdict(score) for name, score in self.scores.items()}
        document |= {
            "unknown_reasons": self.unknown_reasons,
            "unknown_from": self.unknown_from,
            "first_divergence": asdict(self.first_divergence) if self.first_divergence else None,
            "fault": self.fault or None,
            "seconds": round(self.seconds, 6),
            "seconds_total": round(self.seconds_total, 3),
            "events_per_second": round(self.events / self.seconds) if self.seconds > 0 else None,
            "warnings": self.warnings,
        }
        return document
