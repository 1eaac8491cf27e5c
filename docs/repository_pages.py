"""A hook of mkdocs: documents of the repository that pages link to, such as ../SECURITY.md, become pages of the site.

On the repository's host these links work as they are; the site has only what is in docs/.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parents[1]
DOCS = "docs"
# Where the copies are in the site.
PREFIX = "repository"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of docs/, and what those link to."""
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    while waiting:
        place = waiting.pop()
        for target in LINK.findall((ROOT / place).read_text(encoding="utf-8")):
            linked = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
            copy = f"{PREFIX}/{linked}"
            if linked.startswith(f"{DOCS}/") or files.get_file_from_path(copy) or not (ROOT / linked).is_file():
                continue
            files.append(File.generated(config, copy, abs_src_path=str(ROOT / linked)))
            if linked.endswith(".md"):
                waiting.append(linked)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to the copies."""
    here = page.file.src_uri
    place = here.removeprefix(f"{PREFIX}/") if here.startswith(f"{PREFIX}/") else f"{DOCS}/{here}"

    def moved(link: re.Match[str]) -> str:
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(place), link[1]))
        target = linked.removeprefix(f"{DOCS}/") if linked.startswith(f"{DOCS}/") else f"{PREFIX}/{linked}"
        return posixpath.relpath(target, posixpath.dirname(here)) if files.get_file_from_path(target) else link[1]

    return LINK.sub(moved, markdown)
