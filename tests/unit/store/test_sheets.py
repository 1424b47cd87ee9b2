"""Sheets as people make them: read as a person sees them, or refused with what to do; never cut short in silence."""

import io
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gateway
from gateway.domain.directory import Dataset, Department, Level, Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.formulas import escaped, is_formula, unescaped
from gateway.store import Store
from gateway.store.directory.columns import COLUMNS
from gateway.store.directory.exporting import export_csv, export_json, export_xlsx
from gateway.store.directory.file import DirectoryFile, read_directory, read_json
from gateway.store.directory.sheets import plain_name
from gateway.store.directory.workbook import Doubtful, NotAWorkbook, read_workbook, write_workbook
from tests.support.state import dataset, fill

POLICE = Department("public-security", "示例省公安厅", "440000", Level.PROVINCE, code="11440000006939799X")
CIVIL = Department("civil-affairs", "示例省民政厅", "440000", Level.PROVINCE)
MARRIAGE = Purpose("marriage-registration", "婚姻登记")
ENTRY = {
    "信息资源名称": "户籍登记信息",
    "信息资源代码": "307/1",
    "信息资源提供方": "示例省公安厅",
    "信息资源格式": "JSON",
    "信息项名称": "姓名",
    "共享类型": "无条件共享",
    "共享方式": "服务接口",
    "更新周期": "每日",
    "数据分类": "个人信息",
    "数据分级": "2",
}


def row(**cells: str) -> dict[str, str]:
    return {**ENTRY, **cells}


def csv_of(path: Path, rows: Sequence[dict[str, str]], divider: str = ",", **names: str) -> Path:
    columns = list(dict.fromkeys(name for each in rows for name in each))
    lines = [divider.join(names.get(name, name) for name in columns)]
    lines += [divider.join(each.get(name, "") for name in columns) for each in rows]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    return path


def read(path: Path) -> DirectoryFile:
    return read_directory(path, departments=(POLICE, CIVIL), purposes=(MARRIAGE,))


def faults(path: Path) -> list[tuple[Any, Any, str]]:
    with pytest.raises(GatewayError) as refused:
        read(path)
    return [(fault["row"], fault["field"], str(fault["fault"])) for fault in refused.value.members["faults"]]


@pytest.mark.parametrize(
    ("rows", "row_number", "field", "said"),
    [
        ([row(共享属性="不予共享")], 2, "共享类型", "共享属性"),
        ([row(安全等级="4")], 2, "数据分级", "安全等级"),
        ([row(涉密属性="是")], 2, "涉密属性", "Art. 3"),
        ([row(密级="秘密")], 2, "密级", "Art. 3"),
        ([row(是否为涉密信息="是")], 2, "是否为涉密信息", "Art. 3"),
        ([row(), row(信息资源名称="b", 信息资源代码="307/2", 信息资源提供方="")], 3, "信息资源提供方", "missing"),
        ([row(), row(信息资源代码="307/2", 使用目的="nosuch")], 3, "使用目的", "`nosuch`"),
        ([row(信息资源提供方="nosuch")], 2, "信息资源提供方", "`nosuch`"),
        ([row(信息资源提供方代码="civil-affairs")], 2, "信息资源提供方", "two departments"),
        ([row(信息资源提供方="示例省民政厅", 信息资源提供方代码="11440000006939799X")], 2, "信息资源提供方", "two"),
        ([row(发布日期="2026111")], 2, "发布日期", "not a date"),
        ([row(发布日期="2026-1/5")], 2, "发布日期", "not a date"),
        ([row(信息资源摘要="#N/A")], 2, "信息资源摘要", "error"),
        ([row(共享范围围="x")], 1, "共享范围围", "did you mean `共享范围`"),
        ([row(), row(信息资源名称="其他")], 3, "信息资源名称", "differs"),
        ([row(信息项名称="")], 2, "信息项名称", "missing"),
        ([row(信息资源摘要="a\0b")], 2, "信息资源摘要", "control character"),
        ([row(关联资源代码="1"), row(信息资源代码="307/2", 目录标识="307.1")], 3, "信息资源代码", "differs"),
    ],
)
def test_what_would_be_lost_or_mistaken_is_a_fault_of_its_row_and_column(
    tmp_path: Path, rows: list[dict[str, str]], row_number: int, field: str, said: str
) -> None:
    """Two columns of one field, secrets, faults of merged cells, slips of the pen, errors in place of values."""
    if "目录标识" in rows[-1]:
        rows = [row(目录标识="307.1"), rows[-1]]
    found = faults(csv_of(tmp_path / "d.csv", rows))
    assert any(at == row_number and name == field and said in text for at, name, text in found), found


