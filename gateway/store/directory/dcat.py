"""The directory as DCAT 3 in JSON-LD, so that other catalogues can take it in.

| entry | DCAT |
|---|---|
| name, abstract, code | dct:title, dct:description, dct:identifier |
| supplier | dct:publisher |
| category | dcat:theme |
| update cycle | dct:accrualPeriodicity (EU authority table of frequencies) |
| sharing attribute | dct:accessRights (EU authority table) with the attribute as label |
| release date, version | dct:issued, dcat:version |
| items | csvw:tableSchema of a distribution |
| interface | dcat:DataService with dcat:servesDataset; its address is the gateway's, never the supplier's |
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from gateway.domain.directory import Dataset, Department, Interface, SharingAttribute, UpdateCycle

_EU = "http://publications.europa.eu/resource/authority"

_CONTEXT: Mapping[str, Any] = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "csvw": "http://www.w3.org/ns/csvw#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dct:issued": {"@type": "xsd:date"},
}

_FREQUENCIES: Mapping[UpdateCycle, str] = {
    UpdateCycle.REAL_TIME: "UPDATE_CONT",
    UpdateCycle.DAY: "DAILY",
    UpdateCycle.WEEK: "WEEKLY",
    UpdateCycle.MONTH: "MONTHLY",
    UpdateCycle.QUARTER: "QUARTERLY",
    UpdateCycle.YEAR: "ANNUAL",
}

_ACCESS_RIGHTS: Mapping[SharingAttribute, str] = {
    SharingAttribute.UNCONDITIONAL: "PUBLIC",
    SharingAttribute.CONDITIONAL: "RESTRICTED",
    SharingAttribute.NON_SHAREABLE: "NON_PUBLIC",
}
"""Between departments, not towards the public: the label says which of Decree 809 Art. 14 it is."""

_DATATYPES = {
    "string": "string",
    "number": "number",
    "integer": "integer",
    "date": "date",
    "datetime": "dateTime",
    "boolean": "boolean",
    "binary": "base64Binary",
}


def export_dcat(
    datasets: Iterable[Dataset],
    *,
    departments: Iterable[Department] = (),
    interfaces: Iterable[Interface] = (),
    base: str = "https://gateway.invalid",
    title: str = "政务数据目录",
) -> dict[str, Any]:
    """A `dcat:Catalog` of entries and the interfaces that serve them.

    Args:
        datasets: released entries.
        departments: for the publishers' names.
        interfaces: active ones; upstream addresses do not leave.
        base: the gateway's public address, below which everything gets its identifier.
        title: the catalogue's.
    """
    root = base.rstrip("/")
    publishers = {department.id: department for department in departments}
    return {
        "@context": dict(_CONTEXT),
        "@id": f"{root}/v1/datasets",
        "@type": "dcat:Catalog",
        "dct:title": {"@language": "zh", "@value": title},
        "dcat:dataset": [_dataset(entry, root, publishers.get(entry.supplier)) for entry in datasets],
        "dcat:service": [_service(interface, root) for interface in interfaces],
    }


def _dataset(entry: Dataset, root: str, publisher: Department | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@id": _iri(root, "datasets", entry.id),
        "@type": "dcat:Dataset",
        "dct:title": entry.name,
        "dct:identifier": entry.code,
        "dct:publisher": _publisher(entry.supplier, root, publisher),
        "dct:accrualPeriodicity": {"@id": f"{_EU}/frequency/{_FREQUENCIES[entry.update_cycle]}"},
        "dct:accessRights": {
            "@id": f"{_EU}/access-right/{_ACCESS_RIGHTS[entry.sharing_attribute]}",
            "rdfs:label": entry.sharing_attribute.value,
        },
        "dcat:version": str(entry.version),
        "dcat:distribution": {
            "@type": "dcat:Distribution",
            "dct:format": entry.format,
            "csvw:tableSchema": {
                "@type": "csvw:Schema",
                "csvw:column": {
                    "@list": [
                        {
                            "@type": "csvw:Column",
                            "csvw:name": item.name,
                            "csvw:title": item.title or item.name,
                            "csvw:datatype": _DATATYPES.get(item.type, "string"),
                        }
                        for item in entry.items
                    ]
                },
            },
        },
    }
    optional = {
        "dct:description": entry.abstract,
        "dcat:theme": entry.category,
        "dct:issued": entry.released_on.isoformat() if entry.released_on else "",
        "dct:relation": list(entry.related_codes),
    }
    return {**found, **{name: value for name, value in optional.items() if value}}


def _publisher(id_: str, root: str, department: Department | None) -> dict[str, Any]:
    found = {"@id": _iri(root, "departments", id_), "@type": "foaf:Organization"}
    return {**found, "foaf:name": department.name} if department else found


def _service(interface: Interface, root: str) -> dict[str, Any]:
    return {
        "@id": _iri(root, "interfaces", interface.supplier, interface.id),
        "@type": "dcat:DataService",
        "dct:title": interface.title or interface.key,
        "dcat:endpointURL": {"@id": f"{root}/{quote(interface.supplier)}/{quote(interface.id)}"},
        "dcat:servesDataset": {"@id": _iri(root, "datasets", interface.dataset)},
    }


def _iri(root: str, *parts: str) -> str:
    return "/".join((root, "v1", *(quote(part, safe="") for part in parts)))
