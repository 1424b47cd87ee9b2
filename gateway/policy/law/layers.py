"""Static policies: the law as Cedar files, one folder a layer, read whole and refused whole.

A layer is a folder of `*.cedar` files beside `schema.cedarschema`. Every policy bears `@id`, `@article` and `@title`;
it may bear `@refusal` (the problem code of a denial it determines), `@mask` (see `gateway.policy.law.masks`), and what
a denial tells beside its code: `@title_zh` (the title in Chinese), `@advice` and `@advice_zh` (what to do instead). The
Cedar id of a policy is its `@id`, so that what determined a verdict can be looked up in the files.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cedarpy
import msgspec

from gateway.domain.calendar import MAX_WORKING_DAYS, Clock
from gateway.domain.directory import SharingMode
from gateway.domain.errors import PROBLEMS, GatewayError
from gateway.domain.officers import Act
from gateway.domain.policies import PolicySet
from gateway.domain.regions import region_chain
from gateway.policy.law.calendar import doubted, reads_calendar
from gateway.policy.law.constants import CONSTANTS_FILE, Constants, read_constants, with_constants
from gateway.policy.law.documents import Document, DocumentError, read_yaml
from gateway.policy.law.drawn import facts_by_dataset, knows_circles, paths_read
from gateway.policy.law.masks import Mask, parse_masks
from gateway.policy.law.positions import Lines, names_in, parse_faults, statements
from gateway.policy.law.scopes import LAYER_FILE, lies_in, region_of, scoped
from gateway.policy.law.settled import EXAMINED, Settled
from gateway.policy.law.time_limits import TimeUse, time_use
from gateway.policy.law.words import knows_words
from gateway.policy.law.world import facts_looked_at

SCHEMA_FILE = "schema.cedarschema"
ARTICLES_FILE = "articles.yaml"
CLOCKS_FILE = "clocks.yaml"
THEOREMS_FILE = "theorems.yaml"
PROOFS_FILE = "proofs.json"
STATED_FILES = (CONSTANTS_FILE, CLOCKS_FILE, THEOREMS_FILE, ARTICLES_FILE)
"""What a layer's folder may hold beside its policies, and beside what it says of itself."""
TABLES_FOLDER = "tests"
REQUIRED_ANNOTATIONS = ("id", "article", "title")
USE_ACTIONS = frozenset({"use", "obtain", *(mode.value for mode in SharingMode)})
ACT_ACTIONS = frozenset(
    {"act", "stop", "consult", "keepDirectory", "runPlatform", "share", *(act.value for act in Act)}
)


class Limits(msgspec.Struct, frozen=True):
    """What a department may draw of one dataset a day by a rule, without a grant.

    Args:
        calls_a_day: calls.
        calls_a_minute: calls within one minute of the clock.
        rows_a_day: rows; None is unlimited, for what cannot be read has no rows to count.
        guesses_a_day: wrong answers of verifications about one person, for one system.
    """

    calls_a_day: int = 1_000
    calls_a_minute: int = 60
    rows_a_day: int | None = None
    guesses_a_day: int = 5


SUBJECTS_READ = b'"attr":"subjects"'
_WITHOUT_GRANT = {"kind": "unless", "body": {"has": {"left": {"Var": "context"}, "attr": "grant"}}}


class StaticPolicy(msgspec.Struct, frozen=True):
    """One policy of a layer.

    Args:
        id: its `@id`, unique over all layers.
        layer: the layer's name.
        file: path below the policies root.
        effect: `permit` or `forbid`.
        region: that of its layer, if it has one.
        articles: the citations of `@article`, separated there by `; `.
        title: one sentence, in English.
        title_zh: the same in Chinese; as `title` where the layer has none.
        advice: what to do where this policy denies, in English and in Chinese; empty where the layer says nothing.
        refusal: the problem code of a denial that this policy determines.
        masks: what it masks where it is a determining permit.
        est: Cedar's JSON form of it; of a region's layer, with the region's condition first (`policy.law.scopes`).
        for_uses: whether its action can be a sharing mode.
        for_acts: whether its action can be an officer's act.
        time: which times it looks at.
        limits: of a permit on uses, how much may be drawn by it a day, without a grant.
    """

    id: str
    layer: str
    file: str
    effect: str
    region: str | None
    articles: tuple[str, ...]
    title: str
    title_zh: str
    advice: tuple[str, str]
    refusal: str
    masks: tuple[Mask, ...]
    est: dict[str, Any]
    for_uses: bool
    for_acts: bool
    time: TimeUse
    limits: "Limits"


