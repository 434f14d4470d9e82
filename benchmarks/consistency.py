"""Is the engine as good as it says? ``python -m benchmarks.consistency [--feed PATH...]``.

Without a feed: normalised estimation errors squared (NEES) of the whole engine on objects whose truth is known and moves
by the engine's own model. With feeds: normalised innovations squared (NIS) of each source, by the length of the gap.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import chi2

from apss_fusion.estimation.motion import STATE, predict
from apss_fusion.feeds.reading import FeedReader, read_looks
from apss_fusion.geodesy.positions import offsets
from apss_fusion.model import Look, Source
from apss_fusion.smoothing.records import COV_FIELDS, UPPER
from apss_fusion.smoothing.steps import Motion, quadratic, steps_between
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.config import Config, DomainConfig, Params
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.rows import DOMAIN_NAMES
from apss_fusion.tracking.updates import UpdateBatch
from benchmarks.consistency_scenes import SETTINGS, SOURCES, START_S, Scene, object_of, reports, scans
from benchmarks.engine import chunks
from benchmarks.measuring import machine, table

FloatArray = NDArray[np.float64]


class Errors(NamedTuple):
    """Error (n, 4) of (e, n, ve, vn), truth minus estimate, and its stated covariance (n, 4, 4)."""

    error: FloatArray
    covariance: FloatArray

    def nees(self, dims: int) -> FloatArray:
        """Normalised estimation error squared of the position (2) or the whole state (4), (n,)."""
        e, p = self.error[:, :dims], self.covariance[:, :dims, :dims]
        out: FloatArray = (e[:, None, :] @ np.linalg.solve(p, e[:, :, None]))[:, 0, 0]
        return out


def interval(n: int, dims: int, probability: float = 0.95) -> tuple[float, float]:
    """Where the mean of n independent NEES of so many dimensions lies for a consistent filter, divided by the dimensions.

    chi2inv([(1 - p) / 2, (1 + p) / 2], n dims) / (n dims) (Bar-Shalom, Li and Kirubarajan 2001, 5.4).
    """
    tail = 0.5 * (1.0 - probability)
    low, high = chi2.ppf([tail, 1.0 - tail], n * dims) / (n * dims)
    return float(low), float(high)


def errors(scene: Scene, config: Config) -> Errors:
    """Of each object the error of its track at one time, so that all are independent: how the engine has it then.

    An object's track is the one that used most detections of it.
    """
    engine = Engine(config, SOURCES)
    published = UpdateBatch.concat([engine.process_many(scene.looks), engine.flush()])
    used: dict[str, list[int]] = {}
    last: dict[str, NDArray[np.void]] = {}
    for k, u in enumerate(published):
        seen = [object_of(e.detection_id) for e in u.evidence if e.weight > 0.5]
        used.setdefault(u.track_id, []).extend(seen)
        if seen:
            last[u.track_id] = published.rows["state"][k : k + 1]
    found: dict[int, tuple[int, NDArray[np.void]]] = {}
    for track_id, row in (last | states(engine)).items():
        own, count = Counter(used.get(track_id, [-1])).most_common(1)[0]
        if own >= 0 and count > found.get(own, (0, row))[0]:
            found[own] = count, row
    at = sorted(found)
    truth = np.concatenate([scene.truth[n] for n in at])
    told = predicted(np.concatenate([found[n][1] for n in at]), truth["t"] + START_S, config.domain[scene.domain])
    off = offsets(*(np.stack([r["x"], r["y"], r["z"]], 1) for r in (told, truth)))
    p = np.zeros((len(told), 4, 4))
    for name, i, j in zip(COV_FIELDS, *UPPER, strict=True):
        p[:, i, j] = p[:, j, i] = told[name]
    return Errors(np.column_stack([off, truth["a"] - told["a"], truth["b"] - told["b"]]), p)


def states(engine: Engine) -> dict[str, NDArray[np.void]]:
    """The row (1,) of dtype STATE of every living track of an engine that holds back, as its last look left it."""
    own = engine._filter
    slots = banks.alive(own.bank)
    ids = [str(UUID(bytes=own.track_id[i].tobytes())) for i in slots]
    return {name: own.bank.state[i : i + 1].copy() for name, i in zip(ids, slots.tolist(), strict=True)}


def predicted(rows: NDArray[np.void], t: FloatArray, d: DomainConfig) -> NDArray[np.void]:
    """Rows of dtype STATE at times t (n,), in one step each, as the engine predicts them."""
    out = rows.copy()
    for i in np.flatnonzero(rows["t"] < t):
        predict(rows[i], t[i], d.q, 1.0 / d.return_s if d.return_s else 0.0, d.great_circle, out[i])
    return out


class Runs(Struct, frozen=True):
    """How much is simulated: so many independent runs of so many objects each."""

    runs: int = 8
    objects: int = 49


def simulated(size: Runs, seed: int = 1, bank: bool = False) -> Iterator[list[Any]]:
    """The rows of the table. Objects move by the noise of their domain; a bank looks for calmer and wilder ones as well."""
    one_noise = {} if bank else {"accurate": {"noise_factors": [1.0]}}
    config = Config.of({"lag_s": 0.0, "hold_back": True, **one_noise})
    for domain, setting in SETTINGS.items():
        kinds: dict[str, Callable[[int], Scene]] = {
            "reports of place": partial(reports, count=size.objects, setting=setting, config=config, tells=False),
            "reports of place, speed, course": partial(
                reports, count=size.objects, setting=setting, config=config, tells=True
            ),
            "scans": partial(scans, count=size.objects, setting=setting, config=config, clutter_each=0.0),
            "scans with clutter": partial(scans, count=size.objects, setting=setting, config=config, clutter_each=0.3),
        }
        for number, (kind, make) in enumerate(kinds.items()):
            parts = [errors(make(_seed(seed, domain, number, k)), config) for k in range(size.runs)]
            both = Errors(np.concatenate([p.error for p in parts]), np.concatenate([p.covariance for p in parts]))
            yield [f"{domain}, {kind}", len(both.error), *_cells(both, 2), *_cells(both, 4)]


def _seed(seed: int, domain: str, kind: int, run: int) -> int:
    """Another one for every scene: rows that shared their noise would confirm each other."""
    return int(np.random.SeedSequence((seed, list(SETTINGS).index(domain), kind, run)).generate_state(1)[0])


def _cells(e: Errors, dims: int) -> list[str]:
    nees = e.nees(dims)
    low, high = interval(len(nees), dims)
    mean = float(np.mean(nees)) / dims
    where = "" if low <= mean <= high else " (!)"
    middle = float(np.median(nees)) / float(chi2.median(dims))
    outside = float(np.mean(nees > chi2.ppf(0.99, dims)))
    return [f"{mean:.3f}{where}", f"{low:.3f} to {high:.3f}", f"{middle:.2f}", f"{outside:.1%}"]


# ---------------------------------------------------------------------------------------- recorded feeds

#: Gaps by which innovations are grouped, s.
GAPS_S = (0.0, 30.0, 120.0, 600.0, 3600.0, math.inf)
GAP_NAMES = ("0-30 s", "30-120 s", "2-10 min", "10-60 min", "> 1 h")
#: A track of more than this moves: two knots.
MOVES_MPS = 1.0
#: Density of what no model explains, 1/m^2: one in a thousand, anywhere within 10 km.
_ANYWHERE = 1e-3 / (math.pi * 1e8)


class Innovations(NamedTuple):
    """Predictions of tracks to their next own detection, one a row."""

    source: list[str]
    domain: NDArray[np.int64]
    gap_s: FloatArray
    #: Speed that the track had.
    speed_mps: FloatArray
    #: Whether the track of before took the detection; another one did, or it founded one, where not.
    same: NDArray[np.bool_]
    #: Innovation (n, 2), its stated covariance S and that of the wide model (n, 2, 2), in m.
    y: FloatArray
    s: FloatArray
    wide: FloatArray

    def nis(self) -> FloatArray:
        """Normalised innovation squared (n,), 2 degrees of freedom."""
        return _squared(self.y, self.s)

    def log_likelihood(self, manoeuvre: float) -> FloatArray:
        """Log density (n,) of each detection as predicted: narrow, wide with this probability, or anywhere."""
        narrow, wide = (np.exp(-0.5 * _squared(self.y, s)) / _area(s) for s in (self.s, self.wide))
        out: FloatArray = np.log((1.0 - manoeuvre) * narrow + manoeuvre * wide + _ANYWHERE)
        return out


def _squared(y: FloatArray, s: FloatArray) -> FloatArray:
    out: FloatArray = (y[:, None, :] @ np.linalg.solve(s, y[:, :, None]))[:, 0, 0]
    return out


def _area(s: FloatArray) -> FloatArray:
    out: FloatArray = 2.0 * np.pi * np.sqrt(np.linalg.det(s))
    return out


def feed_looks(path: Path) -> tuple[list[Look], dict[str, Source]]:
    """All looks of a recorded file in the order of their time, each id once, and the built-in source of its format."""
    reader = FeedReader(path)
    reader.input.close()
    sources = {reader.decoder.name: reader.decoder.source} if reader.decoder else {}
    looks: dict[str, Look] = {}
    for look in read_looks(path):
        looks.setdefault(look.look_id, msgspec.structs.replace(look, time_received=None))
    return sorted(looks.values(), key=lambda look: (look.time, look.source_id, look.look_id)), sources


def innovations(looks: Sequence[Look], sources: Mapping[str, Source], config: Config) -> Innovations:
    """Of each detection that was surely of one track (weight over 0.9), against the state that the last one left.

    Detections with an identity follow the last one of that identity, whichever track took it: so what the engine did not
    associate counts too. Others follow the last one of their track.
    """
    engine = Engine(msgspec.structs.replace(config, lag_s=0.0, hold_back=True, tentative=True), sources)
    rows, detections, tracks, ids = [], [], [], []
    parts = [engine.process_many(chunk) for chunk in chunks(looks)]
    for part in [*parts, engine.flush()]:
        first, count = part.rows["evidence"], part.rows["evidence_n"]
        for k in np.flatnonzero((part.rows["look"] >= 0) & (count > 0)).tolist():
            own = part.evidence[first[k] : first[k] + count[k]]
            best = own[int(own["weight"].argmax())]
            if best["weight"] > 0.9:
                look = part.batch.looks[part.rows["look"][k]]
                rows.append(part.rows[k : k + 1])
                detections.append(part.batch.detections[best["detection"]][None])
                tracks.append(part.track_ids[k].tobytes())
                ids.append(engine.register.names[int(look["source"])])
    if not rows:
        return Innovations(
            [], *(np.zeros(0, t) for t in ("i8", "f8", "f8", "?")), *(np.zeros((0, 2)), *2 * [np.zeros((0, 2, 2))])
        )
    return _paired(np.concatenate(rows), np.concatenate(detections), tracks, ids, config.params())


def _paired(
    row: NDArray[np.void], z: NDArray[np.void], tracks: list[bytes], source: list[str], params: Params
) -> Innovations:
    numbers = {name: k for k, name in enumerate(dict.fromkeys(tracks))}
    track = np.array([numbers[name] for name in tracks])
    key = np.where(z["identity"] != 0, z["identity"], track.astype(np.uint64))
    order = np.lexsort((np.arange(len(row)), key))
    pair = np.flatnonzero(
        (key[order[1:]] == key[order[:-1]]) & (row["time_us"][order[1:]] > row["time_us"][order[:-1]])
    )
    old, new = order[pair], order[pair + 1]
    state, domain, seen = row["state"][old].copy(), row["belief"]["domain"][old].astype(np.int64), z[new]
    there = np.zeros(len(new), STATE)
    there["x"], there["y"], there["z"] = seen["x"], seen["y"], seen["z"]
    there["t"] = row["state"]["t"][new] + seen["dt"]
    steps, predictions = steps_between(state, there, Motion.of(params, domain))
    here = np.stack([predictions["x"], predictions["y"], predictions["z"]], 1)
    y = offsets(here, np.stack([seen["x"], seen["y"], seen["z"]], 1))
    p = np.zeros((len(new), 4, 4))
    for name, i, j in zip(COV_FIELDS, *UPPER, strict=True):
        p[:, i, j] = p[:, j, i] = state[name]
    r = np.stack([seen["ree"], seen["ren"], seen["ren"], seen["rnn"]], 1).reshape(-1, 2, 2)
    f, carried = params.filter[0], quadratic(steps.f, p)
    wide = (carried + f["manoeuvre_factor"] * steps.q)[:, :2, :2] + (1.0 + f["manoeuvre_jump"]) * r
    s = (carried + steps.q)[:, :2, :2] + r
    speed_mps = np.hypot(state["a"], state["b"])
    same = track[old] == track[new]
    return Innovations([source[i] for i in new], domain, there["t"] - state["t"], speed_mps, same, y, s, wide)


def recorded(feeds: Sequence[Path], config: Config) -> Iterator[list[Any]]:
    """The rows of the table of feeds."""
    for path in feeds:
        found = innovations(*feed_looks(path), config)
        nis, likely = found.nis(), found.log_likelihood(config.tracking.manoeuvre_probability)
        source = np.array(found.source)
        for name, (domain, title), moves, k in product(
            dict.fromkeys(found.source), enumerate(DOMAIN_NAMES), (True, False), range(len(GAP_NAMES))
        ):
            which = (source == name) & (found.domain == domain) & ((found.speed_mps > MOVES_MPS) == moves)
            which &= (found.gap_s >= GAPS_S[k]) & (found.gap_s < GAPS_S[k + 1])
            if which.any():
                yield [
                    f"{path.name}, {name}, {title}, {'moves' if moves else 'stands'}, {GAP_NAMES[k]}",
                    int(which.sum()),
                    f"{np.mean(nis[which]) / 2.0:,.2f}",
                    f"{np.median(nis[which]) / chi2.median(2):.2f}",
                    f"{np.mean(nis[which] <= chi2.ppf(0.99, 2)):.1%}",
                    f"{np.mean(likely[which]):.2f}",
                    f"{np.median(np.hypot(*found.y[which].T)):,.0f}",
                    f"{np.mean(~found.same[which]):.1%}",
                ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description="NEES and NIS as markdown.")
    parser.add_argument(
        "--feed", nargs="+", default=[], type=Path, help="recorded files: NIS by source instead of NEES"
    )
    parser.add_argument("--runs", type=int, default=Runs().runs, help="independent runs of each scene")
    parser.add_argument("--config", type=Path, help="with --feed: keys that override the engine's defaults")
    parser.add_argument("--bank", action="store_true", help="with the default bank of process noises: truth has one")
    options = parser.parse_args(arguments)
    for feed in options.feed:
        if not feed.is_file():
            parser.error(f"--feed {feed}: no such file")
    print(machine(), flush=True)
    if options.feed:
        config = Config.of() if options.config is None else Config.read(options.config)
        table(
            "NIS of recorded feeds",
            (
                "feed, source, domain, gap",
                "number",
                "NIS / 2",
                "median",
                "within 99 %",
                "log-likelihood",
                "median, m",
                "other track",
            ),
            recorded(options.feed, config),
            notes=(
                "Innovation of each detection that was surely a track's own, from the state that its last one left. Median: by "
                "that of chi-square. Log-likelihood: mean, in nats, of the detection's place by narrow and wide model.",
            ),
        )
        return
    columns = ("95 % interval", "median", "over 99 %")
    table(
        "NEES of the whole engine on objects that move as it believes",
        ("scene", "objects", *("position", *columns), *("full state", *columns)),
        simulated(Runs(runs=options.runs), bank=options.bank),
        notes=(
            "Mean of NEES by degrees of freedom: 1 is consistent, more is too sure. (!): outside of the interval. Median: by "
            "that of chi-square. With scans a state is the moments of several hypotheses (which detection, or a new object?): "
            "mostly a little too modest, far off when the wrong one was taken; the median says more there than the mean.",
        ),
    )


if __name__ == "__main__":
    main()
