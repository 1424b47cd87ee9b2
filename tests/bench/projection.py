"""Reducing answers to the granted items: XML and documents within documents beside JSON, on one core.

    .venv/bin/python tests/bench/projection.py [--quick]

Each way reduces rows of the same eight items to two of them. The least of several rounds counts, in MB/s of what the
supplier sends by processor time, and how much is held at most of an answer that is streamed. `expat alone` is the
parser with empty handlers in Python, which is what a reduction costs at least that reads every element.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.domain.directory import AnswerFormat, Interface
from gateway.proxy.projection.answers import XmlProjector, make_projector
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.projected import Projector

ITEMS = {
    "GMSFHM": "110101199003070000",
    "GMSFHM_PPDDM": "1",
    "SWBS": "0",
    "XM": "王小明",
    "XM_PPDDM": "1",
    "HJDZ": "某省某市某区某街道某路1号",
    "CSRQ": "1990-03-07",
    "MZ": "01",
}
GRANTED = ("GMSFHM", "XM")
PIECE_BYTES = 64 * 1024


def made(rows: str, kind: AnswerFormat, *, mask: str = "") -> Projector:
    """What reduces answers of an interface whose rows stand there."""
    places = {item: f"/{item}" for item in ITEMS}
    entry = Interface("i", "s", "d", "https://s.example", format=kind, rows=rows, places=places)
    masks = {"XM": parse_mask(mask, lambda _: "")} if mask else {}
    projector = make_projector(entry, GRANTED, masks, row_bytes=1 << 20)
    assert projector is not None
    return projector


def best(work: Callable[[], int], octets: int, rounds: int) -> str:
    """MB/s of the least of several rounds."""
    least = 1e9
    for _ in range(rounds):
        began = time.process_time()
        rows = work()
        least = min(least, time.process_time() - began)
    assert rows
    return f"{octets / least / 1e6:8.0f} MB/s"


def streamed(projector: Projector, content: bytes) -> tuple[int, int]:
    """Rows of an answer that comes in pieces, and how much was held at most."""
    assert isinstance(projector, XmlProjector)
    reducer, held = projector.reducer(), 0
    for start in range(0, len(content), PIECE_BYTES):
        reducer.feed(content[start : start + PIECE_BYTES])
        held = max(held, reducer.held_bytes)
    reducer.finish()
    return reducer.rows, held


def parsed(content: bytes) -> int:
    """Elements that expat tells of."""
    parser = expat.ParserCreate("utf-8")
    seen = [0]
    parser.StartElementHandler = lambda *_: seen.__setitem__(0, 1)
    parser.EndElementHandler = lambda _: None
    parser.CharacterDataHandler = lambda _: None
    parser.Parse(content, True)
    return seen[0]


def main() -> None:
    """Measure and print."""
    rows, rounds = (4_000, 3) if "--quick" in sys.argv else (30_000, 7)
    row = "".join(f"<{item}>{value}</{item}>" for item, value in ITEMS.items())
    xml = "<P><DATA>" + "".join(f'<R no="{number}">{row}</R>' for number in range(rows)) + "</DATA></P>"
    text = json.dumps({"data": [ITEMS] * rows}, ensure_ascii=False, separators=(",", ":"))
    soap = f"<E><out>{escape(xml)}</out></E>"
    in_json = json.dumps({"out": text}, ensure_ascii=False)
    xml_octets, json_octets, soap_octets, nested_octets = (each.encode() for each in (xml, text, soap, in_json))
    of_json = made("/data", AnswerFormat.JSON)
    of_xml = made("/P/DATA/R", AnswerFormat.XML)
    masked = made("/P/DATA/R", AnswerFormat.XML, mask="last-1")
    of_soap = made("/E/out~xml/P/DATA/R", AnswerFormat.XML)
    of_nested = made("/out~json/data", AnswerFormat.JSON)
    held = streamed(of_xml, xml_octets)[1]
    print(f"{rows} rows; a core's processor time, the least of {rounds} rounds")
    for name, work, octets in (
        ("JSON", lambda: of_json.project(json_octets).rows, json_octets),
        ("JSON in a string of JSON", lambda: of_nested.project(nested_octets).rows, nested_octets),
        ("XML, as it comes", lambda: streamed(of_xml, xml_octets)[0], xml_octets),
        ("XML, a masked item", lambda: streamed(masked, xml_octets)[0], xml_octets),
        ("XML in a text of XML", lambda: of_soap.project(soap_octets).rows, soap_octets),
        ("expat alone", lambda: parsed(xml_octets), xml_octets),
    ):
        print(f"  {name:26}{best(work, len(octets), rounds)}")
    print(f"  held at most of {len(xml_octets) / 1e6:.1f} MB of XML that comes: {held} bytes")


if __name__ == "__main__":
    main()
