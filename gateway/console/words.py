"""Languages: the catalogues' texts, and dates, numbers and articles of the law as each language writes them.

A text in code or a template is its English; the Chinese stands in `locale/zh`. `make messages` collects what is new.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations
from starlette.requests import Request

from gateway.domain.calendar import CHINA
from gateway.domain.errors import prefers_chinese

LANGUAGES = {"zh": "中文", "en": "English"}
LANGUAGE_COOKIE = "console-language"
CATALOGUES = Path(__file__).parent / "locale"

_LAWS = {
    "Decree 809": "《政务数据共享条例》",
    "Zhongshan": "《中山市政务数据管理办法》",
    "PIPL": "《个人信息保护法》",
}
_CITED = re.compile(r"(?P<law>[A-Z][A-Za-z0-9 ]*?) Art\. (?P<articles>[0-9¶(),\s]+)$")
_PLACE = re.compile(r"(?P<article>\d+)?\s*(?:¶(?P<paragraph>\d+))?(?:\((?P<item>\d+)\))?")
_DIGITS = "零一二三四五六七八九"


@cache
def catalogue(language: str) -> NullTranslations:
    """The texts of a language; what a catalogue lacks, or is unsure of, is said in English."""
    file = CATALOGUES / language / "LC_MESSAGES" / "console.po"
    if not file.exists():
        return NullTranslations()
    compiled = BytesIO()
    with file.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    texts: NullTranslations = Translations(compiled)
    return texts


class Words:
    """One language.

    Args:
        language: `zh` or `en`.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = "zh-Hans" if language == "zh" else "en"
        self._locale = Locale.parse("zh_Hans_CN" if language == "zh" else "en_GB")
        texts = catalogue(language)
        self.gettext: Callable[[str], str] = lambda text: texts.gettext(text) if text else ""
        self.ngettext: Callable[[str, str, int], str] = texts.ngettext

    def moment(self, value: str | float | datetime | None) -> str:
        """A moment in China Standard Time, of RFC 3339 or Unix seconds."""
        if value in (None, ""):
            return ""
        if isinstance(value, (int, float)):
            value = datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        assert isinstance(moment, datetime)
        form = "yyyy年M月d日 HH:mm" if self.language == "zh" else "d MMM yyyy, HH:mm"
        return str(format_datetime(moment, form, tzinfo=CHINA, locale=self._locale))

    def day(self, value: str | date | None) -> str:
        """A day."""
        if value in (None, ""):
            return ""
        day = date.fromisoformat(value) if isinstance(value, str) else value
        assert isinstance(day, date)
        return str(format_date(day, "yyyy年M月d日" if self.language == "zh" else "d MMM yyyy", locale=self._locale))

    def number(self, value: float | None) -> str:
        """A number."""
        return "" if value is None else str(format_decimal(value, locale=self._locale))

    def article(self, cited: str) -> str:
        """Articles of a law, cited as the policies cite them: `Decree 809 Art. 27 ¶2; Decree 809 Art. 3`."""
        if self.language != "zh":
            return cited
        return "；".join(_in_chinese(each.strip()) for each in cited.split(";"))

    @property
    def comma(self) -> str:
        """Between two parts of a sentence."""
        return "，" if self.language == "zh" else ", "

    @property
    def between(self) -> str:
        """Between names one after the other."""
        return "、" if self.language == "zh" else ", "


@cache
def words_of(language: str) -> Words:
    """The words of a language, made once."""
    return Words(language)


def language_of(request: Request) -> str:
    """What the reader chose, else what the browser prefers."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return "zh" if prefers_chinese(request.headers.get("accept-language", "")) else "en"


def _in_chinese(cited: str) -> str:
    found = _CITED.fullmatch(cited)
    if found is None or found["law"] not in _LAWS:
        return cited
    places = []
    for part in found["articles"].split(","):
        place = _PLACE.fullmatch(part.strip())
        if place is None:
            return cited
        places.append(
            "".join(
                f"第{_numeral(int(number))}{unit}"
                for number, unit in ((place["article"], "条"), (place["paragraph"], "款"), (place["item"], "项"))
                if number
            )
        )
    return _LAWS[found["law"]] + "、".join(places)


def _numeral(number: int) -> str:
    """A number below a hundred as articles are numbered: 二十七."""
    tens, ones = divmod(number, 10)
    if tens == 0:
        return _DIGITS[ones]
    return ("" if tens == 1 else _DIGITS[tens]) + "十" + (_DIGITS[ones] if ones else "")
