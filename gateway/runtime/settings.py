"""Settings: `gateway.toml` in the home, overridden by `GATEWAY_<SECTION>__<NAME>` in the environment.

The models below are the one source of every setting's name, default, unit and words: the commented file that
`gateway init` writes, the page in `docs/`, and the check for unknown names are made from them.
"""

import codecs
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Networks
from gateway.ledger.archive.target import parse_address
from gateway.runtime.start.effect import faults_of

RESERVED = frozenset(
    {
        "GATEWAY_HOME",
        "GATEWAY_CONTROL_URL",
        "GATEWAY_OFFICER",
        "GATEWAY_TOKEN",
        "GATEWAY_PASSPHRASE",
        "GATEWAY_KEYS",
        "GATEWAY_LOG_KEY",
    }
) | frozenset(
    f"GATEWAY_{name}"
    for name in ("URL", "TOKEN_URL", "CLIENT_ID", "KEY_FILE", "KEY_PASSWORD", "PURPOSE", "OPERATOR", "CA")
)
"""Names in the environment that are not settings: they say where, who and how to unlock, or are a caller's."""

_ASKER = r"^[a-z0-9][a-z0-9\-]{0,62}$"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9\-_~]+(?:\.[A-Za-z0-9\-_~]+)*)+")
_INTERFACE = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}/[A-Za-z0-9][A-Za-z0-9\-._]{0,62}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

FORMAT = 1
"""The version of the settings file; a newer one is refused."""


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what would be taken for something else: `true` for a number, an empty text for a value."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise PydanticCustomError("kind", "is true or false, and a number or text is meant")
        if isinstance(value, str) and isinstance(field.default, tuple):
            raise PydanticCustomError("list", "is a list: write it in brackets, each in quotation marks")
        if isinstance(value, str) and not value.strip() and (value or field.default != ""):
            raise PydanticCustomError("empty", "is empty: write a value, or leave the line out for the default")
        return value


class DataPlaneSettings(Section):
    """Where demand departments' systems call, and what one connection or call may take."""

    host: str = Field("127.0.0.1", description="address the data plane listens on")
    port: int = Field(8080, ge=0, le=65535, description="its port; 0 lets the system choose")
    workers: int = Field(2, ge=1, le=256, description="processes that serve calls; one a core is right")
    tls_certificate: Path | None = Field(None, description="PEM chain of the listener; none serves plain HTTP")
    tls_key: Path | None = Field(None, description="PEM private key of the listener")
    client_ca: Path | None = Field(None, description="PEM authorities of callers' client certificates")
    client_certificates: Literal["off", "optional", "required"] = Field(
        "off", description="whether callers may or must present a client certificate"
    )
    drain_seconds: float = Field(20.0, ge=0, le=3600, description="how long running calls may take to end at shutdown")
    max_connections: int = Field(16384, ge=16, description="callers' connections a worker holds at once")
    system_concurrency: int = Field(512, ge=1, description="calls of one system a worker serves at once")
    header_seconds: float = Field(10.0, gt=0, description="until a request's header section has arrived")
    idle_seconds: float = Field(75.0, gt=0, description="until an idle connection is closed")
    body_seconds: float = Field(
        30.0, gt=0, description="the time in which a request's body must make progress, and an answer being taken"
    )
    least_rate: int = Field(
        256, ge=1, description="octets a second that a body must make in that time, or its connection is cut"
    )
    gather_seconds: float = Field(60.0, gt=0, description="until an answer that is gathered to be filtered is whole")
    exchange_seconds: float = Field(
        14400.0, gt=0, description="until a call is over, where its interface states no total of its own"
    )
    held_bytes: int = Field(
        512 << 20,
        ge=16 << 20,
        description="memory that a worker holds for callers and suppliers at once, in bytes; one supplier or system "
        "has an eighth for itself, and up to a quarter while half is free",
    )
    supplier_connections: int = Field(128, ge=1, description="connections a worker keeps to one supplier's host")
    waiting_calls: int = Field(
        1024, ge=0, description="calls that wait in a worker for a free slot of one interface; more are turned away"
    )
    waiting_seconds: float = Field(5.0, gt=0, description="how long such a call waits before it is turned away")
    answer_bytes: int = Field(
        16 << 20, ge=1024, description="largest JSON answer that is gathered to be filtered, in bytes"
    )
    gathered_bytes: int = Field(
        256 << 20, ge=1 << 20, description="all answers a worker gathers at once, in bytes; more calls are turned away"
    )
    circuit_failures: int = Field(
        5, ge=1, description="failures in a row after which a worker leaves a supplier's host alone for a while"
    )
    circuit_seconds: float = Field(5.0, gt=0, description="how long it does, until one call probes")
    half_close: bool = Field(
        False,
        description="whether a caller that ends its side of a plain connection after its request is still answered; by "
        "default it has given up, and its call ends",
    )