class Layers:
    """A validated set of layers, parsed once and shared by every slice. Immutable after `load_layers`.

    Attributes:
        names: the layers, in order.
        digest: SHA-256 (hex) over the schema and every file of the layers.
        policies: id -> policy.
        regions: layer -> region, of those that have one.
        clocks: layer -> name -> clock, of each layer that states some; see `clocks_in`.
        schema: the parsed schema.
        knows_words: whether it has the closed lists as types (`policy.law.words`).
        use_set: the policies that can apply to a use, parsed.
        permit_set: the permits among them, parsed; None where no layer permits a use by itself.
        act_set: the policies that can apply to an officer's act, parsed.
        time: which times the policies on uses look at, together.
        facts: the facts of entities that the policies on uses look at, and built policies.
        without_grant: ids of the policies that are about uses without a grant alone.
        constants: layer -> its constants, which stand in its policies already.
        schema_facts: kind of entity, or of context -> the facts of it that the schema has.
        knows_circles: whether its schema knows of what others than the calling department drew (`policy.law.drawn`).
        convergence: dataset id -> facts of `context.drawn` that the rules which name this dataset look at, by path.
        convergence_rules: ids of the policies that look at `context.drawn`.
        counts_subjects: whether some policy on uses looks at how many persons a call is about.
        calendar_rules: ids of the policies on uses that look at the calendar.
        settled: what the settings say; who decides live traffic sets it before anything is decided.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        digest: str,
        policies: Mapping[str, StaticPolicy],
        clocks: Mapping[str, Mapping[str, Clock]],
        schema: cedarpy.Schema,
        *,
        regions: Mapping[str, str],
        knows_words: bool,
        knows_circles: bool,
        schema_facts: Mapping[str, frozenset[str]],
        constants: Mapping[str, Constants],
    ) -> None:
        self.settled = EXAMINED
        self.names = names
        self.digest = digest
        self.policies = policies
        self.regions = regions
        self.clocks = clocks
        self.schema = schema
        self.knows_words = knows_words
        self.knows_circles = knows_circles
        self.schema_facts = schema_facts
        self.constants = constants
        self.use_set = _parsed(policy for policy in policies.values() if policy.for_uses)
        permits = [policy for policy in policies.values() if policy.for_uses and policy.effect == "permit"]
        self.permit_set = _parsed(permits) if permits else None
        self.act_set = _parsed(policy for policy in policies.values() if policy.for_acts)
        self.time = TimeUse.together(policy.time for policy in policies.values() if policy.for_uses)
        self.facts = facts_looked_at(
            (policy.est["conditions"] for policy in policies.values() if policy.for_uses), knows_words=knows_words
        )
        self.without_grant = frozenset(
            policy.id for policy in policies.values() if _WITHOUT_GRANT in policy.est["conditions"]
        )
        uses = [policy for policy in policies.values() if policy.for_uses]
        self.convergence = facts_by_dataset(policy.est for policy in uses)
        self.counts_subjects = any(SUBJECTS_READ in msgspec.json.encode(policy.est["conditions"]) for policy in uses)
        self.calendar_rules = frozenset(policy.id for policy in uses if reads_calendar(policy.est["conditions"]))
        self.convergence_rules = frozenset(policy.id for policy in uses if paths_read(policy.est["conditions"]))
        self._within: dict[tuple[tuple[str, ...], Settled], Layers] = {}

    def within(self, region: str | None) -> "Layers":
        """Those of the layers that can say anything about a use of data of a region: what they look at costs no other.

        The digest stays that of all. None is a region that is not known: all of them.
        """
        names = tuple(name for name in self.names if region is None or lies_in(region, self.regions.get(name)))
        if names == self.names:
            return self
        key = (names, self.settled)
        found = self._within.get(key)
        if found is None:
            found = Layers(
                names,
                self.digest,
                {name: policy for name, policy in self.policies.items() if policy.layer in names},
                self.clocks,
                self.schema,
                regions=self.regions,
                knows_words=self.knows_words,
                knows_circles=self.knows_circles,
                schema_facts=self.schema_facts,
                constants=self.constants,
            )
            found.settled = self.settled
            self._within[key] = found
        return found

    def clocks_in(self, region: str | None) -> dict[str, Clock]:
        """The periods that run in a region, by name: a later layer's replace an earlier one's, a narrower region's all.

        None is no region: those of the layers that are of none.
        """
        holding = [one for one in self.clocks if one not in self.regions or lies_in(region or "", self.regions[one])]
        # Wider regions' codes end in more zeros; sorting keeps the layers' order among equals.
        holding.sort(key=lambda one: len(region_chain(self.regions[one])) if one in self.regions else 0)
        return {name: clock for layer in holding for name, clock in self.clocks[layer].items()}

    def faults_of(self, built: Mapping[str, dict[str, Any]]) -> list[str]:
        """What of built policies does not fit the schema; empty if they are valid."""
        checked = cedarpy.validate_policies(est_to_text(built), self.schema) if built else None
        return [] if checked is None else [str(fault.error) for fault in checked.errors]

    def constants_text(self) -> str:
        """The constants of the layers, as comments of Cedar; "" where there are none."""
        return "".join(
            f"// {layer}: {name} = {value}\n"
            for layer in self.names
            for name, value in self.constants.get(layer, {}).items()
        )

    def uses_text(self) -> str:
        """The static policies on uses, as Cedar prints them."""
        return est_to_text({policy.id: policy.est for policy in self.policies.values() if policy.for_uses})


def default_policies_root() -> Path:
    """The policies that come with the gateway: `gateway/_policies` in a wheel, else `policies/` of the source tree."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_policies"
    return installed if installed.is_dir() else package.parent / "policies"


