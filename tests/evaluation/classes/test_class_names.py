"""Class-name tables and how names are matched; the prompt templates' number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf.evaluation.classes.class_names import MODELNET10, MODELNET40, SCANOBJECTNN, match_names, readable
from mrd_hf.evaluation.classes.prompt_templates import OPENSHAPE_TEMPLATES, SIMPLE_TEMPLATES, TEMPLATES


def test_published_orders():
    assert len(MODELNET40) == len(set(MODELNET40)) == 40
    assert list(MODELNET40) == sorted(MODELNET40)  # so is shape_names.txt
    # Labels of well-known shapes.
    assert [MODELNET40.index(name) for name in ("airplane", "chair", "night_stand", "tv_stand", "xbox")] == [
        0,
        8,
        23,
        36,
        39,
    ]
    assert len(MODELNET10) == 10 and list(MODELNET10) == sorted(MODELNET10) and set(MODELNET10) < set(MODELNET40)
    # As in ScanObjectNN's own list of labels, in which beds and what follows come after the tables.
    assert [SCANOBJECTNN.index(name) for name in ("bag", "chair", "table", "bed", "toilet")] == [0, 4, 9, 10, 14]
    assert len(SCANOBJECTNN) == len(set(SCANOBJECTNN)) == 15


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("night_stand", "night stand"),
        ("tv_stand", "tv stand"),
        ("Band_Aid", "Band Aid"),
        ("bow_(weapon)", "bow (weapon)"),
        ("chair", "chair"),
        (" a__b ", "a b"),
    ],
)
def test_readable(name, words):
    assert readable(name) == words


def test_names_match_whatever_their_spelling():
    assert match_names(["night stand", "TV stand", "sofa"], ["tv_stand", "Night_Stand", "bed"]) == [1, 0, None]
    # Of names that differ in spelling alone only the one spelled the same.
    assert match_names(["tea pot", "Tea Pot"], ["tea_pot", "tea pot"]) == [1, None]


@given(st.lists(st.text("ab_ A", min_size=1, max_size=4), unique=True), st.randoms())
def test_a_list_of_distinct_names_matches_itself(names, random):
    shuffled = random.sample(names, len(names))
    assert match_names(names, shuffled) == [shuffled.index(name) for name in names]


def test_prompt_templates():
    assert len(OPENSHAPE_TEMPLATES) == len(set(OPENSHAPE_TEMPLATES)) == 64
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)
    assert TEMPLATES["openshape64"] is OPENSHAPE_TEMPLATES and TEMPLATES["simple"] is SIMPLE_TEMPLATES
    assert TEMPLATES["clip"] == ("a photo of a {}.",)
    assert TEMPLATES["none"] == ("{}",)
