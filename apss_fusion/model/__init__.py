"""What is exchanged: sources, looks, detections, track updates and pictures, as frozen structs.

Field names and units are the contract that others build on; an unknown value is ``None``, never 0 and never a sentinel.
"""

from apss_fusion.model.look import COOPERATIVE, AltDatum, Detection, Domain, Ellipse, Look, Modality
from apss_fusion.model.rejects import DeadLetter
from apss_fusion.model.source import Source
from apss_fusion.model.track import (
    Contributor,
    EndReason,
    Evidence,
    Marking,
    Picture,
    PictureTrack,
    TrackEllipse,
    TrackStatus,
    TrackUpdate,
)

__all__ = [
    "COOPERATIVE",
    "AltDatum",
    "Contributor",
    "DeadLetter",
    "Detection",
    "Domain",
    "Ellipse",
    "EndReason",
    "Evidence",
    "Look",
    "Marking",
    "Modality",
    "Picture",
    "PictureTrack",
    "Source",
    "TrackEllipse",
    "TrackStatus",
    "TrackUpdate",
]
