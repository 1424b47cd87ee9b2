"""AuthZEN 1.0: the certification scenario's cases in this gateway's words, and that no evaluator is an oracle.

The scenario's fixture is told by this schema: its users are systems, its records are interfaces, `read` is `query` and
`write` is `batch`. What rests on properties that callers make up (`role`, `status`, `soft`) has no counterpart: the
directory says what a system or a dataset is, and nobody who asks does. Those cases are therefore not here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.directory import SharingMode
from gateway.domain.verdicts import Call, Explanation, Rule, Verdict
from tests.support.beside import CREDENTIALS, asking
from tests.support.proxy_ports import CallerSide, House, deny, interface_for, permit

ALICE = {"type": "system", "id": "alice"}
BOB = {"type": "system", "id": "bob"}
FIRST = {"type": "interface", "id": "hukou/person"}
SECOND = {"type": "interface", "id": "hukou/other"}
READ, WRITE = {"name": "query"}, {"name": "batch"}
WHY = {"purpose": "p"}
PERMITTED = {("alice", "query"), ("alice", "batch"), ("bob", "query")}
WHOLE = {"subject": ALICE, "action": READ, "resource": FIRST, "context": WHY}

Ask = Callable[..., Awaitable[tuple[int, dict[bytes, bytes], Any]]]


def by_fixture(call: Call) -> Verdict:
    return permit(masks=(("xm", "name"),)) if (call.system, call.mode.value) in PERMITTED else deny("not-granted")


def run(folder: Path, story: Callable[[Ask, House], Awaitable[None]]) -> House:
    modes = {"modes": (SharingMode.QUERY, SharingMode.BATCH)}
    house = House(interface_for(1, **modes), interface_for(1, id="other", dataset="d-2", **modes))
    house.decide = by_fixture  # type: ignore[method-assign]

    async def told() -> None:
        async with asking(house, folder) as at:
            evaluator = await at.connect()

            async def ask(
                path: str, document: Any, fields: str = "", kind: str = "application/json", name: str = "pdp"
            ) -> tuple[int, dict[bytes, bytes], Any]:
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                typed = f"Content-Type: {kind}\r\n" if kind else ""
                head = (
                    f"POST /access/v1/{path} HTTP/1.1\r\nHost: pdp.example\r\nAuthorization: Bearer "
                    f"{CREDENTIALS.get(name, name)}\r\n{typed}Content-Length: {len(body)}\r\n{fields}\r\n"
                )
                status, answered, content = await evaluator.ask(head.encode() + body)
                return status, answered, json.loads(content)

            await story(ask, house)

            status, _, content = await evaluator.ask(
                b"GET /.well-known/authzen-configuration HTTP/1.1\r\nHost: pdp.example\r\nAuthorization: Bearer "
                + CREDENTIALS["pdp"].encode()
                + b"\r\n\r\n"
            )
            told = json.loads(content)
            assert (status, told["policy_decision_point"]) == (200, "http://pdp.example")
            assert told["access_evaluation_endpoint"] == "http://pdp.example/access/v1/evaluation"

    asyncio.run(told())
    return house


def test_an_evaluation_says_yes_or_no_with_what_binds_and_is_no_use(tmp_path: Path) -> None:
    """Items, masks and time in `context`; nothing is recorded, and a faulty request is a 400."""

    async def story(ask: Ask, _: House) -> None:
        for subject, action, decision in (
            (ALICE, READ, True),
            (ALICE, WRITE, True),
            (BOB, READ, True),
            (BOB, WRITE, False),
        ):
            for more in ({}, {"foo": "bar", "futureField": {"nested": True}}):
                _, fields, answer = await ask("evaluation", {**WHOLE, "subject": subject, "action": action, **more})
                assert answer["decision"] is decision
                assert fields[b"cache-control"] == b"no-store"
        obligations = (await ask("evaluation", WHOLE))[2]["context"]["obligations"]
        assert (obligations["items"], obligations["masks"]) == (["hyzk", "xm"], {"xm": "name"})
        assert obligations["valid_until"] == 1 << 40
        assert (await ask("evaluation", WHOLE, "X-Request-ID: abc-1\r\n"))[1][b"x-request-id"] == b"abc-1"
        missing = [
            {name: value for name, value in WHOLE.items() if name != each} for each in ("subject", "action", "resource")
        ]
        lacking = [
            {**WHOLE, "subject": {"id": "alice"}},
            {**WHOLE, "subject": {"type": "system"}},
            {**WHOLE, "action": {}},
            {**WHOLE, "resource": {"id": "hukou/person"}},
            {**WHOLE, "resource": {"type": "interface"}},
            {**WHOLE, "subject": "alice"},
            {**WHOLE, "action": {"name": 123}},
        ]
        for wrong in (*missing, *lacking, b"", b"{", b"[" * 5000):
            assert (await ask("evaluation", wrong))[0] == 400, wrong
        for kind in ("", "text/plain"):
            assert (await ask("evaluation", WHOLE, kind=kind))[0] == 400

    assert run(tmp_path, story).ledger.kinds() == []


def test_evaluations_take_defaults_and_end_where_their_semantic_says(tmp_path: Path) -> None:
    """In order, each by itself, a faulty one as a denial; without an array it is one evaluation."""

    async def decisions(ask: Ask, document: dict[str, Any]) -> list[bool]:
        status, _, answer = await ask("evaluations", document)
        assert status == 200
        return [each["decision"] for each in answer["evaluations"]]

    async def story(ask: Ask, _: House) -> None:
        both = {"subject": BOB, "resource": FIRST, "context": WHY, "evaluations": [{"action": READ}, {"action": WRITE}]}
        assert await decisions(ask, both) == [True, False]
        one = {"subject": ALICE, "action": READ, "resource": {"type": "interface"}, "context": WHY}
        faulty = [{"resource": {"id": "hukou/person"}}, {}, {"resource": 7}, {"resource": SECOND, "context": {}}]
        assert await decisions(ask, {**one, "evaluations": faulty}) == [True, False, False, False]
        order = [{"action": each} for each in (READ, WRITE, READ)]
        for semantic, expected in (
            ("execute_all", [True, False, True]),
            ("deny_on_first_deny", [True, False]),
            ("permit_on_first_permit", [True]),
        ):
            document = {**both, "evaluations": order, "options": {"evaluations_semantic": semantic, "other": 1}}
            assert await decisions(ask, document) == expected
        for empty in ({}, {"evaluations": []}):
            assert (await ask("evaluations", {**WHOLE, **empty}))[2]["decision"] is True
        assert (await ask("evaluations", {**both, "options": {"evaluations_semantic": "any"}}))[0] == 400
        assert (await ask("evaluations", {**both, "evaluations": [{}] * 257}))[0] == 400

    run(tmp_path, story)


def test_searches_give_what_evaluations_would(tmp_path: Path) -> None:
    """Subjects, resources and actions, page by page; what is unknown finds nothing."""

    async def story(ask: Ask, _: House) -> None:
        async def found(kind: str, **changes: Any) -> list[str]:
            status, _, answer = await ask(f"search/{kind}", {**WHOLE, **changes})
            assert status == 200
            assert isinstance(answer["page"]["next_token"], str)
            return [each.get("id") or each["name"] for each in answer["results"]]

        assert await found("subject", subject={"type": "system"}) == ["alice", "bob"]
        assert await found("subject", subject={"type": "system"}, action=WRITE) == ["alice"]
        assert await found("resource", resource={"type": "interface"}) == ["hukou/other", "hukou/person"]
        assert await found("action") == ["query", "batch"]
        assert await found("action", subject={"type": "system", "id": "nobody"}) == []
        assert await found("subject", subject={"type": "spaceship"}) == []
        first = (await ask("search/subject", {**WHOLE, "subject": {"type": "system"}, "page": {"limit": 1}}))[2]
        assert [each["id"] for each in first["results"]] == ["alice"]
        page = {"token": first["page"]["next_token"], "limit": 1}
        assert await found("subject", subject={"type": "system"}, page=page) == ["bob"]
        for kind, lacking in (("subject", "action"), ("resource", "subject"), ("action", "resource")):
            document = {name: value for name, value in WHOLE.items() if name != lacking}
            assert (await ask(f"search/{kind}", document))[0] == 400
        assert (await ask("search/subject", {**WHOLE, "resource": {"type": "interface"}}))[0] == 400
        assert (await ask("search/subject", {**WHOLE, "page": {"token": "%%"}}))[0] == 400

    run(tmp_path, story)


@pytest.mark.parametrize("name", ["no", "f" * 32])
def test_nobody_asks_without_an_evaluators_credential(tmp_path: Path, name: str) -> None:
    """A carrier's credential is none for evaluations either."""

    async def story(ask: Ask, _: House) -> None:
        assert (await ask("evaluation", WHOLE, name=name))[0] == 401

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        run(tmp_path, story)


