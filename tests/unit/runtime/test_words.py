"""Callers' own words: names and digests in the record, texts sealed in the state, each before the other.

| what is tried | what comes of it | where |
|---|---|---|
| a new text with every call | refused once the system's day is used up; what was said before goes on | here |
| the same, to slow others down | others' texts go in the same batch, its own wait in its own queue | here |
| a text at the bound, and over it | kept whole; cut at the bound | here |
| several workers at once with one text | one row, one digest, no fault | here |
| the state fails while a text is written | the call is refused, and nothing is remembered | here |
| the state is slow | the loop goes on | here |
| a text that was erased is said again | another digest | here |
| an erasure while a text is on its way | it is asked for again | here |
| guessing an operator from the log and all public data | every guess fails without the salt | here |
| reading the state file | nothing of a text in it | here |
| killed at any moment | records read as before, it stays one text | `tests/end_to_end/test_own_words.py` |
| two nodes at once, on PostgreSQL too | one row, one digest | `tests/unit/store/test_texts.py` |
| a backup that still has an erased text is put back | erased again | `tests/unit/store/test_belonging.py` |
| an operator, or the department itself, erases | refused | `tests/unit/control/test_texts.py` |
"""

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from gateway.domain.callers import Assurance
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Purpose, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.texts import MAX_TEXT_CHARACTERS, UNKEPT, WITHHELD, Said, digest_in, text_digest
from gateway.domain.verdicts import Call
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.texts import TextSealer
from gateway.runtime.worker import words
from gateway.runtime.worker.words import KeptWords
from gateway.store import Store
from gateway.store.texts import ERASURE, NAMED_DAYS

NOON = 1_767_240_000.0
ERASED = Change(1, ChangeKind.KEY, ERASURE)


def call(purpose="marriage", system="desk"):
    return Call(system, "civil-affairs", Assurance.DPOP, "p/i", "x", SharingMode.QUERY, purpose, None)


class Bench:
    """A worker's words over a real state."""

    def __init__(self, folder, **options):
        self.now = NOON
        self.url = f"sqlite:///{folder}/state.db"
        self.path = folder / "state.db"
        self.store = Store.open(self.url)
        with self.store.transaction() as tx:
            tx.put_purpose(Purpose("marriage", "registration of marriages"))
        keys = folder / "keys"
        self.ring = KeyRing.open(keys) if keys.exists() else KeyRing.create(keys)
        self.sealer = TextSealer(self.ring)
        self.thread = ThreadPoolExecutor(1)
        self.words = self.worker(**options)

    def worker(self, a_day=100):
        return KeptWords(self.store, self.sealer, self.thread, lambda: self.now, a_day)

    def say(self, *said, system="desk", words=None, years=3):
        """What the record of one call may hold."""
        purpose, scenario, operator = (*said, "", "")[:3]

        async def one():
            answer = (words or self.words)(call(purpose, system), scenario, operator, years)
            return answer if isinstance(answer, Said) else await answer

        return asyncio.run(one())

    def at_hand(self, *said, system="desk"):
        """Whether a call's words are known without asking anybody."""
        purpose, scenario, operator = (*said, "", "")[:3]

        async def one():
            answer = self.words(call(purpose, system), scenario, operator, 3)
            if isinstance(answer, Said):
                return True
            await answer
            return False

        return asyncio.run(one())

    def text(self, value):
        """What a value of a record reads as."""
        stored = self.store.texts([digest_in(value)])[digest_in(value)]
        return self.sealer.open(stored.digest, stored.sealed).text


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.thread.shutdown()
    made.store.close()


def test_a_registered_purpose_stands_by_name_and_all_else_by_digest(bench):
    """What is nobody's by name is a digest in the record, and a text in the state."""
    said = bench.say("marriage", "at the counter", "clerk 7")
    assert said.purpose == "marriage"
    assert (bench.text(said.scenario), bench.text(said.operator)) == ("at the counter", "clerk 7")
    other = bench.say("curiosity", "at the counter")
    assert bench.text(other.purpose) == "curiosity"
    assert other.scenario == said.scenario
    assert bench.say("", "", "") == Said("", "", "", other.until_unix_ns)


def test_the_same_words_cost_no_second_question(bench):
    """Once they are kept they are at hand; a system's are its own."""
    assert not bench.at_hand("marriage", "a", "b")
    assert bench.at_hand("marriage", "a", "b")
    assert bench.at_hand("marriage")
    assert not bench.at_hand("marriage", "a", "b", system="other")
    assert bench.say("marriage", "a").scenario != bench.say("marriage", "a", system="other").scenario


