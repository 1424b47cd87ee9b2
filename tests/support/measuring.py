"""What benchmarks share: results as JSON lines, a table at the end, and the machine they ran on."""

import argparse
import json
import os
import platform


def machine() -> str:
    """Processor and kernel, for the record."""
    model = "unknown processor"
    try:
        with open("/proc/cpuinfo", encoding="ascii") as file:  # noqa: PTH123 — not a path anyone joins
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def is_quick(what: str) -> bool:
    """Parse the command line: `--quick` measures a small part."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--quick", action="store_true", help="a small part, in seconds")
    return bool(parser.parse_args().quick)


class Results:
    """Collects results; prints each as a JSON line when it is known, and all as a table at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: list[tuple[str, str, str]] = []

    def add(self, what: str, value: float, unit: str, target: str = "") -> None:
        """One result."""
        print(json.dumps({"bench": self._name, "what": what, "value": round(value, 3), "unit": unit, "target": target}))
        self._rows.append((what, f"{value:,.{0 if abs(value) >= 100 else 2}f} {unit}", target))

    def table(self) -> None:
        """Everything, for people."""
        width = max(len(what) for what, _, _ in self._rows)
        print(f"\n{self._name} on {machine()}, load {os.getloadavg()[0]:.1f}")
        for what, value, target in self._rows:
            print(f"  {what:<{width}}  {value:>20}  {target}")
