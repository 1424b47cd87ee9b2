"""The index: questions, pages that stay right while records arrive, and that it can be rebuilt from the log."""

import shutil
from datetime import date

import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.index.figures import GROUPS, Figure, every_day, figures
from gateway.ledger.index.manifest import MANIFEST, encode_manifest, parse_manifest
from gateway.ledger.index.plots import plot_days, plot_top
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.journal.entries import Salts, UseEntries, act_entry, new_run
from gateway.ledger.process.answers import Answers
from gateway.ledger.verify.record import verify_record
from tests.support.ledger import NOON_NS, City, ledger_with, open_ledger

DAY_NS = 86_400 * 10**9


def everything(index, query=RecordQuery(), limit=97):  # noqa: B008 — a frozen value
    rows, cursor = [], None
    while True:
        page = index.find(query, cursor, limit)
        rows += page.rows
        cursor = page.cursor
        if cursor is None:
            return rows


def make_service(directory):
    return ledger_with(directory / "ledger", list(City().entries(1500, spacing_ns=DAY_NS // 500)))


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A ledger that is only asked; its rows are in memory."""
    made = make_service(tmp_path_factory.mktemp("asked"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def flushed_service(tmp_path_factory):
    """The same with its rows in Parquet."""
    made = make_service(tmp_path_factory.mktemp("flushed"))
    made.index.flush()
    yield made
    made.close()


def test_every_use_is_one_row(service):
    """Opened and closed are one row; pages together hold every record once, newest first."""
    rows = everything(service.index)
    assert len(rows) == 1500 == len({row.record for row in rows})
    assert [row.leaf for row in rows] == sorted((row.leaf for row in rows), reverse=True)
    assert {row.kind for row in rows} == {"use", "use.refused"}
    assert all(row.last is not None for row in rows)


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    ("query", "holds"),
    [
        (RecordQuery(grant="G-0003"), lambda row: row.grant == "G-0003"),
        (RecordQuery(verdict="deny"), lambda row: row.kind == "use.refused"),
        (RecordQuery(code="purpose-not-granted"), lambda row: row.code == "purpose-not-granted"),
        (RecordQuery(department="department-02", verdict="permit"),
         lambda row: row.kind == "use" and row.department == "department-02"),
        (RecordQuery(policy="grant/G-0001"), lambda row: "grant/G-0001" in row.policies),
        (RecordQuery(status=200, supplier="police"), lambda row: row.status == 200 and row.supplier == "police"),
        (RecordQuery(from_unix=NOON_NS // 10**9 + 50_000, until_unix=NOON_NS // 10**9 + 90_000),
         lambda row: 50_000 <= row.time_unix_us / 10**6 - NOON_NS / 10**9 < 90_000),
        (RecordQuery(within_suppliers=("police",), within_departments=("department-01",)),
         lambda row: row.supplier == "police" or row.department == "department-01"),
        (RecordQuery(within_suppliers=(), within_departments=()), lambda row: False),
        (RecordQuery(kinds=()), lambda row: False),
        (RecordQuery(purpose="' OR 1=1 --"), lambda row: False),
    ],
)  # fmt: skip
def test_questions(service, flushed_service, query, holds, flushed):
    """Each filter keeps just the records it names, from memory and from Parquet."""
    service = flushed_service if flushed else service
    expected = [row.record for row in everything(service.index) if holds(row)]
    assert [row.record for row in everything(service.index, query)] == expected


def test_one_person_s_uses_are_found_by_pseudonyms(tmp_path):
    """Who used this person's data: by the pseudonyms of every year, nothing else."""
    city = City()
    made = UseEntries(new_run(NOON_NS), Salts())
    wanted, entries = [], []
    for n in range(400):
        year = 2026 + n % 3
        person = 7 if n % 40 == 0 else 1000 + n
        use = city.use(NOON_NS + (n % 3) * 366 * DAY_NS, subject=city.pseudonym(person, year))
        record, content = made.opened(use)
        entries += [content, made.closed(record, use, city.outcome(use), NOON_NS)]
        wanted += [record] if person == 7 else []
    service = ledger_with(tmp_path / "ledger", entries)
    service.index.flush()
    subjects = tuple(city.pseudonym(7, year) for year in (2026, 2027, 2028))
    found = everything(service.index, RecordQuery(subjects=subjects))
    assert sorted(row.record for row in found) == sorted(wanted)
    assert not service.index.find(RecordQuery(subjects=()), None, 10).rows
    service.close()


@pytest.mark.parametrize("flushed", [False, True])
def test_use_that_names_several_persons_is_found_by_each_and_counts_each(tmp_path, flushed):
    """Whose data one call asked about is each of them: in the tail as in Parquet, in answers as in figures."""
    city = City()
    made = UseEntries(new_run(NOON_NS), Salts())
    entries, wanted = [], ""
    for n in range(40):
        people = [city.pseudonym(person) for person in ([3, 4, 5] if n == 7 else [5] if n == 8 else [100 + n])]
        use = msgspec.structs.replace(city.use(NOON_NS, kind=0), subject=people[0], besides=tuple(people[1:]))
        record, content = made.opened(use)
        entries += [content, made.closed(record, use, city.outcome(use), NOON_NS)] if n != 7 else [content]
        wanted = record if n == 7 else wanted
    service = ledger_with(tmp_path / "ledger", entries)
    if flushed:
        service.index.flush()
    for person, count in ((3, 1), (4, 1), (5, 2), (6, 0)):
        found = everything(service.index, RecordQuery(subjects=(city.pseudonym(person),)))
        assert len(found) == count, person
        assert not count or wanted in [row.record for row in found]
    (figure,) = figures(service.index, RecordQuery(), "department")
    assert (figure.uses, figure.subjects) == (40, 38 + 3)
    service.close()


def test_a_cursor_stays_right_while_records_arrive(tmp_path):
    """Pages of one reading hold what stood when it began: no record twice, none left out, though uses close."""
    city = City()
    before = list(city.entries(300, open_at_once=50))
    cut = len(before) - 50
    service = ledger_with(tmp_path / "ledger", before[:cut])
    standing = everything(service.index)
    assert sum(row.last is None for row in standing) > 10
    page = service.index.find(RecordQuery(), None, 40)
    seen = list(page.rows)
    more = iter([before[cut:], list(City(8).entries(100)), list(City(9).entries(100))])
    while page.cursor is not None:
        service.index.add(next(more, []))
        service.index.flush()
        page = service.index.find(RecordQuery(), page.cursor, 40)
        seen += page.rows
    assert [row.record for row in seen] == [row.record for row in standing]
    with pytest.raises(GatewayError, match="cursor"):
        service.index.find(RecordQuery(), "no cursor", 5)
    service.close()


def test_open_uses_can_be_found_also_after_a_restart(tmp_path):
    """A use that runs for hours is on record from its first entry on."""
    entries = list(City().entries(200, open_at_once=30))
    cut = len(entries) - 30
    service = ledger_with(tmp_path / "ledger", entries[:cut])
    before = everything(service.index)
    service.index.flush()
    service.close()
    service = open_ledger(tmp_path / "ledger")
    service.integrator.catch_up()
    assert everything(service.index) == before
    service.log.commit(entries[cut:], {})
    service.index.add(entries[cut:])
    assert all(row.last is not None for row in everything(service.index))
    service.close()


def test_an_index_rebuilt_from_the_log_is_the_same(tmp_path):
    """The index holds nothing that the log does not: removed or cut off, it comes back as it was."""
    service = ledger_with(tmp_path / "ledger", list(City().entries(900, spacing_ns=DAY_NS // 200)), commit=300)
    for _ in range(3):
        service.index.flush()
    before = everything(service.index)
    service.close()
    shutil.rmtree(tmp_path / "ledger" / "index")
    service = open_ledger(tmp_path / "ledger")
    service.integrator.catch_up()
    assert everything(service.index) == before
    service.close()


def test_small_files_of_a_day_are_merged(tmp_path):
    """Many flushes leave few files, with every record in them once."""
    service = ledger_with(tmp_path / "ledger", [])
    for n in range(10):
        entries = list(City(n).entries(20))
        service.log.commit(entries, {})
        service.index.add(entries)
        service.index.flush()
        service.index.settle()
    rows = everything(service.index)
    assert len(rows) == 200 == len({row.record for row in rows})
    service.close()
    service = open_ledger(tmp_path / "ledger")
    assert len(list((tmp_path / "ledger" / "index").glob("date=*/*.parquet"))) <= 3
    assert everything(service.index) == rows
    service.close()


def test_files_that_were_merged_away_go_at_once_but_for_who_reads_them(tmp_path):
    """No copy lies about until the next merge; a question that began before goes on with the files it began with."""
    service = ledger_with(tmp_path / "ledger", [])

    def flush(number):
        entries = list(City(number).entries(20))
        service.log.commit(entries, {})
        service.index.add(entries)
        service.index.flush()
        service.index.settle()

    def standing():
        return len(list((tmp_path / "ledger" / "index").glob("date=*/*.parquet")))

    for number in range(7):
        flush(number)
    with service.index._snapshot() as (connection, files, _):
        flush(7)
        assert standing() == 9
        source = service.index._source(files, RecordQuery())
        assert connection.execute(f"SELECT count(*) FROM ({source})").fetchone() == (140,)
    assert standing() == 1
    for number in range(8, 15):
        flush(number)
    assert standing() == 1
    assert len(everything(service.index)) == 300
    service.close()


def test_figures(service):
    """Figures add up whatever they are grouped by."""
    rows = everything(service.index)
    for by in GROUPS:
        groups = figures(service.index, RecordQuery(), by)
        assert sum(group.uses for group in groups) == sum(row.kind == "use" for row in rows)
        assert sum(group.refused for group in groups) == sum(row.kind == "use.refused" for row in rows)
        assert sum(group.rows for group in groups) == sum(row.rows or 0 for row in rows)
    days = figures(service.index, RecordQuery(), "day")
    assert [day.key for day in days] == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    with pytest.raises(GatewayError, match="grouped by"):
        figures(service.index, RecordQuery(), "salt")


def test_days_without_calls_are_among_the_days():
    """An outage is seen: between the days with calls, and at the ends of what was asked for."""
    days = [Figure(key, 5, 1, 0, 0, 0, 0, 0) for key in ("2026-02-27", "2026-03-02")]
    filled = every_day(days[::-1])
    assert [(day.key, day.uses) for day in filled] == [
        ("2026-02-27", 5),
        ("2026-02-28", 0),
        ("2026-03-01", 0),
        ("2026-03-02", 5),
    ]
    assert every_day(filled) == filled
    wider = every_day(days, date(2026, 2, 25), date(2026, 3, 3))
    assert [wider[0].key, wider[-1].key, len(wider)] == ["2026-02-25", "2026-03-03", 7]
    assert every_day(days, date(2026, 3, 1), date(2026, 3, 1)) == filled
    assert every_day([]) == []


@pytest.mark.deep
def test_plots(service, tmp_path):
    """Plots are files that can be looked at (deep: matplotlib looks for fonts on first use)."""
    days = figures(service.index, RecordQuery(), "day")
    plot_days(days, tmp_path / "days.png")
    plot_top(figures(service.index, RecordQuery(), "dataset"), tmp_path / "datasets.svg", "top datasets")
    plot_top(figures(service.index, RecordQuery(), "code"), tmp_path / "codes.svg", "refusals", refused=True)
    plot_days([days[0], days[-1]], tmp_path / "gap.svg")
    assert all(day.key in (tmp_path / "gap.svg").read_text() for day in days)
    assert (tmp_path / "days.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "datasets.svg").read_text()
    with pytest.raises(GatewayError, match="png"):
        plot_days(days, tmp_path / "days.exe")


def test_an_act_s_own_fields_do_not_stop_the_index(tmp_path):
    """An act may call its fields what a use calls its own; it is found all the same."""
    service = ledger_with(tmp_path / "ledger", list(City().entries(50)))
    fields = {
        "end": 5,
        "status": "suspended",
        "rows": ["a"],
        "use": 7,
        "grant": 3,
        "officer": "li",
        "items": [{"a": 1}],
    }
    size = service.log.size
    entry = act_entry(RecordKind.ORDER, "run-7", fields, "00" * 16, NOON_NS, years=3)
    service.log.commit([entry], {})
    service.index.add([entry])
    assert service.index.locate("run-7") == (size, size)
    assert service.index.find(RecordQuery(officer="li"), None, 5).rows[0].kind == "order"
    service.close()


@pytest.mark.parametrize("flushed", [False, True])
def test_records_from_after_the_clock_went_back_are_found(tmp_path, flushed):
    """A writer began on one day, and the clock said an earlier one then: its records are located, shown and proven."""
    service = ledger_with(tmp_path / "ledger", list(City().entries(50)))
    city, made = City(), UseEntries(new_run(NOON_NS), Salts())
    use = city.use(NOON_NS - 3 * DAY_NS)
    record, opened = made.opened(use)
    entries = [opened, made.closed(record, use, city.outcome(use), NOON_NS - 3 * DAY_NS)]
    leaf = service.log.size
    service.log.commit(entries, {})
    service.index.add(entries)
    if flushed:
        service.index.flush()
    assert service.index.locate(record) == (leaf, leaf + 1)
    answers = Answers(service)
    assert len(answers.show({"record": record}, lambda _done, _of: None).entries) == 2
    proof = answers.prove({"record": record, "part": "closed"}, lambda _done, _of: None)
    verify_record(proof.encode(), service.log.key.text(), record=record)
    with pytest.raises(GatewayError, match="there is no such record"):
        service.index.locate(f"{made.run}-2")
    service.close()


def test_an_index_ahead_of_its_log_is_refused(tmp_path):
    """An index of another log is not asked."""
    service = ledger_with(tmp_path / "one", list(City().entries(50)))
    service.index.flush()
    service.close()
    ledger_with(tmp_path / "two", []).close()
    shutil.rmtree(tmp_path / "two" / "index")
    shutil.copytree(tmp_path / "one" / "index", tmp_path / "two" / "index")
    service = open_ledger(tmp_path / "two")
    with pytest.raises(GatewayError, match="remove `index/`"):
        service.integrator.catch_up()
    service.close()


def test_uses_that_name_no_person_are_known_wherever_they_lie(tmp_path):
    """In the tail, in a file, in a merged one and in an index made anew: by interface, within the days asked about."""
    city, made = City(), UseEntries(new_run(NOON_NS), Salts())

    def day(number, subject):
        use = city.use(NOON_NS + number * DAY_NS, kind=number, subject=subject)
        use = msgspec.structs.replace(use, subject=subject or None)
        record, opened = made.opened(use)
        return use, [opened, made.closed(record, use, city.outcome(use), NOON_NS + number * DAY_NS)]

    days = [day(number, "" if number in {0, 2} else city.pseudonym(number)) for number in range(4)]
    placed = [(use.call.interface, use.call.dataset) for use, _ in days]
    expected = Unnamed(tuple(sorted({placed[0], placed[2]})), 2026)
    service = ledger_with(tmp_path / "ledger", [entry for _, entries in days for entry in entries])
    assert service.index.unnamed(RecordQuery()) == expected
    service.index.flush()
    assert service.index.unnamed(RecordQuery()) == expected
    from_the_second = RecordQuery(from_unix=NOON_NS // 10**9 + 86_400)
    assert service.index.unnamed(from_the_second).interfaces == (placed[2],)
    service.close()
    manifest = tmp_path / "ledger" / "index" / MANIFEST
    older, _ = parse_manifest(manifest.read_bytes())
    manifest.write_bytes(encode_manifest(msgspec.structs.replace(older, v=1)))
    service = open_ledger(tmp_path / "ledger")
    assert service.index.size == 0, "an index of other rows is made anew"
    service.integrator.catch_up()
    assert service.index.unnamed(RecordQuery()) == expected
    service.close()
