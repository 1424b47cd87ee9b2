"""The directory: departments, their systems, the datasets they supply and the interfaces that serve them.

Source: Decree 809 Art. 12 to 17; the field names of the 2017 guide to the directory of government information
resources. An entry here is a *version*: only a released version is enforced (Art. 16, 17).
"""

from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from gateway.domain.calendar import first_moment


class Level(StrEnum):
    """The level of government a department belongs to."""

    NATIONAL = "national"
    PROVINCE = "province"
    CITY = "city"
    COUNTY = "county"
    TOWNSHIP = "township"


class SharingAttribute(StrEnum):
    """The three sharing attributes of Decree 809 Art. 14."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NON_SHAREABLE = "non-shareable"


class SharingMode(StrEnum):
    """How data is shared: the three modes of Decree 809 Art. 22, and verification (Zhongshan Art. 22 ¶3).

    `query` is a service interface, `batch` a batch exchange, `download` a file download; `verify` answers match or
    no match and never a value. Each is also the Cedar action of a call.
    """

    QUERY = "query"
    VERIFY = "verify"
    BATCH = "batch"
    DOWNLOAD = "download"


class UpdateCycle(StrEnum):
    """How often a dataset is updated (更新周期)."""

    REAL_TIME = "real-time"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class EntryState(StrEnum):
    """Where a version of a directory entry stands (Decree 809 Art. 16, 17)."""

    SUBMITTED = "submitted"
    RELEASED = "released"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"


class Department(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A government department.

    Args:
        id: a slug (`[a-z0-9][a-z0-9-]{0,62}`); it stands in paths.
        name: the department's name, in its own language.
        region: administrative division code (GB/T 2260), six digits; `000000` is the nation.
        level: the level of government.
        parent: the id of the department it belongs to, if any.
        competent: whether it is the competent department of government data sharing of its region (Art. 8).
        code: unified social credit code (提供方代码), if known.
        matters: ids of the purposes that are matters of its own: what it may use data for without an application.
        succeeded_by: the id of the department that it became, once it has ended (`domain.reorganisation`); like the two
            fields below it is written by reorganisations alone, whatever a row of a directory says.
        succeeds: ids of the departments that became this one, and so on back.
        former_names: what it was called before.
    """

    id: str
    name: str
    region: str
    level: Level
    parent: str | None = None
    competent: bool = False
    code: str | None = None
    matters: tuple[str, ...] = ()
    succeeded_by: str | None = None
    succeeds: tuple[str, ...] = ()
    former_names: tuple[str, ...] = ()

    def with_history_of(self, known: "Department | None") -> "Department":
        """As a row of the directory has it, with the history that acts alone write, as it is `known`."""
        return msgspec.structs.replace(
            self,
            succeeded_by=None if known is None else known.succeeded_by,
            succeeds=() if known is None else known.succeeds,
            former_names=() if known is None else known.former_names,
        )


class Certification(msgspec.Struct, frozen=True):
    """That a system was found fit for what it does: graded protection (GB/T 22239), say, or its use of cryptography.

    Args:
        number: of the certificate or report.
        since: its first day, China Standard Time.
        until: its last day.
    """

    number: str
    since: date
    until: date


class SystemDates(msgspec.Struct, frozen=True, gc=False):
    """What policies compare of a system, in seconds since 1970-01-01T00:00:00Z; 0 is that there is none.

    Args:
        registered: when it was registered.
        certified: when its certification begins.
        certified_until: the first second at which it is over.
    """

    registered: int = 0
    certified: int = 0
    certified_until: int = 0


