"""Updates as arrays and as structs: what is published, to which digit."""

from __future__ import annotations

import math
from decimal import Decimal

import h3
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_updates import engine_tables, expected, look_batch, random_updates, texts
from scipy.stats import chi2

from apss_fusion.geodesy.wgs84 import geodetic, nvectors
from apss_fusion.model import TrackUpdate
from apss_fusion.tracking import updates as u
from apss_fusion.tracking.rows import UPDATE
from apss_fusion.tracking.updates import UpdateBatch, derive


def rows_at(lat: list[float], lon: list[float]) -> np.ndarray:
    """Rows at rest with a round covariance."""
    rows = np.zeros(len(lat), UPDATE)
    state = rows["state"]
    for k, name in enumerate("xyz"):
        state[name] = nvectors(lat, lon)[:, k]
    for name in ("ee", "nn", "aa", "bb"):
        state[name] = 1.0
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_structs_are_as_the_reference_says(seed: int) -> None:
    batch = random_updates(seed, 150)
    for i, update in enumerate(batch):
        assert update == msgspec.convert(expected(batch, i), TrackUpdate)


def test_numbers_are_plain_python() -> None:
    update = random_updates(3, 1)[0]
    assert type(update.lat) is float
    assert type(update.seq) is int
    assert all(type(v) is float for v in update.cov_enu)


def test_ellipse_holds_the_share_that_it_says() -> None:
    assert pytest.approx(math.sqrt(chi2.ppf(0.95, 2)), rel=1e-12) == u.ELLIPSE95_SIGMAS
    batch = random_updates(11, 300)
    for row, update in zip(batch.rows["state"], batch, strict=True):
        values, vectors = np.linalg.eigh([[row["ee"], row["en"]], [row["en"], row["nn"]]])
        major, minor = u.ELLIPSE95_SIGMAS * np.sqrt(np.maximum(values[::-1], 0))
        assert abs(update.ellipse95.semi_major_m - max(major, 0.1)) <= 0.0501 + 1e-9 * major
        assert abs(update.ellipse95.semi_minor_m - max(minor, 0.1)) <= 0.0501 + 1e-6 * major
        if major > 1.01 * minor:
            east, north = vectors[:, 1]
            turn = (update.ellipse95.orientation_deg - math.degrees(math.atan2(east, north)) + 90) % 180 - 90
            assert abs(turn) <= 0.0501
        assert 0 <= update.ellipse95.orientation_deg < 180
        assert 0 <= update.course_deg < 360


@pytest.mark.parametrize(
    ("east", "north", "course"),
    [(0.0, 5.0, 0.0), (5.0, 0.0, 90.0), (0.0, -5.0, 180.0), (-5.0, 0.0, 270.0), (-0.0, -0.0, None), (-1e-9, 5.0, 0.0)],
)
def test_course(east: float, north: float, course: float | None) -> None:
    rows = rows_at([10.0], [20.0])
    rows["state"]["a"], rows["state"]["b"] = east, north
    values = derive(rows).values()[0]
    assert 0.0 <= values[u.COURSE] < 360.0
    if course is not None:
        assert values[u.COURSE] == course
    assert values[u.SPEED] == round(math.hypot(east, north), 2)
    assert values[[u.V_EAST, u.V_NORTH]].tolist() == [round(east, 3), round(north, 3)]
    assert "-0.0" not in map(str, values.tolist())


def test_positions_and_cells_everywhere() -> None:
    rng = np.random.default_rng(5)
    lat = [90.0, -90.0, 0.0, 0.0, 12.3456789, *np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))]
    lon = [0.0, 0.0, 180.0, -180.0, -179.99999999, *rng.uniform(-180, 180, 3000)]
    rows = rows_at(lat, lon)
    numbers = derive(rows)
    values = numbers.values()
    state = rows["state"]
    there_lat, there_lon = geodetic(np.stack([state["x"], state["y"], state["z"]], 1))
    assert np.abs(values[:, u.LAT] - there_lat).max() <= 0.51e-7
    turn = (values[:, u.LON] - there_lon + 180) % 360 - 180
    assert np.abs(turn[2:]).max() <= 0.51e-7
    assert values[:, u.LON].min() > -180.0
    assert values[:, u.LON].max() <= 180.0
    cells = [f"{c:x}" for c in numbers.h3]
    assert cells == [h3.latlng_to_cell(a, b, 7) for a, b in values[:, [u.LAT, u.LON]].tolist()]


