"""Address: where the status server listens, parsed from the text of an option."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"

_FORM: Final = re.compile(r"(?:(?P<host>[^:\[\]/@\s]+|\[[0-9A-Fa-f:.%]+\])?:)?(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` without brackets; port 0 is any free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; False for a name, which is not resolved."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """With an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read "HOST:PORT", ":PORT" or "PORT"; without a host it is loopback.

    Raises ConfigurationError for anything else.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found["port"]) > 65535:
        raise ConfigurationError(
            f"the status server's address is {text!r}; pass HOST:PORT, :PORT or PORT with a port "
            "from 0 to 65535, such as '127.0.0.1:8080', and an IPv6 host in brackets: '[::1]:8080'"
        )
    host = (found["host"] or LOOPBACK).strip("[]")
    # The name has two addresses, and the server would listen on only one of them.
    return Address(LOOPBACK if host.lower() == "localhost" else host, int(found["port"]))
