"""Directory files: JSON, CSV and XLSX read to the same entries, or refused with every fault by row and field."""

import io
import json
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    Recipients,
    SharingAttribute,
    SharingMode,
    UpdateCycle,
)
from gateway.domain.errors import GatewayError
from gateway.store.directory.columns import COLUMNS
from gateway.store.directory.exporting import export_csv, export_json, export_xlsx
from gateway.store.directory.file import DirectoryFile, read_directory, read_json
from gateway.store.directory.validation import validate_dataset
from tests.support.state import dataset, department, interface

POLICE = Department("public-security", "中山市公安局", "442000", Level.CITY, code="11442000007333333X")
MARRIAGE = Purpose("marriage-registration", "婚姻登记")

HEADER = [
    "信息资源分类",
    "信息资源名称",
    "信息资源代码",
    "信息资源提供方",
    "信息资源提供方代码",
    "信息资源摘要",
    "信息资源格式",
    "信息项名称",
    "数据类型",
    "共享类型",
    "共享条件",
    "共享方式",
    "开放属性",
    "更新周期",
    "发布日期",
    "关联资源代码",
    "数据分类",
    "数据分级",
    "共享范围",
    "使用目的",
    "不予共享理由",
    "不予共享依据",
]
RESIDENTS = [
    "人口",
    "常住人口登记信息",
    "307010001/000012",
    "中山市公安局",
    "11442000007333333X",
    "常住人口",
    "数据库",
    "姓名",
    "字符型C",
    "2",
    "仅限登记事项",
    "服务接口、核验",
    "不予开放",
    "每日",
    "2025-08-01",
    "307010001/000013",
    "personal",
    "3",
    "民政部门",
    "婚姻登记",
    "-",
    "-",
]
SECOND_ITEM = ["", "", "", "", "", "", "", "身份证号", "字符型C", *[""] * 13]
SECRET = [
    "治安",
    "专项名册",
    "307010001/000099",
    "public-security",
    "-",
    "-",
    "电子表格",
    "编号",
    "数值型N",
    "3",
    "-",
    "-",
    "-",
    "每年",
    "2025/8/1",
    "-",
    "personal",
    "4",
    "-",
    "-",
    "涉及侦查",
    "刑事诉讼法第五十四条",
]


def clean(row: Sequence[str]) -> list[str]:
    return ["" if cell == "-" else cell for cell in row]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], encoding: str = "utf-8-sig", divider: str = ",") -> Path:
    path.write_bytes("\r\n".join(divider.join(map(str, row)) for row in rows).encode(encoding))
    return path


