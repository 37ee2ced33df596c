"""Where settings come from, what contradicts itself in them, and the form of keys."""

import dataclasses
import os

import pytest

from inngest_connect.cli.doctor.configuration import (
    check_keys,
    contradictions,
    resolved_settings,
)
from inngest_connect.cli.doctor.examination import Examination, Subject, from_environment
from inngest_connect.cli.doctor.findings import Finding, Mark
from inngest_connect.core.settings import AppIdentity, WorkerIdentity
from inngest_connect.errors import ConfigurationError
from inngest_connect.options import resolve_options
from inngest_connect.sdk.client_settings import ClientSettings

pytestmark = pytest.mark.unit
BODY = "ab" * 32
KEY = f"signkey-prod-{BODY}"


def subject(
    *,
    api_origin: str = "https://api.example.com",
    is_production: bool = True,
    signing_key: str | None = KEY,
    signing_key_fallback: str | None = None,
) -> Subject:
    client = ClientSettings(
        app_id="app",
        api_origin=api_origin,
        env=None,
        is_production=is_production,
        app_version=None,
        signing_key=signing_key,
        signing_key_fallback=signing_key_fallback,
    )
    identity = WorkerIdentity(
        instance_id="doctor",
        apps=(AppIdentity("app", b"[]", frozenset()),),
        capabilities=b"{}",
        sdk_language="py",
        sdk_version="1",
        framework="connect",
    )
    return Subject(client, identity, resolve_options({}, instance_id="worker"))


def warnings(who: Subject, variables: dict[str, str], commands: set[str] | None = None) -> str:
    """What contradicts itself, as one text. Nothing of it is fatal."""
    examination = Examination(
        who, 1.0, variables=variables, known_variables=frozenset(commands or ())
    )
    found = list(contradictions(examination))
    assert not any(problem.fatal for problem in found)
    return "\n".join(f"{one.text} -> {one.remedy}" for one in found)


def test_each_setting_has_the_variable_that_it_comes_from_and_no_secret() -> None:
    variables = {
        "INNGEST_BASE_URL": "api.example.com/",
        "INNGEST_SIGNING_KEY": KEY,
        "HTTPS_PROXY": "http://user:hunter22@proxy:3128",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }

    found = [dataclasses.astuple(one) for one in resolved_settings(subject(), variables)]

    assert ("api_origin", "https://api.example.com", "INNGEST_BASE_URL") in found
    assert ("mode", "production", "default") in found
    assert ("signing_key", "***abab", "INNGEST_SIGNING_KEY") in found
    assert ("signing_key_fallback", "none", "default") in found
    assert ("proxy", "http://***@proxy:3128", "HTTPS_PROXY") in found
    assert ("certificate authorities", "/etc/ca.pem", "SSL_CERT_FILE") in found
    assert ("isolation", "thread", "default") in found
    assert ("sdk_path", "fast", "default") in found


def test_the_sdk_s_path_is_shown_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_CONNECT_FAST_PATH", "0")
    found = [dataclasses.astuple(one) for one in resolved_settings(subject(), os.environ)]

    why = "plain (INNGEST_CONNECT_FAST_PATH=0)"
    assert ("sdk_path", why, "INNGEST_CONNECT_FAST_PATH") in found
    assert warnings(subject(), {"INNGEST_CONNECT_FAST_PATH": "0"}) == ""


def test_settings_without_contradiction_are_silent() -> None:
    variables = {"INNGEST_API_BASE_URL": "https://api.example.com", "INNGEST_SIGNING_KEY": KEY}

    assert warnings(subject(), variables) == ""


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("INNGEST_SIGNIN_KEY", "Did you mean INNGEST_SIGNING_KEY?"),
        ("INNGEST_CONNECT_GATEWAY", "Did you mean INNGEST_CONNECT_GATEWAY_URL?"),
        ("INNGEST_CONNECT_LIVES", "Did you mean INNGEST_CONNECT_LIVE?"),
        ("INNGEST_CONNECT_ZEBRA", "Unset it; docs/configuration.md lists"),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_the_one_that_was_meant(
    name: str, remedy: str
) -> None:
    told = warnings(subject(), {name: "1"}, {"INNGEST_CONNECT_LIVE"})

    assert told.startswith(f"{name} is not a variable that is read -> {remedy}")


def test_variables_of_others_and_of_the_commands_are_left_alone() -> None:
    variables = {"INNGEST_CONNECT_LIVE": "1", "INNGEST_SOMETHING": "1", "PATH": ""}
    variables["INNGEST_CONNECT_APP_VERSION"] = ""

    assert warnings(subject(), variables, {"INNGEST_CONNECT_LIVE"}) == ""


@pytest.mark.parametrize(
    ("who", "variables", "told"),
    [
        (subject(is_production=False), {"INNGEST_DEV": "1"}, "in development mode"),
        (subject(signing_key_fallback=KEY), {}, "the same as the key"),
        (subject(api_origin="http://api.example.com"), {}, "unencrypted"),
        (subject(), {"INNGEST_ENV": " "}, "INNGEST_ENV is set, but empty"),
        (
            subject(),
            {
                "INNGEST_API_BASE_URL": "https://api.example.com",
                "INNGEST_BASE_URL": "https://other.example.com",
            },
            "unset what comes before it (INNGEST_API_BASE_URL)",
        ),
        (subject(), {"INNGEST_DEV": "http://localhost:8288"}, "INNGEST_DEV is 'http://localhost"),
    ],
)
def test_contradictions(who: Subject, variables: dict[str, str], told: str) -> None:
    assert told in warnings(who, variables)


@pytest.mark.parametrize("key", [KEY, ""])
def test_an_address_that_is_none_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("INNGEST_API_BASE_URL", "https://api:99999")
    monkeypatch.setenv("INNGEST_SIGNING_KEY", key)

    with pytest.raises(ConfigurationError, match=r"INNGEST_API_BASE_URL.*99999"):
        from_environment()


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


async def test_a_key_that_works_in_spite_of_its_form_is_a_warning() -> None:
    finding, examination = await examined(BODY)

    assert finding.mark is Mark.WARN
    assert "does not begin with 'signkey-'" in finding.summary
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
