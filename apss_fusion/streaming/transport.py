"""A transport for Faust in which one event is a chunk of records of one partition.

Stock Faust spends some 100 us an event, whatever `take()` says: 10,000 records a second. Here an event's value is a
`Chunk`, the records of one partition that were fetched together; a record costs what decoding it costs. And:

- A partition starts where the recovered state ends, not at the group's committed offset. That one is a hint: it lags,
  and what moves it (defects of the framework: faust#596, faust#606; an operator's reset) can put it ahead of the state.
- Each chunk says which record came before it, so that a record that the framework lost on the way is noticed.
- Faust hard-codes how long a fetch waits, 1.5 s, and reads uncommitted records; both are set here. There is one fetch at a
  time to a broker: while it waits for partitions that are silent, what comes in the others has to wait for its end.
- The producer is idempotent: without, a retry after a lost leader appends a batch twice. Faust has no setting for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from faust.serializers.schemas import Schema
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver

if TYPE_CHECKING:
    from apss_fusion.streaming.app import FusionApp

#: The scheme of the broker's URL that chooses this transport.
SCHEME = "chunks"
#: Most records of an event; several events of a partition may be delivered as one.
MOST_RECORDS = 1000
_FETCH_WAIT_MS = 20
#: After so long, s, lanes that were full are looked at again.
_FULL_S = 0.02


class ShorterThanStateError(RuntimeError):
    """A partition lacks records that its state contains: what comes next in it would be taken for these."""


class Chunk(NamedTuple):
    """Consecutive records of one partition, never none."""

    #: Offset at which the partition was started.
    began: int
    #: Offset of the record that was handed out before; at first, of the last one before `began`.
    after: int
    #: Records of aiokafka, by ascending offset.
    records: list[Any]


class ChunkSchema(Schema):  # type: ignore[misc]
    """The value is a chunk already: nothing to decode."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> None:
        """No key: each record has its own."""
        return None

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        """The chunk."""
        return message.value


def install() -> None:
    """Let Faust find the transport by its scheme."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's thread, with fetches as this deployment wants them."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Both are read when the consumer starts, which comes later.
        consumer._fetch_max_wait_ms = _FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer


class Consumer(driver.Consumer):  # type: ignore[misc]
    """A consumer whose messages are chunks."""

    app: FusionApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Offset of the last record that was handed out, by partition.
        self._handed_out: dict[Any, int] = {}
        self._began: dict[Any, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Go to where the state of each partition ends; the places."""
        committed = await super().seek_to_committed()
        # What was assigned a moment ago is taken over next, and comes here again.
        mine = [tp for tp in self.assignment() if (tp.topic, tp.partition) in self.app.lanes]
        starts = {tp: self.app.start_of(tp.topic, tp.partition) for tp in mine}
        # Asked at once: an answer may wait behind a fetch.
        earliest = await self.earliest_offsets(*mine) if mine else {}
        ends = await self.highwaters(*mine) if mine else {}
        positions = {tp: earliest[tp] if start is None else start for tp, start in starts.items()}
        for tp, start in positions.items():
            known = committed.get(tp)
            if known is not None and known > start:
                self.log.warning("committed offset %d of %s is ahead of its state, %d", known, tp, start)
            if start > ends[tp]:
                raise ShorterThanStateError(
                    f"{tp.topic}/{tp.partition} ends at {ends[tp]}, before its state, {start}: it was made anew or cut; "
                    "make its changelog anew too, or use another prefix"
                )
            if start < earliest[tp]:
                self.log.error("records %d to %d of %s were deleted before they were read", start, earliest[tp] - 1, tp)
            await self._seek(tp, start)
            self._began[tp], self._handed_out[tp] = start, start - 1
        return positions

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Records of partitions whose lanes have room."""
        ready = {tp for tp in active_partitions or () if not self.app.is_full(tp.topic, tp.partition)}
        if not ready:
            await self.sleep(_FULL_S)
            return {}
        return await super()._getmany(ready, timeout if len(ready) == len(active_partitions) else _FULL_S)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """Fetched records as messages of a chunk each."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            # As in stock Faust, what was fetched is thrown away; whoever resumes the flow seeks first.
            return
        for tp, fetched in records.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            if tp not in self._handed_out:
                continue
            first = self._handed_out[tp] + 1
            wanted = [r for r in fetched if r.offset >= first] if fetched and fetched[0].offset < first else fetched
            for at in range(0, len(wanted), MOST_RECORDS):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                chunk = wanted[at : at + MOST_RECORDS]
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                message = self._to_message(tp, chunk[-1])
                message.key, message.value = None, Chunk(self._began[tp], self._handed_out[tp], chunk)
                self._handed_out[tp] = chunk[-1].offset
                yield tp, message


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust's producer, idempotent."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with the classes of this module."""

    Consumer = Consumer
    Producer = Producer
