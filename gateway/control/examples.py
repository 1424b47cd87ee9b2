"""Examples of the OpenAPI document: a plausible city's household register, no real person or department."""

from typing import Any

DEPARTMENT: dict[str, Any] = {
    "id": "public-security",
    "name": "市公安局",
    "region": "442000",
    "level": "city",
}

PURPOSE: dict[str, Any] = {
    "id": "marriage-registration",
    "name": "婚姻登记",
    "basis": "Regulations on Marriage Registration Art. 7",
}

SYSTEM: dict[str, Any] = {
    "id": "marriage-registry",
    "department": "civil-affairs",
    "name": "婚姻登记系统",
    "keys": [
        {
            "kty": "EC",
            "crv": "P-256",
            "kid": "2026-08",
            "x": "bEIIBbulLJwv5IKfY-yY3Q7RB5P_wBVJZFcjRK4nKkM",
            "y": "o8J5ISA40_SKyHpb7xU6pJDEO9Ijax1Gzzd5hBU0sZ4",
        }
    ],
}

DATASET: dict[str, Any] = {
    "id": "307010001.000012",
    "code": "307010001/000012",
    "name": "户籍人口基本信息",
    "supplier": "public-security",
    "format": "service interface, JSON",
    "update_cycle": "day",
    "sharing_attribute": "conditional",
    "sharing_modes": ["query", "verify"],
    "conditions": "handling of the matters named under purposes",
    "scope": "civil affairs departments at and above county level",
    "purposes": ["marriage-registration"],
    "grade": 3,
    "classification": "personal information",
    "items": [
        {"name": "name", "title": "姓名"},
        {"name": "id_number", "title": "公民身份号码", "sensitive": True},
        {"name": "marital_status", "title": "婚姻状况"},
    ],
}

INTERFACE: dict[str, Any] = {
    "id": "household",
    "supplier": "public-security",
    "dataset": "307010001.000012",
    "upstream": "https://household.public-security.example",
    "modes": ["query"],
    "places": {"name": "/name", "id_number": "/id_number", "marital_status": "/marital_status"},
    "subject_parameter": "id_number",
}

GRANT: dict[str, Any] = {
    "id": "g-2026-0001",
    "department": "civil-affairs",
    "dataset": "307010001.000012",
    "items": ["name", "marital_status"],
    "purposes": ["marriage-registration"],
    "modes": ["query"],
    "valid_from": "2026-01-01T00:00:00+08:00",
    "valid_until": "2027-01-01T00:00:00+08:00",
    "legal_basis": "Regulations on Marriage Registration Art. 7",
    "scenario": "checking both parties' marital status at registration",
    "scope_of_use": "the city's marriage registration offices",
    "demand_approval": {"person": "li-ming", "at": "2025-12-01T09:00:00+08:00", "reference": "民函〔2025〕31号"},
    "supply_approval": {"person": "wang-fang", "at": "2025-12-10T15:00:00+08:00", "reference": "公函〔2025〕77号"},
}

SUSPENSION: dict[str, Any] = {
    "violation": "queries of persons without a registration pending, found in the July review",
    "rectify_by": "2026-12-31",
}

LIFT: dict[str, Any] = {"reason": "rectified: the batch job was removed, evidence 民函〔2026〕9号"}

TERMINATION: dict[str, Any] = {
    "reason": "the service is replaced by the provincial interface",
    "consultation": "minutes of 2026-07-02, item 3",
    "filing": "政数备〔2026〕18号",
}

CLOSURE: dict[str, Any] = {
    "outcome": "achieved",
    "reason": "the census check is complete",
    "dispose_by": "2027-01-31",
}

DISPOSAL: dict[str, Any] = {
    "method": "secure erasure of the tables and their backups",
    "destroyed_on": "2026-11-20",
    "carried_out_by": "data centre, witnessed by the archive",
}

ORDER: dict[str, Any] = {
    "kind": "emergency",
    "reach": "system",
    "target": "marriage-registry",
    "reason": "credentials of the system were found in a public repository",
}
