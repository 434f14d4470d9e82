"""The dashboard of Grafana shows every figure that a worker has, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from apss_fusion.streaming.metrics import Metrics

PATH = Path(__file__).resolve().parents[1] / "deploy" / "grafana-dashboard.json"
DASHBOARD = json.loads(PATH.read_text(encoding="utf-8"))
#: What Prometheus adds to every figure that it reads.
ADDED_LABELS = {"instance", "job"}


def figures() -> dict[str, set[str]]:
    """The names of the figures as Prometheus has them, with their labels."""
    metrics = Metrics()
    metrics.note_look("ais", 1.0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {label for sample in family.samples for label in sample.labels}
    for collector in vars(metrics).values():
        if hasattr(collector, "_labelnames"):
            (family,) = collector.describe()
            found[f"{family.name}_total" if family.type == "counter" else family.name] = set(collector._labelnames)
    return found


FIGURES = figures()


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def shown() -> list[dict[str, Any]]:
    """Panels that are no headings."""
    return [panel for panel in panels() if panel["type"] != "row"]


def expressions() -> list[str]:
    found = [target["expr"] for panel in shown() for target in panel["targets"]]
    variables = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    return found + [v["query"]["query"] for v in variables]


def test_what_is_shown_is_what_there_is() -> None:
    named = {name for expression in expressions() for name in re.findall(r"\bapss_\w+", expression)}
    assert named == set(FIGURES)
    assert len(FIGURES) >= 15


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_uses_labels_that_its_figure_has(expression: str) -> None:
    (name,) = set(re.findall(r"\bapss_\w+", expression))
    grouped = [word for words in re.findall(r"\bby \(([^)]*)\)", expression) for word in words.split(",")]
    matched = re.findall(r"(\w+)[!=]~?\"", expression)
    listed = re.findall(r"label_values\(\w+, (\w+)\)", expression)
    labels = {word.strip() for word in [*grouped, *matched, *listed]}
    assert labels <= FIGURES[name] | ADDED_LABELS
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    # Counters begin at 0 with each process.
    if name.endswith("_total") and not listed:
        assert re.search(r"(rate|increase)\(" + name, expression)
    else:
        assert "rate(" not in expression


def test_legends_name_labels_that_are_left() -> None:
    for panel in shown():
        for target in panel["targets"]:
            grouped = {w.strip() for words in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for w in words.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


def test_variables_that_are_used_are_there() -> None:
    text = PATH.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?([a-z]+)\b", text))
    assert used == {v["name"] for v in DASHBOARD["templating"]["list"]}
    (source,) = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource"]
    assert source["query"] == "prometheus"
    wanted = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    for panel in shown():
        assert panel["datasource"] == wanted
        assert [target["datasource"] for target in panel["targets"]] == [wanted] * len(panel["targets"])


def test_panels_say_what_they_show_and_lie_side_by_side() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    for panel in shown():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "table"
        assert [target["refId"] for target in panel["targets"]] == list("ABC"[: len(panel["targets"])])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for p in places:
        assert 0 <= p["x"] < p["x"] + p["w"] <= 24
    for p, q in combinations(places, 2):
        apart = p["x"] + p["w"] <= q["x"] or q["x"] + q["w"] <= p["x"]
        assert apart or p["y"] + p["h"] <= q["y"] or q["y"] + q["h"] <= p["y"]


def test_it_can_be_imported_anywhere() -> None:
    """No number of a database of Grafana's, and a form that version 10 reads."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "apss-fusion"
    assert DASHBOARD["schemaVersion"] == 38