def test_an_evaluator_is_no_oracle_of_what_it_may_not_ask_about(tmp_path: Path) -> None:
    """What another department may do, and what does not exist, are answered alike, by questions and by searches."""

    async def story(ask: Ask, house: House) -> None:
        of_another = {**WHOLE, "subject": {"type": "system", "id": "eve"}}
        answers = [
            (await ask("evaluation", document, name="narrow"))[2]
            for document in (
                of_another,
                {**WHOLE, "subject": {"type": "system", "id": "nobody"}},
                {**WHOLE, "resource": {"type": "interface", "id": "hukou/none"}},
                {**WHOLE, "resource": FIRST},
            )
        ]
        assert answers == [{"decision": False, "context": {"reason": "not-asked-for"}}] * 4
        # It is named for the second dataset alone: about that, whoever uses it.
        assert (await ask("evaluation", {**WHOLE, "resource": SECOND}, name="narrow"))[2]["decision"] is True
        found = (await ask("search/resource", {**WHOLE, "resource": {"type": "interface"}}, name="narrow"))[2]
        assert [each["id"] for each in found["results"]] == ["hukou/other"]
        assert (await ask("search/subject", {**WHOLE, "subject": {"type": "system"}}, name="narrow"))[2][
            "results"
        ] == []
        assert (await ask("evaluation", of_another))[2]["context"] == {"reason": "not-asked-for"}

    run(tmp_path, story)


