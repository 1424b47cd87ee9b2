"""What departments drew, counted together: for whom a drawing is noted, and what a circle has (Art. 25 ¶2).

`drawn` has what a department obtained, and `gathered` what is counted beside that: what it had compared, and, for each
department above it when it drew, what came to the circle of that one. A circle is who stands in it now (its members are
found when it is asked) and what was drawn by those who stood in it then: whoever leaves takes with it what it drew, and
leaves it behind, too.
"""

from datetime import date

from sqlalchemy import Connection, text

from gateway.domain.circles import Circle, Knowing
from gateway.store.readings import MAX_DEPTH

_NOTE_DRAWN = text(
    """
    INSERT INTO drawn (department, day, dataset, purpose) VALUES (:department, :day, :dataset, :purpose)
    ON CONFLICT (department, day, dataset, purpose) DO NOTHING
    """
)
_UP = f"""
    up (id, parent, depth) AS (
        SELECT CAST(:department AS VARCHAR(64)), (SELECT parent FROM departments WHERE id = :department), 0
        UNION ALL
        SELECT d.id, d.parent, up.depth + 1 FROM up CROSS JOIN departments d
            WHERE d.id = up.parent AND up.depth < {MAX_DEPTH}
    )"""  # noqa: S608 - what is set in is a constant of this module
_GATHER = text(
    f"""
    INSERT INTO gathered (circle, day, department, dataset, knowing)
    WITH RECURSIVE {_UP}
    SELECT DISTINCT id, CAST(:day AS VARCHAR(10)), CAST(:department AS VARCHAR(64)), CAST(:dataset AS VARCHAR(128)),
        CAST(:knowing AS VARCHAR(8))
        FROM up WHERE depth <= :height
    ON CONFLICT (circle, day, department, dataset, knowing) DO NOTHING
    """  # noqa: S608 - what is set in is a constant of this module
)
_FOLLOW = text(
    """
    INSERT INTO gathered (circle, day, department, dataset, knowing)
    SELECT :to, day, CASE WHEN department = :giver THEN :to ELSE department END, dataset, knowing
        FROM gathered WHERE circle = :giver
    ON CONFLICT (circle, day, department, dataset, knowing) DO NOTHING
    """
)


def _statement(whole: str, beside: str) -> str:
    """The datasets of a circle: those of `whole` and of all below it, as it stands and as it stood, and of `beside`.

    Args:
        whole: the id below which everything counts.
        beside: a query of the ids of further departments, each of which counts alone.
    """
    return f"""
    WITH RECURSIVE {_UP},
    below (id, depth) AS (
        SELECT {whole}, 0
        UNION
        SELECT d.id, below.depth + 1 FROM below JOIN departments d ON d.parent = below.id
            WHERE below.depth < {MAX_DEPTH}
    ),
    member (id) AS (SELECT id FROM below UNION {beside})
    SELECT dataset FROM drawn WHERE day >= :since AND department IN (SELECT id FROM member)
    UNION
    SELECT dataset FROM gathered
        WHERE day >= :since AND circle IN (SELECT id FROM member)
        AND (circle IN (SELECT id FROM below) OR department = circle) AND knowing IN (:obtained, :knowing)
    """  # noqa: S608 - what is set in is a constant of this module


_ITSELF = "CAST(:department AS VARCHAR(64))"
_PARENT = "COALESCE((SELECT parent FROM departments WHERE id = :department), CAST(:department AS VARCHAR(64)))"
_OWN = text(
    """
    SELECT dataset FROM drawn WHERE day >= :since AND department = :department
    UNION
    SELECT dataset FROM gathered WHERE day >= :since AND circle = :department AND department = :department
        AND knowing IN (:obtained, :knowing)
    """
)
_OF_CIRCLE = {
    Circle.OWN: _OWN,
    Circle.LINE: text(_statement(_ITSELF, "SELECT id FROM up")),
    Circle.FAMILY: text(
        _statement(_PARENT, "SELECT id FROM up UNION SELECT d.id FROM up JOIN departments d ON d.parent = up.id")
    ),
}


def note(
    connection: Connection,
    department: str,
    dataset: str,
    purpose: str,
    day: date,
    knowing: Knowing = Knowing.OBTAINED,
    *,
    in_circles: bool = False,
) -> None:
    """Note what a department draws, and for those above it where `in_circles`."""
    said = {"department": department, "day": day.isoformat(), "dataset": dataset}
    if knowing is Knowing.OBTAINED:
        connection.execute(_NOTE_DRAWN, {**said, "purpose": purpose})
    if in_circles or knowing is Knowing.COMPARED:
        height = MAX_DEPTH if in_circles else 0
        connection.execute(_GATHER, {**said, "knowing": knowing.value, "height": height})


def gathered(connection: Connection, department: str, since: date, circle: Circle, *, learnt: bool) -> frozenset[str]:
    """Datasets that came to a department's circle on `since` or later: obtained, and compared where `learnt`."""
    said = {
        "department": department,
        "since": since.isoformat(),
        "obtained": Knowing.OBTAINED.value,
        "knowing": (Knowing.COMPARED if learnt else Knowing.OBTAINED).value,
    }
    return frozenset(row[0] for row in connection.execute(_OF_CIRCLE[circle], said))


def follow(connection: Connection, giver: str, to: str) -> None:
    """What came to one department's circle counts for another's, too."""
    connection.execute(_FOLLOW, {"giver": giver, "to": to})
