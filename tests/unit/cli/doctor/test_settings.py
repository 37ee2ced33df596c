"""Where the doctor says that settings come from, and what it finds contradictory in them."""

import dataclasses

import pytest

from inngest_connect.cli.doctor.examination import Examination
from inngest_connect.cli.doctor.findings import Mark
from inngest_connect.cli.doctor.settings import check_settings, contradictions, resolved_settings
from inngest_connect.cli.doctor.subject import Subject
from inngest_connect.core.settings import AppIdentity, WorkerIdentity
from inngest_connect.options import resolve_options
from inngest_connect.sdk.client_settings import ClientSettings

pytestmark = pytest.mark.unit
KEY = "signkey-prod-" + "ab" * 32


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
    found = contradictions(examination)
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

    assert told.startswith(f"{name} is no variable that is read -> {remedy}")


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


async def test_an_address_that_is_none_fails_the_check() -> None:
    finding = await check_settings(Examination(subject(api_origin="https://api:99999"), 1.0))

    assert finding.mark is Mark.FAIL
    assert "'https://api:99999' is unusable" in finding.problems[0].text