class System(msgspec.Struct, frozen=True, omit_defaults=True):
    """A demand department's information system: what calls.

    Args:
        id: a slug; it is the OAuth `client_id`.
        department: the id of its department.
        name: for people.
        keys: public JWKs (RFC 7517) that sign its client assertions.
        certificates: SHA-256 thumbprints (base64url, RFC 8705 §3.1) of its client certificates.
        active: False once revoked.
        kept_by: what it proves itself by (a key's or certificate's thumbprint, `contract:key` of an older contract) ->
            the officer who entered that; written by those acts alone.
        registered_unix: the second at which it was registered, 0 for one of before that was noted; written by that act.
        certification: as the competent department entered it; written by that act alone.
    """

    id: str
    department: str
    name: str
    keys: tuple[dict[str, Any], ...] = ()
    certificates: tuple[str, ...] = ()
    active: bool = True
    kept_by: dict[str, str] = {}
    registered_unix: int = 0
    certification: Certification | None = None

    @property
    def dates(self) -> SystemDates:
        """Its dates, as policies compare them."""
        held = self.certification
        if held is None:
            return SystemDates(self.registered_unix)
        begins, ends = (int(first_moment(day).timestamp()) for day in (held.since, held.until + timedelta(days=1)))
        return SystemDates(self.registered_unix, begins, ends)

    @property
    def keepers(self) -> tuple[str, ...]:
        """Ids of the officers who entered what it proves itself by, sorted."""
        return tuple(sorted(set(self.kept_by.values())))


class Purpose(msgspec.Struct, frozen=True, omit_defaults=True):
    """A purpose of use that applications and calls can name (Decree 809 Art. 15, 20, 25).

    Args:
        id: what stands in `Sharing-Purpose`, a slug such as `marriage-registration`.
        name: for people.
        basis: the law or duty it serves.
    """

    id: str
    name: str
    basis: str = ""


def namespace_of(id: str) -> str | None:  # noqa: A002 - the domain's name
    """The id of the department in whose namespace the id of a system, officer, grant or proposal stands, if any.

    `department.name` is that department's own where there is such a department: nobody else makes anything of that
    name, and whether it is taken is told to nobody else. A name without a namespace is common to all departments: who
    asks for one learns that it is taken, and nothing of what has it.
    """
    department, dot, _ = id.partition(".")
    return department if dot else None


class DataItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A data item (信息项) of a dataset: the smallest thing a grant can name.

    Args:
        name: identifier used in `Sharing-Items`, grants and records.
        title: the item's name for people.
        type: its type as the directory states it (string, integer, date, …).
        sensitive: whether it is sensitive personal information (PIPL Art. 28).
    """

    name: str
    title: str = ""
    type: str = "string"
    sensitive: bool = False


class Recipients(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Which departments an entry may be shared with, as facts that are checked (Decree 809 Art. 15).

    Each list that names something bounds: a department must satisfy all of them. Without any, every department may
    have it. See `domain.recipients`.

    Args:
        departments: ids; what such a department became is named with it, its subordinates are not.
        levels: levels of government.
        regions: division codes, each with what lies in it.
        matters: ids of purposes, one of which is a matter of the department's own.
    """

    departments: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    regions: tuple[str, ...] = ()
    matters: tuple[str, ...] = ()


