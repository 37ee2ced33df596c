"""What the doctor says of the form of a key, without saying the key."""

import pytest

from inngest_connect.cli.doctor.examination import Examination
from inngest_connect.cli.doctor.findings import Finding, Mark
from inngest_connect.cli.doctor.keys import check_keys
from tests.unit.cli.doctor.test_settings import KEY, subject

pytestmark = pytest.mark.unit
BODY = "ab" * 32


async def examined(key: str | None, fallback: str | None = None) -> tuple[Finding, Examination]:
    examination = Examination(subject(signing_key=key, signing_key_fallback=fallback), 1.0)
    return await check_keys(examination), examination


async def test_good_keys_are_told_by_their_last_characters() -> None:
    finding, examination = await examined(KEY, "signkey-prod-" + "cd" * 32)

    assert finding.mark is Mark.OK
    assert "***abab" in finding.summary
    assert "***cdcd" in finding.summary
    assert len(examination.keys) == 2


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        (f"signkey-prod-{BODY[:32]} {BODY[32:]}", "pairs of hexadecimal digits"),
        (f"signkey-prod-{BODY}\u0660\u0660", "pairs of hexadecimal digits"),
        (f'"{KEY}"', "has quotation marks around it"),
        (f"signkey-{BODY}", "has no environment"),
        ("x" * 40, "looks like an event key"),
        (f"singkey-prod-{BODY}", "does not begin with 'signkey-'"),
        (f"{KEY}a", "pairs of hexadecimal digits"),
        ("signkey-prod-xyz", "pairs of hexadecimal digits"),
    ],
)
async def test_a_malformed_key_fails_and_says_what_is_wrong(key: str, mistake: str) -> None:
    for given in ((key, None), (KEY, key)):
        finding, examination = await examined(*given)

        assert finding.mark is Mark.FAIL
        assert mistake in finding.problems[0].text
        assert BODY not in finding.summary
        assert examination.keys == ()


@pytest.mark.parametrize("key", [f" {KEY}", f"{KEY}\n", f"\t{KEY}\r\n"])
async def test_a_key_that_works_in_spite_of_its_form_is_a_warning(key: str) -> None:
    finding, examination = await examined(key)

    assert finding.mark is Mark.WARN
    assert "line end" in finding.summary
    assert len(examination.keys) == 1


async def test_no_key_in_production_fails() -> None:
    finding, _ = await examined(None)

    assert finding.mark is Mark.FAIL
    assert "INNGEST_DEV=1" in finding.problems[0].remedy


async def test_a_branch_key_wants_an_environment() -> None:
    finding, _ = await examined(f"signkey-branch-{BODY}")

    assert finding.mark is Mark.WARN
    assert "INNGEST_ENV" in finding.problems[0].remedy


async def test_development_mode_needs_no_key() -> None:
    examination = Examination(subject(is_production=False), 1.0)

    assert (await check_keys(examination)).mark is Mark.OK
    assert examination.keys == ()
