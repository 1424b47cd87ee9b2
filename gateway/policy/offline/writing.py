"""Texts for whoever writes a layer: a first one that passes its check, and Cedar's own layout of what is written."""

import re
from typing import Any

import cedarpy
import msgspec

from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import TABLES_FOLDER
from gateway.policy.law.positions import comments
from gateway.policy.law.scopes import LAYER_FILE, NATIONAL, region_of

WIDTH = 120
"""Columns of a line of Cedar."""
INDENT = 4
"""Spaces within a policy, as the shipped layers have them."""

_HEAD = re.compile(r"\s*(?://[^\n]*\n)+\s*\n")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

_POLICY = """\
// Decree 809 Art. 35: technical measures by grade.
//
// A first rule, which stands for yours: put the article's own sentence here, keep the rule as narrow as the sentence,
// and let the two cases beside it say what it refuses and what it lets through.

@id("{name}-art35-bound-download")
@article("Decree 809 Art. 35")
@title("Data of grade 2 is downloaded with a credential that is bound to its sender")
@title_zh("二级数据的下载须使用与发送方绑定的凭证")
@refusal("assurance-too-low")
forbid (
    principal,
    action == Action::"download",
    resource
)
when {{ resource.dataset.grade == Grade::"2" && context.assurance < 2 }};
"""

_TABLE = """\
about: Decree 809 Art. 35
layers: [national, {name}]
given:
  grant: {{modes: [query, download]}}
  dataset: {{grade: 2}}
  call: {{mode: download}}
cases:
  - case: a plain token downloads no data of grade 2
    call: {{assurance: bearer}}
    expect: {{deny: assurance-too-low, by: [{name}-art35-bound-download]}}
  - case: one that is bound to its sender does
    call: {{assurance: dpop}}
    expect: permit
  - case: nor is data of grade 1 asked for more
    dataset: {{grade: 1}}
    call: {{assurance: bearer}}
    expect: permit
  - case: a query is no download
    call: {{mode: query, assurance: bearer}}
    expect: permit
"""

_ELSEWHERE = """\
  - case: what another region supplies is no matter of this layer
    supplier: {region: "810000"}
    call: {assurance: bearer}
    expect: permit
"""


def first_layer(name: str, region: str | None = None) -> dict[str, str]:
    """The files of a new layer, by path below a policies root: one policy, and the table that shows it.

    Args:
        name: the layer's.
        region: the region whose layer it is, if it is one's.

    Raises:
        GatewayError: `invalid-input` where the name is none that a layer can have, or the region is none.
    """
    if not _NAME.fullmatch(name) or name in {NATIONAL, TABLES_FOLDER}:
        raise GatewayError(
            "invalid-input", f"`{name}` is no name for a new layer: lower-case letters, digits and `-`, as `zhongshan`"
        )
    table = _TABLE.format(name=name)
    files = {f"{name}/art35-first-rule.cedar": _POLICY.format(name=name)}
    if region is not None:
        declared = {f"{name}/{LAYER_FILE}": f'region: "{region}"\n'}
        try:
            region_of(declared, name)
        except ValueError as error:
            raise GatewayError("invalid-input", str(error)) from error
        files |= declared
        table = table.replace("given:\n", f'given:\n  supplier: {{region: "{region}"}}\n')
        table += _ELSEWHERE
    return {**files, f"{name}/{TABLES_FOLDER}/first-rule.yaml": table}


def laid_out(text: str) -> str:
    """Cedar text as Cedar's own formatter writes it, comments kept, and the blank line below those about the file.

    Raises:
        ValueError: where it does not parse.
        GatewayError: `internal` where the formatter would change what it says or lose a comment; nothing is to be
            written then.
    """
    said = _said(text)
    # What stands above a blank line is about the file; the formatter would make it the first policy's.
    head = _HEAD.match(text)
    own, rest = ("", text) if head is None else (head[0].strip(), text[head.end() :])
    laid: str = cedarpy.format_policies(rest, WIDTH, INDENT) if said else rest
    formatted = f"{own}\n\n{laid.strip()}\n".lstrip("\n")
    if _said(formatted) != said or comments(formatted) != comments(text):
        raise GatewayError("internal", "Cedar's formatter would change what the policies say")
    return formatted


def _said(text: str) -> list[dict[str, Any]]:
    """The policies in order, in Cedar's JSON form."""
    document = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    return [*document["staticPolicies"].values(), *document["templates"].values()]
