"""Which signing key to use: the one that worked last; after a refusal, the other one.

Keys are known here by index only. The key itself never leaves ``transport.api_client``.
"""


class SigningKeys:
    """``count`` keys, 0 in development mode."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.current = 0
        self._refused_in_a_row = 0

    def accepted(self, key: int) -> None:
        """``key`` worked. A late success of a former key proves nothing about the current one."""
        if key == self.current:
            self._refused_in_a_row = 0

    def refused(self, key: int) -> bool:
        """``key`` was refused. Returns whether to try another one immediately."""
        # Flushes and attempts run concurrently, so refusals of the same key come in groups. Only
        # the first of a group may move on, or the second would move back to the key that was
        # refused.
        if key != self.current:
            return True
        self.current = (self.current + 1) % max(self.count, 1)
        self._refused_in_a_row += 1
        return not self.exhausted()

    def exhausted(self) -> bool:
        """Whether every key has been refused since one was last accepted."""
        return self._refused_in_a_row >= max(self.count, 1)
