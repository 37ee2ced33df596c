"""Messages about wrong values name the value, and nothing of the library that found it."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from inngest_connect.cli.app import app
from inngest_connect.cli.plain_command import PlainCommand, plain

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--processes", "x"], {}, "'x' is not a"),
        (["--processes=x"], {}, "'x' is not a"),
        ([], {"INNGEST_CONNECT_PROCESSES": "y"}, "'y' is not a"),
        (["--startup-timeout", "soon"], {}, "'soon' is not a"),
        (["--log-level", "loud"], {}, "'loud' is not one of"),
        ([], {"INNGEST_CONNECT_RELOAD": "maybe"}, "'maybe' is not a"),
    ],
)
def test_a_wrong_value_is_named(
    arguments: list[str], variables: dict[str, str], words: str
) -> None:
    done = CliRunner().invoke(
        app, ["run", "m:apps", *arguments], env={"COLUMNS": "300", **variables}
    )

    assert done.exit_code == 2
    assert words in done.output
    assert "Input should" not in done.output
    assert "Value error" not in done.output


@pytest.mark.parametrize(
    ("message", "value", "text"),
    [
        ("Input should be a valid integer, unable to parse string as an integer", "x",
         "'x' is not a whole number"),
        ("Input should be a valid number, unable to parse string as a number", "x",
         "'x' is not a number"),
        ("Input should be less than or equal to 65535", "99999",
         "'99999' is above the limit, 65535"),
        ("Input should be greater than or equal to 1", "0", "'0' is below the limit, 1"),
        ("Value error, 'loud' is not one of 'a', 'b'.", "loud", "'loud' is not one of 'a', 'b'"),
        ("'x' is not a valid integer.", "x", "'x' is not a valid integer."),
        ("Input should be a valid integer", "signkey-test-abcdef", "'***' is not a whole number"),
    ],
)  # fmt: skip
def test_the_words_of_other_releases_of_typer_are_translated(
    message: str, value: str, text: str
) -> None:
    assert plain(message, value) == text


def test_a_wrong_argument_without_a_name_keeps_its_message() -> None:
    own = typer.Typer()

    @own.command(cls=PlainCommand)
    def command(count: Annotated[int, typer.Argument()]) -> None: ...

    done = CliRunner().invoke(own, ["many"])

    assert done.exit_code == 2
    assert "COUNT" in done.output.upper()