class SuppliersSettings(Section):
    """Where supply departments' services may stand."""

    networks: tuple[str, ...] = Field(
        (),
        description="networks in CIDR form that suppliers' hosts may lie in, such as 10.20.0.0/16; default: none, and "
        "no host can be claimed; clouds' metadata addresses and this gateway's listeners are never called, whatever "
        "stands here",
    )

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what is no network."""
        for text in networks:
            try:
                Networks([text])
            except ValueError:
                raise PydanticCustomError("networks", "`{text}` is no network in CIDR form", {"text": text}) from None
        return networks


class ControlSettings(Section):
    """Where officers, auditors and token requests come in."""

    host: str = Field("127.0.0.1", description="address the control plane listens on")
    port: int = Field(8081, ge=0, le=65535, description="its port; 0 lets the system choose")
    issuer: str | None = Field(
        None, description="public base URL of the control plane, the `iss` of tokens; default: its own address"
    )
    node_url: str | None = Field(
        None,
        description="where the other nodes of one state reach this node's control plane, such as "
        "http://10.0.0.12:8081: each passes on what is asked of another's records and exports; default: the address "
        "it listens on",
    )
    nodes_ca: Path | None = Field(
        None, description="PEM authorities of the other nodes' certificates, where `node_url` is https"
    )
    tls_certificate: Path | None = Field(None, description="PEM chain of the listener; none serves plain HTTP")
    tls_key: Path | None = Field(None, description="PEM private key of the listener")
    client_ca: Path | None = Field(
        None, description="PEM authorities of client certificates; a self-signed one is its own authority"
    )
    client_certificates: Literal["off", "optional"] = Field(
        "off", description="whether systems may show a client certificate when they ask for a token (RFC 8705)"
    )
    console: bool = Field(True, description="whether pages for officers and auditors are served under `/console`")


class StateSettings(Section):
    """Where the directory, grants and orders are kept."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL, such as postgresql+psycopg://gateway@db/gateway; default: SQLite in the home",
    )
    freshness_seconds: float = Field(
        2.0, ge=0.5, le=2.0, description="how long a worker may go on without hearing that its state is current"
    )


