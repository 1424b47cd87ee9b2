"""Examples of the OpenAPI document: a plausible city's household register, no real person or department.

All of them stand at one moment, `STANDS_AT`, and so do the kept answers. The document is read on another day, on which
a grant of theirs would have expired: `standing_on` moves every date in them by as many days, so that what lay ahead
lies ahead and what was over is over, whatever the day.
"""

import re
from datetime import date, datetime, timedelta
from typing import Any

from gateway.domain.calendar import CHINA

STANDS_AT = datetime(2026, 6, 1, 9, tzinfo=CHINA)
"""When the examples are told."""

_DATE = re.compile(r"(?<![\w-])(\d{4}-\d{2}-\d{2})(?=T\d|(?![\w-]))")


def standing_on(day: date, example: Any) -> Any:
    """An example, told on `day`: the dates in its values are moved, whole days, and nothing else."""
    if isinstance(example, dict):
        return {name: standing_on(day, value) for name, value in example.items()}
    if isinstance(example, list):
        return [standing_on(day, value) for value in example]
    if isinstance(example, str):
        by = day - STANDS_AT.date()
        return _DATE.sub(lambda found: _moved(found[1], by), example)
    return example


def _moved(written: str, by: timedelta) -> str:
    try:
        return (date.fromisoformat(written) + by).isoformat()
    except (ValueError, OverflowError):
        return written  # digits that are no date of this calendar


DEPARTMENT: dict[str, Any] = {
    "id": "public-security",
    "name": "市公安局",
    "region": "442000",
    "level": "city",
}

