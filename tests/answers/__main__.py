"""`python -m tests.answers`: tell the story anew and write `gateway/control/app/answers.json`."""

import json
from importlib.resources import files
from pathlib import Path

from tests.answers.story import walk

KEPT = Path(str(files("gateway.control").joinpath("app", "answers.json")))


def main() -> None:
    """Write the file."""
    told = json.dumps(walk().answers, ensure_ascii=False, indent=1)
    KEPT.write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