class Dataset(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One version of a directory entry: every field that Decree 809 Art. 13 and 15 ask for.

    Args:
        id: the entry's identity across versions: the directory code with `/` written as `.`.
        code: the information resource code (信息资源代码), such as `307010001/000012`.
        name: name of the data directory (信息资源名称).
        category: theme (分类).
        abstract: summary (摘要).
        supplier: the id of the supply department (提供方).
        format: data format (格式).
        items: the data items, at least one.
        sharing_attribute: Art. 14.
        sharing_modes: Art. 13, 22; at least one unless the entry is non-shareable.
        update_cycle: data update frequency (更新周期).
        conditions: conditions for use (共享条件); required for conditional entries.
        scope: departments a conditional entry may be shared with, in words (Art. 15).
        recipients: the same as facts, compared when a grant is made and at every call; `{}` says that every department
            may have it, and nothing said leaves it to the words. A version that says nothing replaces none that does.
        purposes: ids of the purposes of use a conditional entry allows (Art. 15).
        grade: 1 (lowest) to 4 (highest).
        classification: a class of data by a name that `domain.classification` knows; secrets are refused (Art. 3).
        non_shareable_reason: required for non-shareable entries (Art. 15).
        legal_basis: the law, regulation or decision that makes an entry non-shareable (Art. 15).
        openness: whether it is open to the public (开放属性).
        released_on: release date (发布日期).
        related_codes: codes of related entries.
        retention_years: how long use records are kept at least; never below three (Art. 29).
        retention_citation: the rule behind a longer retention.
        version: 1, 2, …; counts per id.
        state: where this version stands.
    """

    id: str
    code: str
    name: str
    supplier: str
    items: tuple[DataItem, ...]
    sharing_attribute: SharingAttribute
    update_cycle: UpdateCycle
    format: str
    grade: int
    classification: str
    sharing_modes: tuple[SharingMode, ...] = ()
    category: str = ""
    abstract: str = ""
    conditions: str = ""
    scope: str = ""
    recipients: Recipients | None = None
    purposes: tuple[str, ...] = ()
    non_shareable_reason: str = ""
    legal_basis: str = ""
    openness: str = ""
    released_on: date | None = None
    related_codes: tuple[str, ...] = ()
    retention_years: int = 3
    retention_citation: str = ""
    version: int = 1
    state: EntryState = EntryState.SUBMITTED

    @property
    def item_names(self) -> frozenset[str]:
        """The names of all items."""
        return frozenset(item.name for item in self.items)


READING_METHODS = frozenset({"GET", "HEAD", "POST"})
"""What a service interface is asked by; POST carries the question where it is too long or too private for a URL."""

METHODS = READING_METHODS | {"PUT", "PATCH", "DELETE"}
"""Every method that an interface's entry may list."""


class AnswerFormat(StrEnum):
    """What an interface answers with, for item filtering."""

    JSON = "json"
    XML = "xml"
    NDJSON = "ndjson"
    CSV = "csv"
    OPAQUE = "opaque"


class EveryItem(StrEnum):
    """What `*` means where a request names the items it asks for."""

    REFUSED = "refused"
    GRANTED = "granted"


MAX_SUBJECTS_A_CALL = 1000
"""Most persons that an entry may let one call ask about; the record bears a pseudonym of each."""


class RequestPlaces(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a request says whom and what it asks, in the language of `domain.places`.

    Args:
        subject: of the identifiers of whom it asks about; every value at every place counts.
        parameters: scope parameter -> its one place; it is looked for nowhere else in the body.
        items: of the items asked for, as names parted by commas.
        operator: of who asks, in the order in which it is told.
        unit: of the asking department's unified social credit code: another one than the caller's is refused.
        matter: of the matter it is for.
        reason: of why; it is told behind the matter.
        every_item: what `*` among the items means.
        subjects_a_call: the most persons that one call may ask about.
    """

    subject: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    items: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    matter: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    every_item: EveryItem = EveryItem.REFUSED
    subjects_a_call: int = 100

    @property
    def is_empty(self) -> bool:
        """Whether it names no place."""
        lists = (self.subject, self.items, self.operator, self.unit, self.matter, self.reason)
        return not any(lists) and not self.parameters


class MemberType(StrEnum):
    """What a member of an answer's envelope holds.

    `text` is one line without the look of a trace and without an identity number; of `meaning` nothing is believed: the
    registered meaning of the answer's code stands in its place.
    """

    INTEGER = "integer"
    BOOLEAN = "boolean"
    CODE = "code"
    TEXT = "text"
    MEANING = "meaning"


class EnvelopeMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """A member of an answer's envelope, as its interface's entry declares it.

    Args:
        type: what it holds.
        most: the largest integer, or the longest code or text in characters.
    """

    type: MemberType = MemberType.TEXT
    most: int = 128


class Interface(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A supply department's service interface: where a dataset is served, and where each item stands in its answer.

    Args:
        id: a slug, unique within the supplier; the data-plane path is `/{supplier}/{id}/…`.
        supplier: the supply department's id.
        dataset: the dataset's id.
        title: for people.
        upstream: base URL of the supplier's service; the rest of the caller's path is appended.
        methods: allowed request methods; of those that change what the supplier holds, none by these alone.
        mode_methods: sharing mode -> its request methods, in place of `methods`; only here PUT, PATCH and DELETE count.
        modes: sharing modes this interface serves; the first is the default of a call that names none.
        format: the answer's format.
        rows: where the rows stand in an answer, in the language of `places`: of JSON a pointer (RFC 6901) to the array
            or the single object, "" is the root; of XML the path of the elements; with `~json`, `~xml` and `~base64`
            also in a document within a text of it.
        places: item name -> place below a row (JSON, NDJSON, XML) or column name (CSV).
        envelope: top-level members of a JSON answer outside `rows` that may pass (such as `code`, `message`).
        envelope_members: place in the answer -> what may pass there, by its type and bound.
        empty_when: place in the answer -> texts: an answer without rows that holds one of them there says "nothing
            found"; `*` is any text. Any other without rows is refused.
        failed_when: the same for answers that say "failed".
        code_at: place of the answer's code, "" where it has none.
        code_meanings: code -> what stands in place of a text that is not what the entry declares.
        charset: the answer's character set, where header or declaration say another one; "" believes them.
        match_codes: item -> the codes that it holds, of a service that itself says whether values match: in verify mode
            it is called as in others, and what leaves are these items alone.
        subject_parameter: the query parameter that holds the data subject's identifier, for the pseudonym only.
        request: where requests say whom and what they ask, beside `subject_parameter` and `scope_parameters`.
        request_fields: header fields that pass to the supplier though they commonly say who calls (`X-User`, `Sec-*`).
        scope_parameters: parameters that a grant may constrain (a region code, say), wherever a caller puts them.
        scope_items: such a parameter -> the item that holds the same in each row, where it has another name.
        paths: paths below the interface's own, as the supplier reads them (`/regions/{region}`): what stands at a
            `{name}` is that parameter. Another path may hold anything, so no grant that constrains one takes it.
        plain_http: allow `http:` to the supplier; False unless the entry says so.
        tls_ca: PEM file of the supplier's CA; None uses the system's.
        tls_name: the name the supplier's certificate must bear, if not the URL's host.
        tls_client: name of the client certificate in the key ring presented to the supplier, if any.
        credential: name of the department's stored credential that the supplier is shown, if it asks for any.
        body_limit_bytes: the largest request body.
        connect_timeout_seconds: until a connection stands.
        first_byte_timeout_seconds: from the request's last byte until the answer's first.
        total_timeout_seconds: for the whole exchange; 0 is none.
        concurrency: how many calls at once the supplier takes on this interface.
        version: counts changes of this entry.
        active: False once withdrawn.
        moved_to: the key of the interface that this one became, where its entry went to another department: who calls
            by the old path reaches that one. Written by reorganisations alone.
    """

    id: str
    supplier: str
    dataset: str
    upstream: str
    title: str = ""
    methods: tuple[str, ...] = ("GET",)
    mode_methods: dict[SharingMode, tuple[str, ...]] = {}
    modes: tuple[SharingMode, ...] = (SharingMode.QUERY,)
    format: AnswerFormat = AnswerFormat.JSON
    rows: str = "/data"
    places: dict[str, str] = {}
    envelope: tuple[str, ...] = ("code", "message", "msg")
    envelope_members: dict[str, EnvelopeMember] = {}
    empty_when: dict[str, tuple[str, ...]] = {}
    failed_when: dict[str, tuple[str, ...]] = {}
    code_at: str = ""
    code_meanings: dict[str, str] = {}
    charset: str = ""
    match_codes: dict[str, tuple[str, ...]] = {}
    subject_parameter: str | None = None
    request: RequestPlaces = RequestPlaces()
    request_fields: tuple[str, ...] = ()
    scope_parameters: tuple[str, ...] = ()
    scope_items: dict[str, str] = {}
    paths: tuple[str, ...] = ()
    plain_http: bool = False
    tls_ca: str | None = None
    tls_name: str | None = None
    tls_client: str | None = None
    credential: str | None = None
    body_limit_bytes: int = 1 << 20
    connect_timeout_seconds: float = 2.0
    first_byte_timeout_seconds: float = 30.0
    total_timeout_seconds: float = 0.0
    concurrency: int = 256
    version: int = 1
    active: bool = True
    moved_to: str | None = None

    def methods_of(self, mode: SharingMode) -> tuple[str, ...]:
        """The request methods that are allowed in a sharing mode."""
        listed = self.mode_methods.get(mode)
        if listed is not None:
            return listed
        # A grant to query is none to write: what changes something is listed for the very mode, or is not allowed.
        return tuple(method for method in self.methods if method in READING_METHODS)

    @property
    def names_subject(self) -> bool:
        """Whether the entry says where a request names the person it asks about."""
        return bool(self.subject_parameter or self.request.subject)

    @property
    def key(self) -> str:
        """`supplier/id`: the interface's identity in records, policies and metrics."""
        return f"{self.supplier}/{self.id}"
