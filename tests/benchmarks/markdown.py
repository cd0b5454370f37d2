"""Tables in Markdown, and the page that keeps them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

Rows = Sequence[Sequence[str]]


def table(head: Sequence[str], rows: Rows) -> str:
    """A Markdown table; all columns but the first are set right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Three figures, and no more than the value has before the point."""
    if value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(ratio: tuple[float, float, float]) -> str:
    """A median with the least and the greatest."""
    middle, least, greatest = ratio
    return f"{middle:.2f} ({least:.2f} to {greatest:.2f})"


def verdict(name: str, target: str, measured: float, met: bool) -> list[str]:
    """A row of a table of targets."""
    return [name, target, f"{measured:.2f}", "met" if met else "missed"]


def machine(command: str) -> str:
    """What was measured on, with what, when and how."""
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "torchvision", "captum", "dattri", "kronfluence", "pyDVL"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"`{command}`, {date.today()}: {_processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads used, load {load} at the end; {', '.join(versions)}."
    )


def write(page: Path, sections: dict[str, str]) -> None:
    """Put sections into a page, each in the place of the last one of its name, or at the end."""
    text = page.read_text() if page.exists() else "# Benchmarks\n"
    for name, content in sections.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        section = f"{begin}\n\n{content.strip()}\n\n{end}"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        found = pattern.search(text)
        if found:
            text = text[: found.start()] + section + text[found.end() :]
        else:
            text = f"{text.rstrip()}\n\n{section}\n"
    page.write_text(text)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