class LedgerSettings(Section):
    """Where use records are kept, and what witnesses the log."""

    origin: str | None = Field(
        None,
        description="name of this node's log, which it keeps for ever; `gateway init` writes it here: "
        "sharing-gateway/<host name>, where none is set",
    )
    low_water_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        description="free disk, in bytes, below which no new use is accepted; officers' acts go on down to a quarter",
    )
    new_texts_a_day: int = Field(
        5000,
        ge=1,
        le=1_000_000,
        description="how many new scenarios, operators and unregistered purposes one system may name in a day, of some "
        "600 octets each in the state; a use that names one more is refused (`words-exhausted`)",
    )
    witnesses: tuple[str, ...] = Field(
        (),
        description="witnesses asked to cosign this log, each as `<verifier key> <URL>`, such as https://peer/witness; "
        "plain http on loopback alone: what a witness says can stop the log",
    )
    witnessed_logs: tuple[str, ...] = Field(
        (), description="verifier keys of other nodes' logs that this node cosigns as a witness, under `/witness`"
    )

    @field_validator("witnesses")
    @classmethod
    def _over_tls(cls, witnesses: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a witness that anyone on the way could speak for (`gateway.ledger.witness.witness.WitnessClient`)."""
        for setting in witnesses:
            key, _, url = setting.strip().partition(" ")
            try:
                parts = urlsplit(url.strip())
            except ValueError:
                parts = urlsplit("")
            if not key or not parts.hostname or parts.scheme not in {"http", "https"}:
                raise PydanticCustomError("witness", "each is written `<verifier key> <url>`")
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise PydanticCustomError(
                    "witness",
                    "`{name}` is asked over plain http, where anyone on the way can stop this log: "
                    "write its https address; http is for this machine alone",
                    {"name": key.partition("+")[0]},
                )
        return witnesses


class ArchiveSettings(Section):
    """An object store (S3) that the log is brought to as well, under object lock; needs the extra `archive`."""

    url: str | None = Field(
        None,
        description="bucket and folder, as `s3://bucket/prefix`; the log lies in a folder of its origin below it; "
        "unset, no store is used",
    )
    endpoint: str | None = Field(
        None, description="the store's URL; https, or http on this machine alone; default: that of AWS for the region"
    )
    region: str | None = Field(None, description="the bucket's region; default: what the environment says")
    path_style: bool = Field(False, description="whether the bucket's name stands in the path and not in the host")
    credentials: Path | None = Field(
        None, description="an AWS credentials file; default: the environment's (`AWS_…`), else the instance's"
    )
    authority: Path | None = Field(None, description="PEM authorities of the store's certificate")
    encryption: Literal["bucket", "AES256", "aws:kms"] = Field(
        "bucket", description="encryption at rest that each object asks for; `bucket`: what the bucket's own rule is"
    )
    interval_seconds: float = Field(
        60.0,
        ge=1,
        le=86400,
        description="between rounds: how long a record is on this disk alone",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                parse_address(url)
            except GatewayError as error:
                raise PydanticCustomError("archive", "is written `s3://bucket/prefix`") from error
        return url

    @field_validator("endpoint")
    @classmethod
    def _is_private(cls, endpoint: str | None) -> str | None:
        """Refuse a store that anyone on the way could read records from."""
        if endpoint is not None:
            try:
                parts = urlsplit(endpoint)
            except ValueError:
                parts = urlsplit("")
            if not parts.hostname or parts.scheme not in {"http", "https"}:
                raise PydanticCustomError("archive", "is written `https://host`")
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise PydanticCustomError(
                    "archive", "is plain http, which shows records to anyone on the way: write its https address"
                )
        return endpoint


class PolicySettings(Section):
    """Which law is in force until other policies are activated (`gateway policies activate`)."""

    root: Path | None = Field(None, description="folder of the policies; default: those the gateway ships")
    layers: tuple[str, ...] = Field(("national",), description="layers in force: `national`, then a region's")
    decision: str = Field(
        "",
        max_length=200,
        description="reference of the competent department's decision by which a region's rules on uses without a "
        "grant are in force here, such as `中数〔2026〕3号`; without one they permit nothing",
    )
    longest_grant_days: int = Field(
        1827, ge=1, le=1827, description="for how many days a grant may be approved or entered, at most five years"
    )
    two_persons: bool = Field(
        False,
        description="whether policies that one person wants in force, or back in force, wait until another one has "
        "approved them (`gateway policies approve`)",
    )
    proofs: Literal["known", "possible", "required"] = Field(
        "possible",
        description="whether theorems are proved when policies are activated: `known`: what was proved before is told; "
        "`possible`: they are proved where `cedar` and cvc5 are; `required`: what is not proved is refused",
    )


class IssuerSettings(Section):
    """Another issuer of access tokens that this gateway trusts."""

    name: str = Field(description="its `iss`, exactly as its tokens bear it")
    audience: str = Field(description="the `aud` that its tokens for this gateway bear")
    jwks_uri: str = Field(description="where its keys are; https")
    systems: dict[str, str] = Field(description="its client ids, each with the system it is registered as here")
    allow_rs256: bool = Field(False, description="whether its keys may verify RS256")


class IdentitySettings(Section):
    """Tokens and keys."""

    audience: str = Field("sharing-gateway", description="the `aud` that access tokens must bear")
    keys: Path | None = Field(None, description="folder of the key ring; default: `keys` in the home")
    signers: dict[Literal["token", "log", "witness"], str] = Field(
        {}, description="keys in an HSM or KMS, by purpose: `module:function` that returns a `Signer`"
    )
    issuers: tuple[IssuerSettings, ...] = Field((), description="other issuers of access tokens that are trusted")
    origins: tuple[str, ...] = Field(
        (),
        description="origins that callers use, such as https://share.example.gov.cn: a DPoP proof for any other is "
        "refused; default: whatever `Host` says",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="addresses or networks of proxies before the control plane that are believed: what they say is "
        "the caller's address (`X-Forwarded-For`) and client certificate (`Client-Cert`, RFC 9440)",
    )
    legacy_window_seconds: int = Field(
        300, ge=1, le=900, description="window of the national platforms' signed headers, in seconds"
    )


class OfficersSettings(Section):
    """How officers sign in; local accounts are always there, tokens of `gateway officers token` too."""

    provider: str | None = Field(None, description="issuer of an OpenID Connect provider; needs the extra `oidc`")
    client_id: str = Field("", description="the gateway's client there")
    client_secret_file: Path | None = Field(None, description="file with that client's secret")
    client_key_file: Path | None = Field(
        None, description="PEM file with that client's private key, in place of a secret (`private_key_jwt`)"
    )
    scopes: tuple[str, ...] = Field(
        ("profile",),
        description="scopes asked for besides `openid`; with `offline_access`, where the provider has it, sessions of "
        "the command line are renewed for up to 12 hours",
    )
    officer_claim: str = Field(
        "preferred_username", description="claim of the ID token, or of UserInfo, that is an officer's id"
    )
    allow_rs256: bool = Field(True, description="whether ID tokens may be signed by RS256")


class TracesSettings(Section):
    """Traces of calls for an OpenTelemetry collector; needs the extra `otel`."""

    endpoint: str | None = Field(
        None,
        description="where spans are sent by OTLP/HTTP, such as http://127.0.0.1:4318/v1/traces; unset: none are made",
    )
    sample_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the calls without `traceparent` that are traced; a caller's own sampling flag stands",
    )


class MetricsSettings(Section):
    """Figures for Prometheus, at `/metrics` of the control plane."""

    credential_file: Path | None = Field(
        None,
        description="file with the credential that a scraper bears (`Authorization: Bearer`), 20 characters or more; "
        "default: `metrics-credential` in the home, made at the first start",
    )


class LogSettings(Section):
    """What the processes say about themselves."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity written")


