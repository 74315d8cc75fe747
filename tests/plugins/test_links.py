"""Links of the documentation lead somewhere, as a code host follows them and as the site does."""

import posixpath
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [str(p.relative_to(ROOT)) for glob in ("docs/*.md", "examples/*/README.md") for p in sorted(ROOT.glob(glob))]
SITE = runpy.run_path(str(ROOT / "scripts" / "site.py"))


def links(text):
    """(path, anchor) of every link that stays inside the project."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(text):
    """Names of the headings: small letters, no punctuation, dashes for spaces."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = (ROOT / page).read_text()
    for path, anchor in links(text):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text()), f"{path}#{anchor}"


def test_every_link_leads_to_the_same_file_in_the_site():
    in_site = {SITE["place"](page): page for page in PAGES}
    in_site |= {SITE["place"](str(p.relative_to(ROOT))): "" for p in ROOT.glob("docs/img/*")}
    in_site |= {SITE["place"](path): path for path in SITE["OUTSIDE"]}
    for page in PAGES:
        text = (ROOT / page).read_text()
        folder = posixpath.dirname(SITE["place"](page))
        before, after = list(links(text)), list(links(SITE["relocated"](text, page)))
        assert len(before) == len(after)
        for (path, _), (turned, _) in zip(before, after, strict=True):
            wanted = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
            found = posixpath.normpath(posixpath.join(folder, turned))
            assert not path or (found in in_site and found == SITE["place"](wanted)), f"{page}: {path} -> {turned}"


def test_the_reference_has_every_module():
    listed = {module for modules in SITE["packages"]().values() for module in modules}
    files = [p for p in (ROOT / "mmdiff").rglob("[!_]*.py") if "skeleton" not in p.parts]
    assert listed >= {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files} and len(listed) > 100


def test_words_for_the_tests_are_no_part_of_a_block_in_the_site():
    assert SITE["relocated"]("```python run\nx = 1\n```", "README.md") == "```python\nx = 1\n```"
