"""`gateway docs`: the pages that came with this version, on the machine where it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.shell import AsJson, command, out, print_json
from gateway.domain.errors import GatewayError

PLACES = (
    Path(sys.prefix) / "share" / "doc" / "sharing-gateway",
    Path(__file__).parents[2] / "docs",
)
"""Where an installed wheel has them, and where a checkout does."""


@command
def docs(
    page: Annotated[str | None, typer.Argument(help="The page, such as operate; without it, all are listed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a page of the documentation that came with this version."""
    folder = next((place for place in PLACES if (place / "operate.md").exists()), None)
    if folder is None:
        raise GatewayError("not-found", f"the pages are not installed: they belong in `{PLACES[0]}`")
    pages = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}
    if page is None:
        if as_json:
            print_json({"folder": str(folder), "pages": list(pages)})
            return
        out.print(f"pages in {folder}:", markup=False)
        for name in pages:
            out.print(f"  gateway docs {name}", markup=False)
        return
    found = pages.get(page.removesuffix(".md"))
    if found is None:
        raise GatewayError("not-found", f"there is no page `{page}`: {', '.join(pages)}")
    text = found.read_text("utf-8")
    if as_json:
        print_json({"page": page, "text": text})
    else:
        sys.stdout.write(text)
