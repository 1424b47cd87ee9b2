"""BARRIER under every two faults: a stop in between, and the octets that slow readers receive after it has returned.

    python -m pytest -m deep -s tests/end_to_end/test_double_faults.py                      prints the table
    DOUBLE_FAULTS=all python -m pytest -m deep -s tests/end_to_end/test_double_faults.py    of every pair

Every fault of each part meets a fault of every other part, another one with another seed of the run. PostgreSQL and
another node are in test_double_faults_nodes.
"""

import itertools
from collections.abc import Iterator

import pytest

from tests.support.double_faults import CALLERS, GRANT, House, drawn
from tests.support.faults import Fault
from tests.support.gateways import running_gateway
from tests.support.streaming import EndlessSupplier, furnish_endless, grant_document

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]

PARTS = ("worker", "control", "ledger", "supervisor", "database")
PAIRS = [*itertools.combinations(PARTS, 2), ("worker", "other worker")]


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    drawn(metafunc, PAIRS)


def test_barrier_holds_under_every_two_faults(house: House, one: str, first: Fault, other: str, second: Fault) -> None:
    """BARRIER: whatever befalls two parts at once, nothing leaves after the stop has returned."""
    assert house.row(one, first, other, second) == [0] * CALLERS
