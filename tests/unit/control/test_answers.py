"""The OpenAPI document's examples of answers are what the API answers, for every operation, and hold no secret."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

from gateway.control.act.examples import standing_on
from gateway.control.app.answers import kept_answers, problem_of, responses_of
from gateway.domain.errors import PROBLEMS
from gateway.domain.processes.register import PROCESSES
from gateway.store import schema
from tests.answers.stand_ins import StandIns
from tests.answers.story import PASSWORD, SECRET, Told, walk
from tests.support.control import World, done

pytestmark = pytest.mark.timeout(400)  # a whole story is told once, on a machine that may be busy

REMEDY = "tell the story anew: `python -m tests.answers`, and look at what changed"


@pytest.fixture(scope="module")
def told() -> Told:
    return walk()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def differences(kept: Any, now: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ, and how."""
    if isinstance(kept, dict) and isinstance(now, dict):
        yield from (f"{place}.{name} is gone" for name in kept.keys() - now.keys())
        yield from (f"{place}.{name} is new" for name in now.keys() - kept.keys())
        for name in kept.keys() & now.keys():
            yield from differences(kept[name], now[name], f"{place}.{name}")
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        for number, pair in enumerate(zip(kept, now, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif type(kept) is not type(now) or kept != now:
        yield f"{place} was {str(kept)[:120]!r}, is {str(now)[:120]!r}"


def test_every_operation_shows_what_it_answers(told: Told) -> None:
    """Each operation has an example of its success, and nothing is kept of an operation that is gone."""
    without = []
    for name, operation in operations(told.document):
        well = {status: each for status, each in operation["responses"].items() if status < "400"}
        shown = [content for each in well.values() for content in each.get("content", {}).values()]
        is_bare = bool(well) and not shown and all("Location" in each["headers"] for each in well.values())
        if not is_bare and not (shown and all(content.get("examples") for content in shown)):
            without.append(name)
    assert without == [], f"no example of an answer: add it to `tests/answers/story.py`, then {REMEDY}"
    assert set(kept_answers()) == {name for name, _ in operations(told.document)}, REMEDY


def test_the_api_still_answers_as_the_examples_say(told: Told) -> None:
    """The story told again gives the same answers: keys, types, and values but for what stands in for what varies."""
    found = sorted(differences(kept_answers(), told.answers))
    assert found == [], f"{REMEDY}\n" + "\n".join(found[:40])


def test_what_anybody_says_stands_in_no_log(told: Told) -> None:
    """Of what the bodies of a whole story say, the log holds what a grant rests on, and names of departments."""
    cited = {
        "Regulations on Marriage Registration Art. 7", "公函〔2025〕77号", "公函〔2026〕19号", "民函〔2025〕31号",
        "民函〔2026〕6号",
    }  # fmt: skip
    assert told.words.in_log == {*cited, "住房保障", "市住房保障局"}


def test_what_officers_said_is_nowhere_in_the_state_once_erased(told: Told) -> None:
    """It stands in orders, cases and more, and in what is answered to whoever asks again; all of it goes."""
    assert told.words.kept > 50
    # A code that was asked for has been given by now.
    assert {table for table, _, _ in told.words.standing} == {*schema.WORDED, "answers"} - {"enrolments"}
    assert told.words.left == set()


def test_each_problem_shown_is_one_of_its_status(told: Told) -> None:
    """A refusal stands under its status by its code; what takes a sign-in shows what it says without one."""
    for name, operation in operations(told.document):
        codes = set()
        for status, response in operation["responses"].items():
            shown = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
            for code, example in shown.items():
                assert example["value"]["type"] == f"/problems/{code}"
                assert str(example["value"]["status"]) == status == str(PROBLEMS[code].status)
                codes.add(code)
        assert ("credential-missing" in codes) == ("security" in operation), name


def test_examples_hold_no_secret_and_no_person() -> None:
    """No token, key, password, place on this machine, or number that could be a citizen's or a telephone's."""
    text = json.dumps(kept_answers(), ensure_ascii=False)
    for secret in (PASSWORD, SECRET, "PRIVATE KEY", "eyJhbGciOi", "argon2", f"{tempfile.gettempdir()}/", '"d":'):
        assert secret not in text
    tokens = re.findall(r'"access_token": "([^"]*)"', text)
    assert set(tokens) == {"<a signed token>"}
    assert not re.search(r"(?<![0-9a-z])(?:[1-9]\d{16}[\dXx]|1[3-9]\d{9})(?![0-9a-z])", text)


def test_the_document_is_one_of_openapi(told: Told) -> None:
    """It has the form of OpenAPI 3.1: by FastAPI's model of it, one id an operation, and every place in a path said."""
    assert told.document["openapi"].startswith("3.1.")
    OpenAPI.model_validate(told.document)
    ids = Counter(operation["operationId"] for _, operation in operations(told.document))
    assert [name for name, times in ids.items() if times > 1] == []
    for name, operation in operations(told.document):
        said = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert said == set(re.findall(r"\{(\w+)\}", name)), name
        assert all(each["description"] for each in operation["responses"].values()), name


def test_an_operation_that_is_not_kept_has_no_responses_of_its_own() -> None:
    """What is new stands in the document as its route declares it, until the story tells of it."""
    assert responses_of("get", "/v1/nowhere", {}) == {}


def test_a_problem_is_rebuilt_from_what_the_table_does_not_say() -> None:
    """Code and members give the whole document; its words are the table's."""
    shown = problem_of("not-found", {"detail": "there is no grant `none`", "further": 1})
    assert shown["title"] == PROBLEMS["not-found"].title
    assert (shown["detail"], shown["further"]) == ("there is no grant `none`", 1)


def test_stand_ins_are_one_for_one_and_of_the_same_form() -> None:
    """The same thing has the same stand-in wherever it stands; another has another; what is stable stays."""
    stand_ins = StandIns()
    first, second = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    said = stand_ins.text(f"/v1/records/export/{first}-auditor.ndjson {second} o-20260601-0123456789ab g-2026-0001")
    assert first not in said
    assert second not in said
    assert said.endswith(" g-2026-0001")
    assert len(said) == len(stand_ins.text(said))
    assert stand_ins.text(first) in said
    assert stand_ins.value({"milliseconds": 17, "rows": [1, 2, 3, 4]}) == {"milliseconds": 3, "rows": [1, 2, 3]}


@pytest.mark.parametrize("day", ["2026-12-31", "2027-01-01", "2028-02-29", "2031-12-31", "2032-06-01"])
def test_the_examples_are_taken_on_the_day_they_are_read(make_world: Callable[..., World], day: str) -> None:
    """A reader who sends its bodies on any day is not told that their dates are past."""
    at = datetime.fromisoformat(f"{day}T23:30:00+08:00").timestamp()
    world = make_world(ledger=True, now=lambda: at, clock=lambda: at)
    document = world.app.openapi()

    def example(path: str, method: str = "post") -> Any:
        return document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"]

    grant = example("/v1/grants")
    done(world.post("police", "/v1/grants", grant))
    done(world.post("civil", "/v1/records", example("/v1/records")))
    of_grant = f"/v1/grants/{grant['id']}"
    for officer, act in (
        ("police", "suspension"),
        ("police", "suspension/lift"),
        ("civil", "dispute"),
        ("registrar", "dispute/settlement"),
        ("civil", "closure"),
        ("civil", "disposal"),
    ):
        done(world.post(officer, f"{of_grant}/{act}", example(f"/v1/grants/{{id}}/{act}")))
    done(world.post("registrar", "/v1/orders", example("/v1/orders")))
    shown = document["paths"]["/v1/grants/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]
    (told,) = shown.values()
    told_at = datetime.fromisoformat(told["value"]["grant"]["valid_until"]).timestamp()
    assert told_at - at > 86_400


def test_only_dates_move_with_the_day() -> None:
    """Ids, references, names of keys and digits that are no date stay; a date in a sentence or a CSV row moves."""
    stays = [
        "g-2026-0001",
        "o-20260601-0123456789ab",
        "民函〔2026〕9号",
        "2026-08",
        "9999-99-99",
        "x2026-06-01",
        20260601,
    ]
    assert standing_on(date(2028, 2, 29), stays) == stays
    moves = {"at": "2026-06-01T09:00:00+08:00", "text": "minutes of 2026-05-31, item 3", "csv": "a,2026-06-02,b"}
    assert standing_on(date(2028, 2, 29), moves) == {
        "at": "2028-02-29T09:00:00+08:00",
        "text": "minutes of 2028-02-28, item 3",
        "csv": "a,2028-03-01,b",
    }


OPEN = {
    f"GET /v1/{path}"
    for path in (
        "departments",
        "departments/{id}",
        "purposes",
        "purposes/{id}",
        "datasets",
        "datasets/{id}",
    )
}
"""The directory is every officer's to read: nothing is decided."""

AS_ONESELF = {
    "GET /v1/account",
    "POST /v1/directory",  # whether one may import anything is asked before the file is read; then for what it names
    "GET /v1/policies",
    "GET /v1/policies/activations",
    "GET /v1/policies/activations/{number}/set",
    # Whether one may put in force anything is asked before a set is looked at; then for what it changes.
    "GET /v1/policies/shadow",
    *(f"POST /v1/policies/{act}" for act in ("activation", "approval", "compare", "rollback", "shadow", "shadow/end")),
    "GET /v1/grants",
    "GET /v1/proposals",
    *(f"GET /v1/{name}" for name in PROCESSES),
    "GET /v1/duties",
    "POST /v1/verifications",
    "POST /v1/returns",
    "POST /v1/incidents",
    "POST /v1/rectifications",
    "POST /v1/disposals",
    "GET /v1/orders",
    "GET /v1/systems",
    "GET /v1/officers",
    "GET /v1/figures",
    "GET /v1/figures/overdue",
    "GET /v1/records",
    "GET /v1/records/stats",
    "GET /v1/records/export",
    "POST /v1/records/export",
    "POST /v1/records/search",
    "POST /v1/account/sign-out",
    "POST /v1/account/password",
    "POST /v1/account/renewal",
    "POST /v1/account/authenticator",
    "POST /v1/account/authenticator/confirmation",
    "POST /v1/account/authenticator/withdrawal",
    "DELETE /v1/account/sessions/{id}",
    "DELETE /v1/account/recovery",
}
"""Questions that name nobody are narrowed to who asks; an account is its owner's; a doubt is its department's own."""

UNMADE = {f"GET /v1/records/export/{{name}}{part}" for part in ("", "/manifest", "/progress", "/texts")} | {
    "POST /v1/datasets/{id}/withdrawal",
    "GET /v1/certificates",
    "GET /v1/credentials",
}
"""Nothing is decided: an export of another officer, an entry withdrawn by then, a list of what none are left of."""


def test_every_act_says_whose_matter_it_is_from_the_thing_and_not_from_the_asker(told: Told) -> None:
    """Region and department in each route's matter are the same whoever asks, and there is one for every route."""
    wrong = []
    for operation, asked in told.matters.items():
        first = next(iter(asked.values()))
        if operation in OPEN | AS_ONESELF | UNMADE:
            continue
        if (
            first is None
            or any(each != first for each in asked.values())
            or not {"region", "demand_region"} & first[1].keys()
        ):
            wrong.append((operation, asked))
    assert wrong == []
    assert len(told.matters) > 60
