"""The classes of data that a directory entry can name (Decree 809 Art. 13), and the secrets that none can (Art. 3).

The vocabulary is closed: policies speak of classes by name, so a word that nobody knows gives nothing. A class is known
by its slug and by the names that directories write; which letters are capital, and blanks, dashes and underscores, do
not matter.
"""

import difflib
import re
import unicodedata
from collections.abc import Mapping

CLASSES: Mapping[str, tuple[str, ...]] = {
    "general": ("一般数据", "一般", "general data", "其他", "other"),
    "public": ("公共数据", "公开数据", "public data", "open data"),
    "personal": ("个人信息", "个人数据", "personal information", "personal data"),
    "sensitive-personal": ("敏感个人信息", "sensitive personal information"),
    "population": ("人口", "人口信息", "人口数据", "population data"),
    "legal-entity": ("法人", "法人信息", "法人单位信息", "企业信息", "legal entity", "enterprise"),
    "geography": ("自然资源", "空间地理", "自然资源和空间地理", "地理信息", "geographic information"),
    "economy": ("宏观经济", "经济运行", "macroeconomic"),
    "credit": ("信用", "信用信息", "社会信用", "credit information"),
    "certificate": ("电子证照", "证照", "证照信息", "certificates", "licences"),
    "business": ("业务数据", "业务信息", "政务业务", "公共管理", "public administration", "business data"),
    "important": ("重要数据", "important data"),
}
"""Slug -> other names of the class; a test holds that `policies/national/art13-classes.cedar` lists the same."""

SECRETS: Mapping[str, tuple[str, ...]] = {
    "state secret": (
        "国家秘密",
        "绝密",
        "机密",
        "秘密",
        "涉密",
        "密",
        "state-secret",
        "top secret",
        "secret",
        "confidential",
        "classified",
        "涉密数据",
    ),
    "work secret": (
        "工作秘密",
        "内部",
        "内部资料",
        "内部数据",
        "work-secret",
        "internal",
        "internal use only",
        "restricted",
    ),
}
"""What is no government data -> the words for it."""


def _plain(word: str) -> str:
    return re.sub(r"[\s_\-·★☆]+", "", unicodedata.normalize("NFKC", word)).casefold()


_CLASS_OF = {_plain(name): slug for slug, names in CLASSES.items() for name in (slug, *names)}
_SECRET_OF = {_plain(name): secret for secret, names in SECRETS.items() for name in names}


def class_of(word: str) -> str:
    """The slug of the class that a word names, "" where it names none."""
    return _CLASS_OF.get(_plain(word), "")


def secret_of(word: str) -> str:
    """Which secret a word names, "" where it names none; a mark or period beside it (`机密★10年`) hides nothing."""
    plain = _plain(word)
    found = _SECRET_OF.get(plain)
    if found is None:
        found = next((_SECRET_OF[_plain(name)] for name in ("绝密", "机密", "秘密") if name in plain), "")
    return found


def nearest(word: str) -> str:
    """The known class whose name is most like a word, in words for who wrote it."""
    close = difflib.get_close_matches(_plain(word), _CLASS_OF, 1, 0)
    slug = _CLASS_OF[close[0]] if close else "general"
    return f"`{slug}` ({CLASSES[slug][0]})"