def load_layers(root: Path, layers: Sequence[str]) -> Layers:
    """Read and validate the named layers below `root`, in order.

    Raises:
        GatewayError: `invalid-input`, with every fault of every file under `faults`: a missing layer or file, Cedar
            that does not parse or does not fit the schema, a policy without id, article or title, an id used twice.
    """
    return parse_layers(read_set(root, layers).files, layers)


def read_set(root: Path, layers: Sequence[str]) -> PolicySet:
    """The files of the named layers below `root`, with the schema, the table of articles, theorems and decision tables.

    What is missing is left out, and what is no UTF-8 is kept so that `parse_layers` names it. What only looks as if it
    were read is refused, for a rule in it would not hold: `suspended.yml`, a policy in a folder within the layer's.

    Raises:
        GatewayError: `invalid-input`, with each such file under `faults`.
    """
    files = [root / SCHEMA_FILE, root / ARTICLES_FILE]
    seen = list(root.glob("*"))
    for layer in dict.fromkeys(layers):
        folder = root / layer
        if layer and folder.resolve().parent == root.resolve():
            files += sorted(folder.glob("*.cedar"))
            files += [folder / name for name in (LAYER_FILE, *STATED_FILES)]
            files += sorted((folder / TABLES_FOLDER).glob("*.yaml"))
            seen += folder.rglob("*")
    unread = sorted(set(seen) - set(files) - {root / PROOFS_FILE})
    faults = [
        {"field": file.relative_to(root).as_posix(), "fault": _UNREAD}
        for file in unread
        if file.suffix.lower() in _LIKE_POLICIES and not file.name.startswith(".") and file.is_file()
    ]
    if faults:
        raise GatewayError("invalid-input", "the policies hold files that nothing reads", faults=faults)
    found = {
        file.relative_to(root).as_posix(): file.read_bytes().decode("utf-8", "surrogateescape")
        for file in files
        if file.is_file()
    }
    return PolicySet(tuple(layers), found)


