"""Where docs/operations.md says what to do about a record: the field ``help`` of a warning.

The names are the anchors of headings, and stable. A test finds each on the page.
"""

from typing import Final

_PAGE: Final = "operations.md"
_SECTIONS: Final = {
    # Events
    "disconnected": "reconnecting-in-a-loop",
    "function_failed": "a-function-fails",
    "lease_lost": "lease-lost",
    "reconnecting": "reconnecting-in-a-loop",
    "recovered": "worker-killed-during-a-deploy",
    "worker_crashed": "errors-that-are-raised",
    # Kinds of error
    "authentication_failed": "reconnecting-in-a-loop",
    "child_process_died": "child-processes-die",
    "child_process_memory": "child-processes-die",
    "execution_cancelled": "worker-killed-during-a-deploy",
    "flush_failed": "replies-pile-up-or-are-flushed",
    "function_long_running": "a-function-does-not-end",
    "handshake_refused": "reconnecting-in-a-loop",
    "journal_damaged": "journal-not-written",
    "journal_slow": "journal-not-written",
    "journal_unavailable": "journal-not-written",
    "loop_blocked": "loop-blocked",
    "loop_free": "loop-blocked",
    "no_free_slot": "a-function-does-not-end",
    "rate_limited": "reconnecting-in-a-loop",
    "reply_evicted": "a-result-is-lost",
    "reply_refused": "a-result-is-lost",
    "reply_undelivered": "a-result-is-lost",
    "request_outlived": "a-function-does-not-end",
    "request_refused": "runs-fail-with-connect_no_healthy_connection",
    "shutdown_forced": "worker-killed-during-a-deploy",
    "shutdown_timeout": "worker-killed-during-a-deploy",
    "shutdown_waiting": "how-a-process-ends",
    "sync_failed": "reconnecting-in-a-loop",
}
_OF_ALL_KINDS: Final = "kinds-of-error"


def help_of(event: str, kind: str | None = None) -> str:
    """The section about an event, or about a kind of ``error``."""
    return f"{_PAGE}#{_SECTIONS.get(kind or event, _OF_ALL_KINDS)}"
