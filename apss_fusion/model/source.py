"""The register of sources: who contributes to the virtual constellation, how well, and for whose eyes."""

from __future__ import annotations

from msgspec import Struct

from apss_fusion.model.look import Domain, Modality, NotNegative, Positive, Probability


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registered contributor. Only the modality must be given; ``None`` takes the default of the modality."""

    modality: Modality
    nation: str | None = None
    provider: str | None = None
    platform: str | None = None
    #: Domains that this source can touch; empty: all of them.
    domains: tuple[Domain, ...] | None = None
    #: One-sigma position error of a detection that states none.
    position_sigma_m: Positive | None = None
    #: One-sigma error of the time of a report: what moves lies that much of its way along its course from where it says it is.
    time_sigma_s: NotNegative | None = None
    p_detect: Probability | None = None
    clutter_per_km2: NotNegative | None = None
    #: How long after its time a look of this source may arrive.
    max_latency_s: NotNegative | None = None
    #: Whether a detection of this source alone may found a track.
    may_initiate: bool = True
    classification: str = "UNCLASSIFIED"
    #: Nations (ISO 3166 alpha-3) or groups that may see it; empty: nobody but the owner.
    releasable_to: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