def parse_layers(files: Mapping[str, str], layers: Sequence[str]) -> Layers:
    """As `load_layers`, from texts by their path below a policies root."""
    faults: list[dict[str, Any]] = []
    hasher = hashlib.sha256()
    schema = _read_schema(files, hasher, faults)
    constants: dict[str, Constants] = {}
    policies: dict[str, StaticPolicy] = {}
    clocks: dict[str, dict[str, Clock]] = {}
    regions: dict[str, str] = {}
    if not layers:
        faults.append({"field": "layers", "fault": "no layer is named; without `national` nothing is permitted"})
    for layer in layers:
        named = list(cedar_files(files, layer))
        if not named:
            faults.append({"field": layer, "fault": "is no folder with policies below the policies root"})
            continue
        declared, stated = f"{layer}/{LAYER_FILE}", f"{layer}/{CLOCKS_FILE}"
        if declared in files:
            _read(files, declared, hasher, faults)
            _add_region(regions, layer, files, faults)
        constants[layer] = {}
        if f"{layer}/{CONSTANTS_FILE}" in files:
            constants[layer] = _constants(f"{layer}/{CONSTANTS_FILE}", files, hasher, faults)
        for name in named:
            text = _read(files, name, hasher, faults)
            text = _replaced(name, text, constants[layer], faults)
            _add_file(policies, _Layer(layer, regions.get(layer)), name, text, schema, faults)
        if stated in files:
            clocks[layer] = _clocks(stated, _read(files, stated, hasher, faults), faults)
    if faults or schema is None:
        raise GatewayError("invalid-input", "the policies have faults; nothing was put in force", faults=faults)
    is_closed, in_circles = knows_words(files[SCHEMA_FILE]), knows_circles(files[SCHEMA_FILE])
    digest = hasher.hexdigest()
    try:
        return Layers(
            tuple(layers),
            digest,
            policies,
            clocks,
            schema,
            regions=regions,
            knows_words=is_closed,
            knows_circles=in_circles,
            schema_facts=facts_of_schema(files[SCHEMA_FILE]),
            constants=constants,
        )
    except ValueError as error:
        faults += [
            {"field": place_of_policy(one, files[one.file]), "fault": _TOO_DEEP.format(one.id)}
            for one in policies.values()
            if _is_deep(one)
        ]
        raise GatewayError(
            "invalid-input", "the policies have faults; nothing was put in force", faults=faults
        ) from error


def _constants(name: str, files: Mapping[str, str], hasher: Any, faults: list[dict[str, Any]]) -> Constants:
    try:
        return read_constants(_read(files, name, hasher, faults))
    except ValueError as error:
        faults.append({"field": name, "fault": str(error)})
        return {}


def _replaced(name: str, text: str, constants: Constants, faults: list[dict[str, Any]]) -> str:
    """A file's policies with the constants of its layer in their places."""
    replaced, unknown = with_constants(text, constants)
    if unknown:
        lines = Lines(text)
        known = ", ".join(f"`{one}`" for one in constants) or "none"
        folder = name.partition("/")[0]
        faults += [
            {
                "field": lines.place(name, at),
                "fault": f'`Constant::"{one}"` is no constant of `{folder}/{CONSTANTS_FILE}`, which has {known}',
            }
            for at, one in unknown
        ]
        # So that nothing else is said of what is not known.
        return "\n" * text.count("\n")
    return replaced


def facts_of_schema(schema: str) -> dict[str, frozenset[str]]:
    """Kind of entity, or of context -> the names of what the schema tells of it."""
    return {
        kind: frozenset(re.findall(r"^ +(\w+)\??:", body, re.MULTILINE))
        for kind, body in re.findall(r"^(?:entity|type) (\w+)[^{;]*\{(.*?)^\};", schema, re.MULTILINE | re.DOTALL)
    }


_LIKE_POLICIES = {".cedar", ".cedarschema", ".json", ".yaml", ".yml"}
_UNREAD = (
    f"is read by nothing: in a layer's own folder policies are `*.cedar`, beside `{LAYER_FILE}`, `{CONSTANTS_FILE}`, "
    f"`{CLOCKS_FILE}`, `{THEOREMS_FILE}` and `{ARTICLES_FILE}`, and tables are `{TABLES_FOLDER}/*.yaml`; "
    f"`{SCHEMA_FILE}` stands above"
)
_TOO_DEEP = (
    "`{}` is nested too deeply, as by some fifty `||` in one clause: ask `[…].contains(…)`, or write two policies"
)


def _is_deep(policy: StaticPolicy) -> bool:
    try:
        _parsed([policy])
    except ValueError:
        return True
    return False


def place_of_policy(policy: StaticPolicy, text: str) -> str:
    """Where a policy stands in its file: `file:line:column`."""
    at = next((each.at for each in statements(text) if each.bears_id(policy.id)), 0)
    return Lines(text).place(policy.file, at)


