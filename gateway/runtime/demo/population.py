"""A synthetic population: persons, marriages and companies that look plausible and are nobody.

Identity numbers have the form of GB 11643 with a right check digit, but begin with 990100, a division code that
GB/T 2260 does not assign, so that none can belong to a person. Company codes have the form of GB 32100 in the same
way. The same seed gives the same population.
"""

import random
from datetime import date, timedelta
from typing import Any

REGION = "990100"
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红建文云志新"
_STREETS = ("和平路", "建设路", "文化路", "解放路", "中山路", "人民路", "青年路", "学府路")
_TRADES = ("科技", "贸易", "建材", "食品", "物流", "文化传播", "环保", "医药")
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


class Population:
    """Persons, marriages and companies.

    Args:
        seed: the same seed gives the same population.
        persons: how many persons; a third of them are married, a tenth own a company.
    """

    def __init__(self, seed: int = 809, persons: int = 600) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- a reproducible fiction, nothing secret
        self.persons = [self._person(index) for index in range(persons)]
        self.marriages = self._marriages()
        self.companies = [self._company(index, owner) for index, owner in enumerate(self.persons[::10])]

    def _person(self, index: int) -> dict[str, Any]:
        choose = self._random.choice
        female = self._random.random() < 0.5
        born = date(1950, 1, 1) + timedelta(days=self._random.randrange(20_000))
        order = (index % 499) * 2 + (0 if female else 1)
        given = "".join(self._random.sample(_GIVEN, self._random.choice((1, 2))))
        return {
            "id_number": identity_number(REGION, born, order),
            "name": choose(_SURNAMES) + given,
            "sex": "女" if female else "男",
            "birth_date": born.isoformat(),
            "ethnicity": choose(("汉族", "汉族", "汉族", "壮族", "瑶族", "畲族")),
            "address": {
                "city": "示例市",
                "street": f"{choose(_STREETS)}{self._random.randrange(1, 300)}号",
                "postcode": f"99{self._random.randrange(10_000):04d}",
            },
            "household_type": choose(("家庭户", "集体户")),
            "phone": f"100{self._random.randrange(10**8):08d}",
            "region": REGION,
        }

    def _marriages(self) -> list[dict[str, Any]]:
        women = [person for person in self.persons if person["sex"] == "女"]
        men = [person for person in self.persons if person["sex"] == "男"]
        marriages = []
        for number, (wife, husband) in enumerate(zip(women, men, strict=False)):
            if number % 3:
                continue
            married = date(1990, 1, 1) + timedelta(days=self._random.randrange(13_000))
            marriages.append(
                {
                    "certificate": f"J{REGION}-{married.year}-{number:06d}",
                    "registered_on": married.isoformat(),
                    "office": "示例市民政局婚姻登记处",
                    "status": "已婚" if self._random.random() < 0.9 else "离婚",
                    "wife": {"id_number": wife["id_number"], "name": wife["name"]},
                    "husband": {"id_number": husband["id_number"], "name": husband["name"]},
                }
            )
        return marriages

    def _company(self, index: int, owner: dict[str, Any]) -> dict[str, Any]:
        founded = date(2000, 1, 1) + timedelta(days=self._random.randrange(9_000))
        trade = self._random.choice(_TRADES)
        return {
            "uscc": company_code(REGION, index),
            "name": f"示例市{owner['name'][0]}氏{trade}有限公司",
            "legal_representative": owner["name"],
            "representative_id": owner["id_number"],
            "registered_capital_yuan": self._random.randrange(10, 5_000) * 10_000,
            "founded_on": founded.isoformat(),
            "status": self._random.choice(("存续", "存续", "存续", "注销")),
            "shareholders": [
                {"name": owner["name"], "share_percent": 60},
                {"name": self._random.choice(self.persons)["name"], "share_percent": 40},
            ],
            "region": REGION,
        }


def identity_number(region: str, born: date, order: int) -> str:
    """An 18-digit number of the form of GB 11643: region, birth date, order, check digit (ISO 7064 MOD 11-2)."""
    body = f"{region}{born:%Y%m%d}{order:03d}"
    total = sum(int(digit) * weight for digit, weight in zip(body, _ID_WEIGHTS, strict=True))
    return body + "10X98765432"[total % 11]


def company_code(region: str, order: int) -> str:
    """An 18-character code of the form of GB 32100: authority, kind, region, organisation, check character."""
    body = f"91{region}{order:09d}"
    total = sum(_USCC_ALPHABET.index(character) * 3**place % 31 for place, character in enumerate(body))
    return body + _USCC_ALPHABET[(31 - total % 31) % 31]
