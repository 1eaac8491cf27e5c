"""The front matter of the Space's card: what the Hub requires of it, and what the package says elsewhere."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.paths import ROOT


APP = ROOT / "scripts/app"
# Of the Hub's reference of a Space's configuration.
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
LONGEST_DESCRIPTION = 60


@pytest.fixture(scope="module")
def card():
    return yaml.safe_load((APP / "README.md").read_text(encoding="utf-8").split("---")[1])


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_card_runs_the_page_with_the_gradio_that_it_is_tested_with(card, project):
    pinned = re.search(r"^gradio==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert card["sdk"] == "gradio" and card["sdk_version"] == pinned
    wanted = next(r for r in map(Requirement, project["optional-dependencies"]["app"]) if r.name == "gradio")
    assert card["sdk_version"] in wanted.specifier
    assert card["python_version"] in SpecifierSet(project["requires-python"])
    assert (APP / card["app_file"]).is_file()


def test_the_card_is_as_the_hub_wants_it(card, project):
    assert {card["colorFrom"], card["colorTo"]} <= COLORS
    assert len(card["short_description"]) <= LONGEST_DESCRIPTION
    assert card["license"] == project["license"].lower()


def test_the_space_is_a_card_an_entry_and_its_requirements():
    """All else is in the package, which the requirements name with the extra that brings Gradio."""
    assert {path.name for path in APP.iterdir() if path.is_file()} == {"README.md", "app.py", "requirements.txt"}
    requirements = [line for line in (APP / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert {"app", "retrieval"} <= Requirement(requirements[0]).extras
