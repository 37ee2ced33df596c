"""ExecutionContexts: what each execution is surrounded by, so that no other one sees what it sets.

Context variables need nothing of this: an execution is a task in a copy of the context of
``start()``, and the thread of a sync function runs in a copy of the task's. But a variable can hold
an object that is changed in place, and then every copy of the context has that object. Such objects
are replaced at the beginning of an execution and put back at its end: Sentry's scopes, what Django
binds to a thread, and whatever the option ``execution_context`` enters.

All of it is entered on the application's event loop, in the task of the execution, because the
SDK's middleware runs there; a sync function inherits it with the context.
"""

import contextlib
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from ..core.wire.messages import ExecutionResult
from ..core.wire.user_text import guarded, shown_error, shown_value
from ..options import ExecutionContext
from . import django_project
from .user_exits import is_ctrl_c, report

Running = Coroutine[Any, Any, ExecutionResult]

_OPTION: Final = "execution_context"


class ExecutionContextFailed(Exception):
    """The execution was not begun: what its cause is was raised on entering. The text names it."""


class ExecutionContexts:
    """``around`` belongs to the loop that runs the functions."""

    def __init__(self, hook: ExecutionContext | None = None) -> None:
        """``hook`` is the option."""
        self._hook = hook

    def around(self, running: Running) -> Running:
        """``running`` within all contexts; ``running`` itself when there are none.

        Called for each execution: a library can be imported, and initialized, at any time.
        """
        modules = sys.modules
        if self._hook is None and "sentry_sdk" not in modules and "django.apps" not in modules:
            return running
        entering = [*_of_libraries()]
        if self._hook is not None:
            entering.append((f"{_OPTION} {_name(self._hook)}", self._hook))
        return _within(entering, running) if entering else running


def _of_libraries() -> Iterator[tuple[str, ExecutionContext]]:
    sentry: Any = sys.modules.get("sentry_sdk")
    # Since 2.0; what is being imported on another thread lacks it, too.
    scope = getattr(sentry, "isolation_scope", None)
    if scope is not None and sentry.is_initialized():
        yield "sentry_sdk.isolation_scope", scope
    if django_project.is_set_up():
        yield "Django's connections", django_project.connections


async def _within(
    entering: list[tuple[str, ExecutionContext]], running: Running
) -> ExecutionResult:
    # An ExitStack for each, which has the protocol of ``with``: when leaving one raises, the others
    # are left nevertheless, and the result counts.
    entered: list[tuple[str, contextlib.ExitStack]] = []
    raised: BaseException | None = None
    try:
        for name, context in entering:
            stack = contextlib.ExitStack()
            try:
                stack.enter_context(context())
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                text = f"{name} raised {shown_error(error)}, so the function was not called"
                raise ExecutionContextFailed(text) from error
            entered.append((name, stack))
        return await running
    except BaseException as error:
        raised = error
        raise
    finally:
        running.close()  # which does nothing to a coroutine that has ended
        for name, stack in reversed(entered):
            _leave(name, stack, raised)


def _leave(name: str, stack: contextlib.ExitStack, raised: BaseException | None) -> None:
    """What ``stack`` returns is ignored: a cancellation, say, cannot be suppressed by it."""
    try:
        if raised is None:
            stack.__exit__(None, None, None)
        else:
            stack.__exit__(type(raised), raised, raised.__traceback__)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        if error is not raised:
            report(f"{name} raised {shown_error(error)} after the function; its result counts")


def _name(hook: object) -> str:
    found: Any = hook
    return guarded(lambda: f"{found.__module__}.{found.__qualname__}", shown_value(hook))
