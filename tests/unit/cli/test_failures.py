"""Each error of the package has an exit code and two lines."""

import pytest

from inngest_connect.cli.failures import write_failure
from inngest_connect.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    LocalMistake,
    StartupTimeout,
    UnsupportedSDKError,
    WorkAbandoned,
    WorkerCrashed,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkAbandoned(["r1"]), 1),
        (ConfigurationError("x is 1; pass 2"), 2),
        (UnsupportedSDKError("too new"), 2),
        (AuthenticationError("refused"), 2),
        (StartupTimeout("not within 3 s"), 3),
        (WorkerCrashed("bug"), 3),
        (LocalMistake("other"), 3),
    ],
)
def test_an_error_is_two_lines_and_a_code(
    error: ConnectError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    returned = write_failure(error, with_traceback=False)

    written = capsys.readouterr().err.splitlines()
    assert returned == code
    assert len(written) == 2
    assert written[0].startswith(f"inngest-connect: {error}")


def test_a_crash_names_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    crash = WorkerCrashed("bug")
    crash.__cause__ = KeyError("signkey-test-0123456789")

    write_failure(crash, with_traceback=True)

    written = capsys.readouterr().err
    assert "bug: KeyError: '***'" in written
    assert "direct cause" in written
