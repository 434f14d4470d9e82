"""Track updates and pictures: what the engine tells the world."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from apss_fusion.model.look import AltDatum, Domain, Modality, UtcTime

TrackStatus = Literal["TENTATIVE", "CONFIRMED", "COASTING", "TERMINATED"]
EndReason = Literal["LOST", "UNCERTAIN", "WITHDRAWN"]


class TrackEllipse(Struct, frozen=True):
    """The ellipse that holds the object with probability 0.95."""

    semi_major_m: float
    semi_minor_m: float
    #: Of the major axis, degrees clockwise from true north, 0 to 180.
    orientation_deg: float


class Contributor(Struct, frozen=True):
    """A source that took part in a track: how many detections, the time of the last."""

    source_id: str
    nation: str | None
    modality: Modality
    n: int
    last: UtcTime


class Evidence(Struct, frozen=True):
    """A detection that this update used, and with what probability it is of this object."""

    look_id: str
    detection_id: str
    weight: float


class Marking(Struct, frozen=True):
    """The highest classification, the intersection of releasability and the union of caveats of the evidence."""

    classification: str
    releasable_to: tuple[str, ...]
    caveats: tuple[str, ...]


class TrackUpdate(Struct, frozen=True, kw_only=True):
    """One object as the engine believes it to be after one look. ``track_id`` and ``seq`` name an update for ever."""

    track_id: str
    seq: int
    status: TrackStatus
    end_reason: EndReason | None
    #: The time from which a late look changed this track's past.
    revised_from: UtcTime | None
    time: UtcTime
    time_last_detection: UtcTime
    domain: Domain
    lat: float
    lon: float
    alt_m: float | None
    alt_sigma_m: float | None
    alt_datum: AltDatum | None = None
    speed_mps: float
    course_deg: float
    #: East, north, up; up is ``None`` where it is unknown.
    v_enu_mps: tuple[float, float, float | None]
    #: Upper triangle by rows of the covariance of (e, n, ve, vn), in m and m/s on the local tangent plane.
    cov_enu: tuple[float, float, float, float, float, float, float, float, float, float]
    ellipse95: TrackEllipse
    existence_prob: float
    ids: dict[str, str]
    class_probs: dict[str, float]
    length_m: float | None
    width_m: float | None
    n_detections: int
    contributors: tuple[Contributor, ...]
    evidence: tuple[Evidence, ...]
    #: H3 cell of the position at resolution 7.
    h3: str
    flags: tuple[str, ...]
    marking: Marking


class PictureTrack(Struct, frozen=True):
    """One track in a picture, predicted to the picture's time."""

    track_id: str
    lat: float
    lon: float
    existence_prob: float
    status: TrackStatus
    ids: dict[str, str]


class Picture(Struct, frozen=True):
    """All confirmed and coasting tracks at one moment."""

    time: UtcTime
    tracks: tuple[PictureTrack, ...]