BATCH = {"evaluations": [WHOLE, WHOLE, WHOLE]}
OF_RESOURCES = {"subject": ALICE, "action": READ, "resource": {"type": "interface"}, "context": WHY}
OF_ACTIONS = {"subject": ALICE, "resource": FIRST, "context": WHY}


@pytest.mark.parametrize(
    ("path", "asked", "before"),
    [
        ("evaluation", WHOLE, 0),
        ("evaluations", BATCH, 0),
        ("evaluations", BATCH, 2),
        ("search/resource", OF_RESOURCES, 1),
        ("search/action", OF_ACTIONS, 1),
    ],
)
def test_barrier_a_question_that_a_stop_overtakes_is_answered_anew(
    tmp_path: Path, path: str, asked: Any, before: int
) -> None:
    """BARRIER: what was decided before a stop is not said after it, however many were decided before it came."""

    async def story(ask: Ask, _: House) -> None:
        plane = CallerSide.planes[-1]
        left = [permit()] * before

        async def overtaken(_: Call) -> Verdict:
            if left:
                return left.pop()
            why = Explanation(rules=(Rule("stopped", "It is suspended", "已暂停", ("Decree 809 Art. 27 ¶2",)),))
            plane.decide = lambda _: deny("suspended", explanation=why)
            plane.cut(lambda _: True)
            return permit()

        plane.decide = overtaken
        answer = (await ask(path, asked))[2]
        said = answer.get("evaluations", [answer])
        assert answer.get("results", []) == []
        for each in () if path.startswith("search") else said:
            assert each["context"]["reason"] == "suspended"
            assert each["context"]["rules"] == [{"id": "stopped", "title": {"en": "It is suspended", "zh": "已暂停"}}]

    run(tmp_path, story)


def test_bounded_a_question_that_never_ends_is_answered_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BOUNDED: an octet now and then does not hold a question open."""
    monkeypatch.setattr("gateway.authorizer.question.TOTAL_SECONDS", 0.2)
    house = House(interface_for(1))

    async def told() -> None:
        async with asking(house, tmp_path) as at:
            evaluator = await at.connect()
            evaluator.writer.write(
                b"POST /access/v1/evaluation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: "
                b"Bearer " + CREDENTIALS["pdp"].encode() + b"\r\nContent-Length: 100000\r\n\r\n"
            )
            answer = asyncio.create_task(evaluator.answer())
            for _ in range(2000):
                if answer.done():
                    break
                evaluator.writer.write(b" ")
                await asyncio.sleep(0.01)
            assert (await answer)[0] in {408, 503}

    asyncio.run(told())


def test_stale_denies_a_worker_without_a_lease_answers_no_question(tmp_path: Path) -> None:
    """STALE-DENIES; and one whose state changes under every try says so."""

    async def story(ask: Ask, house: House) -> None:
        plane = CallerSide.planes[-1]
        house.fresh = False
        for path, asked in (("evaluation", WHOLE), ("evaluations", BATCH), ("search/resource", OF_RESOURCES)):
            assert (await ask(path, asked))[0] == 503
        house.fresh = True

        async def always(_: Call) -> Verdict:
            plane.cut(lambda _: True)
            return permit()

        plane.decide = always
        status, _, problem = await ask("evaluation", WHOLE)
        assert (status, problem["type"].rpartition("/")[2].rpartition(":")[2]) == (503, "state-stale")

    run(tmp_path, story)
