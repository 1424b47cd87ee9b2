"""The directory as DCAT in JSON-LD."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyshacl
import pytest
import rdflib

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
            ),
            dataset("307.1", code="307/1"),
        ],
        departments=[department("public-security", name="公安局")],
        interfaces=[interface(title="查询")],
        base="https://gw.example/",
    )
    (entry, _), (service,) = found["dcat:dataset"], found["dcat:service"]
    assert entry["@id"] == "https://gw.example/v1/datasets/household"
    assert entry["dct:title"] == "常住人口登记信息"
    assert entry["dct:identifier"] == "307010001/household"
    assert entry["dct:publisher"]["foaf:name"] == "公安局"
    assert entry["dcat:theme"]["skos:prefLabel"]["@value"] == "人口"
    assert entry["dct:description"] == "摘要"
    assert entry["dct:issued"] == "2025-08-01"
    assert entry["dct:relation"] == [{"@id": "https://gw.example/v1/datasets/307.1"}]
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


# rdflib 7 reads JSON-LD by a class that it deprecates itself.
RDFLIB = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
SHAPES = Path(__file__).with_name("dcat_ap.ttl")


def conforms(document: dict[str, Any]) -> tuple[bool, str]:
    graph = rdflib.Graph().parse(data=json.dumps(document), format="json-ld")
    found, _, text = pyshacl.validate(graph, shacl_graph=rdflib.Graph().parse(SHAPES))
    return bool(found), str(text)


def catalogue() -> dict[str, Any]:
    """An entry with every field, one with no more than it must have, and a service."""
    entries = [
        dataset(category="人口", abstract="摘要", released_on=date(2025, 8, 1), related_codes=("307/1", "307/gone")),
        dataset("307.1", code="307/1", supplier="nobody", abstract=" ", openness=""),
    ]
    return export_dcat(entries, departments=[department("public-security", name="公安局")], interfaces=[interface()])


@RDFLIB
def test_catalogue_passes_the_shapes_of_dcat_ap() -> None:
    """With publishers known and unknown, with and without what is optional."""
    assert conforms(catalogue()) == (True, "Validation Report\nConforms: True\n")


@RDFLIB
@pytest.mark.parametrize(
    "lacking", ["dct:title", "dct:description", "dct:publisher", "dcat:accessURL", "foaf:name", "dcat:endpointURL"]
)
def test_the_shapes_find_what_is_lacking(lacking: str) -> None:
    """Each mandatory property, taken out once."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(each) for name, each in value.items() if name != lacking}
        return [without(each) for each in value] if isinstance(value, list) else value

    assert not conforms(without(catalogue()))[0]
