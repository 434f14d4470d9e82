"""What a worker does when its partitions change: nothing that was fetched is lost, and the state is there before it goes on.

The repair of an open defect of faust-streaming 0.15 (faust#596): at the end of a recovery, stock Faust resumes the
partitions and seeks while its fetcher runs, and then resumes the flow, which clears every stream's queue. Records that
were fetched in between are dropped, and as later ones are acknowledged, committed past: a worker that starts with a
backlog, as each one does after a crash, loses records for good. Here the flow stays stopped, and no fetch is under way,
until all seeks are done. That needs `Consumer.not_waiting_next_records`, an event that 0.15 sets and never clears.

Between the two, the app takes over the state of its partitions (`FusionApp.take_over`), by a reader of its own: stock
recovery of tables waits until it has seen the record before the end of a changelog, which never comes where that is the
mark of a transaction or was compacted away, and its standbys drop records when queues are cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.transport.consumer import Consumer

if TYPE_CHECKING:
    from apss_fusion.streaming.app import FusionApp


async def _wait_next_records(self: Any, timeout: float) -> tuple[Any, Any]:
    """The stock method, and the event is cleared while a fetch is under way."""
    if not self.flow_active:
        await self.wait(self.can_resume_flow)
    self.not_waiting_next_records.clear()
    try:
        client_only = self.app.client_only
        active = None if client_only else self._get_active_partitions()
        records: Any = {}
        if client_only or active:
            records = await self._getmany(active_partitions=active, timeout=timeout)
        else:
            # Nothing is assigned yet.
            await self.sleep(0.1)
        return records, active
    finally:
        self.not_waiting_next_records.set()


def install() -> None:
    """Put the repaired method into Faust's consumer."""
    Consumer._wait_next_records = _wait_next_records


class LossSafeRecovery(Recovery):  # type: ignore[misc]
    """Recovery whose end drops nothing."""

    app: FusionApp

    async def _resume_streams(self, generation_id: int = 0) -> None:
        consumer = self.app.consumer
        if generation_id != self.app.consumer_generation_id:
            # Partitions have changed once more, which is to be taken up next.
            return
        consumer.stop_flow()
        self.app.flow_control.suspend()
        await self._wait(consumer.wait_for_stopped_flow(), timeout=self.app.conf.broker_request_timeout)
        try:
            await self.app.take_over(consumer.assignment())
            await super()._resume_streams(generation_id)
        except (RebalanceAgain, ServiceStopped):
            raise
        except Exception as error:
            # Faust would go on without the state, or wait for ever.
            await self.app.die(error)
            raise


class LossSafeTableManager(TableManager):  # type: ignore[misc]
    """Faust's manager of its tables, of which this app has none, with that recovery."""

    _recovery: LossSafeRecovery | None

    @property
    def recovery(self) -> LossSafeRecovery:
        """The recovery."""
        if self._recovery is None:
            self._recovery = LossSafeRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
