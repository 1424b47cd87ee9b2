"""What several groups of commands do alike: list page by page, tell an act with its record."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.shell import out, print_json
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.runtime.operation.session.api import Api


def every(api: "Api", path: str, **params: Any) -> Iterator[dict[str, Any]]:
    """All rows of a list, page by page."""
    cursor: str | None = None
    while True:
        page = api.get(path, **params) if path == "/v1/purposes" else api.get(path, **params, limit=1000, cursor=cursor)
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def tell_act(answer: dict[str, Any], words: str, *, as_json: bool) -> None:
    """Tell what was done, with the record it stands on."""
    if as_json:
        print_json(answer)
    else:
        out.print(f"{words}; record {answer['record']}", markup=False)


def write_sample(file: Path, content: bytes, *, as_json: bool) -> None:
    """Write a sample where nothing stands yet."""
    try:
        with file.open("xb") as opened:
            opened.write(content)
    except FileExistsError as error:
        raise GatewayError("conflict", f"`{file}` exists already") from error
    if as_json:
        print_json({"wrote": str(file)})
        return
    out.print(f"wrote {file}", markup=False)