class CarrierSettings(Section):
    """An existing gateway or proxy that carries calls by this gateway's decision and record."""

    name: str = Field(pattern=_ASKER, description="its name; its credential stands in the file of that name")
    kind: Literal["nginx", "caddy", "traefik", "apisix", "kong", "haproxy", "envoy"] = Field(
        description="what it is: by which header fields it describes a call"
    )
    paths: dict[str, str] = Field(
        description='beginnings of its own paths, each with the interface behind it: {"/api/marriages" = '
        '"civil-affairs/marriages"}; it may ask about these alone'
    )

    @field_validator("paths")
    @classmethod
    def _are_paths(cls, paths: dict[str, str]) -> dict[str, str]:
        """Refuse what no path of a call can begin with, and what is no interface."""
        if not paths:
            raise PydanticCustomError("paths", "is empty: name the interfaces that it may ask about")
        for prefix, interface in paths.items():
            if _PREFIX.fullmatch(prefix) is None or _INTERFACE.fullmatch(interface) is None:
                raise PydanticCustomError(
                    "paths",
                    '`{prefix}` is written `"/path" = "supplier/interface"`, without dots, `//` or percent signs',
                    {"prefix": prefix},
                )
        return paths


class EvaluatorSettings(Section):
    """A tool that asks what the policies say, by AuthZEN; its credential stands in the file of its name."""

    name: str = Field(pattern=_ASKER, description="its name")
    departments: tuple[str, ...] = Field((), description="departments whose systems it may ask about")
    datasets: tuple[str, ...] = Field((), description="datasets that it may ask about, whoever uses them")


