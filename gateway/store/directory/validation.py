"""Whether an entry is one: every lack by Decree 809 Art. 3, 13 and 15 named at once, never only the first."""

import re
from collections.abc import Iterator

import msgspec

from gateway.domain.classification import class_of, nearest, secret_of
from gateway.domain.directory import (
    MAX_SUBJECTS_A_CALL,
    METHODS,
    READING_METHODS,
    AnswerFormat,
    Dataset,
    Department,
    Interface,
    Purpose,
    SharingAttribute,
    SharingMode,
)
from gateway.domain.header_fields import says_who
from gateway.domain.hosts import parse_name, parse_upstream
from gateway.domain.places.answers import Document, parse_below, parse_beside, parse_rows
from gateway.domain.places.documents import DocumentFault, charset_named
from gateway.domain.places.language import Decode, Kind, Place, PlaceError, Source, parse_place
from gateway.domain.recipients import EVERYONE, FIELDS, bounds_of

Fault = dict[str, object]
"""`field`, `fault`, and where it comes from a file `row`."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DATASET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_ITEM = re.compile(r"[^\s,，、;；|\"\\/~\x00-\x1f\x7f]{1,64}")
_TEMPLATE = re.compile(r"(?:/(?:\{[^{}/]+\}|[^{}/?#%\s]+))+")
_COLUMN = re.compile(r"[^\x00-\x1f\x7f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_WHOLE_BODY = Place(Source.BODY)
_REGION = re.compile(r"[0-9]{6}")
MAX_GRADE = 4
MAX_BOUND = 10**20
MAX_MEANING = 200
MAX_TEXT = 2000
"""Longest text of one field, as over the API."""
MAX_CONCURRENCY = 1_000_000
MAX_BODY_BYTES = 1 << 40
LEAST_SECONDS = 0.001
MOST_SECONDS = 7 * 86400
"""Longest time that an entry may give its supplier: a longer one is a slip of the pen."""
NAMED_ITEMS = 20
"""How many items without a place are named."""
MAX_CODE = 32
"""Longest code of a comparison: a longer text could be a value."""
MIN_RETENTION_YEARS = 3
MAX_RECIPIENTS = 1000
"""Most departments, regions or matters that one entry names: each is looked at for every call."""


_DIVIDERS = re.compile(r"[、，,；;|\r\n]+")
_BAD_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def is_slug(word: str) -> bool:
    """Whether a word is an id of a department, purpose or interface."""
    return _SLUG.fullmatch(word) is not None


def split_words(cell: str) -> list[str]:
    """The words of a cell that holds several."""
    return [word.strip() for word in _DIVIDERS.split(cell) if word.strip()]


def _fault(field: str, fault: str) -> Fault:
    return {"field": field, "fault": fault}


def validate_dataset(dataset: Dataset) -> list[Fault]:
    """Every fault of an entry taken by itself; an empty list where there is none.

    Source: Decree 809 Art. 3 (no secrets), Art. 13 (required fields), Art. 15 (required by attribute), Art. 29.
    """
    faults = [
        _fault(field, f"missing: {what} (Decree 809 Art. 13)")
        for field, what in (
            ("name", "name of the data directory"),
            ("code", "information resource code"),
            ("supplier", "supply department"),
            ("format", "data format"),
            ("classification", "classification"),
        )
        if not getattr(dataset, field).strip()
    ]
    if not _DATASET_ID.fullmatch(dataset.id):
        faults.append(_fault("id", f"`{dataset.id}` is not an id: letters, digits, `.`, `_` and `-`, at most 127"))
    if secret := secret_of(dataset.classification):
        faults.append(_fault("classification", f"a {secret} is no government data (Decree 809 Art. 3)"))
    elif dataset.classification.strip() and not class_of(dataset.classification):
        near = nearest(dataset.classification)
        fault = f"`{dataset.classification[:40]}` is no class of data; the nearest known is {near} (Decree 809 Art. 13)"
        faults.append(_fault("classification", fault))
    if not 1 <= dataset.grade <= MAX_GRADE:
        faults.append(_fault("grade", f"grading is 1 to {MAX_GRADE}, not {dataset.grade} (Decree 809 Art. 13)"))
    if dataset.retention_years < MIN_RETENTION_YEARS:
        fault = f"records of use are kept for at least three years, not {dataset.retention_years} (Decree 809 Art. 29)"
        faults.append(_fault("retention_years", fault))
    faults += [
        _fault(field, "holds a control character")
        for field in dataset.__struct_fields__
        if any(_BAD_TEXT.search(text) for text in _texts(getattr(dataset, field)))
    ]
    faults += [
        _fault("related_codes", f"`{code[:40]}` is not one code: no blanks around it, no dividers")
        for code in dataset.related_codes
        if split_words(code) != [code]
    ]
    return [*faults, *_item_faults(dataset), *_attribute_faults(dataset), *_recipient_faults(dataset)]


def _texts(value: object) -> list[str]:
    return [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)]


def _item_faults(dataset: Dataset) -> list[Fault]:
    if not dataset.items:
        return [_fault("items", "missing: at least one data item (Decree 809 Art. 13)")]
    faults: list[Fault] = []
    seen: set[str] = set()
    for item in dataset.items:
        if not _ITEM.fullmatch(item.name):
            faults.append(
                _fault("items", f"`{item.name}` is not an item's name: no blanks, dividers, quotes or slashes")
            )
        if _BAD_TEXT.search(item.title + item.type):
            faults.append(_fault("items", f"item `{item.name}` has a control character in its title or type"))
        if item.name in seen:
            faults.append(_fault("items", f"item `{item.name}` stands twice"))
        seen.add(item.name)
    return faults


def _attribute_faults(dataset: Dataset) -> list[Fault]:
    faults: list[Fault] = []
    if dataset.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        faults += [
            _fault(field, f"missing: {what} of a non-shareable entry (Decree 809 Art. 15)")
            for field, what in (("non_shareable_reason", "the reason"), ("legal_basis", "the legal basis"))
            if not getattr(dataset, field).strip()
        ]
        return faults
    if not dataset.sharing_modes:
        faults.append(_fault("sharing_modes", "missing: at least one sharing mode (Decree 809 Art. 13, 22)"))
    if dataset.sharing_attribute is SharingAttribute.CONDITIONAL:
        faults += [
            _fault(field, f"missing: {what} of a conditional entry (Decree 809 Art. 15)")
            for field, what in (
                ("scope", "the scope of sharing"),
                ("purposes", "the purposes of use"),
                ("conditions", "the conditions for use"),
            )
            if not getattr(dataset, field)
        ]
    return faults


def _recipient_faults(dataset: Dataset) -> Iterator[Fault]:
    """What of the bounds on recipients could never be compared, or would contradict the sharing attribute."""
    bounds = bounds_of(dataset)
    if bounds == EVERYONE:
        return
    if dataset.sharing_attribute is not SharingAttribute.CONDITIONAL:
        said = f"bounds who may have it, and the entry is {dataset.sharing_attribute.value}"
        yield _fault("recipients", f"{said}: that is for conditional entries (Decree 809 Art. 14, 15)")
    for field, is_one, what in (
        ("departments", is_slug, "no id of a department"),
        ("regions", lambda code: _REGION.fullmatch(code) is not None, "no division code of six digits (GB/T 2260)"),
        ("matters", is_slug, "no id of a purpose"),
    ):
        for word in getattr(bounds, field):
            if not is_one(word):
                yield _fault(f"recipients.{field}", f"`{word[:64]}` is {what}")
    for field in FIELDS:
        words = getattr(bounds, field)
        if len(set(words)) != len(words):
            yield _fault(f"recipients.{field}", "names something twice")
        if len(words) > MAX_RECIPIENTS:
            yield _fault(f"recipients.{field}", f"names more than {MAX_RECIPIENTS}")


def validate_department(department: Department) -> list[Fault]:
    """Every fault of a department taken by itself."""
    faults = [] if _SLUG.fullmatch(department.id) else [_not_a_slug(department.id)]
    if not department.name.strip():
        faults.append(_fault("name", "missing: the department's name"))
    if not _REGION.fullmatch(department.region):
        faults.append(_fault("region", f"`{department.region}` is not a division code of six digits (GB/T 2260)"))
    faults += [
        _fault("matters", f"`{name[:64]}` is no id of a purpose") for name in department.matters if not is_slug(name)
    ]
    return faults


def validate_purpose(purpose: Purpose) -> list[Fault]:
    """Every fault of a purpose."""
    faults = [] if _SLUG.fullmatch(purpose.id) else [_not_a_slug(purpose.id)]
    if not purpose.name.strip():
        faults.append(_fault("name", "missing: the purpose's name"))
    return faults


def validate_interface(interface: Interface, dataset: Dataset | None = None) -> list[Fault]:
    """Every fault of an interface taken by itself, and against the entry it serves where that is given."""
    faults = [] if _SLUG.fullmatch(interface.id) else [_not_a_slug(interface.id)]
    faults += _upstream_faults(interface)
    if not interface.methods or not interface.modes:
        faults.append(_fault("methods" if not interface.methods else "modes", "missing: at least one"))
    faults += _method_faults(interface)
    faults += _shape_faults(interface)
    faults += _scope_faults(interface)
    faults += _request_faults(interface)
    faults += _text_faults(interface)
    faults += _number_faults(interface)
    return faults if dataset is None else [*faults, *_faults_against(interface, dataset)]


def remarks_on(interface: Interface, dataset: Dataset) -> list[Fault]:
    """What is no fault, and yet leaves something out: a person that no question finds, items that never leave.

    Args:
        interface: without faults of its own.
        dataset: the entry that it serves.
    """
    remarks: list[Fault] = []
    if not interface.names_subject:
        sentence = "missing: where a request names the person; no question about a person finds its uses"
        remarks.append(_fault("subject_parameter", sentence))
    if interface.format is not AnswerFormat.OPAQUE:
        unplaced = [item.name for item in dataset.items if item.name not in interface.places]
        if unplaced:
            listed = ", ".join(unplaced[:NAMED_ITEMS]) + (" and others" if len(unplaced) > NAMED_ITEMS else "")
            remarks.append(_fault("places", f"items without a place never leave: {listed}"))
    return remarks


def remarks_on_entry(entry: Dataset) -> list[Fault]:
    """What an entry leaves to people: a scope in words alone, with which no call is compared (Decree 809 Art. 15)."""
    if entry.sharing_attribute is not SharingAttribute.CONDITIONAL or bounds_of(entry) != EVERYONE:
        return []
    return [_fault("scope", "stands in words alone, which no call is compared with; `recipients` says it in facts")]


def misfits_of(interface: Interface, dataset: Dataset) -> list[Fault]:
    """What of a standing interface no longer fits a new version of its entry."""
    return _faults_against(interface, dataset) + remarks_on(interface, dataset)


def _faults_against(interface: Interface, dataset: Dataset) -> list[Fault]:
    unknown = sorted({*interface.places, *interface.scope_items.values()} - dataset.item_names)
    faults = [_fault("places", f"`{name}` is not an item of dataset `{dataset.id}`") for name in unknown]
    faults += _envelope_faults(interface, dataset)
    if dataset.supplier != interface.supplier:
        faults.append(_fault("supplier", f"dataset `{dataset.id}` is supplied by `{dataset.supplier}`"))
    if dataset.sharing_attribute is SharingAttribute.NON_SHAREABLE:
        return faults
    extra = sorted(mode.value for mode in set(interface.modes) - set(dataset.sharing_modes))
    faults += [_fault("modes", f"`{mode}` is not a sharing mode of dataset `{dataset.id}`") for mode in extra]
    return faults


def _method_faults(interface: Interface) -> list[Fault]:
    faults: list[Fault] = []
    for field, methods in (
        ("methods", interface.methods),
        *(("mode_methods", m) for m in interface.mode_methods.values()),
    ):
        faults += [
            _fault(field, f"`{name[:20]}` is none of {', '.join(sorted(METHODS))}")
            for name in methods
            if name not in METHODS
        ]
    extra = sorted(set(interface.mode_methods) - set(interface.modes))
    faults += [_fault("mode_methods", f"`{mode.value}` is no mode of this interface") for mode in extra]
    faults += [
        _fault("mode_methods", f"missing: at least one method of `{mode.value}`")
        for mode, methods in interface.mode_methods.items()
        if not methods
    ]
    faults += [
        _fault("request_fields", f"`{name[:64]}` is no field that an entry may list: others pass, or never do")
        for name in interface.request_fields
        if not says_who(name)
    ]
    writing = sorted(set(interface.methods) & (METHODS - READING_METHODS))
    if writing:
        fault = f"{', '.join(writing)} would change what the supplier holds: list it in `mode_methods` for its mode"
        faults.append(_fault("methods", fault))
    return faults


def _scope_faults(interface: Interface) -> list[Fault]:
    """What of the places of constrained parameters could never be read."""
    faults = [
        _fault("scope_items", f"`{name[:64]}` is none of `scope_parameters`")
        for name in sorted(interface.scope_items.keys() - set(interface.scope_parameters))
    ]
    return faults + [
        _fault("paths", f"`{path[:100]}` is no path below the interface's own, such as `/regions/{{region}}`")
        for path in interface.paths
        if _TEMPLATE.fullmatch(path) is None
    ]


def _request_faults(interface: Interface) -> list[Fault]:
    """What of the places in requests could never be read, or is said twice."""
    named = interface.request
    faults = [
        _fault("request.parameters", f"`{name[:64]}` is none of `scope_parameters`")
        for name in sorted(named.parameters.keys() - set(interface.scope_parameters))
    ]
    if not 1 <= named.subjects_a_call <= MAX_SUBJECTS_A_CALL:
        faults.append(_fault("request.subjects_a_call", f"is not 1 to {MAX_SUBJECTS_A_CALL}"))
    if interface.subject_parameter and named.subject:
        fault = f"names places beside `subject_parameter`: write that as `query:{interface.subject_parameter}` here"
        faults.append(_fault("request.subject", fault))
    segments = {segment[1:-1] for path in interface.paths for segment in path.split("/") if segment[:1] == "{"}
    lists = ("subject", "items", "operator", "unit", "matter", "reason")
    texts = [(f"request.{field}", text) for field in lists for text in getattr(named, field)]
    texts += [(f"request.parameters.{name}", text) for name, text in named.parameters.items()]
    for field, text in texts:
        try:
            place = parse_place(text)
        except PlaceError as error:
            faults.append(_fault(field, str(error)))
            continue
        if place.source is Source.SEGMENT and place.name not in segments:
            faults.append(_fault(field, f"`{{{place.name[:64]}}}` stands in none of `paths`"))
        if place == _WHOLE_BODY or (place.steps and place.steps[-1] is Decode.XML):
            faults.append(_fault(field, "is a whole document; say by steps where in it the value stands"))
    return faults


def _shape_faults(interface: Interface) -> list[Fault]:
    """What of an entry could never be found in an answer (INVARIANT: KNOWN-SHAPE)."""
    faults: list[Fault] = []
    kind = Kind.XML if interface.format is AnswerFormat.XML else Kind.JSON
    try:
        documents = parse_rows(interface.rows, kind)
    except PlaceError as error:
        return [_fault("rows", f"no place of rows: {error}")]
    faults += _beside_faults(interface, kind, documents)
    if interface.format is AnswerFormat.OPAQUE:
        return faults
    if not interface.places:
        faults.append(_fault("places", "missing: where each item stands; without it nothing could ever leave"))
    for item, place in interface.places.items():
        what = f"the place of `{item[:64]}`"
        if interface.format is AnswerFormat.CSV:
            if _COLUMN.fullmatch(place) is None:
                faults.append(_fault("places", f"{what} is not a column's name"))
            continue
        try:
            parse_below(place, documents[-1].kind)
        except PlaceError as error:
            faults.append(_fault("places", f"{what} is none below a row, such as `/name`: {error}"))
    return faults


def _text_faults(interface: Interface) -> list[Fault]:
    """Texts that no line and no log takes as they are."""
    faults = [
        _fault(field, "holds a control character")
        for field, texts in (
            ("title", (interface.title,)),
            ("subject_parameter", (interface.subject_parameter or "x",)),
            ("scope_parameters", interface.scope_parameters),
            ("envelope", interface.envelope),
        )
        if any(_CONTROL.search(text) for text in texts)
    ]
    told = {fault["field"] for fault in faults}
    for field in interface.__struct_fields__:
        if field in told:
            continue
        texts = list(_every_text(msgspec.to_builtins(getattr(interface, field))))
        if any(len(text) > MAX_TEXT for text in texts):
            faults.append(_fault(field, f"holds a text of more than {MAX_TEXT} characters"))
        elif any(_BAD_TEXT.search(text) for text in texts):
            faults.append(_fault(field, "holds a control character"))
    return faults


def _every_text(value: object) -> Iterator[str]:
    """Every text of plain values, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _every_text(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _every_text(each)


def _number_faults(interface: Interface) -> list[Fault]:
    """Bounds under which no call at all could come through, or that bound nothing."""
    return [
        _fault(field, f"{getattr(interface, field)} is not between {least} and {most}: no call could be made")
        for field, least, most in (
            ("concurrency", 1, MAX_CONCURRENCY),
            ("body_limit_bytes", 0, MAX_BODY_BYTES),
            ("connect_timeout_seconds", LEAST_SECONDS, MOST_SECONDS),
            ("first_byte_timeout_seconds", LEAST_SECONDS, MOST_SECONDS),
            ("total_timeout_seconds", 0, MOST_SECONDS),
        )
        if not least <= getattr(interface, field) <= most
    ]


def _beside_faults(interface: Interface, kind: Kind, documents: tuple[Document, ...]) -> list[Fault]:
    """What of the declared members, codes and words could never be found, or would be believed for nothing."""
    faults: list[Fault] = []
    at_code = {interface.code_at: ()} if interface.code_at else {}
    for field, places in (
        ("envelope_members", interface.envelope_members),
        ("empty_when", interface.empty_when),
        ("failed_when", interface.failed_when),
        ("code_at", at_code),
    ):
        for place in places:
            try:
                parse_beside(place, kind, documents)
            except PlaceError as error:
                faults.append(_fault(field, f"`{place[:100]}` is no place beside the rows: {error}"))
    faults += [
        _fault("envelope_members", f"the bound of `{place[:100]}` is not between 1 and {MAX_BOUND}")
        for place, member in interface.envelope_members.items()
        if not 1 <= member.most <= MAX_BOUND
    ]
    if interface.code_meanings and not interface.code_at:
        faults.append(_fault("code_at", "missing: where the code stands that `code_meanings` explain"))
    faults += [
        _fault("code_meanings", f"the meaning of `{code[:20]}` is no plain text of {MAX_MEANING} characters")
        for code, meaning in interface.code_meanings.items()
        if len(meaning) > MAX_MEANING or _CONTROL.search(meaning)
    ]
    if interface.charset:
        try:
            charset_named(interface.charset)
        except DocumentFault as error:
            faults.append(_fault("charset", str(error)))
    return faults + _match_faults(interface)


def _match_faults(interface: Interface) -> list[Fault]:
    faults: list[Fault] = []
    if interface.match_codes and SharingMode.VERIFY not in interface.modes:
        faults.append(_fault("match_codes", "`verify` is no mode of this interface"))
    if interface.match_codes and interface.format not in {AnswerFormat.JSON, AnswerFormat.XML}:
        faults.append(_fault("match_codes", "codes are read in JSON and XML alone"))
    for item, codes in interface.match_codes.items():
        if item not in interface.places:
            faults.append(_fault("match_codes", f"`{item[:64]}` has no place"))
        if not codes or any(not code or len(code) > MAX_CODE for code in codes):
            faults.append(
                _fault("match_codes", f"a code of `{item[:64]}` is missing, or none of 1 to {MAX_CODE} characters")
            )
    return faults


def _envelope_faults(interface: Interface, dataset: Dataset) -> list[Fault]:
    """INVARIANT: GRANTED-ITEMS-ONLY: what passes beside the rows is asked for by no grant, so it is no item."""
    if not interface.rows:
        return []
    known = {word.casefold() for item in dataset.items for word in (item.name, item.title) if word}
    known |= {_last_name(place) for place in interface.places.values()}
    members = [
        _fault("envelope_members", f"`{place[:100]}` bears the name of an item: it would leave under every grant")
        for place in interface.envelope_members
        if _last_name(place) in known
    ]
    return members + [
        _fault(
            "envelope", f"`{name[:64]}` is an item of the entry: what stands in the envelope leaves under every grant"
        )
        for name in interface.envelope
        if name.casefold() in known
    ]


def _last_name(place: str) -> str:
    """The name that a place ends with, without namespace, folded."""
    name = re.sub(r"Q\{[^}]*\}", "", place).rpartition("/")[2].lstrip("@")
    return name.removeprefix("*:").replace("~1", "/").replace("~0", "~").casefold()


def _upstream_faults(interface: Interface) -> list[Fault]:
    """Faults of where an interface leads, as far as the entry alone tells; whose host that is, the state knows."""
    faults: list[Fault] = []
    try:
        upstream = parse_upstream(interface.upstream)
    except ValueError as error:
        faults.append(_fault("upstream", str(error)))
    else:
        if not upstream.is_tls and not interface.plain_http:
            faults.append(_fault("upstream", "`http:` needs `plain_http` to be set"))
    for field in ("tls_ca", "tls_client"):
        name = getattr(interface, field)
        # No path of the machine, whatever it is spelt like: names of stored certificates are slugs.
        if name is not None and not _SLUG.fullmatch(name):
            faults.append(_fault(field, "not the name of stored certificates (`gateway certificates list`)"))
    if interface.credential is not None and not _SLUG.fullmatch(interface.credential):
        faults.append(_fault("credential", "not the name of a stored credential (`gateway credentials list`)"))
    if interface.tls_name is not None:
        try:
            parse_name(interface.tls_name)
        except ValueError as error:
            faults.append(_fault("tls_name", str(error)))
    return faults


def _not_a_slug(value: str) -> Fault:
    return _fault("id", f"`{value}` is not a slug: small letters, digits and `-`, at most 63")
