# ruff: noqa: INP001, ARG002 - a script of the build, whose methods have the signatures that hatchling calls
"""Takes the client's modules from the gateway's sources, under the package's own name."""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path(__file__).resolve().parents[2] / "gateway" / "client"


class ClientModules(BuildHookInterface):  # type: ignore[type-arg]
    """Puts each module of `gateway.client` into the wheel as one of `gateway_client`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write them aside, renamed, and have them included."""
        self._folder = tempfile.TemporaryDirectory()
        for source in sorted(SOURCES.iterdir()):
            if source.suffix not in {".py", ".typed"}:
                continue
            renamed = Path(self._folder.name) / source.name
            # The logger keeps its name: settings of logging speak of it.
            text = source.read_text("utf-8").replace('"gateway.client"', '"gateway" ".client"')
            renamed.write_text(text.replace("gateway.client", "gateway_client"), "utf-8")
            build_data["force_include"][str(renamed)] = f"gateway_client/{source.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clear away what was written aside."""
        self._folder.cleanup()