def cedar_files(files: Mapping[str, str], layer: str) -> Iterator[str]:
    """The names of a layer's policy files, in order."""
    pattern = re.compile(rf"{re.escape(layer)}/[^/]+\.cedar")
    return (name for name in sorted(files) if layer and pattern.fullmatch(name))


def est_to_text(policies: Mapping[str, dict[str, Any]]) -> str:
    """Cedar text of policies in JSON form, printed by Cedar itself."""
    text: str = cedarpy.policies_from_json_str(est_document(policies))
    return text


def est_document(policies: Mapping[str, dict[str, Any]]) -> str:
    """Cedar's JSON form of a whole policy set, with the given ids."""
    return b"".join(est_pieces(policies)).decode()


def est_pieces(policies: Mapping[str, dict[str, Any]]) -> Iterator[bytes]:
    """The same in pieces of one policy each, so that nobody waits for the whole of a long one to be written."""
    before = b'{"templates":{},"staticPolicies":{'
    for name, est in policies.items():
        yield before + msgspec.json.encode(name) + b":" + msgspec.json.encode(est)
        before = b","
    yield (b"" if policies else before) + b'},"templateLinks":[]}'


def _parsed(policies: Iterable[StaticPolicy]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(est_document({policy.id: policy.est for policy in policies}))


def _read(files: Mapping[str, str], name: str, hasher: Any, faults: list[dict[str, Any]]) -> str:
    content = files[name].encode("utf-8", "surrogateescape")
    hasher.update(f"{name}\0{len(content)}\0".encode())
    hasher.update(content)
    try:
        return content.decode()
    except UnicodeDecodeError:
        faults.append({"field": name, "fault": "is not UTF-8"})
        return ""


def _read_schema(files: Mapping[str, str], hasher: Any, faults: list[dict[str, Any]]) -> cedarpy.Schema | None:
    if SCHEMA_FILE not in files:
        faults.append({"field": SCHEMA_FILE, "fault": "is missing below the policies root"})
        return None
    text = _read(files, SCHEMA_FILE, hasher, faults)
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        faults.append({"field": SCHEMA_FILE, "fault": f"is not a Cedar schema: {error}"})
        return None


class _Layer(msgspec.Struct, frozen=True):
    """A layer that is read, and the region whose it is, if it is one's."""

    name: str
    region: str | None


def _add_region(regions: dict[str, str], layer: str, files: Mapping[str, str], faults: list[dict[str, Any]]) -> None:
    try:
        region = region_of(files, layer)
    except DocumentError as error:
        faults.append({"field": error.place(f"{layer}/{LAYER_FILE}"), "fault": str(error)})
        return
    if region is not None:
        regions[layer] = region


def _add_file(
    policies: dict[str, StaticPolicy],
    layer: _Layer,
    file: str,
    text: str,
    schema: cedarpy.Schema | None,
    faults: list[dict[str, Any]],
) -> None:
    """Parse one file and add its policies; what is wrong with it goes to `faults`."""
    try:
        document = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    except ValueError:
        lines = Lines(text)
        faults += [{"field": lines.place(file, at), "fault": fault} for at, fault in parse_faults(text)]
        return
    wrong: list[tuple[str, list[str], str]] = []
    """(Cedar's name of the policy, what to look for in it, the fault)."""
    if document["templates"]:
        faults.append({"field": file, "fault": "holds a template; static policies name what they mean"})
    if schema is not None:
        # Cedar counts the policies of a file; who wrote them knows them by their `@id`, and by where they stand.
        known = {key: est.get("annotations", {}).get("id") or key for key, est in document["staticPolicies"].items()}
        for each in cedarpy.validate_policies(text, schema).errors:
            fault = re.sub(r"(?<=`)policy\d+(?=`)", lambda at: known.get(at[0], at[0]), str(each.error))
            wrong.append((each.policy_id, names_in(fault), fault))
    for key, est in document["staticPolicies"].items():
        found, policy = _static_policy(layer, file, est)
        wrong += [(key, [note] if note else [], fault) for note, fault in found]
        if policy is None:
            continue
        if policy.id in policies:
            wrong.append((key, [], f"`{policy.id}` is also in `{policies[policy.id].file}`"))
        policies[policy.id] = policy
    if wrong:
        lines, said = Lines(text), statements(text)
        for key, names, fault in wrong:
            number = key.removeprefix("policy")
            at = said[int(number)].where(names) if number.isdecimal() and int(number) < len(said) else 0
            faults.append({"field": lines.place(file, at), "fault": fault})


def _static_policy(layer: _Layer, file: str, est: dict[str, Any]) -> tuple[list[tuple[str, str]], StaticPolicy | None]:
    """A policy, if it can be told, and what is wrong with it: the annotation in which, and what."""
    notes: dict[str, str] = est.get("annotations", {})
    name = notes.get("id") or "a policy"
    lacks = [note for note in REQUIRED_ANNOTATIONS if not (notes.get(note) or "").strip()]
    if lacks:
        return [("", f"`{name}` has no {', no '.join(f'`@{note}`' for note in lacks)}")], None
    wrong: list[tuple[str, str]] = []
    refusal = notes.get("refusal", "not-granted")
    if refusal not in PROBLEMS:
        wrong.append(("refusal", f"`{name}` refuses with `{refusal}`, which is no problem code"))
    try:
        masks = parse_masks(notes["mask"]) if "mask" in notes else ()
    except ValueError as error:
        wrong.append(("mask", f"`{name}`: {error}"))
        masks = ()
    if masks and est["effect"] != "permit":
        wrong.append(("mask", f"`{name}` masks, but only a permit lets out what can be masked"))
    wrong += [
        (note, f"`{name}` has `@{note}`, which nothing reads; there are {', '.join(f'`@{one}`' for one in _NOTES)}")
        for note in sorted(notes.keys() - set(_NOTES))
    ]
    said = {note: notes[note] for note in Limits.__struct_fields__ if note in notes}
    for note, number in list(said.items()):
        if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
            wrong.append((note, f"`{name}` states a limit that is no whole number above 0"))
            del said[note]
    wrong += [
        ("", f"`{name}` asks by `has` for `{fact}`: it is always told, or the call is denied")
        for fact in sorted(doubted(est["conditions"]))
    ]
    actions = _action_names(est["action"])
    for_uses = actions is None or bool(actions & USE_ACTIONS)
    for_acts = actions is None or bool(actions & ACT_ACTIONS)
    if layer.region is not None:
        est = scoped(est, layer.region, for_uses=for_uses, for_acts=for_acts)
    advice = notes.get("advice", "")
    return wrong, StaticPolicy(
        id=name,
        layer=layer.name,
        file=file,
        effect=est["effect"],
        region=layer.region,
        articles=tuple(part.strip() for part in notes["article"].split(";")),
        title=notes["title"],
        title_zh=notes.get("title_zh", notes["title"]),
        advice=(advice, notes.get("advice_zh", advice)),
        refusal=refusal,
        masks=masks,
        est=est,
        for_uses=for_uses,
        for_acts=for_acts,
        time=time_use(est),
        limits=Limits(**{note: int(number) for note, number in said.items()}),
    )


_NOTES = (
    *REQUIRED_ANNOTATIONS, "title_zh", "refusal", "advice", "advice_zh", "mask", "widens", *Limits.__struct_fields__,
)  # fmt: skip
"""Every annotation that something reads: one that is misspelt would be silent."""


def _action_names(scope: dict[str, Any]) -> frozenset[str] | None:
    """The actions a scope names, or None where it names none and so means all."""
    if scope["op"] == "All":
        return None
    entities = scope.get("entities") or [scope["entity"]]
    return frozenset(entity["id"] for entity in entities)


def clocks_of(files: Mapping[str, str], layer: str) -> dict[str, Clock]:
    """The periods that a layer of a set that loads states itself, by name."""
    text = files.get(f"{layer}/{CLOCKS_FILE}", "")
    return msgspec.convert(read_yaml(text) or {}, dict[str, Clock])


def _clocks(name: str, text: str, faults: list[dict[str, Any]]) -> dict[str, Clock]:
    found: dict[str, Clock] = {}
    try:
        document = Document(text)
        for each in document.convert(dict[str, Any], empty={}):
            clock = found[each] = document.convert(Clock, each)
            if not (1 <= clock.days <= MAX_WORKING_DAYS and 0 <= clock.extension <= MAX_WORKING_DAYS):
                raise document.fault(f"`{each}` does not run 1 to {MAX_WORKING_DAYS} working days", each)
    except DocumentError as error:
        faults.append({"field": error.place(name), "fault": f"does not state clocks: {error}"})
        return {}
    return found
