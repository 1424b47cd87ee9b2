"""The directory as DCAT 3 in JSON-LD, so that other catalogues can take it in.

| entry | DCAT |
|---|---|
| name, abstract, code | dct:title, dct:description (the name where there is no abstract), dct:identifier |
| supplier | dct:publisher, a foaf:Agent |
| category | dcat:theme, a skos:Concept |
| update cycle | dct:accrualPeriodicity (EU authority table of frequencies) |
| sharing attribute | dct:accessRights (EU authority table) with the attribute as label |
| scope, and with whom it may be shared as facts | dct:rights, a dct:RightsStatement in words |
| release date, version | dct:issued, dcat:version |
| format, items | dct:format and csvw:tableSchema of a distribution; its dcat:accessURL is the entry's here |
| related codes | dct:relation to the entries that bear them |
| interface | dcat:DataService with dcat:servesDataset; its address is the gateway's, never the supplier's |

What DCAT-AP 2.1.1 makes mandatory is there for every entry, with the classes it asks for.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from gateway.domain.directory import Dataset, Department, Interface, SharingAttribute, UpdateCycle
from gateway.domain.recipients import told

_EU = "http://publications.europa.eu/resource/authority"

_CONTEXT: Mapping[str, Any] = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "csvw": "http://www.w3.org/ns/csvw#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
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
    entries, served = tuple(datasets), tuple(interfaces)
    by_code = {entry.code: entry.id for entry in entries}
    competent = next((each for each in publishers.values() if each.competent), None)
    return {
        "@context": dict(_CONTEXT),
        "@id": f"{root}/v1/datasets",
        "@type": "dcat:Catalog",
        "dct:title": {"@language": "zh", "@value": title},
        "dct:description": {"@language": "zh", "@value": f"{title}：本级政务部门已发布的数据目录"},
        "dct:publisher": _publisher(competent.id, root, competent) if competent else _gateway(root),
        "dcat:dataset": [_dataset(entry, root, publishers.get(entry.supplier), by_code) for entry in entries],
        "dcat:service": [_service(interface, root) for interface in served],
    }


def _dataset(entry: Dataset, root: str, publisher: Department | None, by_code: Mapping[str, str]) -> dict[str, Any]:
    iri = _iri(root, "datasets", entry.id)
    found: dict[str, Any] = {
        "@id": iri,
        "@type": "dcat:Dataset",
        "dct:title": entry.name,
        "dct:description": entry.abstract.strip() or entry.name,
        "dct:identifier": entry.code,
        "dct:publisher": _publisher(entry.supplier, root, publisher),
        "dct:accrualPeriodicity": {
            "@id": f"{_EU}/frequency/{_FREQUENCIES[entry.update_cycle]}",
            "@type": "dct:Frequency",
        },
        "dct:accessRights": {
            "@id": f"{_EU}/access-right/{_ACCESS_RIGHTS[entry.sharing_attribute]}",
            "@type": "dct:RightsStatement",
            "rdfs:label": entry.sharing_attribute.value,
        },
        "dcat:version": str(entry.version),
        "dcat:distribution": {
            "@id": f"{iri}#distribution",
            "@type": "dcat:Distribution",
            "dcat:accessURL": {"@id": iri},
            "dct:format": {"@type": "dct:MediaTypeOrExtent", "rdfs:label": entry.format},
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
    if entry.category.strip():
        theme = {"@type": "skos:Concept", "skos:prefLabel": {"@language": "zh", "@value": entry.category}}
        found["dcat:theme"] = {"@id": _iri(root, "themes", entry.category), **theme}
    rights = [entry.scope.strip(), told(entry.recipients, chinese=True) if entry.recipients is not None else ""]
    if any(rights):
        label = {"@language": "zh", "@value": "；".join(filter(None, rights))}
        found["dct:rights"] = {"@type": "dct:RightsStatement", "rdfs:label": label}
    if entry.released_on:
        found["dct:issued"] = entry.released_on.isoformat()
    related = [{"@id": _iri(root, "datasets", by_code[code])} for code in entry.related_codes if code in by_code]
    return {**found, "dct:relation": related} if related else found


def _publisher(id_: str, root: str, department: Department | None) -> dict[str, Any]:
    name = department.name if department else id_
    return {"@id": _iri(root, "departments", id_), "@type": ["foaf:Agent", "foaf:Organization"], "foaf:name": name}


def _gateway(root: str) -> dict[str, Any]:
    return {"@id": f"{root}/", "@type": ["foaf:Agent", "foaf:Organization"], "foaf:name": "sharing gateway"}


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
