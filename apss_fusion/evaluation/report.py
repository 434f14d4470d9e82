"""The result of an evaluation as plain text."""

from __future__ import annotations

from typing import Any

#: Rows of the table: what it is called, where it stands in the result, how it is written.
_LINES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("objects", ("objects",), "{:,d}"),
    ("tracks", ("tracks",), "{:,d}"),
    ("objects at a time, mean", ("mean_objects",), "{:,.1f}"),
    ("tracks at a time, mean", ("mean_tracks",), "{:,.1f}"),
    ("GOSPA, m", ("gospa", "total"), "{:,.0f}"),
    ("  localisation, m", ("gospa", "localisation"), "{:,.0f}"),
    ("  missed, m", ("gospa", "missed"), "{:,.0f}"),
    ("  false, m", ("gospa", "false"), "{:,.0f}"),
    ("OSPA, m", ("ospa",), "{:,.1f}"),
    ("OSPA(2), m", ("ospa2",), "{:,.1f}"),
    ("T-GOSPA a time, m", ("t_gospa", "total"), "{:,.0f}"),
    ("  localisation, m", ("t_gospa", "localisation"), "{:,.0f}"),
    ("  missed, m", ("t_gospa", "missed"), "{:,.0f}"),
    ("  false, m", ("t_gospa", "false"), "{:,.0f}"),
    ("  switches, m", ("t_gospa", "switch"), "{:,.0f}"),
    ("completeness", ("completeness",), "{:.1%}"),
    ("spurious", ("spurious",), "{:.1%}"),
    ("objects ever found", ("objects_found",), "{:.1%}"),
    ("changes of track", ("track_changes",), "{:,d}"),
    ("tracks an object found", ("tracks_per_object",), "{:,.2f}"),
    ("purity of tracks", ("purity",), "{:.1%}"),
    ("adjusted Rand index", ("adjusted_rand",), "{:.3f}"),
    ("SIAP completeness", ("siap", "completeness"), "{:.1%}"),
    ("  ambiguity", ("siap", "ambiguity"), "{:,.3f}"),
    ("  spuriousness", ("siap", "spuriousness"), "{:.1%}"),
    ("  position accuracy, m", ("siap", "position_accuracy_m"), "{:,.1f}"),
    ("  velocity accuracy, m/s", ("siap", "velocity_accuracy_mps"), "{:,.2f}"),
    ("  track changes an hour", ("siap", "track_changes_per_hour"), "{:,.3f}"),
    ("  longest track segment", ("siap", "longest_track_segment"), "{:.1%}"),
    ("position error, median, m", ("position_error_m", "median"), "{:,.1f}"),
    ("position error, 95 %, m", ("position_error_m", "p95"), "{:,.1f}"),
    ("NEES / 2, mean", ("anees",), "{:,.2f}"),
    ("  95 % if consistent, from", ("anees_bounds95", "0"), "{:,.2f}"),
    ("  to", ("anees_bounds95", "1"), "{:,.2f}"),
    ("inside 95 % ellipse", ("inside_ellipse95",), "{:.1%}"),
)


def table(result: dict[str, Any]) -> str:
    """The result of an evaluation: a column for all domains and one for each, then why a figure is missing."""
    columns = {"all": result, **result["domains"]}
    cutoff = ", ".join(f"{c:g} m {name}" for name, c in result["cutoff_m"].items())
    lines = [f"{result['times']:,d} times; c = {cutoff}; p = {result['p']:g}"]
    lines.append(" " * 28 + "".join(f"{name:>12}" for name in columns))
    for title, path, form in _LINES:
        values = (_found(column, path) for column in columns.values())
        cells = (f"{'-' if value is None else form.format(value):>12}" for value in values)
        lines.append(f"{title:<28}" + "".join(cells))
    lines += [f"not computed: {note}" for note in result["notes"]]
    return "\n".join(lines)


def _found(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if value is None:
            return None
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value
