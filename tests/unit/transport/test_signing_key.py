"""Signing keys: their form, their hash, and that nothing shows them."""

import copy
import pickle

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.transport.signing_key import SigningKey

pytestmark = pytest.mark.unit
KEY = "signkey-prod-" + "0123456789abcdef" * 4


def test_a_key_is_hashed_as_the_official_sdk_does() -> None:
    """See docs/protocol.md#keys: the digest alone."""
    transforms = pytest.importorskip("inngest._internal.transforms")

    assert SigningKey(KEY).bearer() == f"Bearer {transforms.hash_signing_key(KEY)}"


@pytest.mark.scenario("security-keys")
def test_a_key_cannot_be_shown_or_pickled_by_accident() -> None:
    key = SigningKey(KEY)
    digest = key.bearer().removeprefix("Bearer ")

    for text in (repr(key), str(key), f"{key}", f"{key!r:>20}", str([key]), key.hint()):
        assert "0123456789" not in text
        assert digest not in text
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
    assert key.hint() == "***cdef"
    assert key.secrets() == (KEY, digest)


@pytest.mark.parametrize("wrong", ["signkey-prod-xyz!canary", "signkey-prod-abc", "kéy-canary"])
def test_a_key_that_is_none_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="signing key") as caught:
        SigningKey(wrong)

    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("key", "shown"), [(KEY, "***cdef"), ("abcdef12", "***"), ("signkey-test-ab", "***t-ab")]
)
def test_a_key_is_named_by_its_end_unless_that_is_half_of_it(key: str, shown: str) -> None:
    assert SigningKey(key).hint() == shown