def test_a_number_that_may_be_a_person_s_is_not_kept_at_all(bench):
    """INVARIANT: NO-VALUES: neither in the record nor in the state."""
    assert bench.say("marriage", "for 110101199001011234").scenario == WITHHELD
    assert bench.store.texts_of_word(bench.sealer.mark("", "for 110101199001011234")) == ()


def test_a_system_that_says_something_new_with_every_call_is_stopped_for_the_day(bench):
    """Nothing is lost silently: the use is refused; what was said before goes on, and others' words do."""
    bench.words = bench.worker(a_day=5)
    kept = [bench.say("marriage", f"new {n}") for n in range(5)]
    assert all(said.is_kept for said in kept)
    beyond = bench.say("marriage", "new 5", "new 6")
    assert (beyond.scenario, beyond.operator, beyond.is_kept) == (UNKEPT, UNKEPT, False)
    assert bench.say("marriage", "new 3") == kept[3]
    fresh = bench.worker(a_day=5)
    assert bench.say("marriage", "new 3", words=fresh).scenario == kept[3].scenario
    assert bench.say("marriage", "new 5", system="other").is_kept
    # That it was not taken is not remembered: it is asked for again.
    bench.words._a_day = 7
    assert bench.say("marriage", "new 5", "new 6").is_kept
    bench.words = bench.worker(a_day=7)
    assert not bench.say("marriage", "new 7").is_kept
    bench.now += 86_400
    assert bench.say("marriage", "new 7").is_kept


def test_a_flood_of_one_system_waits_for_itself(bench):
    """INVARIANT: BOUNDED: the queue is a system's own, and each batch takes from all."""

    async def flood():
        asked = [bench.words(call(), f"flood {n}", "", 3) for n in range(words.MAX_WAITING_OF_SYSTEM)]
        with pytest.raises(GatewayError, match="rate-limited"):
            bench.words(call(), "one too many", "", 3)
        other = asyncio.ensure_future(bench.words(call(system="other"), "a word", "", 3))
        assert bench.text((await other).scenario) == "a word"
        assert sum(each.done() for each in asked) <= 2 * words.BATCH_OF_SYSTEM
        await asyncio.gather(*asked)

    asyncio.run(flood())


def test_what_is_remembered_is_bounded(bench, monkeypatch):
    """INVARIANT: BOUNDED: by system, and in all: who holds most makes room."""
    monkeypatch.setattr(words, "MAX_HELD_OF_SYSTEM", 3)
    monkeypatch.setattr(words, "MAX_HELD", 4)
    bench.say("marriage", "mine", system="quiet")
    for n in range(5):
        bench.say("marriage", f"{n}", system="loud")
    assert bench.words._held_count == sum(map(len, bench.words._held.values())) <= 4
    assert bench.at_hand("marriage", "mine", system="quiet")
    for n in range(2):
        bench.say("marriage", f"{n}", system="third")
    assert bench.words._held_count == sum(map(len, bench.words._held.values())) <= 4
    assert bench.at_hand("marriage", "mine", system="quiet")


def test_a_text_at_the_bound_is_kept_whole_and_a_longer_one_is_cut(bench):
    """Of a purpose that another issuer's credential names, and of nothing else, can there be more."""
    whole = "界" * MAX_TEXT_CHARACTERS
    assert bench.text(bench.say("marriage", whole).scenario) == whole
    assert bench.text(bench.say(f"{whole}界").purpose) == f"{whole[:-1]}…"
    assert bench.text(bench.say("marriage", "lone \ud800").scenario) == "lone ?"


def test_workers_that_keep_one_text_at_once_agree(bench):
    """One row, one digest, whoever was first."""
    workers = [bench.worker() for _ in range(4)]
    for each in workers:
        each._executor = ThreadPoolExecutor(1)
    found = []

    def one(worker, n):
        found.append([bench.say("marriage", f"s {k}", words=worker).scenario for k in (*range(n, 20), *range(n))])
        found[-1] = sorted(found[-1])

    threads = [threading.Thread(target=one, args=(worker, 5 * n)) for n, worker in enumerate(workers)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({tuple(each) for each in found}) == 1
    assert len(set(found[0])) == 20
    for each in workers:
        each._executor.shutdown()


def test_a_state_that_does_not_keep_a_text_refuses_the_call(bench, monkeypatch):
    """INVARIANT: RECORD-FIRST: no record names what does not stand; and it is asked again."""

    def fails(*_):
        raise GatewayError("unavailable", "away")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "keep_texts", fails)
        with pytest.raises(GatewayError, match="records-unavailable"):
            bench.say("marriage", "a")
        with pytest.raises(GatewayError, match="records-unavailable"):
            bench.say("marriage", "a")
    assert bench.text(bench.say("marriage", "a").scenario) == "a"