def test_covariances_stay_positive_and_are_never_cut_to_zero() -> None:
    rng = np.random.default_rng(8)
    n = 2000
    rows = rows_at([1.0] * n, [2.0] * n)
    sigma = 10.0 ** rng.uniform(-4, 5, (n, 4))
    # Of a correlation matrix with smallest eigenvalue 1e-5 or more.
    vectors, _ = np.linalg.qr(rng.normal(size=(n, 4, 4)))
    c = vectors @ (10.0 ** rng.uniform(-5, 0, (n, 4, 1)) * vectors.transpose(0, 2, 1))
    unit = 1 / np.sqrt(np.einsum("nii->ni", c))
    c = c * unit[:, :, None] * unit[:, None, :]
    keep = np.linalg.eigvalsh(c)[:, 0] > 1e-5
    cov = c * sigma[:, :, None] * sigma[:, None, :]
    upper = [(i, j) for i in range(4) for j in range(i, 4)]
    for i, j in upper:
        rows["state"]["enab"[i] + "enab"[j]] = cov[:, i, j]
    got = np.zeros((n, 4, 4))
    values = derive(rows).values()
    for k, (i, j) in enumerate(upper):
        got[:, i, j] = got[:, j, i] = values[:, u.COV + k]
    assert keep.sum() > 500
    relative = got / sigma[:, :, None] / sigma[:, None, :]
    large = np.abs(np.einsum("nii->ni", cov)).min(1) > 1e-5
    assert np.abs(relative - c)[large].max() < 1e-6
    assert np.linalg.eigvalsh(relative[keep & large])[:, 0].min() > 0
    assert (np.einsum("nii->ni", got) > 0).all()


@given(st.floats(), st.integers(0, 12))
def test_scaled_is_the_nearest_multiple(v: float, decimals: int) -> None:
    got = u.scaled(v, decimals)
    if not math.isfinite(v):
        assert got == u.NULL
        return
    exact = Decimal(v).scaleb(decimals)
    if abs(exact) < 2**51:
        assert abs(Decimal(got) - exact) <= Decimal("0.5") + abs(exact) * Decimal(2) ** -53
        assert Decimal(got / 10**decimals) == Decimal(float(f"{got}e-{decimals}"))
    else:
        assert abs(got) >= 2**51 - 1
        assert abs(got) < 2**53


@given(st.integers(0, 2**33 * 1_000_000))
def test_seconds_give_their_microseconds(us: int) -> None:
    assert u.microseconds(us / 1e6) == us


def test_unknown_is_none() -> None:
    batch = random_updates(1, 400)
    rows = batch.rows
    for row, update in zip(rows, batch, strict=True):
        unknown = row["altitude"]["hh"] == 0
        assert (update.alt_m is None) == (update.alt_sigma_m is None) == unknown
        assert update.alt_datum is None or not unknown
        climbs = not unknown and 0 < row["altitude"]["ww"] <= 1e6
        assert (update.v_enu_mps[2] is not None) == climbs
        assert (update.length_m is None) == math.isnan(row["belief"]["length_m"])
        assert (update.width_m is None) == math.isnan(row["belief"]["width_m"])
        assert (update.revised_from is None) == (row["revised_us"] == -1)
        assert update.evidence == () or row["look"] >= 0


def test_no_evidence_without_a_look() -> None:
    batch = random_updates(2, 50)
    batch.rows["look"] = -1
    assert all(update.evidence == () for update in batch)


def test_sequence() -> None:
    batch = random_updates(4, 20)
    every = list(batch)
    assert len(batch) == len(every) == 20
    assert batch[-1] == every[-1]
    assert batch[-20] == every[0]
    for index in (20, -21):
        with pytest.raises(IndexError):
            batch[index]
    assert list(batch[3:17:2]) == every[3:17:2]
    assert list(batch[::-1]) == every[::-1]
    assert list(batch[5:5]) == []


def test_select() -> None:
    batch = random_updates(4, 50)
    every = list(batch)
    mask = batch.rows["status"] == 1
    assert list(batch.select(mask)) == [update for update, k in zip(every, mask, strict=True) if k]
    assert list(batch.select(np.array([7, 7, 0]))) == [every[7], every[7], every[0]]
    assert list(batch.select(np.zeros(50, bool))) == []
    assert list(batch.select(mask)[:1]) == list(batch.select(mask))[:1]


def test_concat_of_one_batch_of_looks_and_of_several() -> None:
    rng = np.random.default_rng(0)
    tables = engine_tables(rng)
    shared = look_batch(texts(rng, 9), texts(rng, 30))
    parts = [random_updates(k, 12, tables, shared if k < 3 else None) for k in range(5)]
    parts += [parts[0].select(parts[0].rows["status"] == 2), parts[1][:0]]
    every = [update for part in parts for update in part]
    joined = UpdateBatch.concat(parts)
    assert list(joined) == every
    assert list(UpdateBatch.concat([joined, parts[2]])) == every + list(parts[2])
    assert UpdateBatch.concat(parts[:3]).batch is shared
    assert UpdateBatch.concat(parts[:1]) is parts[0]
    # The parts are as they were.
    assert [update for part in parts for update in part] == every


def test_concat_refuses_other_engines_and_nothing() -> None:
    with pytest.raises(ValueError, match="no updates"):
        UpdateBatch.concat([])
    with pytest.raises(ValueError, match="several engines"):
        UpdateBatch.concat([random_updates(1, 3), random_updates(2, 3)])


def test_flag_names() -> None:
    assert [u.flag_names(k) for k in range(4)] == [(), ("id_conflict",), ("pending",), ("id_conflict", "pending")]
    assert u.flag_names(4) == ()
