"""What a worker promises about its journal: that it has what is owed, and nothing that is done."""

from inngest_connect.core import commands as do
from inngest_connect.core import events as seen

from .watch import Watch


class JournalPromises:
    """What a successor makes of it, ``simulation.journal`` shows."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._recorded_ids: set[str] = set()
        self._to_record: set[str] = set()
        self._to_erase: set[str] = set()
        if not watch.settings.journal:
            return
        watch.on_command(seen.RequestCompleted, lambda event: self._owes(event.request_id))
        watch.on_command(do.JournalRecord, self._recorded)
        watch.on_command(do.Execute, self._executes)
        watch.on_command(seen.ReplyAcknowledged, lambda event: self._is_done(event.request_id))
        watch.on_command(do.JournalErase, lambda erase: self._to_erase.discard(erase.request_id))
        watch.on_turn_end(self._turn_ends)

    def _owes(self, request_id: str) -> None:
        self._watch.tally["journals"] += 1
        self._to_record.add(request_id)

    def _executes(self, command: do.Execute) -> None:
        self._watch.tally["journals"] += 1
        if command.request.request_id not in self._recorded_ids:
            raise self._watch.broken("journals", f"{command} is not recorded before it is executed")

    def _recorded(self, record: do.JournalRecord) -> None:
        self._recorded_ids.add(record.request.request_id)
        if record.reply is not None:
            self._to_record.discard(record.request.request_id)

    def _is_done(self, request_id: str) -> None:
        self._watch.tally["journals"] += 1
        self._to_erase.add(request_id)

    def _turn_ends(self) -> None:
        if self._to_record or self._to_erase:
            text = f"{self._to_record} are not recorded, {self._to_erase} are not erased"
            raise self._watch.broken("journals", text)