def test_two_columns_that_agree_and_a_secret_that_is_none_are_read(tmp_path: Path) -> None:
    """And columns that nobody knows are named."""
    path = csv_of(tmp_path / "d.csv", [row(共享属性="无条件共享", 涉密属性="否", 序号="1", 备注="")])
    found = read(path)
    assert found.datasets[0].code == "307/1"
    assert found.skipped == ("column `序号` was not read",)


def test_cell_without_a_column_is_a_fault(tmp_path: Path) -> None:
    """A comma in an unquoted text moves what stands behind it: nothing is taken for what it is not."""
    path = csv_of(tmp_path / "d.csv", [row(数据分级="2,3")])
    assert [(at, said.partition(":")[0]) for at, _, said in faults(path)] == [(2, "more cells than there are columns")]


@pytest.mark.parametrize("divider", [",", ";", "\t", "|"])
def test_divider_is_found_by_the_header(tmp_path: Path, divider: str) -> None:
    """However often another one stands in cells."""
    other = "；" if divider != ";" else "、"
    items = other.join(f"项{number}" for number in range(200)) if divider in ";|" else ";".join("abcdefghij")
    (entry,) = read(csv_of(tmp_path / "d.csv", [row(信息项名称=items)], divider)).datasets
    assert len(entry.items) == (200 if divider in ";|" else 10)


@pytest.mark.parametrize(
    "name",
    [
        "信息资源名称（必填）",
        "*信息资源名称",
        "＊信息资源名称",
        "信息资源\n名称",
        "　信息资源名称 ",
        "信息资源名称(必填):",
    ],
)
def test_header_as_templates_write_it_is_known(name: str) -> None:
    """Required marks, line ends and full-width blanks."""
    assert plain_name(name) == "信息资源名称"


def workbook(path: Path, *sheets: tuple[str, Sequence[Sequence[Any]]], **formats: str) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for each in rows:
            sheet.append([None if cell == "" else cell for cell in each])
    for cell, code in formats.items():
        book.worksheets[0][cell].number_format = code
    book.save(path)
    return path


def sheet_of(*rows: dict[str, Any]) -> list[list[Any]]:
    return [list(rows[0]), *[[each.get(name, "") for name in rows[0]] for each in rows]]


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The workbook with its parts changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize(
    ("value", "code", "read_as"),
    [
        (7010001, "000000000", "007010001"),
        (12, '"307010001/"000000', "307010001/000012"),
        (12, "General", "12"),
        (12, "0", "12"),
        (3070100010000123456, "General", None),
        (3070100010000123456, "0", None),
        (12, "#,##0", None),
        (12, "0.00", None),
        ("3070100010000123456", "General", "3070100010000123456"),
    ],
)
def test_number_is_read_as_it_is_shown_or_refused(tmp_path: Path, value: Any, code: str, read_as: str | None) -> None:
    """Leading zeros of a format are kept; a code that a program has rounded is never stored."""
    path = workbook(tmp_path / "d.xlsx", ("Sheet", sheet_of(row(信息资源代码=value))), B2=code)
    if read_as is None:
        assert {(at, field) for at, field, _ in faults(path)} == {(2, "信息资源代码")}
    else:
        assert read(path).datasets[0].code == read_as


def test_stated_size_of_a_sheet_is_not_believed(tmp_path: Path) -> None:
    """Rows beyond it are read."""
    path = workbook(tmp_path / "d.xlsx", ("Sheet", sheet_of(row(), {"信息项名称": "性别"}, {"信息项名称": "民族"})))
    shrunk = rewritten(path, lambda _, part: part.replace(b'<dimension ref="A1:J4"', b'<dimension ref="A1:J2"'))
    assert len(read(shrunk).datasets[0].items) == 3


def test_strict_files_are_read(tmp_path: Path) -> None:
    """ISO's namespaces in place of the transitional ones."""
    path = workbook(tmp_path / "d.xlsx", ("Sheet", sheet_of(row())))
    strict = rewritten(
        path,
        lambda _, part: part.replace(
            b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        ).replace(
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        ),
    )
    assert read(strict).datasets[0].code == "307/1"


