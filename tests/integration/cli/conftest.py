"""An environment without what the machine that runs the tests has set."""

import os

import pytest

_NETWORK = {
    "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
}  # fmt: skip


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("INNGEST_") or name.upper() in _NETWORK:
            monkeypatch.delenv(name)