REORGANISATION: dict[str, Any] = {
    "kind": "merge",
    "departments": ["market"],
    "successor": "civil-affairs",
    "document": "中编办发〔2026〕9号",
    "reason": "institutional reform of the municipality",
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

CERTIFICATES: dict[str, Any] = {
    "supplier": "public-security",
    "name": "police-ca",
    "use": "authority",
    "pem": (
        "-----BEGIN CERTIFICATE-----\n"
        "MIIBGjCBzaADAgECAgQBNSUFMAUGAytlcDAqMSgwJgYDVQQDDB9FeGFtcGxlIENp\n"
        "dHkgUHVibGljIFNlY3VyaXR5IENBMCAXDTI2MDEwMTAwMDAwMFoYDzIwNTYwMTAx\n"
        "MDAwMDAwWjAqMSgwJgYDVQQDDB9FeGFtcGxlIENpdHkgUHVibGljIFNlY3VyaXR5\n"
        "IENBMCowBQYDK2VwAyEAnPYbko3GTuKTgkUKpjIYZ49xiO4w5nNXczAjlVVnpHej\n"
        "EzARMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EAfOb6iH5AaSswbyeYlTLDPhHK\n"
        "ynpIDH3x29kt35mYAQjQovyGunO8cLPiT9D3f/9Fwk000sew0brMyF8XskImBA==\n"
        "-----END CERTIFICATE-----\n"
    ),
}

CREDENTIAL: dict[str, Any] = {
    "supplier": "public-security",
    "name": "police-appcode",
    "kind": "field",
    "field": "Authorization",
    "prefix": "APPCODE ",
    "secret": "what the supplier has given",
}

TRIAL: dict[str, Any] = {
    "interface": INTERFACE,
    "answer": '{"code":0,"data":[{"name":"…","id_number":"…","marital_status":"…","phone":"…"}]}',
}

HOST: dict[str, Any] = {
    "supplier": "public-security",
    "address": "records.public-security.example",
    "shares": {"/marriage": "civil-affairs"},
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

PROPOSAL: dict[str, Any] = {
    **{name: value for name, value in GRANT.items() if name not in ("demand_approval", "supply_approval")},
    "id": "g-2026-0100",
}

DRAFT: dict[str, Any] = {
    "grant": {**PROPOSAL, "id": "g-2026-0200"},
    "answers": ["only couples whose registration is pending are looked up"],
}

DOUBT: dict[str, Any] = {
    "dataset": "307010001.000012",
    "items": ["marital_status"],
    "statement": "the status is that of before a registration of May",
}

CONTENTION: dict[str, Any] = {
    "grant": "g-2026-0001",
    "reason": "the demand department holds that the third item was part of the application",
}

INCIDENT: dict[str, Any] = {
    "grant": "g-2026-0001",
    "statement": "a workstation that held an extract was lost on the way between two counters",
    "measures": "its certificate was revoked, the extract's keys were destroyed",
}

RETURN_REQUEST: dict[str, Any] = {
    "department": "province-bureau",
    "statement": "the declarations that the provincial portal collected from this city's residents in May",
}

COMPLAINT: dict[str, Any] = {
    "department": "civil-affairs",
    "statement": "at the counter my marital status was read out aloud, though I had come for another matter",
    "contact": "by post to the address in the matter's file",
}

CORRECTION: dict[str, Any] = {
    "department": "civil-affairs",
    "ground": "40(5)",
    "statement": "no record of effect was kept in the first quarter; it is to be drawn up from the counters' lists",
    "due_on": "2026-06-30",
    "reference": "政数责〔2026〕4号",
}

DIRECTORY_CHANGE: dict[str, Any] = {
    "cause": "law",
    "occurred_on": "2026-05-28",
    "statement": "the amended regulations name the divorce certificate's number as an item",
    "dataset": "307010001.000012",
}

SUSPENSION: dict[str, Any] = {
    "violation": "queries of persons without a registration pending, found in the May review",
    "rectify_by": "2026-12-31",
}

LIFT: dict[str, Any] = {"reason": "rectified: the batch job was removed, evidence 民函〔2026〕9号"}

TERMINATION: dict[str, Any] = {
    "reason": "the service is replaced by the provincial interface",
    "consultation": "minutes of 2026-05-20, item 3",
    "filing": "政数备〔2026〕18号",
}

CLOSURE: dict[str, Any] = {
    "outcome": "achieved",
    "reason": "the census check is complete",
    "dispose_by": "2027-01-31",
}

DISPOSAL: dict[str, Any] = {
    "method": "secure erasure of the tables and their backups",
    "destroyed_on": "2026-06-01",
    "carried_out_by": "data centre, witnessed by the archive",
}

DISPUTE: dict[str, Any] = {"reason": "the demand department holds that the sixth item was part of the application"}

SETTLEMENT: dict[str, Any] = {"outcome": "coordinated on 2026-05-14: the item stays out, minutes 政数协〔2026〕5号"}

REPORT: dict[str, Any] = {"reference": "网安报〔2026〕11号"}

DERIVATION: dict[str, Any] = {
    "openapi": {
        "openapi": "3.0.3",
        "info": {"title": "household", "version": "1"},
        "servers": [{"url": "https://household.public-security.example"}],
        "paths": {
            "/persons": {
                "get": {
                    "parameters": [{"name": "id_number", "in": "query", "schema": {"type": "string"}}],
                    "responses": {
                        "200": {
                            "description": "one person",
                            "content": {
                                "application/json": {
                                    "schema": {
                                        "type": "object",
                                        "properties": {
                                            "name": {"type": "string"},
                                            "id_number": {"type": "string"},
                                            "marital_status": {"type": "string"},
                                        },
                                    }
                                }
                            },
                        }
                    },
                }
            }
        },
    },
    "path": "/persons",
    "dataset": "307010001.000012",
    "id": "household",
}

ORDER: dict[str, Any] = {
    "kind": "emergency",
    "reach": "system",
    "target": "marriage-registry",
    "reason": "credentials of the system were found in a public repository",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "KeyBody": {"key": SYSTEM["keys"][0]},
    "RevocationBody": {"reason": "the system was replaced, 民函〔2026〕12号"},
    "OfficerBody": {"id": "li-ming", "department": "civil-affairs", "region": "442000", "roles": ["demand"]},
    "FiledBody": {
        "kind": "effect",
        "grant": "g-2026-0001",
        "statement": "4,120 certificates were no longer asked for in the first quarter",
        "period_from": "2026-01-01",
        "period_until": "2026-03-31",
    },
    "ExportBody": {"format": "ndjson", "dataset": "307010001.000012", "from": "2026-04-01T00:00:00+08:00"},
    "ErasureBody": {"fields": ["operator"], "reason": "the person asked for it; the department keeps the number"},
    "ApplyBody": {"plan": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "RotationBody": {"reason": "yearly rotation"},
    "LegacyKeyBody": {"purpose": "marriage-registration", "secret": "as the platform gave it"},
    "ApprovalBody": {"digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "RefusalBody": {"reasons": "the items are more than the registration needs (Zhongshan Art. 19)"},
    "DraftBody": DRAFT,
    "DoubtBody": DOUBT,
    "ContentionBody": CONTENTION,
    "OutcomeBody": {"outcome": "corrected", "statement": "the status was that of before the registration"},
    "AgreementBody": {"outcome": "the item is applied for anew", "reference": "政数协〔2026〕5号"},
    "DigestApprovalBody": {"digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "ReasonsBody": {"reasons": "the need has gone"},
    "MissingBody": {"missing": ["the counters by name"]},
    "ExtensionBody": {"days": 5, "reasons": "the register is being moved"},
    "ExtensionApprovalBody": {"reference": "政数〔2026〕3号"},
    "NarrowingBody": {
        "grant": {**PROPOSAL, "id": "g-2026-0200", "items": ["name"]},
        "reasons": "the registration needs the name alone",
    },
    "SharingBody": {"shared_on": "2026-06-01", "statement": "by the interface household"},
    "UrgingBody": {"reasons": "no reply within ten working days", "reference": "政数催〔2026〕1号"},
    "NoticeBody": {"order": "o-20260601-0c1b4e5f9a27"},
    "ToldBody": {"statement": "the batch job was removed, and the list of queries is kept from now on"},
    "AgainBody": {"reasons": "the list of June is missing", "due_on": "2026-06-30"},
    "FailureBody": {"rectification": "no proof came in two months, and the batch job runs", "refused": True},
    "EndedBody": {"grant": "g-2026-0001"},
    "RequirementBody": {"statement": "overwritten, with the backups; a protocol is attached", "due_on": "2026-06-30"},
    "DestructionBody": DISPOSAL,
    "IncidentBody": INCIDENT,
    "ConclusionBody": {
        "cause": "the extract was kept on a movable disk",
        "harm": "none is known: the disk was encrypted",
        "remedy": "extracts are no longer kept on movable disks",
        "reference": "网安报〔2026〕12号",
    },
    "ReturnRequestBody": RETURN_REQUEST,
    "PromiseBody": {"due_on": "2026-06-30", "statement": "by a monthly batch through the gateway"},
    "ReturnedBody": {"returned_on": "2026-06-01", "statement": "the declarations of May, 12 files"},
    "ComplaintBody": COMPLAINT,
    "HandOverBody": {
        "department": "civil-affairs",
        "reasons": "it is about its counter",
        "due_on": "2026-06-30",
    },
    "ReplyBody": {"reply": "the counter was moved; statuses are shown and no longer read out"},
    "CorrectionBody": CORRECTION,
    "EscalationBody": {"reasons": "refused twice", "to": "the municipal people's government"},
    "DirectoryChangeBody": DIRECTORY_CHANGE,
    "SubmissionBody": {"dataset": "307010001.000012", "entry_version": 2},
    "ReleaseBody": {"reasons": "examined, 政数目〔2026〕2号"},
    "CommentBody": {"comment": "which counters are meant?"},
    "NewPasswordBody": {"password": "a phrase of several words"},
    "PasswordBody": {"officer": "li-ming", "password": "a phrase of several words"},
}
"""Bodies whose routes give no example of their own, by the name of the body."""
