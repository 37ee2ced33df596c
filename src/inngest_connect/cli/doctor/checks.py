"""The checks in their order, and what each of them needs of the earlier ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ...core.wire.user_text import shown_error
from ...errors import ConnectError
from .api import check_start
from .configuration import check_keys, check_settings
from .examination import Examination
from .findings import Finding, Mark, Result, blocked, failed
from .gateway import check_gateway, check_upgrade
from .handshake import HANDSHAKE_PATIENCE, check_close, check_handshake, check_heartbeats
from .network import check_addresses, check_name, check_proxy
from .tls import check_tls


@dataclass(frozen=True, slots=True)
class Check:
    """``needs`` are numbers of checks without which this one cannot run."""

    number: int
    name: str
    run: Callable[[Examination], Awaitable[Finding]]
    needs: tuple[int, ...] = ()


# The numbers are part of the interface: the exit code of a failed check is 10 plus its number.
CHECKS: Final = (
    Check(1, "configuration", check_settings),
    Check(2, "signing key", check_keys, (1,)),
    Check(3, "API name", check_name, (1,)),
    Check(4, "API address", check_addresses, (3,)),
    Check(5, "API TLS", check_tls, (4,)),
    Check(6, "proxy", check_proxy, (1,)),
    Check(7, "API start", check_start, (2, 5, 6)),
    Check(8, "gateway address", check_gateway, (7,)),
    Check(9, "WebSocket", check_upgrade, (8,)),
    Check(10, "handshake", check_handshake, (9,)),
    Check(11, "heartbeats", check_heartbeats, (10,)),
    Check(12, "close", check_close, (10,)),
)


async def examine(examination: Examination, on_result: Callable[[Result], None]) -> list[Result]:
    """Run all checks and call ``on_result`` after each. Closes what was opened."""
    results: list[Result] = []
    try:
        for check in CHECKS:
            begun = time.monotonic()
            obstacle = _obstacle(check, results)
            finding = blocked(obstacle) if obstacle else await _guarded(check, examination)
            result = Result(check.number, check.name, finding, time.monotonic() - begun)
            results.append(result)
            on_result(result)
    finally:
        if examination.conversation is not None:
            await examination.conversation.aclose()
    return results


def _obstacle(check: Check, results: Sequence[Result]) -> str:
    """The name of the failed check that ``check`` needs, directly or not; empty without one."""
    for number in check.needs:
        needed = results[number - 1]
        if needed.mark is Mark.FAIL:
            return needed.name
        if needed.finding.blocked_by:
            return needed.finding.blocked_by
    return ""


async def _guarded(check: Check, examination: Examination) -> Finding:
    """Run one check. The checks limit each piece of I/O themselves; this limit is the last one."""
    limit = (HANDSHAKE_PATIENCE + 2) * examination.timeout
    try:
        async with asyncio.timeout(limit):
            return await check.run(examination)
    except TimeoutError:
        return failed(f"took longer than {limit:g} s", "Try again, with a longer --timeout")
    except ConnectError as error:
        text, _, remedy = str(error).partition("\n")
        return failed(text, remedy or "Correct what the text names")
    except OSError as error:
        return failed(shown_error(error), "Try again; the network changed just now")
    except Exception as error:  # noqa: BLE001 - the later checks may say more
        return failed(
            shown_error(error), "Report this as a bug of inngest-connect, with its version"
        )
