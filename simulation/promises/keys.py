"""Which signing key a worker uses: the one that was accepted last, or the other one."""

from inngest_connect.core import commands as do

from .watch import Watch


class Keys:
    """Keys are known by their index."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._current = 0
        self._refused_in_a_row = 0
        self._of_flush: dict[str, int] = {}
        watch.on_command(do.Flush, self._flush_began)

    def accepted(self, key: int) -> None:
        """A call that was signed with ``key`` succeeded."""
        if key == self._current:
            self._refused_in_a_row = 0

    def refused(self, key: int) -> bool:
        """``key`` was refused; returns whether to try another one immediately."""
        count = max(self._watch.settings.signing_keys, 1)
        if key != self._current:
            return True
        self._current = (self._current + 1) % count
        self._refused_in_a_row += 1
        return self._refused_in_a_row < count

    def check(self, key: int, what: str) -> None:
        """Check the key of a call that begins."""
        if key != self._current:
            text = f"{what} uses key {key}, not key {self._current}"
            raise self._watch.broken("other_key", text)

    def _flush_began(self, command: do.Flush) -> None:
        self._of_flush[command.request_id] = command.key
        self.check(command.key, "a flush")

    def flush_accepted(self, request_id: str) -> None:
        """A reply was stored that was still waited for."""
        self.accepted(self._of_flush[request_id])

    def flush_refused(self, request_id: str) -> bool:
        """Whether to repeat a flush immediately, with another key."""
        return self.refused(self._of_flush[request_id])
