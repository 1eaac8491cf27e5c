"""What the documents of the repository link to and name is there."""

import re
from pathlib import Path

import pytest
from support.pages import PAGES, blocks, prose
from support.paths import ROOT


DOCUMENTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "RELEASE.md", "CHANGELOG.md"))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a repository's host makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """Links of a text that lead nowhere, as seen from a page."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        inside = linked.is_relative_to(ROOT) and linked.exists()
        if not inside or (anchor and anchor not in anchors(linked)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert broken(page, prose(page)) == []


def test_a_broken_link_is_seen():
    page = ROOT / "docs" / "index.md"
    text = "[a](install.md) [b](install.md#extras) [c](nothing.md) [d](install.md#extra) [e](../../elsewhere) [f](#x)"
    assert broken(page, text) == ["nothing.md", "install.md#extra", "../../elsewhere", "#x"]


def test_every_page_of_the_documentation_is_linked_from_the_readme_or_the_start():
    linked = prose(ROOT / "README.md").replace("docs/", "") + prose(ROOT / "docs" / "index.md")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in linked, name


# The changelog tells of files that earlier versions had.
@pytest.mark.parametrize("page", DOCUMENTS[:-1], ids=lambda page: page.name)
def test_files_of_the_repository_that_a_page_names_are_there(page):
    spans = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    texts = [code for _, code in blocks(page)] + spans
    named = {
        path
        for text in texts
        for path in re.findall(r"(?<![\w/.-])(?:scripts|src|tests|docs|model_cards)/[\w./-]*", text)
    }
    missing = [path for path in sorted(named) if not (ROOT / path.rstrip(".")).exists()]
    assert missing == []


def test_the_readme_is_a_landing_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[:7] == ["Install", "Two commands", "Load", "Embed", "Classify", "Search", "Train"]
    assert len(re.findall(r"^\|-", text, flags=re.MULTILINE)) == 2 and "![" in text  # results, and what else there is
    assert "accelerate launch scripts/pretrain.py --config scripts/recipes/demo.yaml" in text
