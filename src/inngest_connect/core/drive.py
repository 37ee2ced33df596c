"""``drive``: the one loop around the core."""

from collections.abc import Callable

from .commands import Command
from .inputs import Input
from .worker_core import WorkerCore


def drive(
    core: WorkerCore,
    input: Input,
    now: float,
    carry_out: Callable[[Command], Input | None],
) -> None:
    """Give ``core`` an input, carry out what it answers, and feed back what follows.

    ``carry_out`` returns the input that is known as soon as a command was carried out, such as an
    acknowledgement that cannot be written any more. What follows later is a separate input.

    A follow-up is handled immediately, while the commands before it are still waiting: it changes
    the core's tables, and its commands go behind those that wait. So commands are carried out in
    the order in which they were decided, and none is carried out inside another. The orchestrator,
    the simulation and the transcript tests all call this, and therefore see the same order.
    """
    commands = core.handle(input, now)
    for command in commands:  # the list grows while it is read
        follow_up = carry_out(command)
        if follow_up is not None:
            commands += core.handle(follow_up, now)
