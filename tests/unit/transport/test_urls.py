"""How addresses and names from outside are checked and shown."""

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.transport.urls import check_plain, check_url, shown_setting, shown_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.test/x", "https://api.test/x"),
        ("https://me:secret@api.test", "https://***@api.test"),
        ("https://me:se/cr@et@api.test", "https://***@api.test"),
        ("https://me:se cret@[::1", "https://***@[::1"),
        ("me:secret@api.test", "***@api.test"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_user_information(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:se cret@x", "'http://***@x'"),
        ("signkey-prod-abcdef0123", "'***'"),
        ("x" * 200, "'" + "x" * 99 + "..."),
        (5, "5"),
    ],
)
def test_a_setting_is_shown_short_and_without_secrets(value: object, shown: str) -> None:
    assert shown_setting(value) == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a b", "a space, a control character or a letter outside ASCII"),
        ("http://a\n", "a space, a control character or a letter outside ASCII"),
        ("ftp://a", "its scheme is not http:// or https://"),
        ("http:///x", "it has no host"),
        ("http://a:0", "its port is 0"),
        ("http://a:b", "its port is not a number from 1 to 65535"),
        ("http://a/#x", "it has a fragment"),
        ("http://http://a", "it has two schemes"),
        ("http://a//x://b", "it has two schemes"),
        ("http://a//b", "it has two schemes"),
        ("http://[::1", "it is not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match="OPTION is ") as refused:
        check_url("OPTION", url, ("http", "https"), "https://api.test")

    assert problem in str(refused.value)
    assert "'https://api.test'" in str(refused.value)


def test_user_information_is_refused_where_it_is_not_allowed() -> None:
    assert check_url("OPTION", "WSS://me:secret@a", ("wss",), "wss://a") == "wss"
    with pytest.raises(ConfigurationError, match="it has user information") as refused:
        check_url("OPTION", "wss://me:secret@a", ("wss",), "wss://a", user=False)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["a b", "a\n", "\u00fc"])
def test_a_name_that_no_header_carries_is_refused(value: str) -> None:
    assert check_plain("OPTION", "a-b.c") == "a-b.c"
    with pytest.raises(ConfigurationError, match="it takes ASCII characters without spaces"):
        check_plain("OPTION", value)
