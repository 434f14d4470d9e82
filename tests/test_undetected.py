"""The mixture of births against the equations written out with matrices, and the engine that runs on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from apss_fusion import Config, Engine
from apss_fusion.estimation.motion import STATE
from apss_fusion.geodesy.wgs84 import geodetic, moved, nvectors
from apss_fusion.model import Detection, Look, Source
from apss_fusion.tracking import undetected as un
from apss_fusion.tracking.rows import DETECTION

START = datetime(2026, 1, 1, tzinfo=UTC)
LAT, LON = 45.0, 30.0
SOURCES = {"radar": Source(modality="RADAR", domains=("SEA",))}


def place(east_m: float, north_m: float) -> tuple[float, float]:
    n = nvectors(np.array([LAT]), np.array([LON]))[0]
    lat, lon = geodetic(np.array([moved(n[0], n[1], n[2], east_m, north_m)]))
    return float(lat[0]), float(lon[0])


def gaussian(weight: float, east_m: float, north_m: float, sigma_m: float, v: tuple[float, float]) -> un.Gaussian:
    var = sigma_m**2
    rows = ((var, 0, 0, 0), (0, var, 0, 0), (0, 0, 4.0, 0), (0, 0, 0, 4.0))
    return un.Gaussian(weight, *place(east_m, north_m), v, rows)


MODEL = un.MixtureBirths(
    initial=(gaussian(2.0, 0.0, 0.0, 100.0, (5.0, 0.0)), gaussian(1.0, 500.0, 0.0, 50.0, (0.0, -3.0))),
    births=(gaussian(0.1, 0.0, 300.0, 30.0, (0.0, 0.0)),),
    step_s=10.0,
    start_s=START.timestamp(),
    everywhere=1e-7,
    births_everywhere=1e-9,
)


def overrides(**more: Any) -> dict[str, Any]:
    sea = {"q": 0.1, "return_s": 0.0, "departure_s": 1000.0, "birth_speed_sigma_mps": 3.0, "limit95_m": 1e6}
    return {"lag_s": 0.0, "hold_back": True, "domain": {"SEA": sea}, **more}


def scan(k: int, *seen: tuple[float, float], clutter_per_km2: float = 1.0) -> Look:
    ring = [place(e, n)[::-1] for e, n in ((-5e3, -5e3), (5e3, -5e3), (5e3, 5e3), (-5e3, 5e3), (-5e3, -5e3))]
    detections = tuple(
        Detection(detection_id=str(i), lat=place(*z)[0], lon=place(*z)[1], cov_enu_m2=(100.0, 0.0, 100.0))
        for i, z in enumerate(seen)
    )
    return Look(
        look_id=f"scan-{k}",
        source_id="radar",
        time=START + timedelta(seconds=10 * k),
        footprint={"type": "Polygon", "coordinates": [[list(p) for p in ring]]},
        p_detect=0.8,
        clutter_per_km2=clutter_per_km2,
        detections=detections,
    )


def detection(east_m: float, north_m: float) -> np.void:
    z = np.zeros(1, DETECTION)
    lat, lon = place(east_m, north_m)
    z["x"], z["y"], z["z"] = nvectors(np.array([lat]), np.array([lon]))[0]
    z["ree"] = z["rnn"] = 100.0
    for name in ("va", "rate"):
        z[name] = np.nan
    return z[0]


def normal(d: np.ndarray, S: np.ndarray) -> float:
    return float(np.exp(-0.5 * d @ np.linalg.solve(S, d)) / (2 * np.pi * np.sqrt(np.linalg.det(S))))


def test_the_density_of_first_detections_is_that_of_the_mixture() -> None:
    u = un.new_undetected(MODEL)
    domain = Config.of(overrides()).params().domain[0]
    un.advance(u, START.timestamp() + 10.0, domain, np.zeros(1, STATE)[0])
    z = np.array([60.0, 20.0])
    got = un.first_detections(u, detection(*z), 100.0, np.zeros(1, un_posterior())[0])
    F = np.eye(4)
    F[0, 2] = F[1, 3] = 10.0
    Q = np.kron(0.1 * np.array([[1000 / 3, 50.0], [50.0, 10.0]]), np.eye(2))
    want = MODEL.everywhere * np.exp(-0.01) + MODEL.births_everywhere
    for m, v, sigma, w in (((0, 0), (5, 0), 100.0, 2.0), ((500, 0), (0, -3), 50.0, 1.0)):
        P = F @ np.diag([sigma**2, sigma**2, 4.0, 4.0]) @ F.T + Q
        x = F @ np.array([*m, *v], float)
        want += w * np.exp(-0.01) * normal(z - x[:2], P[:2, :2] + 100.0 * np.eye(2))
    want += 0.1 * normal(z - np.array([0.0, 300.0]), (30.0**2 + 100.0) * np.eye(2))
    assert got == pytest.approx(want, rel=1e-6)


def un_posterior() -> np.dtype:
    from apss_fusion.estimation.measurement import POSTERIOR

    return POSTERIOR


def test_advancing_to_the_same_time_again_changes_nothing() -> None:
    u, domain, spare = un.new_undetected(MODEL), Config.of(overrides()).params().domain[0], np.zeros(1, STATE)[0]
    un.advance(u, START.timestamp() + 10.0, domain, spare)
    before = u.n.copy(), u.x.copy(), u.part.copy(), u.weight.copy()
    un.advance(u, START.timestamp() + 10.0, domain, spare)
    for a, b in zip(before, (u.n, u.x, u.part, u.weight), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("setting", ["accurate", "fast"])
def test_an_object_that_is_seen_where_objects_appear_becomes_a_track(setting: str) -> None:
    engine = Engine(Config.of(overrides(filter=setting)), SOURCES, MODEL)
    for k in range(1, 7):
        engine.process(scan(k, (5.0 * 10 * k, 0.0), (-3000.0 + 700.0 * k, 2500.0)))
    engine.flush()
    tracks = engine.tracks_at(round((START.timestamp() + 60.0) * 1e6), 0.5)
    assert len(tracks) == 1
    assert (tracks[0].lat, tracks[0].lon) == pytest.approx(place(300.0, 0.0), abs=3e-4)
    assert tracks[0].existence_prob > 0.99


def test_the_same_detections_far_from_where_objects_appear_are_clutter() -> None:
    engine = Engine(Config.of(overrides()), SOURCES, MODEL)
    engine.process(scan(1, (-3000.0, 2500.0)))
    engine.flush()
    tracks = engine.tracks_at(round((START.timestamp() + 10.0) * 1e6), 0.0)
    assert all(t.existence_prob < 0.2 for t in tracks)


def test_the_birth_rate_is_learned() -> None:
    model = un.MixtureBirths(
        births=(gaussian(0.01, 0.0, 0.0, 2000.0, (0.0, 0.0)),), step_s=10.0, start_s=START.timestamp(), memory=1.0
    )
    engine = Engine(Config.of(overrides()), SOURCES, model)
    rng = np.random.default_rng(4)
    homes: list[np.ndarray] = []
    for k in range(1, 30):
        homes.append(rng.uniform(-2500, 2500, 2))
        engine.process(scan(k, *[(float(h[0]), float(h[1])) for h in homes], clutter_per_km2=0.001))
    engine.flush()
    x = engine._filter.work.undetected.x
    assert x[un.BORN] == pytest.approx(20.0, abs=4.0)
    assert (x[un.MEMORY] + x[un.BORN]) / (x[un.MEMORY] + x[un.EXPECTED]) > 10.0


def test_it_needs_looks_held_back_and_has_no_records() -> None:
    with pytest.raises(ValueError, match="hold_back"):
        Engine(Config.of({"hold_back": False}), SOURCES, MODEL)
    with pytest.raises(ValueError, match="no records"):
        Engine(Config.of(overrides()), SOURCES, MODEL).changes()


def test_more_parts_than_there_was_room_for() -> None:
    parts = tuple(gaussian(1.0, 10.0 * k, 0.0, 50.0, (0.0, 0.0)) for k in range(3500))
    model = un.MixtureBirths(initial=parts, step_s=10.0, start_s=START.timestamp())
    engine = Engine(Config.of(overrides()), SOURCES, model)
    engine.process(scan(1, (0.0, 0.0)))
    engine.flush()
    assert engine._filter.work.undetected.n[un.USED] >= 3000
