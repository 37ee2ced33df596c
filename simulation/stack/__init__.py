"""The whole worker in virtual time; see ``StackSimulation``."""

from .stack import StackSimulation
from .stack_faults import make_stack_schedule

__all__ = ["StackSimulation", "make_stack_schedule"]
