"""Settings that would have no effect, or could never match: each is a mistake, and some would open a door.

Who sets `client_certificates = "required"` and forgets the certificate believes that callers are asked for one; what
would run is plain HTTP that asks nobody. So a setting that does nothing is refused, with the one that is missing.
"""

import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.runtime.settings import ChecksSettings, ControlSettings, DataPlaneSettings, Section, Settings

Fault = dict[str, str]
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_NEEDS: dict[str, tuple[str, dict[str, str]]] = {
    "officers": (
        "provider",
        dict.fromkeys(
            ("client_id", "client_secret_file", "client_key_file", "scopes", "officer_claim", "allow_rs256"),
            "sign-in by a provider",
        ),
    ),
    "traces": ("endpoint", {"sample_ratio": "tracing"}),
    "checks": (
        "port",
        dict.fromkeys(
            (
                *("host", "tls_certificate", "tls_key", "client_ca", "client_certificates"),
                *("credentials", "unclosed_seconds", "carriers", "evaluators"),
            ),
            "this listener",
        ),
    ),
    "archive": (
        "url",
        dict.fromkeys(
            ("endpoint", "region", "path_style", "credentials", "authority", "encryption", "interval_seconds"),
            "the object store",
        ),
    ),
}
"""Section to the setting that switches its matter on, and those that do nothing without it."""


def faults_of(settings: "Settings") -> list[Fault]:
    """Every setting that does nothing as the others stand, or can never match; empty where there is none."""
    return [
        *_of_listener("data_plane", settings.data_plane),
        *_of_listener("control", settings.control),
        *_of_checks(settings),
        *_of_nodes(settings),
        *_of_switches(settings),
        *_of_provider(settings),
        *_of_log(settings),
        *_of_addresses(settings),
        *_of_proxies(settings),
        *_of_origins(settings),
    ]


def _of_listener(section: str, listener: "DataPlaneSettings | ControlSettings | ChecksSettings") -> Iterator[Fault]:
    without = "has no effect without `tls_certificate`: the listener would serve plain HTTP"
    asks = listener.client_certificates != "off"
    if listener.tls_certificate is None:
        if listener.tls_key is not None:
            yield _fault(section, "tls_key", without)
        if listener.client_ca is not None:
            yield _fault(section, "client_ca", without)
        if asks:
            yield _fault(section, "client_certificates", f"{without} and ask no caller for a certificate")
        return
    if asks and listener.client_ca is None:
        yield _fault(section, "client_certificates", "needs `client_ca`, the authorities of callers' certificates")
    if not asks and listener.client_ca is not None:
        yield _fault(section, "client_ca", 'has no effect while `client_certificates` is "off"')


def _of_checks(settings: "Settings") -> Iterator[Fault]:
    checks = settings.checks
    if checks.port is None:
        return
    yield from _of_listener("checks", checks)
    if checks.tls_certificate is None and checks.host not in _LOOPBACK:
        yield _fault("checks", "host", "credentials would pass in the clear: set `tls_certificate`, or use loopback")
    names = [*(each.name for each in checks.carriers), *(each.name for each in checks.evaluators)]
    if not names:
        yield _fault("checks", "port", "has no effect without `carriers` or `evaluators`: nobody could ask")
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _fault("checks", "carriers", f"`{name}` stands twice")
    for evaluator in checks.evaluators:
        if not evaluator.departments and not evaluator.datasets:
            yield _fault("checks", "evaluators", f"`{evaluator.name}` is named for nothing that it may ask about")


def _of_nodes(settings: "Settings") -> Iterator[Fault]:
    control, alone = settings.control, settings.state.url is None or settings.state.url.startswith("sqlite")
    if control.node_url is not None:
        parts = urlsplit(control.node_url)
        if alone:
            yield _fault("control", "node_url", "has no effect without `state.url`: a state in SQLite is one node's")
        elif parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
            yield _fault("control", "node_url", "is written `http://host:port` or `https://host:port`")
    if control.nodes_ca is not None and alone:
        yield _fault("control", "nodes_ca", "has no effect without `state.url`: a state in SQLite is one node's")


