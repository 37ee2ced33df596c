"""What a child process says of a module that cannot be imported."""

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.execution.processes.program import describe

pytestmark = pytest.mark.unit


def caught(code: str) -> BaseException:
    with pytest.raises(BaseException) as error:  # noqa: PT011
        exec(compile(code, "shop.py", "exec"), {})
    return error.value


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("\nimport nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("raise ValueError('no')", "ValueError: no (shop.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3 (shop.py, line 1)"),
        ("def f(:", "SyntaxError: "),
    ],
)
def test_the_error_and_its_place_are_told(code: str, text: str) -> None:
    error = caught(code)

    assert describe(error).startswith(text)
    assert "shop.py, line" in describe(error)


def test_our_own_errors_speak_for_themselves() -> None:
    assert describe(ConfigurationError("apps is 5; pass a list")) == "apps is 5; pass a list"


def test_a_key_in_an_error_is_masked_and_a_long_text_is_cut() -> None:
    assert "abcdef" not in describe(caught("raise ValueError('signkey-test-abcdef0123')"))
    long = describe(caught("raise ValueError('x' * 10_000)"))
    assert len(long) < 2000
    assert long.endswith("(shop.py, line 1)")
