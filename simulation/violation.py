"""InvariantViolated: what was promised and does not hold."""


class InvariantViolated(AssertionError):
    """What was promised and does not hold."""
