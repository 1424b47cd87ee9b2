"""The directory as DCAT in JSON-LD."""

import json
from datetime import date

from gateway.domain.directory import DataItem, SharingAttribute, UpdateCycle
from gateway.store.directory.dcat import export_dcat
from tests.support.state import dataset, department, interface


def test_every_field_has_its_term() -> None:
    """The mapping of the package's table, field by field."""
    found = export_dcat(
        [
            dataset(
                category="人口",
                abstract="摘要",
                released_on=date(2025, 8, 1),
                related_codes=("307/1",),
                items=(DataItem("age", "年龄", "integer"), DataItem("x", "", "字符型")),
            )
        ],
        departments=[department("public-security", name="公安局")],
        interfaces=[interface(title="查询")],
        base="https://gw.example/",
    )
    (entry,), (service,) = found["dcat:dataset"], found["dcat:service"]
    assert entry["@id"] == "https://gw.example/v1/datasets/household"
    assert entry["dct:title"] == "常住人口登记信息"
    assert entry["dct:identifier"] == "307010001/household"
    assert entry["dct:publisher"]["foaf:name"] == "公安局"
    assert entry["dcat:theme"] == "人口"
    assert entry["dct:description"] == "摘要"
    assert entry["dct:issued"] == "2025-08-01"
    assert entry["dct:relation"] == ["307/1"]
    assert entry["dct:accrualPeriodicity"]["@id"].endswith("/frequency/DAILY")
    assert entry["dct:accessRights"]["rdfs:label"] == "conditional"
    columns = entry["dcat:distribution"]["csvw:tableSchema"]["csvw:column"]["@list"]
    assert [(column["csvw:name"], column["csvw:title"], column["csvw:datatype"]) for column in columns] == [
        ("age", "年龄", "integer"),
        ("x", "x", "string"),
    ]
    assert service["dcat:endpointURL"] == {"@id": "https://gw.example/public-security/household-query"}
    assert service["dcat:servesDataset"] == {"@id": entry["@id"]}
    assert json.loads(json.dumps(found)) == found


def test_no_upstream_address_leaves() -> None:
    """A supplier's own address is the gateway's secret."""
    assert "household.example" not in json.dumps(export_dcat([dataset()], interfaces=[interface()]))


def test_every_cycle_and_attribute_is_mapped() -> None:
    """No entry lacks a frequency or an access right; prefixes used are declared."""
    entries = [dataset(update_cycle=cycle) for cycle in UpdateCycle] + [
        dataset(sharing_attribute=attribute) for attribute in SharingAttribute
    ]
    found = export_dcat(entries)
    assert len({entry["dct:accrualPeriodicity"]["@id"] for entry in found["dcat:dataset"]}) == 6
    assert len({entry["dct:accessRights"]["@id"] for entry in found["dcat:dataset"]}) == 3
    used = {key.partition(":")[0] for entry in found["dcat:dataset"] for key in entry if ":" in key}
    assert used <= set(found["@context"])