def test_a_slow_state_holds_up_no_loop(bench, monkeypatch):
    """The call waits; the loop turns."""
    go_on, keep = threading.Event(), bench.store.keep_texts
    monkeypatch.setattr(bench.store, "keep_texts", lambda *asked: go_on.wait(60) and keep(*asked))

    async def story():
        asked = asyncio.ensure_future(bench.words(call(), "a", "", 3))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        assert isinstance(bench.words(call(), "", "", 3), Said | asyncio.Future)
        go_on.set()
        return await asked

    assert asyncio.run(story()).is_kept


def test_one_caller_that_leaves_takes_no_answer_from_the_others(bench):
    """Both wait for one text."""

    async def story():
        first = asyncio.ensure_future(bench.words(call(), "a", "", 3))
        second = asyncio.ensure_future(bench.words(call(), "a", "", 3))
        first.cancel()
        return await second

    assert asyncio.run(story()).is_kept


def test_what_is_erased_while_it_is_asked_for_is_asked_again(bench, monkeypatch):
    """INVARIANT: BARRIER: no digest that was read before an erasure is named after it."""
    read, go_on, keep = threading.Event(), threading.Event(), bench.store.keep_texts
    asked_for = []

    def slow(*asked):
        found = keep(*asked)
        asked_for.append(found)
        read.set()
        go_on.wait(60)
        return found

    monkeypatch.setattr(bench.store, "keep_texts", slow)

    async def story():
        asked = asyncio.ensure_future(bench.words(call(), "a", "", 3))
        await asyncio.to_thread(read.wait)
        assert bench.words.drop(ERASED)
        go_on.set()
        return await asked

    assert asyncio.run(story()).is_kept
    assert len(asked_for) == 2
    assert not bench.words.drop(Change(2, ChangeKind.KEY, "token"))
    assert bench.at_hand("marriage", "a")
    bench.words.drop(ERASED)
    assert not bench.at_hand("marriage", "a")


def test_a_row_is_touched_once_a_month_and_for_a_longer_record(bench):
    """A text stands for as long as the last record that may name it."""
    mark = bench.sealer.mark("desk", "a")

    def kept():
        with bench.store.database.writing() as connection:
            row = connection.exec_driver_sql(f"SELECT named_until, years FROM texts WHERE mark = '{mark}'").one()
        return date.fromisoformat(row[0]).toordinal() - date(2026, 1, 1).toordinal(), row[1]

    first = bench.say("marriage", "a").scenario
    assert kept() == (NAMED_DAYS, 3)
    bench.now += (NAMED_DAYS - 2) * 86_400
    assert bench.say("marriage", "a", words=bench.worker()).scenario == first
    assert kept() == (NAMED_DAYS, 3)
    bench.now += 2 * 86_400
    assert bench.say("marriage", "a", words=bench.worker()).scenario == first
    assert kept() == (2 * NAMED_DAYS, 3)
    assert bench.say("marriage", "a", years=10).scenario == first
    assert kept()[1] == 10
    assert not bench.at_hand("marriage", "b")
    bench.now += words.HELD_SECONDS
    assert not bench.at_hand("marriage", "b")


def test_a_guess_is_not_confirmed_by_the_log(bench):
    """With every public thing, and the right text: without the salt nothing matches; with it, it is proof."""
    digest = digest_in(bench.say("marriage", "", "Li Wei").operator)
    opened = bench.sealer.open(digest, bench.store.texts([digest])[digest].sealed)
    assert text_digest(bytes.fromhex(opened.salt), "Li Wei") == digest
    assert text_digest(bytes.fromhex(opened.salt), "Li Wen") != digest
    public = [b"", b"desk", b"civil-affairs", b"sharing-gateway/text/v1\n", bytes(32), digest.encode()]
    guesses = {
        hashlib.sha256(b"".join((first, second, b"Li Wei"))).hexdigest() for first in public for second in public
    }
    assert digest not in guesses
    assert digest != digest_in(bench.say("marriage", "", "Li Wei", system="other").operator)


def test_the_state_file_tells_no_text_and_no_other_row_s_seal_opens(bench):
    """Who reads the file has neither text nor salt; a row's seal opens for its own digest alone."""
    said = bench.say("marriage", "SECRET-counter", "SECRET-clerk")
    first, second = digest_in(said.scenario), digest_in(said.operator)
    bench.store.close()
    content = b"".join(path.read_bytes() for path in bench.path.parent.glob("state.db*"))
    assert b"SECRET" not in content
    assert hashlib.sha256(b"SECRET-clerk").hexdigest().encode() not in content
    bench.store = Store.open(bench.url)
    stored = bench.store.texts([first, second])
    with pytest.raises(GatewayError, match="unavailable"):
        bench.sealer.open(first, stored[second].sealed)
