"""Checks that the docs tell the truth: links resolve, commands exist, the error page matches the error tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
OPTION = re.compile(r"(--[a-z][a-z-]+)")


def broken_links(page: Path, text: str) -> list[str]:
    """Return relative links of ``page`` that lead nowhere."""
    targets = [target for target in LINK.findall(text) if "://" not in target]
    return [f"{page.name}: broken link {target}" for target in targets if not (page.parent / target).exists()]


def unknown_targets(page: Path, text: str) -> list[str]:
    """Return `make` targets that the Makefile does not have."""
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {target for block in code_of(text) for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", block)}
    return [f"{page.name}: no make target {target}" for target in sorted(used - known)]


def code_of(text: str) -> list[str]:
    """Return fenced blocks and inline code of a page."""
    return re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)


def command_help(words: tuple[str, ...], cache: dict[tuple[str, ...], str | None]) -> str | None:
    """Return the help text of a command, or None when there is no such command."""
    if words not in cache:
        run = subprocess.run(
            [sys.executable, "-m", "openhailo.cli.main", *words, "--help"], capture_output=True, text=True, check=False
        )
        cache[words] = run.stdout if run.returncode == 0 else None
    return cache[words]


def wrong_commands(page: Path, text: str, cache: dict[tuple[str, ...], str | None]) -> list[str]:
    """Return `openhailo ...` lines whose command or options do not exist."""
    problems = []
    for block in code_of(text):
        for line in block.splitlines():
            match = re.match(r"(?:\$ )?openhailo ([a-z][a-z-]*)(.*)", line.strip())
            if not match:
                continue
            words = (match[1], *match[2].split()[:1]) if match[1] in ("twin", "feagi") else (match[1],)
            help_text = command_help(words, cache)
            if help_text is None:
                problems.append(f"{page.name}: no command: openhailo {' '.join(words)}")
                continue
            missing = [option for option in OPTION.findall(match[2]) if option not in help_text]
            problems += [f"{page.name}: openhailo {' '.join(words)} has no option {option}" for option in missing]
    return problems


def undocumented_errors() -> list[str]:
    """Return error classes that docs/errors.md does not mention."""
    from openhailo import errors

    page = (ROOT / "docs/errors.md").read_text()
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    return [f"errors.md: {name} is missing" for name in names if f"`{name}`" not in page]


def main() -> int:
    """Print every problem; exit code 1 when there is one."""
    cache: dict[tuple[str, ...], str | None] = {}
    problems = undocumented_errors()
    for page in PAGES:
        text = page.read_text()
        problems += broken_links(page, text) + unknown_targets(page, text) + wrong_commands(page, text, cache)
    print("\n".join(problems) or f"{len(PAGES)} pages, {len(cache)} commands: in step with the code")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
