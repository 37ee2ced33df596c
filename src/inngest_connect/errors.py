"""Every error that this package raises, in one tree. Each text says what to do next.

ConnectError
├── LocalMistake            an option of the program, or a bug of this package
│   ├── ConfigurationError  a wrong option, environment variable, app or URL (also a ValueError)
│   ├── InvalidTransition   the state table has no such entry; nothing was changed
│   ├── NotConnectedError   something was requested that exists only while connected
│   ├── UnsupportedSDKError the installed ``inngest`` has internals that the adapter does not know
│   └── WorkerCrashed       a bug in the I/O loop; the worker has stopped
└── PeerFault               the API, the gateway or the network
    ├── AuthenticationError no signing key was accepted on the first connection
    ├── StartupTimeout      not connected within ``startup_timeout``
    └── WorkAbandoned       stopped by force before the named requests were finished
"""

from collections.abc import Sequence


class ConnectError(Exception):
    """Base of all errors of this package."""


class LocalMistake(ConnectError):
    """The program, or this package, has to change; a retry does not help."""


class ConfigurationError(LocalMistake, ValueError):
    """An option or environment variable is wrong. The text names the value and the remedy."""


class InvalidTransition(LocalMistake):
    """An event was refused because the state table has no entry for it."""


class NotConnectedError(LocalMistake):
    """Something was requested that exists only while there is a connection."""


class UnsupportedSDKError(LocalMistake):
    """The installed ``inngest`` release has internals that this package does not support."""


class WorkerCrashed(LocalMistake):
    """The I/O loop failed with an unexpected error, which is the ``__cause__``."""


class PeerFault(ConnectError):
    """The API, the gateway or the network is at fault."""


class AuthenticationError(PeerFault):
    """The API accepted no signing key on the first connection."""


class StartupTimeout(PeerFault):
    """The first connection was not ready within ``startup_timeout`` seconds."""


class WorkAbandoned(PeerFault):
    """The worker was stopped by force; ``request_ids`` were not finished or not delivered."""

    def __init__(self, request_ids: Sequence[str], *, journalled: bool = False) -> None:
        self.request_ids = tuple(request_ids)
        next_ = (
            "The next process finds them in the journal and answers them"
            if journalled
            else "Inngest runs them again when their leases end"
        )
        # A peer chose these ids; in a text they are short and printable.
        shown = (i if i.isprintable() and len(i) <= 64 else ascii(i[:16]) for i in self.request_ids)
        super().__init__(
            f"stopped before {len(self.request_ids)} request(s) were finished: "
            f"{', '.join(shown)}. {next_}."
        )
