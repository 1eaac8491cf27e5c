"""Class-name tables, and the prompt templates' number."""

from mrd_hf.evaluation.classes.class_names import MODELNET10, MODELNET40, SCANOBJECTNN
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


def test_prompt_templates():
    assert len(OPENSHAPE_TEMPLATES) == len(set(OPENSHAPE_TEMPLATES)) == 64
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)
    assert TEMPLATES["openshape64"] is OPENSHAPE_TEMPLATES and TEMPLATES["simple"] is SIMPLE_TEMPLATES
    assert TEMPLATES["clip"] == ("a photo of a {}.",)
    assert TEMPLATES["none"] == ("{}",)