def test_every_sheet_is_read_and_the_rest_is_named(tmp_path: Path) -> None:
    """Entries on two sheets, departments, purposes, notes: faults name the sheet too."""
    path = workbook(
        tmp_path / "d.xlsx",
        ("说明", [["请勿修改"]]),
        ("公安", sheet_of(row())),
        ("民政", sheet_of(row(信息资源代码="307/2", 信息资源提供方="示例省教育厅", 使用目的="入学"))),
        (
            "部门",
            [["部门标识", "部门名称", "行政区划代码", "部门层级"], ["education", "示例省教育厅", "440000", "省级"]],
        ),
        ("用途", [["用途标识", "用途名称", "用途依据"], ["enrolment", "入学", "《义务教育法》"]]),
    )
    found = read(path)
    assert [each.supplier for each in found.datasets] == ["public-security", "education"]
    assert found.datasets[1].purposes == ("enrolment",)
    assert found.departments == (Department("education", "示例省教育厅", "440000", Level.PROVINCE),)
    assert found.purposes == (Purpose("enrolment", "入学", "《义务教育法》"),)
    assert found.skipped == ("sheet `说明` was not read",)
    broken = workbook(
        tmp_path / "e.xlsx", ("公安", sheet_of(row())), ("民政", sheet_of(row(信息资源代码="2", 数据分级="9")))
    )
    with pytest.raises(GatewayError) as refused:
        read(broken)
    assert [(fault["sheet"], fault["row"]) for fault in refused.value.members["faults"]] == [("民政", 2)]


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_workbook_that_is_cut_off_says_what_to_do(tmp_path: Path, part: str) -> None:
    """In a sentence, wherever the cut is."""
    path = workbook(tmp_path / "d.xlsx", ("Sheet", sheet_of(row())))
    cut = rewritten(path, lambda name, content: content[: len(content) * 2 // 3] if name == part else content)
    ((_, field, said),) = faults(cut)
    assert (field, "save it again" in said) == ("file", True)


def mangled(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    spoiled = bytearray(content)
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(spoiled))
        spoiled[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
    return bytes(spoiled[: chance.choice((len(spoiled), chance.randrange(len(spoiled)) + 1))])


@given(seed=st.integers(0, 1 << 32), inside=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_malformed_workbook_fails_the_reader(tmp_path: Path, seed: int, inside: bool) -> None:
    """Spoilt as a file or in one of its parts, it is read or refused."""
    path = tmp_path / "d.xlsx"
    path.write_bytes(write_workbook([("目录", [[str(cell) for cell in each] for each in sheet_of(row(), row())])]))
    if inside:
        spoilt = random.Random(seed).choice(
            ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/_rels/workbook.xml.rels"]
        )
        rewritten(path, lambda name, part: mangled(part, seed) if name == spoilt else part)
    else:
        path.write_bytes(mangled(path.read_bytes(), seed))
    said = [{"fault": "none"}]
    try:
        read(path)
    except GatewayError as error:
        said = error.members["faults"]
    assert said


def test_declared_entities_are_refused(tmp_path: Path) -> None:
    """No part declares a document type: there is nothing to expand."""
    path = tmp_path / "d.xlsx"
    path.write_bytes(write_workbook([("s", [["a"]])]))
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]>'
    for part in ("xl/workbook.xml", "xl/worksheets/sheet1.xml"):
        rewritten(
            path, lambda name, content, part=part: content.replace(b"?>", b"?>" + bomb) if name == part else content
        )
        with pytest.raises(NotAWorkbook, match="document type"):
            [list(sheet.rows) for sheet in read_workbook(path)]


@given(st.lists(st.lists(st.text(max_size=12), max_size=6), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_from_a_workbook(tmp_path: Path, rows: list[list[str]]) -> None:
    """Control characters, `_x0041_`, blanks at both ends, line ends: as they were."""
    rows = [[cell for cell in each if not any(0xD800 <= ord(char) < 0xE000 for char in cell)] for each in rows]
    path = tmp_path / "d.xlsx"
    path.write_bytes(write_workbook([("目录", rows)]))
    ((name, found),) = [(sheet.name, [list(cells) for _, cells in sheet.rows]) for sheet in read_workbook(path)]
    for wanted, got in zip(rows, found, strict=True):
        assert got + [""] * (len(wanted) - len(got)) == wanted
    assert name == "目录"


@given(st.text(max_size=6))
def test_escaped_cells_come_back(text: str) -> None:
    """Formulas, full-width signs, apostrophes."""
    assert unescaped(escaped(text)) == text
    assert not is_formula(escaped(text))
    assert Doubtful("1", "x").reason == "x"


@pytest.mark.parametrize("blank", ["", " ", "\u3000", "\t", "\n", "\u200b", "\ufeff"])
@pytest.mark.parametrize("sign", "=+-@＝＋－＠﹦﹢﹣﹫")
def test_formulas_are_known_in_every_width_and_behind_blanks(sign: str, blank: str) -> None:
    """A program may fold the sign to the plain one, and leave the blank out."""
    assert escaped(f"{blank}{sign}1") == f"'{blank}{sign}1"


def test_every_table_that_people_open_is_guarded() -> None:
    """Each file that writes CSV escapes its cells; a supplier's answer is its own, and goes on as it came."""
    root = Path(gateway.__file__).parent
    writing = {file for file in root.rglob("*.py") if "csv.writer(" in file.read_text("utf-8")}
    names = {file.relative_to(root).as_posix() for file in writing if "escaped(" not in file.read_text("utf-8")}
    assert names == {"proxy/projection/streams.py"}
    assert len(writing) > 3


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t'=＝ "), min_size=1, max_size=8)


@st.composite
def stored_entry(draw: st.DrawFn) -> Dataset:
    """An entry as the API takes it: texts of any kind, ids that are not made of codes, odd types and titles."""
    names = draw(st.lists(st.text("abc名=+'-", min_size=1, max_size=3), min_size=1, max_size=3, unique=True))
    text = WORDS.filter(str.strip)
    return dataset(
        draw(st.sampled_from(["household", "307010001.000012", "X-1"])),
        code=draw(st.sampled_from(["307010001/000012", "=1", "007", "'7"])),
        name=draw(text),
        abstract=draw(WORDS),
        conditions=draw(text),
        scope=draw(text),
        items=tuple(
            msgspec.structs.replace(dataset().items[0], name=name, title=draw(st.just("") | WORDS), type=draw(WORDS))
            for name in names
        ),
        openness=draw(WORDS),
        related_codes=tuple(draw(st.lists(st.sampled_from(["307/1", "=2", "x"]), max_size=2))),
    )


@given(entry=stored_entry())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exporting_and_importing_unchanged_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, entry: Dataset
) -> None:
    """CSV, XLSX and JSON: no version is made and nobody hears of anything."""
    folder = tmp_path_factory.mktemp("trip")
    with Store.open(f"sqlite:///{folder / 'state.db'}") as store:
        fill(store)
        with store.transaction() as tx:
            tx.import_directory(DirectoryFile(datasets=(entry,)), release=True)
        before, directory = store.sequence(), store.directory()
        departments, purposes = directory.departments, directory.purposes
        (folder / "d.csv").write_text(export_csv(directory.datasets, departments), "utf-8", newline="")
        (folder / "d.xlsx").write_bytes(export_xlsx(directory))
        files = [
            read_directory(folder / name, departments=departments, purposes=purposes) for name in ("d.csv", "d.xlsx")
        ]
        for found in (*files, read_json(export_json(directory))):
            with store.transaction() as tx:
                assert tx.import_directory(found, release=True).submitted == ()
        assert store.sequence() == before


def test_two_entries_of_one_code_are_refused(tmp_path: Path) -> None:
    """In one file, and against what is released."""
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        fill(store)
        same = dataset("other", code=dataset().code)
        for found in ((same,), (dataset("a", code="x"), dataset("b", code="x"))):
            with store.transaction() as tx, pytest.raises(GatewayError) as refused:
                tx.import_directory(DirectoryFile(datasets=found), release=True)
            assert {fault["field"] for fault in refused.value.members["faults"]} == {"code"}


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_fault_against_the_state_names_the_row_and_column_of_the_sheet(tmp_path: Path, kind: str) -> None:
    """Not the how-manieth entry it is: entries take several rows, and a workbook has several sheets."""
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        fill(store)
        directory = store.directory()
        many = msgspec.structs.replace(
            dataset("first", code="first"),
            items=tuple(msgspec.structs.replace(dataset().items[0], name=f"i{number}") for number in range(5)),
        )
        same = dataset("other", code=dataset().code)
        file = msgspec.structs.replace(directory, datasets=(many, same), interfaces=())
        path = tmp_path / f"d.{kind}"
        path.write_bytes(export_csv(file.datasets, file.departments).encode() if kind == "csv" else export_xlsx(file))
        found = read_directory(path, departments=directory.departments, purposes=directory.purposes)
        with store.transaction() as tx, pytest.raises(GatewayError) as refused:
            tx.import_directory(found, release=True)
        (fault,) = refused.value.members["faults"]
        assert (fault["row"], fault["field"]) == (7, "信息资源代码")
        assert fault.get("sheet") == ("目录" if kind == "xlsx" else None)


def test_an_edit_in_the_exported_sheet_reaches_the_entry_in_force(tmp_path: Path) -> None:
    """Also where the code was changed: the entry is known by its own column."""
    with Store.open(f"sqlite:///{tmp_path / 'state.db'}") as store:
        fill(store)
        directory = store.directory()
        text = export_csv(directory.datasets, directory.departments).replace("307010001/household", "307/new")
        (tmp_path / "d.csv").write_text(text, "utf-8", newline="")
        found = read_directory(tmp_path / "d.csv", departments=directory.departments, purposes=directory.purposes)
        with store.transaction() as tx:
            assert tx.import_directory(found, release=True).submitted == (("household", 2),)
    assert next(iter(COLUMNS)) == "id"
