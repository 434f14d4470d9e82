"""What happened, in words."""

from __future__ import annotations

from typing import Any

_DOMAIN_WORDS = {"SEA": ("ship", "ships"), "AIR": ("aircraft", "aircraft"), "GROUND": ("vehicle", "vehicles")}


def count(n: int, one: str, many: str) -> str:
    """``1 look``, ``12,345 looks``."""
    return f"{n:,} {one if n == 1 else many}"


def kinds(by_domain: dict[str, int]) -> str:
    """``198 ships, 12 aircraft``."""
    words = [count(by_domain[name], *words) for name, words in _DOMAIN_WORDS.items() if by_domain.get(name)]
    if unknown := by_domain.get("UNKNOWN"):
        words.append(f"{unknown:,} of unknown kind")
    return ", ".join(words)


def not_used(summary: dict[str, Any], deadletter: str | None) -> str:
    """What was not used, and where it is: ``; 14 dead letters and 3 late in FILE``."""
    letters = summary["dead_letters"] + summary["detections_rejected"]
    parts = [count(letters, "dead letter", "dead letters")] if letters else []
    if summary["late"]:
        parts.append(f"{summary['late']:,} late")
    where = f" in {deadletter}" if deadletter and parts else " (--deadletter FILE keeps them)" if parts else ""
    more = f"; {count(summary['duplicates'], 'duplicate', 'duplicates')}" if summary["duplicates"] else ""
    return f"; {' and '.join(parts)}{where}{more}" if parts else more


def fused(summary: dict[str, Any], deadletter: str | None) -> str:
    """The line that ends a fusion."""
    tracks = kinds(summary["tracks_by_domain"])
    return (
        f"{count(summary['looks'], 'look', 'looks')} by {count(len(summary['by_source']), 'source', 'sources')} -> "
        f"{count(summary['tracks_confirmed'], 'track', 'tracks')} confirmed{f' ({tracks})' if tracks else ''} "
        f"in {summary['seconds']:.1f} s{not_used(summary, deadletter)}"
    )


def order_of_arrival(summary: dict[str, Any]) -> list[str]:
    """The line that tells how far looks were out of order, and what late ones changed; none where all were in order."""
    if summary["disorder_max_s"] is None:
        return []
    share, late = summary["out_of_order"], summary["late_looks"]
    changes = [count(late["revised"], "revision", "revisions")] if late["revised"] else []
    if late["withdrawn"]:
        changes.append(f"{count(late['withdrawn'], 'track', 'tracks')} withdrawn")
    return [
        f"{f'{share:.1%}' if share >= 0.0005 else 'under 0.1%'} of the looks came out of order, half of these up to "
        f"{_seconds(summary['disorder_median_s'])} behind the newest, none more than "
        f"{_seconds(summary['disorder_max_s'])}{'; ' if changes else ''}{', '.join(changes)}"
    ]


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10.0 else f"{value:.2g} s"


def decoded(summary: dict[str, Any], out: str, deadletter: str | None) -> str:
    """The line that ends a decoding."""
    return (
        f"{count(summary['records_in'], 'record', 'records')} -> {count(summary['looks'], 'look', 'looks')} "
        f"in {out} in {summary['seconds']:.1f} s{not_used(summary, deadletter)}"
    )
