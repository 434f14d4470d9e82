"""The published tables with our row: ``python -m benchmarks.accuracy [NAME...] [--runs N] [--first K] [--filter NAME] [--bank]``.

Mean over runs with its standard error, of the metric that each table uses. x1 and x2: GOSPA with p = 1, c = 100 m, where a pair
counts only below c/2, as in the published code. w15: root mean square GOSPA, p = 2, c = 10 m. With `--against` the same runs by
the other setting, and the paired difference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation.assignment import assign
from benchmarks.published import QUOTED, Variant, estimates_of
from benchmarks.published_scenarios import SCENARIOS, Run

#: Best of the published filters, and the best row that has been measured with their code; see docs/accuracy.md.
PUBLISHED = {
    "x1_10_98": 64.68,
    "x1_30_98": 69.34,
    "x1_10_75": 89.23,
    "x1_30_75": 103.42,
    "x2_10_98": 9.91,
    "x2_30_98": 12.43,
    "x2_10_75": 24.96,
    "x2_30_75": 30.59,
    "w15_10_90": 2.857,
    "w15_10_95": 2.783,
    "w15_10_70": 3.755,
    "w15_20_90": 3.054,
}
#: A filter that sees each object alone in its own world and reports it from r > 0.5; no estimator of single tracks does much
#: better.
FLOOR = {
    "x1_10_98": 62.2,
    "x1_30_98": 63.4,
    "x1_10_75": 81.1,
    "x1_30_75": 83.8,
    "x2_10_98": 8.9,
    "x2_30_98": 9.5,
    "x2_10_75": 14.2,
    "x2_30_75": 17.9,
    "w15_10_90": 2.95,
    "w15_10_95": 2.64,
    "w15_10_70": 3.53,
    "w15_20_90": 3.04,
}
#: The bank of process noises of the row that is told apart: objects may manoeuvre much less than the scenario says.
BANK = (1.0, 0.001)


#: What was tried otherwise.
TRIED = {
    "fast: moment matching track by track, one Gaussian, recycling below 0.1": Variant("fast"),
    "one history": Variant(accurate=(("histories", 1),)),
    "two histories": Variant(accurate=(("histories", 2),)),
    "six histories": Variant(accurate=(("histories", 6),)),
    "recycling below 0.1": Variant(accurate=(("recycle", 0.1),)),
    "recycling below 0.001": Variant(accurate=(("recycle", 0.001),)),
    "birth rate as given": Variant(memory=0.0),
    "no births elsewhere": Variant(anywhere=0.0),
    "0.1 births elsewhere": Variant(anywhere=0.1),
    "bank of process noises 1, 0.001": Variant(bank=BANK),
    "bank of process noises 1, 50, 0.1, 0.01 (the default on the globe)": Variant(
        bank=(1.0, 50.0, 0.1, 0.01), accurate=(("least_factor", 0.02),)
    ),
}


class Row(NamedTuple):
    """Runs of one scenario: the metric of each (squared where it is a root mean square), and CPU seconds of each."""

    values: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    squared: bool

    def mean(self) -> tuple[float, float]:
        """Mean and standard error, in the unit of the metric."""
        mean = float(self.values.mean())
        error = float(self.values.std(ddof=1) / np.sqrt(len(self.values))) if len(self.values) > 1 else float("nan")
        return (np.sqrt(mean), error / (2.0 * np.sqrt(mean))) if self.squared else (mean, error)


def metric(run: Run, found: Sequence[NDArray[np.float64]]) -> float:
    """The metric of a run's table: mean over scans of GOSPA^p, alpha = 2."""
    c, p = run.params["metric"]["gospa_c"], run.params["metric"]["gospa_p"]
    cut = c / 2 if p == 1 else c
    total = 0.0
    for x, y in zip(run.states, found, strict=True):
        pairs = assign(x[:, ::2], y, cut, p)
        alone = len(x) + len(y) - 2 * len(pairs.distance)
        total += float((pairs.distance**p).sum()) + alone * c**p / 2
    return total / len(run.states)


def measured(name: str, runs: Sequence[int], variant: Variant = QUOTED) -> Row:
    """One scenario over some of its runs."""
    values, cpu = [], []
    for number in runs:
        run = SCENARIOS[name](number)
        began = time.process_time()
        lines = list(estimates_of(run.params, run.scans, variant))
        cpu.append(time.process_time() - began)
        values.append(metric(run, [np.array(line["xy"], float).reshape(-1, 2) for line in lines]))
    return Row(np.array(values), np.array(cpu), name.startswith("w15"))


def table(names: Sequence[str], runs: Sequence[int], setting: str, bank: bool, against: str | None) -> Iterator[str]:
    """Lines of markdown."""
    others = [f"{against}, difference"] if against else []
    if bank:
        others.append("with a bank of process noises")
    head = ["scenario", "best published", setting, *others, "floor", "CPU ms a run"]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    # The first run of a process compiles what is not compiled yet.
    measured(names[0], runs[:1], Variant(setting))
    for name in names:
        row = measured(name, runs, Variant(setting))
        cells = [name, f"{PUBLISHED[name]:.4g}", "{:.3f} ± {:.3f}".format(*row.mean())]
        if against:
            other = measured(name, runs, Variant(against))
            change = Row(other.values - row.values, row.cpu_s, False).mean()
            scale = 2.0 * row.mean()[0] if row.squared else 1.0
            cells.append(f"{other.mean()[0]:.3f}, {change[0] / scale:+.3f} ± {change[1] / scale:.3f}")
        if bank:
            cells.append("{:.3f} ± {:.3f}".format(*measured(name, runs, Variant(setting, BANK)).mean()))
        yield "| " + " | ".join([*cells, f"{FLOOR[name]:.4g}", f"{1e3 * float(np.median(row.cpu_s)):.0f}"]) + " |"


def tried(names: Sequence[str], runs: Sequence[int]) -> Iterator[str]:
    """Lines of markdown: what was tried, with its difference to the quoted row on the same runs."""
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    measured(names[0], runs[:1])
    quoted = [measured(name, runs) for name in names]
    yield "| as quoted | " + " | ".join(f"{row.mean()[0]:.3f}" for row in quoted) + " |"
    for title, variant in TRIED.items():
        cells = []
        for name, base in zip(names, quoted, strict=True):
            values = measured(name, runs, variant).values
            change, error = Row(values - base.values, base.cpu_s, False).mean()
            scale = 2.0 * base.mean()[0] if base.squared else 1.0
            cells.append(f"{change / scale:+.3f} ± {error / scale:.3f}")
        yield f"| {title} | " + " | ".join(cells) + " |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PUBLISHED)}; or x1, x2, w15; all by default"
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--filter", choices=("accurate", "fast"), default="accurate")
    parser.add_argument("--against", choices=("accurate", "fast"))
    parser.add_argument("--bank", action="store_true", help="also with a bank of process noises")
    parser.add_argument("--tried", action="store_true", help="what was tried instead: differences on the same runs")
    options = parser.parse_args()
    names = [n for n in PUBLISHED if not options.names or any(n == x or n.startswith(f"{x}_") for x in options.names)]
    if not names or options.runs < 1:
        parser.error("no such scenario, or no runs")
    runs = range(options.first, options.first + options.runs)
    print(f"Runs {runs[0]} to {runs[-1]}; mean ± standard error.\n")
    rows = tried(names, runs) if options.tried else table(names, runs, options.filter, options.bank, options.against)
    for line in rows:
        print(line, flush=True)


if __name__ == "__main__":
    main()
