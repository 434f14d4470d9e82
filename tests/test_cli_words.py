"""What a command says at its end."""

from __future__ import annotations

from typing import Any

from apss_fusion.cli import words


def test_words() -> None:
    assert words.count(1, "look", "looks") == "1 look"
    assert words.kinds({"SEA": 1, "UNKNOWN": 2}) == "1 ship, 2 of unknown kind"
    nothing = {"dead_letters": 0, "detections_rejected": 0, "late": 0, "duplicates": 0}
    assert words.not_used(nothing, "d") == ""
    assert words.not_used({**nothing, "duplicates": 2}, None) == "; 2 duplicates"
    assert words.not_used({**nothing, "late": 1200}, None) == "; 1,200 late (--deadletter FILE keeps them)"


def test_words_about_the_order_of_arrival() -> None:
    late = {"late_fused": 9, "revised": 0, "withdrawn": 0, "pending": 0}
    summary: dict[str, Any] = {
        "out_of_order": 0.0,
        "disorder_median_s": None,
        "disorder_max_s": None,
        "late_looks": late,
    }
    assert words.order_of_arrival(summary) == []
    summary |= {"out_of_order": 0.25, "disorder_median_s": 3.14, "disorder_max_s": 1234.5}
    told = "of the looks came out of order, half of these up to 3.1 s behind the newest, none more than 1,234 s"
    assert words.order_of_arrival(summary) == [f"25.0% {told}"]
    summary["out_of_order"] = 0.0001
    late |= {"revised": 1, "withdrawn": 2000}
    assert words.order_of_arrival(summary) == [f"under 0.1% {told}; 1 revision, 2,000 tracks withdrawn"]
