"""Records, catalogue, policies and the rest: each page for each role in each language, and what it must not tell."""

import re
from collections.abc import Callable

import pytest

from gateway.control.act.examples import DATASET
from gateway.domain.officers import Officer, Role
from tests.support.control import CITY, done
from tests.unit.console.conftest import Office

ENTRY = DATASET["id"]
PAGES = (
    "/console/today",
    "/console/grants",
    "/console/records",
    "/console/records?kind=order",
    "/console/records/figures?by=kind",
    "/console/catalogue",
    f"/console/catalogue/{ENTRY}",
    "/console/policies",
    "/console/policies/explain",
    "/console/policies/possible",
    f"/console/policies/possible?dataset={ENTRY}",
    "/console/operation",
)


@pytest.mark.parametrize("officer", ["police", "civil", "auditor", "registrar", "operator"])
def test_every_page_stands_for_every_role(office: Office, officer: str) -> None:
    """A page shows what the API gives this officer, or says what was refused; none fails, in either language."""
    languages = (("zh-CN", "zh-Hans"), ("en", "en"))
    browsers = [office.signed_in(officer, language) for language, _ in languages]
    for number, path in enumerate(PAGES):
        page = browsers[number % 2].open(path)
        assert page.status in {200, 403}, (path, page.text[:300])
        assert page.headers["content-language"] == languages[number % 2][1]
        assert "%(" not in page.text, (path, page.text)
        assert re.search(r"<bdi|&lt;bdi", page.text) is None, path
        assert len(page.source.encode()) < 100_000, path


def test_a_reading_is_recorded_and_nothing_is_read_unasked(office: Office) -> None:
    """The bare page asks nothing of the records; a question is on record, with who asked."""
    with office.store.transaction() as tx:
        tx.put_officer(Officer("watcher", "data-bureau", CITY, (Role.AUDITOR,)))
    browser = office.signed_in("watcher")
    readings = lambda: done(office.ask("auditor", "GET", "/v1/records?officer=watcher"))["items"]  # noqa: E731
    browser.open("/console/records")
    browser.open("/console/records?subject=440000199001010010")
    office.settle()
    assert readings() == []
    assert browser.open("/console/records?kind=order").status == 200
    office.settle()
    assert [each["act"] for each in readings()] == ["consultRecords"]


def test_a_record_is_told_proven_and_exported(office: Office, grant: Callable[..., str]) -> None:
    """From a list to one record, to its proof under the log's key and under another one, to an export and its files."""
    id_ = grant()
    done(office.post("police", f"/v1/grants/{id_}/dispute", {"reason": "<b>both</b> claim it"}))
    office.settle()
    browser = office.signed_in("auditor")
    page = browser.open(f"/console/records?grant={id_}")
    records = [each["href"] or "" for tag, each in page.tags if tag == "a" and "href" in each]
    record = next(href for href in records if href.startswith("/console/records/0"))
    story = browser.open(record)
    assert "&lt;b&gt;both&lt;/b&gt; claim it" in story.source
    proof = browser.open(f"{record}/proof")
    assert "The proof holds." in proof.text
    wrong = browser.submit(proof, "/proof", key=office.ledger_key[:-4] + "AAAA")
    assert "The proof does not hold." in wrong.text
    file = browser.send(f"{record}/proof-file")
    assert file.text.startswith("c2sp.org/tlog-proof@v1")
    assert file.headers["content-disposition"].startswith("attachment")
    made = browser.submit(page, "/export", format="csv")
    for _ in range(50):
        if "The export is done" in made.text:
            break
        office.settle()
        made = browser.open(made.url.removeprefix("http://control.example"))
    assert "The export is done" in made.text
    rows = browser.send(made.links["Download the file"])
    assert id_ in rows.text
    assert "sharing-gateway/" not in rows.headers.get("set-cookie", "")
    assert browser.send(made.links["Download its signed manifest"]).status_code == 200


def test_a_person_is_asked_about_in_no_address(office: Office) -> None:
    """The identifier goes in the body, behind the form's token; without one nothing is asked."""
    office.settle()
    browser = office.signed_in("auditor")
    page = browser.open("/console/records")
    form = page.form("/records/search")
    assert form.method == "POST"
    found = browser.submit(page, "/records/search", subject="440000199001010010")
    assert found.status == 200
    assert "440000199001010010" not in found.url
    assert browser.submit(page, "/records/search", subject="").status == 422
    assert browser.open("/console/records/search", "POST", {"subject": "440000199001010010"}).status == 403
    assert browser.open("/console/records?subject=440000199001010010").status == 200
    assert browser.send("/console/records/search").status_code == 422


def test_a_call_is_decided_without_calling(office: Office, grant: Callable[..., str]) -> None:
    """The dry run says what would leave, or what of each near grant fails, by article, in the reader's language."""
    grant()
    call = {
        "department": "civil-affairs",
        "system": "marriage-registry",
        "supplier": "public-security",
        "interface": "household",
        "purpose": "marriage-registration",
        "items": "name, marital_status",
    }
    browser = office.signed_in("civil")
    form = browser.open("/console/policies/explain")
    assert "It would pass." in browser.submit(form, "/explain", **call).text
    refused = browser.submit(form, "/explain", **{**call, "purpose": "social-assistance"})
    assert "It would be refused: purpose-not-granted" in refused.text
    chinese = office.signed_in("civil", "zh")
    refused = chinese.submit(
        chinese.open("/console/policies/explain"), "/explain", **{**call, "purpose": "social-assistance"}
    )
    assert "将被拒绝" in refused.text
    assert "《政务数据共享条例》第二十五条第一款" in refused.text
    lacking = browser.submit(form, "/explain", department="civil-affairs")
    assert (lacking.status, "System is missing" in lacking.text) == (422, True)


def test_whether_it_can_ever_be_obtained(office: Office, grant: Callable[..., str]) -> None:
    """An example with its grant, never with why, and what is not the officer's to ask; in both languages."""
    grant()
    browser, chinese = office.signed_in("police"), office.signed_in("police", "zh")
    asked = f"/console/policies/possible?dataset={ENTRY}"
    page = browser.open(asked).text
    assert "It can, for example:" in page
    assert "/console/grants/g-" in browser.open(asked).source
    assert "There is no permit at all." in page
    assert "没有任何许可" in chinese.open(asked).text
    never = browser.open(f"{asked}&department=civil-affairs&item=no-such-item").text
    assert "the entry has no item" in never
    other = office.signed_in("market-both")
    assert "/console/grants/g-" not in other.open(asked).source
    assert "not yours to ask about: 5" in other.open(asked).text
    assert other.open(f"{asked}&department=civil-affairs").status == 403
    assert office.signed_in("auditor").open("/console/policies/possible?dataset=no-such").status == 404


def test_what_the_api_hides_the_console_hides(office: Office, grant: Callable[..., str]) -> None:
    """A grant and its records that an officer may not see are not there, as at the API."""
    id_ = grant()
    browser = office.signed_in("market-both")
    assert browser.open(f"/console/grants/{id_}").status == 404
    assert id_ not in browser.open("/console/grants?supplier=market").text
    entry = browser.open(f"/console/catalogue/{ENTRY}")
    assert entry.status == 200
    assert id_ not in entry.text
