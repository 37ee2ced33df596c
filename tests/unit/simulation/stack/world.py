"""World: runs simulated threads without a simulation."""

import random

from simulation.stack.threads import Machine


class World:
    """Runs the threads of a machine until none can continue any more."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.violations: list[str] = []
        self.machine = Machine(
            random.Random(seed), lambda: self.now, lambda: True, self.violations.append
        )

    def run(self) -> None:
        while self.machine.threads:
            ready, due = self.machine.poll(self.now)
            if ready:
                self.machine.run_one(ready)
            elif due == float("inf"):
                return
            else:
                self.now = due
