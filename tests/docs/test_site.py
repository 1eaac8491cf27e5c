"""The site is built without a warning, and has the pages, the API and the documents that pages link to."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    built = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")}
    assert {page for page in pages if page != "index"} <= built
    assert {"repository/SECURITY", "repository/model_cards/RESULTS"} <= built


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page.read_text())))


def test_the_api_has_signatures_and_arguments(site):
    page = site / "api" / "models" / "index.html"
    ids = set(re.findall(r'id="(mrd_hf[\w.]*)"', page.read_text()))
    assert {f"mrd_hf.{name}" for name in ("PointBertConfig", "MRDForPretraining", "PointBertModel.forward")} <= ids
    models = text_of(page)
    # Types and names stand there without the markup that they have in docstrings.
    assert "hidden_size (int, defaults to 512) – Width of the transformer." in models and "[`" not in models
    # Arguments that have a type and no description are there as well.
    assert "checkpoint (Checkpoint)" in text_of(site / "api" / "serving" / "index.html")


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert loaded == [], page


def test_links_of_the_site_lead_to_its_files(site):
    checked = 0
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"#?]+)', page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            target = site / link.lstrip("/") if link.startswith("/") else page.parent / link
            # 404.html is written for the root of whatever serves it.
            assert target.exists() or page.name == "404.html", (page, link)
            checked += 1
    assert checked > 100
