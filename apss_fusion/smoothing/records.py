"""What smoothing needs of track updates, read into columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from apss_fusion.evaluation.records import microseconds
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.kernels import kernel
from apss_fusion.model import Domain
from apss_fusion.model.look import Latitude, Longitude, UtcTime
from apss_fusion.tracking.rows import DOMAIN_NAMES

#: Indices of the upper triangle of (e, n, ve, vn) by rows.
UPPER = np.triu_indices(4)
#: Their names in the engine's rows.
COV_FIELDS = ("ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb")
_NEVER_US = np.iinfo(np.int64).min


class Update(Struct, frozen=True):
    """The fields of a track update that smoothing reads; all others may be anything."""

    track_id: str
    seq: int
    time: UtcTime
    time_last_detection: UtcTime
    domain: Domain
    lat: Latitude
    lon: Longitude
    v_enu_mps: tuple[float, float, float | None]
    cov_enu: tuple[float, float, float, float, float, float, float, float, float, float]
    ids: dict[str, str] = {}
    evidence: tuple[Any, ...] = ()
    revised_from: UtcTime | None = None


class Updates(NamedTuple):
    """Track updates, one a row in the order of the file; times in microseconds since 1970."""

    #: Number of the track (n,), by its first appearance.
    track: NDArray[np.int64]
    seq: NDArray[np.int64]
    time_us: NDArray[np.int64]
    #: Time of the last detection; time from which the update revises the past, the least int64 where it does not.
    seen_us: NDArray[np.int64]
    revised_us: NDArray[np.int64]
    #: Code of the domain, whether the track has an identity, whether the update used a detection.
    domain: NDArray[np.int64]
    named: NDArray[np.bool_]
    detected: NDArray[np.bool_]
    #: n-vector (n, 3), velocity east and north in m/s (n, 2), covariance of (e, n, ve, vn) in m and m/s (n, 4, 4).
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    covariance: NDArray[np.float64]
    tracks: int

    @property
    def revises(self) -> NDArray[np.bool_]:
        """Whether the update is a revision (n,)."""
        return self.revised_us != _NEVER_US


def decoded(path: str, lines: Iterable[bytes]) -> Iterator[Update]:
    """The updates of NDJSON lines; blank ones are skipped. Raises ValueError that names file, line and field."""
    decoder = msgspec.json.Decoder(Update)
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            update = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        yield checked(update, path, number)


def checked(update: Update, path: str, number: int) -> Update:
    """The update; ValueError that names file, line (or row) and field where its covariance is none."""
    if not _positive_definite(update.cov_enu):
        raise ValueError(f"{path}:{number}: Expected a positive definite covariance - at `$.cov_enu`")
    return update


@kernel
def _positive_definite(triangle: tuple[float, ...]) -> bool:
    """Whether the matrix of an upper triangle (ten numbers) has a Cholesky decomposition, by its pivots."""
    p = np.zeros((4, 4))
    m = 0
    for i in range(4):
        for j in range(i, 4):
            p[i, j] = p[j, i] = triangle[m]
            m += 1
    for k in range(4):
        if not p[k, k] > 0.0:
            return False
        for i in range(k + 1, 4):
            share = p[i, k] / p[k, k]
            for j in range(k + 1, 4):
                p[i, j] -= share * p[k, j]
    return True


def columns(updates: Iterable[Update]) -> Updates:
    """The updates as columns."""
    index: dict[str, int] = {}
    whole, real = array("q"), array("d")
    for u in updates:
        revised_us = _NEVER_US if u.revised_from is None else microseconds(u.revised_from)
        track = index.setdefault(u.track_id, len(index))
        whole.extend((track, u.seq, microseconds(u.time), microseconds(u.time_last_detection), revised_us))
        whole.extend((DOMAIN_NAMES.index(u.domain), bool(u.ids), bool(u.evidence)))
        real.extend((u.lat, u.lon, u.v_enu_mps[0], u.v_enu_mps[1]))
        real.extend(u.cov_enu)
    n = np.array(whole, np.int64).reshape(-1, 8)
    x = np.array(real, np.float64).reshape(-1, 14)
    return Updates(
        track=n[:, 0].copy(),
        seq=n[:, 1].copy(),
        time_us=n[:, 2].copy(),
        seen_us=n[:, 3].copy(),
        revised_us=n[:, 4].copy(),
        domain=n[:, 5].copy(),
        named=n[:, 6] != 0,
        detected=n[:, 7] != 0,
        position=nvectors(x[:, 0], x[:, 1]),
        velocity=x[:, 2:4].copy(),
        covariance=symmetric(x[:, 4:]),
        tracks=len(index),
    )


def symmetric(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (n, 4, 4) of upper triangles by rows (n, 10)."""
    p = np.zeros((len(triangles), 4, 4))
    p[:, UPPER[0], UPPER[1]] = triangles
    p[:, UPPER[1], UPPER[0]] = triangles
    return p
