"""Check 5: TLS to the API: its version, the certificate's chain, names and expiry, in words."""

import asyncio
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ...core.wire.remote_text import clean
from ...transport.environment import tls_context
from .examination import Examination
from .findings import Finding, Problem, failed, skipped
from .network import Endpoint, ProxyRefused, api_endpoint, open_tunnel

EXPIRES_SOON: Final = timedelta(days=14)

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, for which the ssl module has no name."""

# X509_V_ERR_... of OpenSSL.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED = 9, 10, 18
_WRONG_NAME: Final = frozenset({62, 64})


async def check_tls(examination: Examination) -> Finding:
    """Whether a worker accepts the certificate of the API."""
    endpoint = api_endpoint(examination)
    if not endpoint.encrypted:
        return skipped("the API is http://")
    try:
        return await examine_tls(endpoint, examination.timeout)
    except ProxyRefused:
        return skipped("the proxy lets nothing through: see the check of the proxy")


async def examine_tls(endpoint: Endpoint, timeout: float) -> Finding:
    """Raises ProxyRefused when the endpoint's proxy does not let the connection through."""
    try:
        connection = await _connect(endpoint, tls_context(), timeout)
    except ssl.SSLCertVerificationError as error:
        return _refused(error, await _presented(endpoint, timeout), endpoint.host)
    except TimeoutError:
        return failed(
            f"{endpoint} did not finish the TLS handshake within {timeout:g} s",
            "Something on the way swallows TLS: a firewall, or a link with a too small MTU",
        )
    except OSError as error:  # ssl.SSLError is one
        reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"):
            return failed(
                f"{endpoint} does not speak TLS", "Use http:// or ws:// for it, or its other port"
            )
        if "PROTOCOL" in reason:
            return failed(
                f"{endpoint} does not support TLS 1.2 or newer ({reason})",
                "Update the server there, or the proxy that inspects TLS",
            )
        return failed(
            f"{endpoint} ended the TLS handshake: {reason}",
            "A firewall that reads the host's name may cut it: let it allow this host",
        )
    version = connection.version() or ""
    certificate = Certificate.of(connection.getpeercert() or {})
    left = certificate.not_after - datetime.now(UTC)
    problems: tuple[Problem, ...] = ()
    if left < EXPIRES_SOON:
        text = f"the certificate of {endpoint.host} expires on {certificate.not_after:%Y-%m-%d}"
        problems = (Problem(text, "Its operator has to renew it before that", fatal=False),)
    until = f"valid until {certificate.not_after:%Y-%m-%d} ({left.days} days)"
    return Finding(
        f"{version}, {certificate}, {until}", problems, data=certificate.data(version or None)
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server presents, whether or not it is trusted."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime

    @staticmethod
    def of(fields: dict[str, Any]) -> "Certificate":
        """From what ``getpeercert()`` returns."""

        def name(parts: Any) -> str:
            named = dict(pair for part in parts for pair in part)
            for key in ("commonName", "organizationalUnitName", "organizationName"):
                if key in named:
                    return str(named[key])
            return "an authority without a name"

        def time(text: str) -> datetime:
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)

        names = [str(value) for _, value in fields.get("subjectAltName", ())]
        return Certificate(
            tuple(clean(each) for each in names or [name(fields.get("subject", ()))]),
            clean(name(fields.get("issuer", ()))),
            time(fields["notBefore"]),
            time(fields["notAfter"]),
        )

    def __str__(self) -> str:
        shown = ", ".join(self.names[:4]) + (", ..." if len(self.names) > 4 else "")
        return f"certificate of {shown}, issued by {self.issuer}"

    def data(self, version: str | None) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "version": version,
            "names": list(self.names),
            "issuer": self.issuer,
            "not_after": self.not_after.isoformat(),
        }


async def _connect(
    endpoint: Endpoint, context: ssl.SSLContext, timeout: float
) -> ssl.SSLObject | ssl.SSLSocket:
    async with asyncio.timeout(timeout):
        if endpoint.proxy is not None:
            writer = await open_tunnel(endpoint, context, timeout)
        else:
            _, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, ssl_handshake_timeout=timeout
            )
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return connection


async def _presented(endpoint: Endpoint, timeout: float) -> Certificate | None:
    """The certificate that was not accepted; nothing but the handshake is sent to read it.

    Python parses only certificates that were verified. So it is fetched unverified first, and then
    verified against nothing but itself.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    itself = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    itself.check_hostname = False
    itself.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME | ssl.VERIFY_X509_PARTIAL_CHAIN)
    try:
        raw = (await _connect(endpoint, unverified, timeout)).getpeercert(binary_form=True)
        itself.load_verify_locations(cadata=raw)
        fields = (await _connect(endpoint, itself, timeout)).getpeercert()
        return Certificate.of(fields) if fields else None
    except (OSError, ValueError, TypeError, KeyError, ProxyRefused):
        return None


def _refused(
    error: ssl.SSLCertVerificationError, presented: Certificate | None, host: str
) -> Finding:
    data = presented.data(None) if presented else {}
    clock = (
        "It has to be renewed, unless the clock of this machine is wrong, which shows "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )
    code = error.verify_code
    if code == _EXPIRED:
        text, remedy = f"the certificate of {host} expired", clock
        if presented:
            text += f" on {presented.not_after:%Y-%m-%d}"
    elif code == _NOT_YET_VALID:
        text, remedy = f"the certificate of {host} is not valid", clock
        if presented:
            text += f" before {presented.not_before:%Y-%m-%d}"
    elif code in _WRONG_NAME:
        names = ", ".join(presented.names) if presented else "another host"
        text = f"wrong host: the certificate is for {names}, not for {host}"
        remedy = "Check the address; or another server answers at it, such as a captive portal"
    elif code == _SELF_SIGNED:
        text = f"the certificate of {host} is self-signed, so no authority vouches for it"
        remedy = f"If you run {host}, set SSL_CERT_FILE to a PEM file with that certificate"
    else:
        issuer = presented.issuer if presented else "an authority"
        file = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        text = (
            f"unknown authority: issued by {issuer}, who is not in "
            f"{file or 'the list that comes with certifi'} ({error.verify_message})"
        )
        remedy = (
            f"Put the root certificate of {issuer} into {file}; if it was replaced, the new one is "
            "missing"
            if file
            else f"If {issuer} is your organization's (a proxy that inspects TLS, say), set "
            "SSL_CERT_FILE to a PEM file with its root certificate; it is used instead of the list "
            "of certifi"
        )
    return failed(text, remedy, **data)
