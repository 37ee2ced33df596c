"""What the worker reads from an ``inngest.Inngest`` client."""

import inngest
import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.sdk.client_settings import api_variable, client_settings

pytestmark = pytest.mark.unit


def test_settings_are_read_from_a_client_and_hide_the_key() -> None:
    key = "signkey-test-" + "ab" * 32
    client = inngest.Inngest(app_id="a", is_production=True, signing_key=key, env="branch")

    settings = client_settings(client)

    assert (settings.app_id, settings.env, settings.is_production) == ("a", "branch", True)
    assert settings.signing_key == key
    assert key not in repr(settings)
    with pytest.raises(ConfigurationError, match="the client is 5"):
        client_settings(5)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, None),
        ({"INNGEST_BASE_URL": "api.example.com/"}, "INNGEST_BASE_URL"),
        ({"INNGEST_DEV": " https://api.example.com\n"}, "INNGEST_DEV"),
        ({"INNGEST_API_BASE_URL": "\\", "INNGEST_DEV": "api.example.com"}, "INNGEST_DEV"),
        ({"INNGEST_DEV": "1"}, None),
    ],
)
def test_the_variable_that_the_address_comes_from_is_found_by_its_value(
    variables: dict[str, str], name: str | None
) -> None:
    assert api_variable("https://api.example.com", variables) == name
