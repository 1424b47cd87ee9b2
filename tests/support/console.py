"""A browser without scripts for the console: it keeps cookies, reads forms, fills them in and sends them."""

from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

PASSWORD = "nine cups of jasmine tea"
VOID = frozenset({"input", "meta", "link", "br", "img", "hr"})


class Form:
    """A form: where it is sent, its fields as they stand, and its buttons."""

    def __init__(self, attributes: Mapping[str, str | None]) -> None:
        self.action = attributes.get("action") or ""
        self.method = (attributes.get("method") or "get").upper()
        self.fields: dict[str, str] = {}


class Page(HTMLParser):
    """What stands on a page."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.status = answer.status_code
        self.url = str(answer.url)
        self.headers = answer.headers
        self.source = answer.text
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._open: list[str] = []
        self._link: tuple[str, int] | None = None
        self._area: str | None = None
        self._select: str | None = None
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag in {"td", "th", "dt", "dd", "li", "p"}:
            self._text.append(" ")
        if tag not in VOID:
            self._open.append(tag)
        name = given.get("name") or ""
        if tag == "form":
            self.forms.append(Form(given))
        elif tag == "a":
            self._link = (given.get("href") or "", len(self._text))
        elif tag == "input" and self.forms and name:
            if given.get("type") not in {"radio", "checkbox"} or "checked" in given:
                self.forms[-1].fields[name] = given.get("value") or ""
        elif tag == "textarea" and self.forms:
            self._area = name
            self.forms[-1].fields[name] = ""
        elif tag == "select" and self.forms:
            self._select = name
            self.forms[-1].fields.setdefault(name, "")
        elif tag == "option" and self._select and "selected" in given:
            self.forms[-1].fields[self._select] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            self.links["".join(self._text[self._link[1] :]).strip()] = self._link[0]
            self._link = None
        if tag == "textarea":
            self._area = None
        if tag == "select":
            self._select = None
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._area is not None and self.forms:
            self.forms[-1].fields[self._area] += data.removeprefix("\n")
        self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def form(self, action: str) -> Form:
        """The form that is sent to an address ending so."""
        found = [each for each in self.forms if each.action.endswith(action)]
        assert found, f"no form to {action} on {self.url}: {self.text[:600]}"
        return found[0]


class Browser:
    """One officer's browser.

    Args:
        ask: sends a request and gives its answer, without following it.
        base: the origin.
        language: what it prefers.
    """

    def __init__(self, ask: Any, base: str, language: str = "en") -> None:
        self._ask = ask
        self._base = base
        self._language = language
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []

    def open(self, path: str, method: str = "GET", data: Mapping[str, str] | None = None, **headers: str) -> Page:
        """The page at an address, after all redirects."""
        for _ in range(6):
            answer = self.send(path, method, data, **headers)
            if answer.status_code not in {302, 303, 307}:
                return Page(answer)
            path, method, data = urljoin(path, answer.headers["location"]), "GET", None
        raise AssertionError("the redirects have no end")

    def send(
        self, path: str, method: str = "GET", data: Mapping[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        """One request and its answer."""
        assert urlsplit(path).netloc == "", f"the browser was sent to another site: {path}"
        fields = {"Accept-Language": self._language, **{name.replace("_", "-"): each for name, each in headers.items()}}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer: httpx.Response = self._ask(method, path, data=data, headers=fields)
        self.keep(answer.headers.get_list("set-cookie"))
        return answer

    def keep(self, lines: Iterable[str]) -> None:
        """Take the cookies of an answer."""
        for line in lines:
            self.set_cookies.append(line)
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value

    def submit(self, page: Page, action: str, **typed: str) -> Page:
        """Fill in a form and send it."""
        form = page.form(action)
        fields = {**form.fields, **typed}
        if form.method == "GET":
            return self.open(f"{form.action}?{httpx.QueryParams(fields)}")
        return self.open(form.action, "POST", fields)

    def sign_in(self, officer: str, password: str = PASSWORD, at: str = "/console/") -> Page:
        return self.submit(self.open(at), "/sign-in", officer=officer, password=password)
