"""AuthZEN's endpoints: one question, read whole, answered whole.

    POST /access/v1/evaluation, /access/v1/evaluations
    POST /access/v1/search/subject, /search/resource, /search/action
    GET  /.well-known/authzen-configuration

A batch ends where its semantic says: behind the first denial, or the first permit.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.authorizer.authzen.evaluating import Answer, Evaluating, Evaluator, denial
from gateway.authorizer.authzen.messages import Evaluations, Search, Tuple, each_of, read, whole
from gateway.authorizer.authzen.searching import Searching
from gateway.authorizer.question import Question
from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import Block, malformed

if TYPE_CHECKING:
    from gateway.authorizer.connection import AskingConnection
    from gateway.authorizer.desk import Desk

CONFIGURATION = b"/.well-known/authzen-configuration"
_JSON = b"Content-Type: application/json\r\n"
_PATHS = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}
ENDPOINTS = frozenset({path.encode() for path in _PATHS.values()})
_STOPS = {"deny_on_first_deny": False, "permit_on_first_permit": True}
_encode = msgspec.json.Encoder().encode
MOST_TRIES = 3
"""How often a question is answered anew since a change has overtaken its answer."""


class AuthZen:
    """What all questions share.

    Args:
        evaluating: evaluates.
        evaluators: who may ask.
    """

    def __init__(self, evaluating: Evaluating, evaluators: tuple[Evaluator, ...]) -> None:
        self.evaluators = evaluators
        self._evaluating = evaluating
        searching = Searching(evaluating)
        self._searches = {
            b"/access/v1/search/subject": searching.subjects,
            b"/access/v1/search/resource": searching.resources,
            b"/access/v1/search/action": searching.actions,
        }
        self.asked: dict[tuple[str, str, bool], int] = {}

    async def answer(self, evaluator: Evaluator, path: bytes, body: bytes) -> bytes:
        """The answer to one question.

        Raises:
            GatewayError: `malformed-request`, `state-stale`.
        """
        search = self._searches.get(path)
        if search is not None:
            found = await search(evaluator, read(body, Search))
            self._count(evaluator, "search", is_permitted=bool(found["results"]))
            return _encode(found)
        if path.endswith(b"s"):
            given = read(body, Evaluations)
            if given.evaluations:
                return _encode({"evaluations": await self._each(evaluator, given)})
        return _encode(await self._one(evaluator, whole(read(body, Tuple))))

    async def _one(self, evaluator: Evaluator, asked: Any) -> Answer:
        answer = await self._evaluating.evaluate(evaluator, asked)
        self._count(evaluator, "evaluation", is_permitted=answer.decision)
        return answer

    async def _each(self, evaluator: Evaluator, given: Evaluations) -> list[Answer]:
        stop = _STOPS.get(given.options.evaluations_semantic)
        answers: list[Answer] = []
        for asked in each_of(given):
            if isinstance(asked, GatewayError):
                answer = denial(asked.code, detail=asked.detail)
            else:
                answer = await self._one(evaluator, asked)
            answers.append(answer)
            if answer.decision is stop:
                break
        return answers

    def _count(self, evaluator: Evaluator, kind: str, *, is_permitted: bool) -> None:
        key = (evaluator.name, kind, is_permitted)
        self.asked[key] = self.asked.get(key, 0) + 1


class AuthZenQuestion(Question):
    """One question of AuthZEN's.

    Args:
        desk: what those who ask share.
        connection: who asks.
        evaluator: as the credential says.
        method: of the request.
        path: which endpoint.
        block: its header block.
    """

    __slots__ = ("_asked_body", "_authzen", "_epoch", "_evaluator", "_path", "_tries")

    def __init__(
        self,
        desk: "Desk",
        connection: "AskingConnection",
        evaluator: Evaluator,
        method: bytes,
        path: bytes,
        block: Block,
    ) -> None:
        super().__init__(desk, connection, method, block)
        self._evaluator = evaluator
        self._path = path
        self._authzen = desk.authzen
        self._asked_body = b""
        self._epoch = self._tries = 0

    def read(self, body: bytes) -> None:
        """Answer."""
        fields = self.block.fields
        if self._path == CONFIGURATION:
            self._say(_encode(_configuration(self.block.host, is_tls=self.connection.peer.is_tls)))
            return
        kinds = [value for name, value in fields if name == b"content-type"]
        if len(kinds) != 1 or kinds[0].partition(b";")[0].strip(b" \t").lower() != b"application/json":
            raise malformed("the body's `Content-Type` is not `application/json`")
        self._asked_body = body
        self._ask()

    def _ask(self) -> None:
        self._tries += 1
        self._epoch = self._desk.plane.epoch
        answer: Callable[..., Awaitable[bytes]] = self._authzen.answer
        self.wait(self._answered, answer, self._evaluator, self._path, self._asked_body)

    def _answered(self, content: bytes) -> None:
        plane = self._desk.plane
        # INVARIANT: BARRIER: of a batch or a search too, nothing that was decided before a stop is said after it.
        if self._epoch != plane.epoch:
            if self._tries < MOST_TRIES:
                self._ask()
            else:
                self.refuse(GatewayError("state-stale", "the state keeps changing under this question"))
        # INVARIANT: STALE-DENIES.
        elif not plane.is_fresh():
            self.refuse(GatewayError("state-stale"))
        else:
            self._say(content)

    def _say(self, content: bytes) -> None:
        echoed = [value for name, value in self.block.fields if name == b"x-request-id"]
        fields = b"".join(b"X-Request-ID: %b\r\n" % value for value in echoed[:1])
        self.say(200, _JSON + fields, content)


def _configuration(host: bytes, *, is_tls: bool) -> dict[str, str]:
    base = f"{'https' if is_tls else 'http'}://{host.decode('latin-1')}"
    return {"policy_decision_point": base, **{name: base + path for name, path in _PATHS.items()}}
