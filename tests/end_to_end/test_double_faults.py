"""BARRIER under every two faults: a stop in between, and the octets that slow readers receive after it has returned.

    python -m pytest -m deep -s tests/end_to_end/test_double_faults.py      prints the table

Every fault of each part meets a fault of every other part. PostgreSQL and another node are in test_double_faults_nodes.
"""

import itertools
from collections.abc import Iterator

import pytest

from tests.support.double_faults import CALLERS, FAULTS, GRANT, House
from tests.support.gateways import running_gateway
from tests.support.streaming import EndlessSupplier, furnish_endless, grant_document

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]

PARTS = ("worker", "control", "ledger", "supervisor", "database")
PAIRS = list(itertools.combinations(PARTS, 2))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    supplier = EndlessSupplier()
    with running_gateway(tmp_path_factory.mktemp("home") / "var") as running:
        furnish_endless(running, supplier)
        with running.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
        made = House(running)
        yield made
        print(made.told())
    supplier.close()


@pytest.mark.parametrize("turn", range(len(FAULTS)))
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_barrier_holds_under_every_two_faults(house: House, one: str, other: str, turn: int) -> None:
    """BARRIER: whatever befalls two parts at once, nothing leaves after the stop has returned.

    Over the turns each fault of one part meets each place in the order of the other's.
    """
    second = FAULTS[(turn * 2 + PAIRS.index((one, other))) % len(FAULTS)]
    assert house.row(one, FAULTS[turn], other, second) == [0] * CALLERS
