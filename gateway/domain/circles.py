"""Whose data is counted together with a department's own, and how it came to be known (Decree 809 Art. 25 ¶2)."""

from enum import StrEnum


class Circle(StrEnum):
    """The departments whose data a rule counts together with that of the department that calls.

    Who counts another department is counted by it, so that it never matters which of the two comes first.

    - `own`: it alone.
    - `line`: those below it and those above it, too.
    - `family`: all that stand under one parent with it, with whatever is below them; and the same seen from them:
      those above it, and their sisters.

    Departments are where the directory has them now; what a department drew while it stood below another stays counted
    for that other when it leaves.
    """

    OWN = ""
    LINE = "line"
    FAMILY = "family"


class Knowing(StrEnum):
    """How data came to be known: `obtained`, its values left; `compared`, it was answered whether a value matches."""

    OBTAINED = "obtained"
    COMPARED = "compared"
