"""The demo's world: a directory of thirteen datasets, demand departments with their systems, officers and grants.

Every entry has all the fields that Decree 809 Art. 13 and 15 ask for, over all three sharing attributes and the
grades 1 to 4. The document is the one that `gateway directory import` reads.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

REGION = "440000"
LAW = "《政务数据共享条例》第二十条"

DEPARTMENTS = [
    ("data-bureau", "示例省政务服务和数据管理局", True),
    ("public-security", "示例省公安厅", False),
    ("civil-affairs", "示例省民政厅", False),
    ("market-regulation", "示例省市场监督管理局", False),
    ("housing-fund", "示例省住房公积金管理中心", False),
    ("human-resources", "示例省人力资源和社会保障厅", False),
    ("audit-office", "示例省审计厅", False),
]

PURPOSES = [
    ("housing-fund-withdrawal", "住房公积金提取审核", "《住房公积金管理条例》第二十四条"),
    ("social-insurance-enrolment", "社会保险参保登记", "《社会保险法》第五十七条"),
    ("business-start-up-subsidy", "创业补贴资格核验", "《就业促进法》第四十九条"),
    ("statistical-survey", "统计调查", "《统计法》第七条"),
]

Item = tuple[str, str, str, str]
"""A data item: name, title, type, place below a row."""

_PERSON: list[Item] = [
    ("id_number", "公民身份号码", "string", "/id_number"),
    ("name", "姓名", "string", "/name"),
    ("sex", "性别", "string", "/sex"),
    ("birth_date", "出生日期", "date", "/birth_date"),
    ("ethnicity", "民族", "string", "/ethnicity"),
    ("street", "户籍地址", "string", "/address/street"),
    ("city", "户籍城市", "string", "/address/city"),
    ("household_type", "户别", "string", "/household_type"),
    ("phone", "联系电话", "string", "/phone"),
]
_MARRIAGE: list[Item] = [
    ("certificate", "结婚证字号", "string", "/certificate"),
    ("registered_on", "登记日期", "date", "/registered_on"),
    ("status", "婚姻状况", "string", "/status"),
    ("wife_name", "女方姓名", "string", "/wife/name"),
    ("husband_name", "男方姓名", "string", "/husband/name"),
    ("wife_id", "女方身份号码", "string", "/wife/id_number"),
    ("husband_id", "男方身份号码", "string", "/husband/id_number"),
]
_COMPANY: list[Item] = [
    ("uscc", "统一社会信用代码", "string", "/uscc"),
    ("name", "企业名称", "string", "/name"),
    ("legal_representative", "法定代表人", "string", "/legal_representative"),
    ("registered_capital_yuan", "注册资本（元）", "integer", "/registered_capital_yuan"),
    ("founded_on", "成立日期", "date", "/founded_on"),
    ("status", "登记状态", "string", "/status"),
    ("shareholders", "股东及出资", "array", "/shareholders"),
]

_POPULATION: list[Item] = [("region", "区划", "string", "/region"), ("total", "人数", "integer", "/total")]
_PLACE: list[Item] = [("name", "地名", "string", "/name")]

_OPEN, _ASKED, _CLOSED = "unconditional", "conditional", "non-shareable"

# id, name, supplier, sharing attribute, grade, update cycle, items
_DATASETS: list[tuple[str, str, str, str, int, str, list[Item]]] = [
    ("household", "户籍人口基本信息", "public-security", _ASKED, 3, "real-time", _PERSON),
    ("residence-permit", "居住证信息", "public-security", _ASKED, 3, "day", _PERSON[:4]),
    ("population-count", "户籍人口统计", "public-security", _OPEN, 1, "quarter", _POPULATION),
    ("criminal-clue", "案件线索信息", "public-security", _CLOSED, 4, "day", _PERSON[:2]),
    ("marriage", "婚姻登记信息", "civil-affairs", _ASKED, 2, "real-time", _MARRIAGE),
    ("adoption", "收养登记信息", "civil-affairs", _CLOSED, 4, "month", _PERSON[:4]),
    ("social-organisation", "社会组织登记信息", "civil-affairs", _OPEN, 1, "day", _COMPANY[:3]),
    ("subsistence-allowance", "最低生活保障对象信息", "civil-affairs", _ASKED, 4, "month", _PERSON[:3]),
    ("place-name", "地名信息", "civil-affairs", _OPEN, 1, "year", _PLACE),
    ("enterprise", "企业登记信息", "market-regulation", _OPEN, 1, "real-time", _COMPANY),
    ("enterprise-penalty", "企业行政处罚信息", "market-regulation", _OPEN, 2, "day", _COMPANY[:3]),
    ("enterprise-annual-report", "企业年报信息", "market-regulation", _ASKED, 2, "year", _COMPANY[:5]),
    ("special-equipment", "特种设备使用登记信息", "market-regulation", _ASKED, 2, "week", _COMPANY[:2]),
]

# dataset: interface, path at the supplier, query parameter that names the data subject
_SERVICES = {
    "household": ("persons", "/api/persons", "id_number"),
    "criminal-clue": ("clues", "/api/persons", "id_number"),
    "marriage": ("marriages", "/api/marriages", "id_number"),
    "enterprise": ("companies", "/api/companies", "uscc"),
}

SHORT_SECONDS = 4
"""How long the grant lasts that the story finds expired; one that has ended cannot be issued."""

OFFICERS = [
    ("competent-lin", "data-bureau", ["competent"], "林科长"),
    ("police-chen", "public-security", ["supplier", "paper"], "陈警官"),
    ("civil-wu", "civil-affairs", ["supplier", "paper"], "吴科长"),
    ("market-zhao", "market-regulation", ["supplier", "paper"], "赵科长"),
    ("auditor-he", "audit-office", ["auditor"], "何审计师"),
]

SYSTEMS = [
    ("housing-fund-approval", "housing-fund", "公积金提取审批系统"),
    ("insurance-enrolment", "human-resources", "社保参保登记系统"),
]


def directory_document(upstreams: dict[str, str]) -> dict[str, Any]:
    """The directory, as `gateway directory import` reads it.

    Args:
        upstreams: supplier id -> base URL of its service.
    """
    return {
        "departments": [
            {"id": id_, "name": name, "region": REGION, "level": "province", "competent": competent}
            for id_, name, competent in DEPARTMENTS
        ],
        "purposes": [{"id": id_, "name": name, "basis": basis} for id_, name, basis in PURPOSES],
        "datasets": [_dataset(number, row) for number, row in enumerate(_DATASETS, 1)],
        "interfaces": [
            {
                "id": _SERVICES[id_][0],
                "supplier": supplier,
                "dataset": id_,
                "title": f"{name}查询接口",
                "upstream": upstreams[supplier] + _SERVICES[id_][1],
                "rows": "/data",
                "places": {item: place for item, _, _, place in items},
                "subject_parameter": _SERVICES[id_][2],
                "scope_parameters": ["region"],
                "modes": ["query", "verify"],
                "plain_http": True,
            }
            for id_, name, supplier, _, _, _, items in _DATASETS
            if id_ in _SERVICES
        ],
    }


def _dataset(number: int, row: tuple[str, str, str, str, int, str, list[Item]]) -> dict[str, Any]:
    id_, name, supplier, attribute, grade, cycle, items = row
    entry: dict[str, Any] = {
        "id": id_,
        "code": f"3{number:08d}/000001",
        "name": name,
        "category": "部门政务数据",
        "abstract": f"{name}（演示用虚构数据）",
        "supplier": supplier,
        "format": "JSON",
        "items": [
            {"name": item, "title": title, "type": kind, "sensitive": item.endswith(("id_number", "_id", "phone"))}
            for item, title, kind, _ in items
        ],
        "sharing_attribute": attribute,
        "sharing_modes": [] if attribute == _CLOSED else ["query", "verify"],
        "conditions": "按授权使用，不得转供第三方",
        "update_cycle": cycle,
        "grade": grade,
        "classification": "个人信息" if items in (_PERSON, _MARRIAGE) else "公共管理",
        "openness": "不予开放",
        "released_on": "2026-01-05",
    }
    if attribute == _ASKED:
        entry |= {"scope": "履行相应法定职责的政府部门", "purposes": [purpose for purpose, _, _ in PURPOSES]}
    if attribute == _CLOSED:
        entry |= {"non_shareable_reason": "涉及办案秘密或未成年人隐私", "legal_basis": "《数据安全法》第三十八条"}
    return entry


def grant_documents(now: datetime) -> list[dict[str, Any]]:
    """The grants of the story: three that stand, and one that ends `SHORT_SECONDS` after `now`."""
    year = timedelta(days=365)

    def grant(id_: str, department: str, dataset: str, items: list[str], purpose: str, **more: Any) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": id_,
            "department": department,
            "dataset": dataset,
            "items": items,
            "purposes": [purpose],
            "modes": ["query"],
            "valid_from": now - timedelta(days=30),
            "valid_until": now + year,
            "legal_basis": LAW,
            "scenario": "业务办理时核验申请人信息",
            "scope_of_use": "仅限本部门办理该事项的经办人员",
            "demand_approval": {"person": "周主任", "at": now - timedelta(days=40), "reference": "公积金函〔2026〕7号"},
            "supply_approval": {"person": "陈处长", "at": now - timedelta(days=31), "reference": "共享批〔2026〕21号"},
        }
        return {
            name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
            for name, value in (document | more).items()
        } | {
            side: {**document[side], "at": document[side]["at"].astimezone(UTC).isoformat()}
            for side in ("demand_approval", "supply_approval")
        }

    return [
        grant("G-2026-0001", "housing-fund", "household", ["name", "birth_date", "city"], "housing-fund-withdrawal"),
        grant("G-2026-0002", "housing-fund", "marriage", ["status", "registered_on"], "housing-fund-withdrawal"),
        grant("G-2026-0003", "human-resources", "enterprise", ["uscc", "name", "status"], "social-insurance-enrolment"),
        grant(
            "G-2025-0090",
            "housing-fund",
            "enterprise",
            ["name", "status"],
            "housing-fund-withdrawal",
            valid_until=now + timedelta(seconds=SHORT_SECONDS),
        ),
    ]
