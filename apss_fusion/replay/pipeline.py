"""The embedded run: recorded feeds through one engine into files, with no broker.

Inputs are merged by arrival and fused chunk by chunk; every record that is read is accounted for. A run can be saved
(its updates and those of the run that resumes it are together those of one run) and be stopped between two chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.reading import InputError
from apss_fusion.feeds.registry import decoder_named
from apss_fusion.model import Source
from apss_fusion.outputs import TrackWriter, open_track_writer
from apss_fusion.replay import state_file
from apss_fusion.replay.merging import Merged, merge
from apss_fusion.replay.pipeline_inputs import CHUNK_ITEMS, Chunk, InputReader
from apss_fusion.replay.pipeline_lines import picture_json
from apss_fusion.replay.pipeline_outputs import (
    Closing,
    DeadLetters,
    Lines,
    RunError,
    check_outputs,
    naming,
    write_summary,
)
from apss_fusion.replay.pipeline_resume import Resumed
from apss_fusion.replay.pipeline_stop import Interrupted, Stop
from apss_fusion.replay.pipeline_tally import ConfirmedTracks, SourceTally, Tally
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine, StateError
from apss_fusion.tracking.updates import UpdateBatch
