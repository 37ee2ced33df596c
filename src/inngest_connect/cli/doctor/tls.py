"""Check 5: TLS to the API: its version, the certificate's chain, names and expiry, in words."""

import asyncio
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ...core.wire.remote_text import clean
from ...errors import ConfigurationError
from ...transport.environment import tls_context
from .examination import Endpoint, Examination
from .findings import Finding, Problem, failed, skipped
from .network import api_endpoint
from .proxies import ProxyRefused, open_tunnel

EXPIRES_SOON: Final = timedelta(days=14)

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for."""

# X509_V_ERR_... of OpenSSL.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED = 9, 10, 18
_WRONG_NAME: Final = frozenset({62, 64})


async def check_tls(examination: Examination) -> Finding:
    endpoint = api_endpoint(examination)
    if not endpoint.encrypted:
        return skipped("the API is http://")
    try:
        return await examine(endpoint, examination.timeout)
    except ProxyRefused:
        return skipped("the proxy lets nothing through: see the check of the proxy")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server presents, whether or not it is to be trusted."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime

    @staticmethod
    def of(fields: dict[str, Any]) -> "Certificate":
        """From what ``getpeercert()`` returns."""
        names = [str(value) for _, value in fields.get("subjectAltName", ())]
        return Certificate(
            tuple(clean(name) for name in names or [_name(fields.get("subject", ()))]),
            clean(_name(fields.get("issuer", ()))),
            _time(fields["notBefore"]),
            _time(fields["notAfter"]),
        )

    def __str__(self) -> str:
        shown = ", ".join(self.names[:4]) + (", ..." if len(self.names) > 4 else "")
        return f"certificate of {shown}, issued by {self.issuer}"


def _name(parts: Any) -> str:
    fields = dict(pair for part in parts for pair in part)
    for key in ("commonName", "organizationalUnitName", "organizationName"):
        if key in fields:
            return str(fields[key])
    return "an authority without a name"


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


async def examine(endpoint: Endpoint, timeout: float) -> Finding:
    """Raises ProxyRefused when the endpoint's proxy does not let the connection through."""
    try:
        context = tls_context()
    except ConfigurationError as error:
        return failed(
            str(error),
            "SSL_CERT_FILE has to name a readable PEM file, SSL_CERT_DIR a directory of them",
        )
    try:
        connection = await _connect(endpoint, context, timeout)
    except ssl.SSLCertVerificationError as error:
        return _refused(error, await _presented(endpoint, timeout), endpoint)
    except TimeoutError:
        return failed(
            f"{endpoint} did not finish the TLS handshake within {timeout:g} s",
            "Something on the way swallows TLS: a firewall, or a link with a too small MTU",
        )
    except (OSError, ssl.SSLError) as error:
        return _broken(error, endpoint)
    version, fields = connection.version() or "", connection.getpeercert() or {}
    return _accepted(version, Certificate.of(fields), endpoint)


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


def _accepted(version: str, certificate: Certificate, endpoint: Endpoint) -> Finding:
    left = certificate.not_after - datetime.now(UTC)
    until = f"valid until {certificate.not_after:%Y-%m-%d} ({left.days} days)"
    problems: tuple[Problem, ...] = ()
    if left < EXPIRES_SOON:
        text = f"the certificate of {endpoint.host} expires on {certificate.not_after:%Y-%m-%d}"
        remedy = "Whoever runs it has to renew it before that"
        problems = (Problem(text, remedy, fatal=False),)
    return Finding(f"{version}, {certificate}, {until}", problems, data=_data(certificate, version))


def _data(certificate: Certificate | None, version: str = "") -> dict[str, Any]:
    if certificate is None:
        return {}
    return {
        "version": version or None,
        "names": list(certificate.names),
        "issuer": certificate.issuer,
        "not_after": certificate.not_after.isoformat(),
    }


def _refused(
    error: ssl.SSLCertVerificationError, presented: Certificate | None, endpoint: Endpoint
) -> Finding:
    code, host = error.verify_code, endpoint.host
    data = _data(presented)
    if code == _EXPIRED:
        when = f" on {presented.not_after:%Y-%m-%d}" if presented else ""
        return failed(f"the certificate of {host} expired{when}", _clock(), **data)
    if code == _NOT_YET_VALID:
        when = f" before {presented.not_before:%Y-%m-%d}" if presented else ""
        return failed(f"the certificate of {host} is not valid{when}", _clock(), **data)
    if code in _WRONG_NAME:
        names = ", ".join(presented.names) if presented else "another host"
        return failed(
            f"wrong host: the certificate is for {names}, not for {host}",
            "Check the address; or something else answers at it, such as a captive portal",
            **data,
        )
    if code == _SELF_SIGNED:
        return failed(
            f"the certificate of {host} is self-signed, so nobody vouches for it",
            f"If you run {host}, set SSL_CERT_FILE to a PEM file with that certificate",
            **data,
        )
    return _unknown_authority(error, presented, data)


def _clock() -> str:
    now = datetime.now(UTC)
    return f"It has to be renewed; unless the clock is wrong: it says {now:%Y-%m-%d %H:%M} UTC here"


def _unknown_authority(
    error: ssl.SSLCertVerificationError, presented: Certificate | None, data: dict[str, Any]
) -> Finding:
    issuer = presented.issuer if presented else "an authority"
    file = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    trusted = file or "the list that comes with certifi"
    remedy = (
        f"If {issuer} is your organisation's (a proxy that inspects TLS, say), set SSL_CERT_FILE "
        "to a PEM file with its root certificate; it is used instead of the list of certifi"
    )
    if file:
        remedy = (
            f"Put the root certificate of {issuer} into {file}; if it has replaced another one, "
            "the new one is missing"
        )
    return failed(
        f"unknown authority: issued by {issuer}, who is not in {trusted} ({error.verify_message})",
        remedy,
        **data,
    )


def _broken(error: Exception, endpoint: Endpoint) -> Finding:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"):
        return failed(
            f"{endpoint} does not speak TLS", "Use http:// or ws:// for it, or its other port"
        )
    if "PROTOCOL" in str(reason):
        return failed(
            f"{endpoint} has no TLS version from 1.2 ({reason})",
            "Update what answers there, or the proxy that inspects TLS",
        )
    return failed(
        f"{endpoint} ended the TLS handshake: {reason}",
        "A firewall that reads the host's name may cut it: let it allow this host",
    )