def write_xlsx(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append([None if cell == "" else cell for cell in row])
    book.save(path)
    return path


def read(path: Path) -> DirectoryFile:
    return read_directory(path, departments=(POLICE,), purposes=(MARRIAGE,))


def faults(path: Path) -> list[tuple[Any, Any, str]]:
    with pytest.raises(GatewayError) as refused:
        read(path)
    assert refused.value.code == "invalid-input"
    return [(fault.get("row"), fault["field"], str(fault["fault"])) for fault in refused.value.members["faults"]]


def changed(row: Sequence[str], **cells: str) -> list[str]:
    found = clean(row)
    for column, cell in cells.items():
        found[HEADER.index(column)] = cell
    return found


EXPECTED = (
    Dataset(
        id="307010001.000012",
        code="307010001/000012",
        name="常住人口登记信息",
        category="人口",
        abstract="常住人口",
        supplier="public-security",
        items=(DataItem("姓名", "姓名"), DataItem("身份证号", "身份证号")),
        sharing_attribute=SharingAttribute.CONDITIONAL,
        sharing_modes=(SharingMode.QUERY, SharingMode.VERIFY),
        update_cycle=UpdateCycle.DAY,
        format="数据库",
        grade=3,
        classification="personal",
        conditions="仅限登记事项",
        scope="民政部门",
        purposes=("marriage-registration",),
        openness="不予开放",
        released_on=date(2025, 8, 1),
        related_codes=("307010001/000013",),
    ),
    Dataset(
        id="307010001.000099",
        code="307010001/000099",
        name="专项名册",
        category="治安",
        supplier="public-security",
        items=(DataItem("编号", "编号", "number"),),
        sharing_attribute=SharingAttribute.NON_SHAREABLE,
        update_cycle=UpdateCycle.YEAR,
        format="电子表格",
        grade=4,
        classification="personal",
        non_shareable_reason="涉及侦查",
        legal_basis="刑事诉讼法第五十四条",
        released_on=date(2025, 8, 1),
    ),
)
ROWS = [HEADER, clean(RESIDENTS), SECOND_ITEM, clean(SECRET)]


@pytest.mark.parametrize("kind", ["utf-8", "utf-8-sig", "gb18030", "tabs", "xlsx", "titled", "decree"])
def test_sheet_reads_to_its_entries(tmp_path: Path, kind: str) -> None:
    """CSV in the encodings in use and XLSX, with the 2017 guide's column names or the decree's, say the same."""
    if kind == "xlsx":
        path = write_xlsx(tmp_path / "d.xlsx", ROWS)
    elif kind == "titled":
        path = write_xlsx(tmp_path / "d.xlsx", [["中山市政务信息资源目录"], [], *ROWS, ["", ""]])
    elif kind == "tabs":
        path = write_csv(tmp_path / "d.csv", ROWS, divider="\t")
    elif kind == "decree":
        names = {"信息资源名称": "数据目录名称", "信息资源代码": "数据目录代码 *", "信息资源提供方": "数据提供部门"}
        path = write_csv(tmp_path / "d.csv", [[names.get(name, name) for name in HEADER], *ROWS[1:]])
    else:
        path = write_csv(tmp_path / "d.csv", ROWS, encoding=kind)
    assert read(path).datasets == EXPECTED


def test_cells_as_a_spreadsheet_program_keeps_them(tmp_path: Path) -> None:
    """Dates, whole numbers and merged cells of a real spreadsheet are read as a person sees them."""
    row = changed(RESIDENTS, 发布日期="", 共享类型="", 数据分级="")
    cells: list[Any] = list(row)
    cells[HEADER.index("发布日期")] = datetime(2025, 8, 1)  # noqa: DTZ001 - spreadsheets have no zones
    cells[HEADER.index("共享类型")] = 2.0
    cells[HEADER.index("数据分级")] = 3
    assert read(write_xlsx(tmp_path / "d.xlsx", [HEADER, cells, SECOND_ITEM])).datasets == EXPECTED[:1]


def test_items_may_repeat_the_entry_or_share_a_cell(tmp_path: Path) -> None:
    """Sheets that repeat the entry on each row, and sheets that list all items in one cell, read the same."""
    repeated = [HEADER, clean(RESIDENTS), changed(RESIDENTS, 信息项名称="身份证号")]
    listed = [HEADER, changed(RESIDENTS, 信息项名称="姓名；身份证号")]
    assert read(write_csv(tmp_path / "a.csv", repeated)).datasets == EXPECTED[:1]
    assert read(write_csv(tmp_path / "b.csv", listed)).datasets == EXPECTED[:1]


@pytest.mark.parametrize(
    ("cells", "row", "field", "said"),
    [
        ({"共享类型": "4"}, 2, "共享类型", "`4` is not one of 1, 无条件共享"),
        ({"共享类型": ""}, 2, "共享类型", "missing"),
        ({"更新周期": "时常"}, 2, "更新周期", "`时常` is not one of"),
        ({"共享方式": "邮寄"}, 2, "共享方式", "`邮寄` is not one of"),
        ({"数据分级": ""}, 2, "数据分级", "missing (Decree 809 Art. 13)"),
        ({"数据分级": "9"}, 2, "数据分级", "grading is 1 to 4, not 9"),
        ({"数据分级": "高"}, 2, "数据分级", "`高` is not a number"),
        ({"发布日期": "2025-02-30"}, 2, "发布日期", "is not a date"),
        (
            {"信息资源提供方": "无名局", "信息资源提供方代码": ""},
            2,
            "信息资源提供方",
            "no department imported so far is named",
        ),
        ({"使用目的": "其他目的"}, 2, "使用目的", "no purpose imported so far is named `其他目的`"),
        ({"共享条件": ""}, 2, "共享条件", "the conditions for use of a conditional entry"),
        ({"信息资源名称": ""}, 2, "信息资源名称", "missing"),
        ({"信息资源格式": ""}, 2, "信息资源格式", "missing"),
        ({"数据分类": "国家秘密"}, 2, "数据分类", "a state secret is no government data (Decree 809 Art. 3)"),
        ({"信息项名称": "身 份"}, 2, "信息项名称", "is not an item's name"),
        ({"信息项名称": "身份证号"}, 2, "信息项名称", "stands twice"),
        ({"信息资源代码": "307010001 000012"}, 2, "信息资源代码", "is not an id"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_fault_names_row_and_column(tmp_path: Path, cells: dict[str, str], row: int, field: str, said: str) -> None:
    """Each fault is said with the row a person sees and the column's own name."""
    found = faults(write_csv(tmp_path / "d.csv", [HEADER, changed(RESIDENTS, **cells), SECOND_ITEM]))
    assert (found[0][0], found[0][1]) == (row, field)
    assert said in found[0][2]


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    """All faults of all rows come together, in the order of rows: nobody mends a sheet fault by fault (Art. 21)."""
    rows = [
        HEADER,
        changed(RESIDENTS, 共享条件="", 共享范围="", 使用目的="", 更新周期=""),
        changed(SECOND_ITEM, 信息资源名称="另一名称"),
        changed(SECRET, 不予共享理由="", 不予共享依据=""),
        changed(RESIDENTS, 信息资源代码="307010001/000012", 数据分级="2"),
    ]
    found = faults(write_csv(tmp_path / "d.csv", rows))
    assert [(row, field) for row, field, _ in found] == [
        (2, "更新周期"),
        (2, "共享范围"),
        (2, "使用目的"),
        (2, "共享条件"),
        (3, "信息资源代码"),
        (4, "不予共享理由"),
        (4, "不予共享依据"),
        (5, "信息资源代码"),
    ]


def test_rows_of_one_entry_must_agree(tmp_path: Path) -> None:
    """A row that adds an item and says something else of the entry is a fault, not an overwrite."""
    rows = [HEADER, clean(RESIDENTS), changed(RESIDENTS, 信息项名称="身份证号", 数据分级="2")]
    assert faults(write_csv(tmp_path / "d.csv", rows)) == [(3, "数据分级", "differs from row 2 of the same entry")]


def test_sheet_without_a_required_column(tmp_path: Path) -> None:
    """A column that is not there is named once, by the guide's name."""
    rows = [[name for name in row if name not in ("更新周期", "每日")] for row in (HEADER, clean(RESIDENTS))]
    assert (1, "更新周期", "the sheet has no such column") in faults(write_csv(tmp_path / "d.csv", rows))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.xlsx", b"not a zip"),
        ("d.xlsx", b"PK\x05\x06" + b"\0" * 18),
        ("d.csv", b"\xff\xfe\x00\x81"),
        ("d.csv", b""),
        ("d.csv", '信息资源名称,信息资源代码\n"unclosed'.encode()),
        ("d.txt", b"x"),
        ("d.json", b"{"),
        ("d.json", b"[" * 100_000),
        ("d.json", b"[]"),
        ("d.json", b'{"datasets": {}}'),
        ("d.json", b'{"systems": []}'),
        ("d.json", b'{"datasets": [1, {"id": "a"}]}'),
    ],
)
def test_what_is_no_directory_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Broken and foreign files are refused with a fault, never a traceback."""
    path = tmp_path / name
    path.write_bytes(content)
    assert faults(path)


def test_file_that_unpacks_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file cannot fill the memory."""
    path = tmp_path / "d.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 1_000_000)
    monkeypatch.setattr("gateway.store.directory.workbook.MAX_UNPACKED_BYTES", 999_999)
    assert faults(path) == [(None, "file", "the workbook unpacks to more than 1 GiB")]
    monkeypatch.setattr("gateway.store.directory.file.MAX_FILE_BYTES", 10)
    assert "larger than" in faults(path)[0][2]


def test_json_faults_name_list_row_and_field() -> None:
    """JSON that does not fit names each member that is unknown, missing or of the wrong kind."""
    good = msgspec.to_builtins(dataset())
    content = {
        "datasets": [good, {**good, "id": "b", "grade": "3", "colour": 1}, {"id": "c"}, {**good, "grade": 9}],
        "departments": [{"id": "A B", "name": "", "region": "44", "level": "city"}],
        "purposes": [{"id": "", "name": ""}],
        "interfaces": [
            {
                "id": "i",
                "supplier": "s",
                "dataset": "household",
                "upstream": "http://x/?q",
                "places": {"zzz": "/z"},
                "rows": "data",
                "modes": ["download"],
                "methods": [],
            }
        ],
    }
    with pytest.raises(GatewayError) as refused:
        read_json(json.dumps(content).encode())
    found = {(fault["list"], fault["row"], fault["field"]) for fault in refused.value.members["faults"]}
    assert found >= {
        ("datasets", 2, "grade"),
        ("datasets", 2, "colour"),
        ("datasets", 3, "items"),
        ("datasets", 3, "name"),
        ("datasets", 4, "grade"),
        ("datasets", 4, "id"),
        ("departments", 1, "id"),
        ("departments", 1, "name"),
        ("departments", 1, "region"),
        ("purposes", 1, "id"),
        ("interfaces", 1, "upstream"),
        ("interfaces", 1, "rows"),
        ("interfaces", 1, "methods"),
    }


LACKS = {
    "name": "",
    "code": "",
    "supplier": "",
    "format": " ",
    "classification": "",
    "items": (),
    "grade": 0,
    "sharing_modes": (),
    "scope": "",
    "purposes": (),
    "conditions": "",
    "retention_years": 2,
}


def test_entry_without_faults_has_none() -> None:
    """The entry of the other tests is one."""
    assert validate_dataset(dataset()) == []


def test_every_lack_is_named_at_once() -> None:
    """Decree 809 Art. 13 and 15: all lacks come together, each with its article."""
    found = validate_dataset(dataset(**LACKS))
    assert {fault["field"] for fault in found} == set(LACKS)
    assert all("Decree 809 Art. " in str(fault["fault"]) for fault in found)


@pytest.mark.parametrize("word", ["state-secret", "Work-Secret", "国家秘密", "工作秘密"])
def test_secrets_are_refused(word: str) -> None:
    """State and work secrets are no government data (Decree 809 Art. 3)."""
    (fault,) = validate_dataset(dataset(classification=word))
    assert "no government data (Decree 809 Art. 3)" in str(fault["fault"])


def test_non_shareable_entry_states_reason_and_basis() -> None:
    """A non-shareable entry needs reason and legal basis, and no mode or condition (Art. 15)."""
    bare = dataset(
        sharing_attribute=SharingAttribute.NON_SHAREABLE, sharing_modes=(), scope="", purposes=(), conditions=""
    )
    assert {fault["field"] for fault in validate_dataset(bare)} == {"non_shareable_reason", "legal_basis"}
    assert validate_dataset(msgspec.structs.replace(bare, non_shareable_reason="r", legal_basis="l")) == []


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="、，,；;|'\"“”"),
    min_size=1,
    max_size=8,
)
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
ITEMS = st.lists(
    st.builds(DataItem, NAMES, WORDS, st.sampled_from(["string", "number", "x"]), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda item: item.name,
).map(tuple)


RECIPIENTS = st.none() | st.builds(
    Recipients,
    st.just(()) | st.just(("public-security",)),
    st.lists(st.sampled_from(Level), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(["440000", "442000"]), max_size=2, unique=True).map(tuple),
    st.just(()) | st.just(("marriage-registration",)),
)
"""Said or not, of every department or of some."""


@st.composite
def entries(draw: st.DrawFn) -> list[Dataset]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        attribute = draw(st.sampled_from(SharingAttribute))
        modes = draw(st.lists(st.sampled_from(SharingMode), min_size=1, unique=True))
        found.append(
            dataset(
                f"3070.{number}",
                code=f"3070/{number}",
                name=draw(WORDS),
                abstract=draw(st.just("") | WORDS),
                category=draw(st.just("") | WORDS),
                items=draw(ITEMS),
                sharing_attribute=attribute,
                sharing_modes=() if attribute is SharingAttribute.NON_SHAREABLE else tuple(modes),
                update_cycle=draw(st.sampled_from(UpdateCycle)),
                grade=draw(st.integers(1, 4)),
                retention_years=draw(st.integers(3, 30)),
                non_shareable_reason="r",
                legal_basis=draw(WORDS),
                released_on=draw(st.none() | st.dates(min_value=date(2000, 1, 1))),
                related_codes=tuple(draw(st.lists(st.just("3070/9"), max_size=2))),
                recipients=draw(RECIPIENTS) if attribute is SharingAttribute.CONDITIONAL else None,
            )
        )
    return found


@given(found=entries())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_export_reads_back_to_the_same(tmp_path: Path, found: list[Dataset]) -> None:
    """What is exported as CSV or JSON is what is imported again."""
    path = tmp_path / "d.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write(export_csv(found, [department("public-security", name="中山市公安局")]))
    assert read(path).datasets == tuple(found)
    book = tmp_path / "d.xlsx"
    whole = DirectoryFile((department(parent="public-security", competent=True), POLICE), (MARRIAGE,), tuple(found))
    book.write_bytes(export_xlsx(whole))
    assert read_directory(book, departments=(), purposes=()).plain == whole
    directory = DirectoryFile((department(), POLICE), (MARRIAGE,), tuple(found), (interface(),))
    assert read_json(export_json(directory)) == directory


def test_export_hides_formulas_from_spreadsheet_programs(tmp_path: Path) -> None:
    """A name that begins like a formula is written as text, and comes back as it was."""
    path = tmp_path / "d.csv"
    path.write_text(export_csv([dataset(name='=HYPERLINK("x")', abstract="+1")]), encoding="utf-8")
    assert "'=HYPERLINK" in path.read_text(encoding="utf-8")
    (entry,) = read(path).datasets
    assert (entry.name, entry.abstract) == ('=HYPERLINK("x")', "+1")


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever a file holds, the answer is a directory or a list of faults."""
    for name in ("d.csv", "d.json", "d.xlsx"):
        path = tmp_path / name
        path.write_bytes(content)
        refused = None
        try:
            read(path)
        except GatewayError as error:
            refused = error
        assert refused is None or refused.members["faults"]


def test_columns_are_known_by_one_field_each() -> None:
    """No column name means two things."""
    names = [name for known in COLUMNS.values() for name in known]
    assert len(names) == len(set(names))


def test_interface_json_is_read() -> None:
    """Interfaces come with their entries."""
    found = DirectoryFile(datasets=(dataset(),), interfaces=(interface(),))
    assert read_json(export_json(found)).interfaces == (interface(),)
    assert isinstance(read_json(b'{"interfaces": []}'), DirectoryFile)
    assert isinstance(interface(), Interface)
    assert io.BytesIO(export_json(found)).read().endswith(b"}\n")
