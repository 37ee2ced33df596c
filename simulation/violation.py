"""InvariantViolated: the failure that a simulation looks for."""


class InvariantViolated(AssertionError):
    """Something that a worker promises does not hold."""