class ChecksSettings(Section):
    """Decision and record for existing gateways and platforms, on a listener of its own; off unless a port is set."""

    host: str = Field("127.0.0.1", description="address that it listens on")
    port: int | None = Field(
        None, ge=0, le=65535, description="its port, by UDP too for lines of logs; 0 lets the system choose; unset: off"
    )
    tls_certificate: Path | None = Field(None, description="PEM chain of the listener; none serves plain HTTP")
    tls_key: Path | None = Field(None, description="PEM private key of the listener")
    client_ca: Path | None = Field(None, description="PEM authorities of the certificates of those who ask")
    client_certificates: Literal["off", "optional", "required"] = Field(
        "off", description="whether those who ask may or must present a client certificate, besides their credential"
    )
    credentials: Path | None = Field(
        None,
        description="folder with the credential of each who asks, in a file of its name, 20 characters or more; "
        "default: `checks` in the home",
    )
    unclosed_seconds: float = Field(
        120.0, ge=1, le=86400, description="until a use that its carrier does not close is closed as `unknown`"
    )
    carriers: tuple[CarrierSettings, ...] = Field((), description="existing gateways and proxies that may ask")
    evaluators: tuple[EvaluatorSettings, ...] = Field(
        (),
        description="tools that may ask by AuthZEN, each about the `departments` or `datasets` that it is named for "
        "and nothing else",
    )


class Settings(Section):
    """Every setting of a gateway."""

    format: int = Field(FORMAT, description="version of this file's format")
    data_plane: DataPlaneSettings = DataPlaneSettings()  # type: ignore[call-arg]
    suppliers: SuppliersSettings = SuppliersSettings()  # type: ignore[call-arg]
    control: ControlSettings = ControlSettings()  # type: ignore[call-arg]
    state: StateSettings = StateSettings()  # type: ignore[call-arg]
    ledger: LedgerSettings = LedgerSettings()  # type: ignore[call-arg]
    archive: ArchiveSettings = ArchiveSettings()  # type: ignore[call-arg]
    policies: PolicySettings = PolicySettings()  # type: ignore[call-arg]
    identity: IdentitySettings = IdentitySettings()  # type: ignore[call-arg]
    officers: OfficersSettings = OfficersSettings()  # type: ignore[call-arg]
    checks: ChecksSettings = ChecksSettings()  # type: ignore[call-arg]
    traces: TracesSettings = TracesSettings()  # type: ignore[call-arg]
    metrics: MetricsSettings = MetricsSettings()  # type: ignore[call-arg]
    log: LogSettings = LogSettings()  # type: ignore[call-arg]


def load_settings(path: Path, environment: Mapping[str, str] = os.environ, *, base: Path | None = None) -> Settings:
    """Settings of the file at `path` (defaults where it is absent) under the environment's overrides.

    Args:
        path: the file.
        environment: of the process.
        base: what relative paths are of; the folder of the file unless said.

    Raises:
        GatewayError: `invalid-input`, with every fault listed: unknown names with the nearest known one, values of
            the wrong type or out of range, what has no effect, a file of a newer format.
    """
    values = _read_file(path)
    faults = list(_unknown(values, Settings, str(path)))
    for name, text in environment.items():
        if not name.startswith("GATEWAY_") or name in RESERVED:
            continue
        section, _, key = name.removeprefix("GATEWAY_").lower().partition("__")
        if key not in _names(section):
            known = [f"GATEWAY_{s}__{k}".upper() for s in _sections() for k in _names(s)]
            faults.append({"field": name, "fault": f"unknown setting{_nearest(name, known)}"})
            continue
        table = values.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = _read(_default(section, key), text)
    # What is known is looked at besides: one correction is enough.
    known_values = {
        name: _of_home(name, value, (base or path.parent).absolute()) if isinstance(value, dict) else value
        for name, value in values.items()
        if name in Settings.model_fields
    }
    try:
        settings = Settings.model_validate(known_values)
    except ValidationError as error:
        faults += [
            {"field": ".".join(str(part) for part in fault["loc"]), "fault": fault["msg"].lower()}
            for fault in error.errors(include_url=False, include_input=False)
        ]
    else:
        if settings.format > FORMAT:
            raise GatewayError(
                "invalid-input",
                f"`{path}` has format {settings.format}, newer than this gateway knows ({FORMAT}): upgrade first",
            )
        faults += faults_of(settings)
        if not faults:
            return settings
    raise GatewayError("invalid-input", f"the settings have {len(faults)} fault(s)", faults=faults)


