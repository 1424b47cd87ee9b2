"""Tells a story to the control plane and keeps what it answers, by operation, with the refusals of each.

Whatever is told of for the first time is first asked for as it must be refused: without a credential, by an officer
whom it does not concern, of a thing that is not there, with a faulty body, against another state, and afterwards with
a key that was sent before. What is refused as a problem is kept as the operation's.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx

from gateway.control.app.answers import BINARY, problem_of
from tests.answers.stand_ins import StandIns, cut, with_few_files
from tests.answers.world import Clock, FullWorld

JSON = {"application/json", "application/ld+json"}
PROBLEM = "application/problem+json"
UNCONCERNED = {"GET": "market-both"}
NOT_THERE = {"number": 1 << 40, "version": 99, "path": "9/999", "contract": "unknown", "name": "unknown"}
KEPT_HEADERS = ("ETag", "Location", "Link", "Sharing-Record", "Preference-Applied")
SETTLED_SECONDS = 30.0
READ_BY_POST = {"/v1/records/search", "/v1/records/export"}


class Teller:
    """Keeps the answers to one story.

    Args:
        world: whom it is told to.
        clock: goes on by a minute with each sentence.
    """

    def __init__(self, world: FullWorld, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self.kept: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, tuple[str, Any, dict[str, Any]]] = {}
        self.operations = {
            f"{method.upper()} {path}": declared
            for path, operations in world.app.openapi()["paths"].items()
            for method, declared in operations.items()
        }
        self._stand_ins = StandIns()
        self._keys = 0

    def tell(
        self,
        operation: str,
        officer: str | None,
        body: Any = None,
        *,
        case: str = "answer",
        again: bool = False,
        brief: bool = False,
        is_noise: bool = False,
        options: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        **places: Any,
    ) -> httpx.Response:
        """Ask, and keep the answer.

        Args:
            operation: method and path, as the document names it.
            officer: who asks; None: nobody who signed in.
            body: JSON.
            case: tells answers of one status and type apart.
            again: ask once more afterwards, to be refused.
            brief: show what is answered, and what is without a credential, and no more: other operations of the same
                mechanism are told of at length.
            is_noise: whether every byte of the answer varies.
            options: of the request: `params`, `content`, `data`.
            headers: of the request.
            places: the path's parameters.
        """
        method, _, template = operation.partition(" ")
        declared = self.operations[operation]
        path = template.format(**places)
        sent = {**(options or {}), "headers": headers or {}}
        is_signed_in = {"officer": []} in declared.get("security", [])
        is_first = not self._entry(operation)["answers"]
        if is_first and brief and is_signed_in:
            self._refuse(operation, self._ask_alone(None, method, path, body, sent))
        elif is_first:
            self._refusals(operation, officer, body, sent, places)
        key = {}
        if "Idempotency-Key" in _parameters(declared) and not brief:
            self._keys += 1
            key = {"Idempotency-Key": f"example-{self._keys:04d}"}
        if is_signed_in and not brief:
            self.asked.setdefault(operation, (path, body, sent))
        # What is told briefly tells nothing of the log, so nothing waits for it.
        ask = self._ask_alone if brief else self._ask
        answer = ask(officer, method, path, body, {**sent, "headers": {**sent["headers"], **key}})
        self._keep(operation, answer, case, is_noise=is_noise)
        if key and answer.is_success:
            other = {**sent["headers"], **key, "If-Match": '"another"'}
            self._keep_problem(operation, self._ask(officer, method, path, body, {**sent, "headers": other}))
        if again:
            self._refuse(operation, self._ask(officer, method, path, body, sent))
        return answer

    def refused(self, operation: str, answer: httpx.Response) -> None:
        """Keep a refusal of an operation that is told of in due course."""
        self._entry(operation)
        self._refuse(operation, answer)

    def settle(self) -> None:
        """Wait until the ledger has taken in all that was recorded."""
        ledger = self.world.ledger
        until = time.monotonic() + SETTLED_SECONDS
        while ledger.integrator.backlog():
            assert time.monotonic() < until, "the ledger does not take in what was recorded"
            time.sleep(0.005)
        # The round that took in the last of it has ended.
        ledger.on_integrator(lambda: None)

    def _refusals(
        self, operation: str, officer: str | None, body: Any, sent: dict[str, Any], places: dict[str, Any]
    ) -> None:
        method, _, template = operation.partition(" ")
        declared = self.operations[operation]
        path = template.format(**places)
        if {"officer": []} in declared.get("security", []):
            self._refuse(operation, self._ask(None, method, path, body, sent))
            unconcerned = UNCONCERNED.get(method, "auditor")
            if unconcerned != officer:
                self._keep_problem(operation, self._ask(unconcerned, method, path, body, sent))
        if places:
            elsewhere = template.format(**{name: NOT_THERE.get(name, "unknown") for name in places})
            self._refuse(operation, self._ask(officer, method, elsewhere, body, sent))
        if body is not None:
            self._refuse(operation, self._ask(officer, method, path, {"unknown": True}, sent))
        if "limit" in _parameters(declared):
            options = {**sent, "params": {"limit": 0}}
            self._refuse(operation, self._ask(officer, method, path, body, options))
        if "If-Match" in _parameters(declared):
            stale = {**sent, "headers": {**sent["headers"], "If-Match": '"another"'}}
            self._refuse(operation, self._ask(officer, method, path, body, stale))

    def _ask(self, officer: str | None, method: str, path: str, body: Any, sent: dict[str, Any]) -> httpx.Response:
        self.settle()
        # What a reading answers of the log's size is the same each time only where its own record is not in yet.
        is_reading = method == "GET" or path in READ_BY_POST
        with self.held() if path.startswith("/v1/records") and is_reading else nullcontext():
            return self.world.ask(officer, method, path, body, **sent)

    def _ask_alone(
        self, officer: str | None, method: str, path: str, body: Any, sent: dict[str, Any]
    ) -> httpx.Response:
        """As `_ask`, of what does not depend on what the ledger has taken in."""
        return self.world.ask(officer, method, path, body, **sent)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the ledger's integration for so long."""
        holding, over = threading.Event(), threading.Event()
        hold = lambda: (holding.set(), over.wait(SETTLED_SECONDS))  # noqa: E731
        holder = threading.Thread(target=self.world.ledger.on_integrator, args=(hold,))
        holder.start()
        assert holding.wait(SETTLED_SECONDS)
        try:
            yield
        finally:
            over.set()
            holder.join()

    def _entry(self, operation: str) -> dict[str, Any]:
        return self.kept.setdefault(operation, {"answers": [], "problems": {}})

    def _refuse(self, operation: str, answer: httpx.Response) -> None:
        assert self._keep_problem(operation, answer), (operation, answer.status_code, answer.text[:500])

    def _keep_problem(self, operation: str, answer: httpx.Response) -> bool:
        """Keep a refusal as an example of its code, if it is a problem and the first of that code."""
        if answer.headers.get("content-type") != PROBLEM:
            return False
        told = answer.json()
        code = told["type"].removeprefix("/problems/")
        of_table = problem_of(code, {})
        members = {name: value for name, value in told.items() if name not in of_table}
        assert problem_of(code, members) == told
        self.kept[operation]["problems"].setdefault(code, self._stand_ins.value(members))
        return True

    def _keep(self, operation: str, answer: httpx.Response, case: str, *, is_noise: bool) -> None:
        assert answer.headers.get("content-type") != PROBLEM, (operation, answer.text)
        assert answer.status_code != 500
        self.clock.at += 60
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind in JSON:
            shown = self._stand_ins.value(with_few_files(answer.json()))
        elif kind in BINARY:
            # Of a file whose octets are its writer's, the magic alone.
            content = answer.content[:4] if kind.endswith("parquet") else answer.content
            shown = self._stand_ins.content(content, is_noise=is_noise)
        else:
            shown = cut(self._stand_ins.text(answer.text))
        headers = {
            name: self._stand_ins.text(", ".join(answer.headers.get_list(name)))
            for name in KEPT_HEADERS
            if name in answer.headers
        }
        kept = {"status": answer.status_code, "type": kind if answer.content else "", "headers": headers, "case": case}
        answers = self.kept[operation]["answers"]
        assert all(
            (each["status"], each["type"], each["case"]) != (kept["status"], kept["type"], case) for each in answers
        )
        answers.append({**kept, "body": shown})


def _parameters(declared: dict[str, Any]) -> set[str]:
    return {each["name"] for each in declared.get("parameters", ())}
