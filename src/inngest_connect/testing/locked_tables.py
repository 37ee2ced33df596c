"""``explained``: an error of a run that is about the test and not about the function."""

import sys
from typing import Any

_REMEDY = (
    ": the test holds a transaction that the function, on another thread, waits for. With Django "
    "use TransactionTestCase instead of TestCase, or pytest.mark.django_db(transaction=True)"
)


def explained(error: Any) -> Any:
    """``error`` of a failed run, with the remedy when a table of SQLite is locked beside Django."""
    if "django.db" not in sys.modules or not isinstance(error, dict):
        return error
    message = str(error.get("message", ""))
    if error.get("name") == "OperationalError" and message.endswith("is locked"):
        return {**error, "message": message + _REMEDY}
    return error
