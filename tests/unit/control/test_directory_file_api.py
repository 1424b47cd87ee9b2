"""A directory file and two officers: nobody overwrites what another changed since the file was exported or checked."""

import base64
from typing import Any

import httpx
import pytest

from gateway.control.act.examples import DATASET, DEPARTMENT, INTERFACE, PURPOSE
from tests.support.control import World, done, refused

FILE = "/v1/directory"


def exported(world: World, **how: str) -> tuple[Any, dict[str, str]]:
    """The directory as a file, and the header field that says so on import."""
    answer = world.get("registrar", FILE, **how)
    assert answer.is_success, answer.text
    return answer, {"If-Match": answer.headers["ETag"]}


def renamed(rows: list[dict[str, Any]], **fields: str) -> list[dict[str, Any]]:
    return [{**row, **fields} for row in rows]


def put(world: World, file: Any, tag: dict[str, str] | None = None, **params: str) -> httpx.Response:
    return world.ask("province", "POST", FILE, file, headers=tag or {}, params=params)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/departments", {**DEPARTMENT, "id": "market", "name": "改名"}),
        ("/v1/purposes", {**PURPOSE, "id": "marriage-registration", "name": "改名"}),
        ("/v1/datasets?release=true", {**DATASET, "name": "改名"}),
        ("/v1/interfaces", {**INTERFACE, "title": "改名"}),
        ("/v1/interfaces", {**INTERFACE, "active": False}),
    ],
)
def test_an_import_does_not_overwrite_what_changed_since_the_export(world: World, path: str, body: Any) -> None:
    """One officer edits an exported file while another changes what it names: the import is refused, and its check."""
    file, tag = exported(world)
    done(world.post("province", path, body))
    refused(put(world, file.json(), tag), "precondition-failed")
    refused(put(world, file.json(), tag, check="true"), "precondition-failed")
    done(put(world, file.json()))


def test_what_a_file_does_not_name_is_no_bar(world: World) -> None:
    """An import leaves alone what it does not name, so another officer's change of that does not refuse it."""
    file, tag = exported(world)
    done(world.post("province", "/v1/departments", {**DEPARTMENT, "id": "quite-new"}))
    changed = {**file.json(), "purposes": renamed(file.json()["purposes"], basis="another")}
    first = put(world, changed, tag)
    done(first)
    refused(put(world, file.json(), tag), "precondition-failed")
    again = put(world, file.json(), {"If-Match": first.headers["ETag"]})
    done(again)
    assert again.headers["ETag"] == tag["If-Match"], "the file's things stand as they were exported"


def test_an_edited_file_goes_by_the_tag_of_the_export(world: World) -> None:
    """Rows that the officer adds or takes out of the file do not make its tag another's change."""
    file, tag = exported(world)
    added = {**file.json(), "departments": [*file.json()["departments"], {**DEPARTMENT, "id": "quite-new"}]}
    done(put(world, added, tag, check="true"))
    taken_out = {"purposes": file.json()["purposes"]}
    done(put(world, taken_out, tag, check="true"))
    done(put(world, taken_out, {"If-Match": f'"other", {tag["If-Match"]}'}))
    done(world.post("province", "/v1/departments", {**DEPARTMENT, "id": "quite-new"}))
    refused(put(world, added, tag), "precondition-failed")


def test_an_import_goes_by_the_tag_of_its_check(world: World) -> None:
    """The check says in what state the file's things are; what another officer registers of them since, refuses it."""
    file = {"departments": [{**DEPARTMENT, "id": "quite-new"}], "datasets": [{**DATASET, "name": "改名"}]}
    checked = put(world, file, check="true")
    tag = {"If-Match": checked.headers["ETag"]}
    done(world.post("province", "/v1/purposes", {**PURPOSE, "id": "another"}))
    done(put(world, file, tag, check="true"))
    done(world.post("province", "/v1/departments", {**DEPARTMENT, "id": "quite-new"}))
    refused(put(world, file, tag), "precondition-failed")


def test_a_sheet_goes_by_the_tag_of_the_sheet(world: World) -> None:
    """A CSV holds entries alone, and so does its tag."""
    file, tag = exported(world, format="csv")
    upload = {"file": "entries.csv", "content_base64": base64.b64encode(file.content).decode()}
    done(world.post("province", "/v1/departments", {**DEPARTMENT, "id": "quite-new"}))
    done(put(world, upload, tag, check="true"))
    done(world.post("province", "/v1/datasets?release=true", {**DATASET, "name": "改名"}))
    refused(put(world, upload, tag), "precondition-failed")


def test_any_state_is_named_by_a_star(world: World) -> None:
    """RFC 9110 §13.1.1: there always is a directory."""
    done(put(world, {"purposes": [PURPOSE]}, {"If-Match": "*"}))


def test_a_repeated_import_is_answered_alike_although_it_changed_its_own_tag(world: World) -> None:
    """The key is looked at first; a changed file, tag or parameter under it is another request."""
    file, tag = exported(world)
    changed = {**file.json(), "purposes": renamed(file.json()["purposes"], basis="another")}
    once = {**tag, "Idempotency-Key": "import-0001"}
    first, second = put(world, changed, once), put(world, changed, once)
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["ETag"] == first.headers["ETag"]
    refused(put(world, file.json(), once), "idempotency-mismatch")
    refused(put(world, changed, {"Idempotency-Key": "import-0001"}), "idempotency-mismatch")
