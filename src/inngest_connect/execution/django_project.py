"""What functions of a Django project need: its setup, and connections that end with an execution.

Django binds a connection to a thread, and closes old and broken ones only around HTTP requests.
Here an execution takes the place of the request:

- A sync function runs on a thread of the pool. Around the call, on that thread, happens what Django
  does at the beginning and the end of a request, so ``CONN_MAX_AGE`` holds.
- An async function reaches the ORM through ``sync_to_async``, which would run the calls of all
  functions on one thread, over one connection. As Django's ASGI handler does, each execution gets
  its own thread when it first needs one; the connections of that thread are closed with it.

Django is never imported here before the program has imported it, but for ``set_up``.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any

from ..core.wire.user_text import shown_error, shown_value
from ..errors import ConfigurationError
from ..sdk.adapter import call_context
from .user_exits import report

_VARIABLE = "DJANGO_SETTINGS_MODULE"


def set_up() -> None:
    """Load the project that the environment names, as ``manage.py`` does; else nothing.

    Raises ConfigurationError.
    """
    settings = os.environ.get(_VARIABLE)
    if not settings or is_set_up() or importlib.util.find_spec("django") is None:
        return
    import django

    try:
        django.setup()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{_VARIABLE} is {shown_value(settings)}, and django.setup() raised "
            f"{shown_error(error)}; correct the settings, or unset the variable"
        ) from error


def is_set_up() -> bool:
    """Whether the program uses Django, and has loaded its models."""
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    return apps is not None and bool(apps.ready)


@contextlib.contextmanager
def connections() -> Iterator[None]:
    """Entered in the task of an execution."""
    from asgiref.sync import SyncToAsync, ThreadSensitiveContext

    call_context.set(_connections_of_this_thread)
    # By hand, not with ``async with``: that waits for the thread, which may be in a long query of a
    # function that was cancelled.
    threads: Any = SyncToAsync
    context = ThreadSensitiveContext()
    token = threads.thread_sensitive_context.set(context)
    try:
        yield
    finally:
        threads.thread_sensitive_context.reset(token)
        executor = threads.context_to_thread_executor.pop(context, None)
        if executor is not None:
            from django import db

            executor.submit(db.connections.close_all)
            executor.shutdown(wait=False)


@contextlib.contextmanager
def _connections_of_this_thread() -> Iterator[None]:
    from django import db

    db.reset_queries()
    _close_old_connections()
    try:
        yield
    finally:
        _close_old_connections()


def _close_old_connections() -> None:
    from django import db

    try:
        db.close_old_connections()
    except Exception as error:  # noqa: BLE001 - of a driver; the function has its own connections
        report(f"closing Django's old connections raised {shown_error(error)}")
