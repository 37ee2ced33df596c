"""Check 2: whether the signing keys have the form that the API accepts."""

import re
from typing import Final

from ...errors import ConfigurationError
from ...transport.signing_key import SigningKey
from .examination import Examination
from .findings import Finding, Problem, failed

_FORM: Final = re.compile(r"signkey-(\w+)-[0-9a-fA-F]+")
_COPY: Final = "Copy it again from the Inngest dashboard; it is signkey-<env>-<hexadecimal digits>"


async def check_keys(examination: Examination) -> Finding:
    """Puts the keys that a worker would use into ``examination.keys``."""
    client = examination.subject.client
    if not client.is_production:
        return Finding("development mode: no key is sent")
    given = {
        "INNGEST_SIGNING_KEY": client.signing_key,
        "INNGEST_SIGNING_KEY_FALLBACK": client.signing_key_fallback,
    }
    if not client.signing_key:
        return failed(
            "there is no signing key, in production mode",
            "Set INNGEST_SIGNING_KEY to the key of the environment, or INNGEST_DEV=1 for a "
            "development server",
        )
    problems: list[Problem] = []
    keys = []
    for name, value in given.items():
        if value:
            keys += _key(name, value, problems)
    if "-branch-" in client.signing_key and client.env is None:
        problems.append(
            Problem(
                "the key is for branch environments, but no environment is named",
                "Set INNGEST_ENV to the branch environment's name",
                fatal=False,
            )
        )
    if not any(problem.fatal for problem in problems):
        examination.keys = tuple(keys)
    hints = [key.hint() for key in keys]
    summary = problems[0].text if problems else " and fallback ".join(f"key {h}" for h in hints)
    return Finding(summary, tuple(problems), data={"keys": hints})


def _key(name: str, value: str, problems: list[Problem]) -> list[SigningKey]:
    try:
        key = SigningKey(value)
    except ConfigurationError:
        problems.append(Problem(f"{name} {_mistake(value)}", _COPY))
        return []
    if _FORM.fullmatch(value) is None:
        problems.append(Problem(f"{name} {_mistake(value)}", _COPY, fatal=False))
    return [key]


def _mistake(value: str) -> str:
    """What is wrong, without saying more of the key than its kind."""
    if value != value.strip():
        return "has a space or a line end around it"
    if value.strip("\"'") != value:
        return "has quotation marks around it"
    if value.startswith("signkey-") and re.match(r"signkey-\w+-", value) is None:
        return "has no environment between 'signkey-' and its digits"
    if not value.startswith("signkey-"):
        return "does not begin with 'signkey-'" + (
            ": it looks like an event key" if "-" not in value else ""
        )
    return "has something other than pairs of hexadecimal digits after its environment"