def _read_file(path: Path) -> dict[str, Any]:
    """The tables of a settings file; what is no TOML in UTF-8 is told by what it is."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise GatewayError(
            "unavailable", f"`{path}` cannot be read: {(error.strerror or 'refused').lower()}"
        ) from error
    save = "save it as UTF-8 without a byte order mark"
    if content.startswith(codecs.BOM_UTF8):
        raise GatewayError("invalid-input", f"`{path}` begins with a byte order mark: {save}")
    if (
        content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        or content[:200].count(0) > len(content[:200]) // 4
    ):
        raise GatewayError("invalid-input", f"`{path}` is written in UTF-16: {save}")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise GatewayError("invalid-input", f"`{path}` is not TOML: {error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        try:
            content.decode("gb18030")
            kind = "is written in GBK (GB 18030)"
        except UnicodeDecodeError:
            kind = "is not UTF-8"
        raise GatewayError("invalid-input", f"`{path}` {kind}, from line {line} on: {save}") from error


def _of_home(section: str, values: dict[str, Any], base: Path) -> dict[str, Any]:
    """The known values of a section, with paths made absolute."""
    model = _sections().get(section)
    if model is None:
        return values
    found = {name: value for name, value in values.items() if name in model.model_fields}
    for name, value in found.items():
        if isinstance(value, str) and value and "Path" in str(model.model_fields[name].annotation):
            found[name] = str(base / value)
    return found


def with_origin(text: str, origin: str) -> str:
    """The text of a settings file with `ledger.origin` set to `origin`, and nothing else changed."""
    line = f'origin = "{origin}"'
    lines = text.splitlines()
    for at, each in enumerate(lines):
        if each.strip() == "[ledger]":
            end = next((n for n in range(at + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
            names = [n for n in range(at + 1, end) if re.match(r"\s*#?\s*origin\s*=", lines[n])]
            if names:
                lines[names[-1]] = line
            else:
                lines.insert(at + 1, line)
            return "\n".join(lines) + "\n"
    return "\n".join([*lines, "", "[ledger]", line]) + "\n"


def commented_file(networks: Sequence[str] = ()) -> str:
    """The text of a `gateway.toml` that changes nothing and explains everything.

    Args:
        networks: of suppliers; the one setting that a gateway has to be told.
    """
    lines = [
        "## Settings of this gateway. Every line behind one `#` shows the default: take the `#` away and change it.",
        "## The environment overrides the file: GATEWAY_<SECTION>__<NAME>, e.g. GATEWAY_DATA_PLANE__PORT=9080.",
        "## Relative paths are of the folder of this file.",
        "",
        f"format = {FORMAT}",
    ]
    for section, model in _sections().items():
        lines += ["", f"## {(model.__doc__ or '').strip()}", f"[{section}]"]
        for name, field in model.model_fields.items():
            given = tuple(networks) if (section, name) == ("suppliers", "networks") else ()
            said = f"{name} = {_toml(given)}" if given else f"# {name} = {_toml(field.default)}"
            lines += [f"## {field.description}", said]
    return "\n".join(lines) + "\n"


def _sections() -> dict[str, type[Section]]:
    return {
        name: type(field.default) for name, field in Settings.model_fields.items() if isinstance(field.default, Section)
    }


def _names(section: str) -> list[str]:
    model = _sections().get(section)
    return list(model.model_fields) if model else []


def _default(section: str, key: str) -> object:
    return _sections()[section].model_fields[key].default


def _read(default: object, text: str) -> object:
    """A value of the environment: lists by comma, tables by comma and `=`, anything else as text."""
    if isinstance(default, tuple):
        return text.split(",") if text else ()
    if isinstance(default, dict):
        return dict(pair.partition("=")[::2] for pair in text.split(","))
    return text


def _toml(value: object) -> str:
    if value is None:
        return '""  # unset'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f'{name} = "{item}"' for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"'


def _unknown(values: Mapping[str, Any], model: type[Section], where: str) -> Iterator[dict[str, str]]:
    for name, value in values.items():
        if name not in model.model_fields:
            yield {
                "field": f"{where}: {name}",
                "fault": f"unknown setting{_nearest(name, list(model.model_fields))}",
            }
        elif isinstance(value, dict):
            inner = type(model.model_fields[name].default)
            if issubclass(inner, Section):
                yield from _unknown(value, inner, f"{where}: [{name}]")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""