def _of_switches(settings: "Settings") -> Iterator[Fault]:
    for section, (switch, names) in _NEEDS.items():
        given: Section = getattr(settings, section)
        if getattr(given, switch) is not None:
            continue
        for name, matter in names.items():
            default = type(given).model_fields[name].default
            if name in given.model_fields_set and getattr(given, name) != default:
                yield _fault(section, name, f"has no effect without `{switch}`, which switches {matter} on")


def _of_provider(settings: "Settings") -> Iterator[Fault]:
    officers = settings.officers
    if officers.client_secret_file is not None and officers.client_key_file is not None:
        yield _fault("officers", "client_secret_file", "has no effect beside `client_key_file`: the gateway shows one")


def _of_log(settings: "Settings") -> Iterator[Fault]:
    """Names and keys of logs: what is none keeps the ledger or the control process from starting."""
    ledger = settings.ledger
    if ledger.origin is None and not ledger.witnessed_logs and not ledger.witnesses:
        return
    from gateway.ledger.log.notes import check_name, parse_verifier_key  # noqa: PLC0415 -- only where one is set

    said: list[tuple[str, Callable[[str], object], str]] = []
    said += [("origin", check_name, ledger.origin)] if ledger.origin is not None else []
    said += [("witnessed_logs", parse_verifier_key, text) for text in ledger.witnessed_logs]
    said += [("witnesses", parse_verifier_key, text.strip().partition(" ")[0]) for text in ledger.witnesses]
    for name, parse, text in said:
        try:
            parse(text)
        except GatewayError as error:
            shown = "" if name == "origin" else f"`{text.partition('+')[0]}`: "
            yield _fault("ledger", name, f"{shown}{error.detail}")


def _of_addresses(settings: "Settings") -> Iterator[Fault]:
    """URLs by which others are found: one that is none is found by nobody, and nothing else would say so."""
    named = {("control", "issuer"): settings.control.issuer, ("traces", "endpoint"): settings.traces.endpoint}
    for (section, name), text in named.items():
        if text is not None and not _is_url(text):
            yield _fault(section, name, f"`{text}` is no URL: it is written `https://host` or `http://host:port`")
    own = settings.control.issuer
    if own is not None and _is_url(own) and any((urlsplit(own).query, urlsplit(own).fragment, "@" in own)):
        yield _fault("control", "issuer", f"`{own}` has a query, a fragment or a user: an issuer has none (RFC 8414)")
    for issuer in settings.identity.issuers:
        parts = urlsplit(issuer.jwks_uri) if _is_url(issuer.jwks_uri) else None
        if parts is None or (parts.scheme == "http" and parts.hostname not in _LOOPBACK):
            fault = f"`{issuer.name}`: `jwks_uri` is an https URL; keys that came over plain http could be anybody's"
            yield _fault("identity", "issuers", fault)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"} and bool(host) and text.isascii() and text.isprintable() and " " not in text
    )


def _of_proxies(settings: "Settings") -> Iterator[Fault]:
    for text in settings.identity.trusted_proxies:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            why = "has bits set behind its prefix" if "host bits" in str(error) else "can never match"
            fault = f"`{text}` {why}: write addresses or networks, such as 10.0.0.7 or 10.0.0.0/24"
            yield _fault("identity", "trusted_proxies", fault)
            continue
        if network.prefixlen == 0:
            yield _fault("identity", "trusted_proxies", f"`{text}` is everybody: anyone could claim any address")


def _of_origins(settings: "Settings") -> Iterator[Fault]:
    tls = settings.data_plane.tls_certificate is not None
    for text in settings.identity.origins:
        fault = _origin_fault(text, tls=tls)
        if fault is not None:
            yield _fault("identity", "origins", f"`{text}` can never match: {fault}")


def _origin_fault(text: str, *, tls: bool) -> str | None:
    """Why no caller's proof can be for this origin; None where one can."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is no URL"
    if parts.scheme not in {"http", "https"} or not host or not text.isascii() or not text.isprintable():
        return "it is written `https://host` or `https://host:port`"
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        return "an origin ends with its host or port"
    if "*" in host or " " in text:
        return "each origin is named, there are no patterns"
    if parts.scheme == "http" and tls:
        return "the data plane serves TLS (`data_plane.tls_certificate`)"
    return None


def _fault(section: str, name: str, fault: str) -> Fault:
    return {"field": f"{section}.{name}", "fault": fault}
