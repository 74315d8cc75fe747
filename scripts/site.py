"""What the site has besides docs/*.md, as hooks of mkdocs: pages outside docs, and a reference from the sources.

    README.md -> index.md       CONTRIBUTING.md, CHANGELOG.md, LICENSE, examples/*/README.md -> pages of the same path
    mmdiff/PACKAGE/*.py -> reference/PACKAGE.md, one ``::: module`` for each module; sources are read, not imported

Links are written for a code host, relative to the file that holds them. A page keeps its text, and a link to what lies
elsewhere in the site is turned to where it lies, so that both places follow it.
"""

import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTSIDE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "examples/minimal.py"]
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
WORDS = re.compile(r"^(```\w+) [^\n]*$", re.MULTILINE)
"""Words after the language of a block are for the tests that run it."""


def place(path: str) -> str:
    """Where a file of the project, or the README of a folder, is in the site."""
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def relocated(text: str, source: str) -> str:
    """The text of the project's file ``source`` with its links as the site has them; those of other kinds stay."""
    here = posixpath.dirname(place(source))

    def turn(match: re.Match) -> str:
        before, target, after = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if ":" in target or not (ROOT / path).exists():
            return match[0]
        return before + posixpath.relpath(place(path), here or ".") + after

    return WORDS.sub(r"\1", LINK.sub(turn, text))


def packages() -> dict[str, list[str]]:
    """Package -> its modules, of every package under mmdiff that documents something."""
    found = {}
    for folder, names, files in os.walk(ROOT / "mmdiff"):
        names[:] = sorted(name for name in names if (Path(folder) / name / "__init__.py").exists())
        package = ".".join(Path(folder).relative_to(ROOT).parts)
        modules = [f"{package}.{name[:-3]}" for name in sorted(files) if name.endswith(".py") and name[0] != "_"]
        if modules:
            found[package] = modules
    return found


def on_config(config):
    pages = [{package: f"reference/{package}.md"} for package in packages()]
    config.nav = [*config.nav, {"Reference": pages}]
    return config


def on_files(files, config):
    from mkdocs.structure.files import File  # here, as the tests of links have no mkdocs

    outside = [*OUTSIDE, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("examples/*/README.md")))]
    for source in outside:
        files.append(File.generated(config, place(source), content=(ROOT / source).read_text(encoding="utf-8")))
    for package, modules in packages().items():
        text = f"# {package}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
        files.append(File.generated(config, f"reference/{package}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    path = page.file.src_uri
    if path.startswith("reference/"):
        return markdown
    source = "README.md" if path == "index.md" else path if (ROOT / path).exists() else f"docs/{path}"
    return relocated(markdown, source)


def on_post_page(output, page, config):
    from mkdocs.exceptions import PluginError

    if fetched := re.search(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=\"?(https?://[^\" >]*)", output):
        raise PluginError(f"{page.file.src_uri} fetches {fetched[1]}: the site must be whole without a network")
    return output
