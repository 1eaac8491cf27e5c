"""What a person does on the page, and what they see."""

import io
import re
import time

import numpy as np
import pytest
import trimesh
from browser.looks import assert_something_is_drawn
from PIL import Image
from support.hostile_uploads import hostile_files
from support.paths import DEMO_DATA
from support.tiny_gltf import textured_gltf
from support.tiny_meshes import QUARTERS, glb
from transformers import pipeline

from mrd_hf.data.loading import load_all_splits
from mrd_hf.evaluation.classes.prompt_templates import SIMPLE_TEMPLATES


LABELS = ["chair", "sofa", "bookcase", "car"]


@pytest.fixture(scope="module")
def classify(encoder):
    """The pipeline by itself, to compare what the page says with."""
    return pipeline("zero-shot-point-cloud-classification", str(encoder))


def bars(page):
    """Labels and percents, in their order."""
    return [
        (bar.locator(".text").inner_text(), int(bar.locator(".confidence").inner_text().rstrip("%")))
        for bar in page.locator("#scores .confidence-set").all()
    ]


def wait_for_bars(page, labels):
    """Wait until these are the bars, in any order."""
    page.wait_for_function(
        """labels => {
            const found = [...document.querySelectorAll('#scores .text')].map(element => element.textContent.trim());
            return found.length === labels.length && labels.every(label => found.includes(label));
        }""",
        arg=labels,
    )


def type_labels(page, labels):
    page.fill("#labels textarea", ", ".join(labels))
    page.click("#classify-button")


def upload(page, name, content, where="#classify-file"):
    clear = page.locator(f"{where} button[aria-label='Remove this file'], {where} button[aria-label='Clear']")
    if clear.count():
        clear.first.click()
    page.set_input_files(f"{where} input[type=file]", {"name": name, "mimeType": "", "buffer": content})


def problem(page, where="#classify-problem"):
    return page.wait_for_selector(f"{where} .problem").inner_text()


def names(page):
    return [text.rpartition(" · ")[0] for text in page.locator("#results .caption-label").all_inner_texts()]


def wait_for_results(page):
    page.wait_for_function("document.querySelectorAll('#results .caption-label').length === 12")


def assert_bars_are(page, expected):
    """Those of a pipeline, rounded: the same labels, percents within one of rounding, in falling order."""
    found = bars(page)
    assert [percent for _, percent in found] == sorted((percent for _, percent in found), reverse=True)
    scores = {entry["label"]: entry["score"] for entry in expected}
    assert {label for label, _ in found} == set(scores)
    assert all(abs(percent - 100 * scores[label]) < 1 for label, percent in found), (found, scores)
    assert found[0][0] == expected[0]["label"]


def test_the_page_opens_with_a_held_out_shape_whose_label_comes_first(wide, screenshot):
    assert wide.page.title() == wide.page.inner_text("h1") == "Shapes, words and pictures"
    assert len(bars(wide.page)) == 10
    assert wide.page.inner_text("#scores-heading") == "Scores of 10 labels"
    splits = load_all_splits(DEMO_DATA)
    assert f"{len(splits['train'])} shapes of furniture" in wide.page.inner_text("#limits")
    assert f"The collection has {sum(map(len, splits.values()))} shapes" in wide.page.inner_text("#limits")
    name, credits = (wide.page.inner_text(f"#classify-caption {part}") for part in (".title", ".quiet"))
    rows = splits["test"].select_columns(["name", "creator", "license", "source", "category"])
    categories = {
        row["category"]
        for row in rows
        if row["name"] == name and " · ".join(row[key] for key in ("creator", "license", "source")) == credits
    }
    assert bars(wide.page)[0][0] in categories
    assert wide.page.locator("#classify-examples .caption-label").first.inner_text() == name
    assert_something_is_drawn(wide.page, "#classify-view")
    screenshot(wide.page, "classify_start")


def test_a_shape_that_is_picked_is_shown_and_classified(wide, screenshot, classify, collection):
    type_labels(wide.page, LABELS)
    wait_for_bars(wide.page, LABELS)
    example = wide.page.locator("#classify-examples .gallery-item").nth(5)
    name = example.locator(".caption-label").inner_text()
    example.locator("button").click()
    wide.page.wait_for_selector(f"#classify-caption .title:text-is('{name}')")
    credits = wide.page.inner_text("#classify-caption .quiet")
    said = [
        (found, " · ".join(credit))
        for found, *credit in zip(
            *(collection[key][:] for key in ("name", "creator", "license", "source")), strict=True
        )
    ]
    row = said.index((name, credits))
    cloud = collection.with_format("numpy")[row]
    expected = classify(
        {"points": cloud["points"], "colors": cloud["colors"]}, LABELS, hypothesis_template=SIMPLE_TEMPLATES
    )
    wide.page.wait_for_function(
        "text => document.querySelector('#scores .confidence').textContent.trim() === text",
        arg=f"{round(100 * expected[0]['score'])}%",
    )
    assert_bars_are(wide.page, expected)
    assert_something_is_drawn(wide.page, "#classify-view")
    screenshot(wide.page, "classify_picked")


def test_labels_of_any_script_and_html_are_text(wide, screenshot):
    labels = ["стул", "椅子", "كرسي", "<img src=x onerror=alert(1)>", "<script>alert(2)</script>", "🪑 chair"]
    type_labels(wide.page, labels)
    wait_for_bars(wide.page, labels)
    assert wide.page.locator("#scores img, #scores script").count() == 0
    screenshot(wide.page, "classify_unicode")


def test_ten_thousand_labels_are_refused(wide, screenshot):
    type_labels(wide.page, [f"label {number}" for number in range(10_000)])
    assert problem(wide.page) == "That is 10,000 labels; at most 100 are compared."
    assert bars(wide.page) == []
    type_labels(wide.page, LABELS)
    wait_for_bars(wide.page, LABELS)
    assert wide.page.locator("#classify-problem .problem").count() == 0


def test_a_hundred_labels_are_compared(wide):
    labels = [f"thing {number}" for number in range(100)]
    type_labels(wide.page, labels)
    wide.page.wait_for_function("document.querySelector('#scores .text')?.textContent.includes('thing')")
    assert len(bars(wide.page)) == 12
    wide.page.wait_for_selector("#scores-heading :text-is('The 12 highest of 100 scores')")


def test_a_mesh_that_is_uploaded_is_shown_and_classified(wide, screenshot, classify, tmp_path):
    content = glb(Image.fromarray(QUARTERS).resize((64, 64), Image.Resampling.NEAREST))
    (tmp_path / "box.glb").write_bytes(content)
    # A file's name is text, and the page shows it whole, though Gradio leaves out some of it where it keeps the file.
    for name in ("my_chair_v2_.glb", "a*b*.glb", "<b>crate é.glb"):
        upload(wide.page, name, content)
        wide.page.wait_for_function(
            "name => document.querySelector('#classify-caption .title')?.textContent === name", arg=name
        )
    type_labels(wide.page, LABELS)
    wait_for_bars(wide.page, LABELS)
    expected = classify(str(tmp_path / "box.glb"), LABELS, hypothesis_template=SIMPLE_TEMPLATES)
    assert_bars_are(wide.page, expected)
    assert_something_is_drawn(wide.page, "#classify-view")
    assert wide.page.locator("#classify-caption b").count() == 0
    screenshot(wide.page, "classify_upload")


def test_which_axis_is_up_counts(wide, classify, tmp_path):
    cone = trimesh.creation.cone(radius=0.3, height=2)  # along z
    cone.export(tmp_path / "cone.stl")
    type_labels(wide.page, LABELS)
    wait_for_bars(wide.page, LABELS)
    upload(wide.page, "cone.stl", (tmp_path / "cone.stl").read_bytes())
    wide.page.wait_for_selector("#classify-caption .title:text-is('cone.stl')")
    wide.page.locator("#classify-axis label", has_text="z (").click()
    expected = classify(str(tmp_path / "cone.stl"), LABELS, hypothesis_template=SIMPLE_TEMPLATES, up_axis="z")
    other = classify(str(tmp_path / "cone.stl"), LABELS, hypothesis_template=SIMPLE_TEMPLATES, up_axis="y")
    assert max(abs(a["score"] - b["score"]) for a, b in zip(expected, other, strict=True)) > 1e-4
    wide.page.wait_for_function(
        "text => document.querySelector('#scores .confidence')?.textContent.trim() === text",
        arg=f"{round(100 * expected[0]['score'])}%",
    )
    assert_bars_are(wide.page, expected)


def test_a_point_cloud_that_is_uploaded_is_shown(wide):
    generator = np.random.default_rng(0)
    file = io.BytesIO()
    np.save(file, np.concatenate([generator.normal(size=(3000, 3)), generator.random((3000, 3))], axis=1))
    upload(wide.page, "cloud.npy", file.getvalue())
    wide.page.wait_for_selector("#classify-caption .title:text-is('cloud.npy')")
    assert_something_is_drawn(wide.page, "#classify-view")


def test_a_broken_file_is_explained(wide, screenshot):
    upload(wide.page, "broken <i>chair.glb", b"glTF nonsense")
    message = problem(wide.page)
    assert message.startswith("broken <i>chair.glb: cannot be read as 'glb'")
    wide.page.wait_for_function("document.querySelector('#scores-heading').innerText === 'Scores'")
    assert wide.page.locator("#classify-problem i").count() == 0
    wide.page.wait_for_function("document.querySelectorAll('#scores meter').length === 0")
    screenshot(wide.page, "classify_broken_file")
    wide.page.locator("#classify-examples button.thumbnail-item").first.click()  # and on it goes
    wide.page.wait_for_selector("#scores meter")
    assert wide.page.locator("#classify-problem .problem").count() == 0


def test_files_made_to_harm_are_refused_and_the_server_answers(wide, server):
    for name, (content, message) in hostile_files().items():
        start = time.monotonic()
        upload(wide.page, name, content)
        wide.page.wait_for_function(
            "name => document.querySelector('#classify-file')?.textContent.includes(name.split('.')[0])"
            " && document.querySelector('#classify-problem .problem')",
            arg=name,
        )
        said = problem(wide.page)
        assert re.search(message, said), (name, said)
        assert "/tmp" not in said and time.monotonic() - start < 25
        wide.page.locator("#classify-examples button.thumbnail-item").first.click()
        wide.page.wait_for_selector("#scores meter")
        wide.page.wait_for_function("!document.querySelector('#classify-problem .problem')")
    assert server.process.poll() is None


def test_what_a_file_names_outside_itself_is_not_read(wide):
    upload(wide.page, "thief.gltf", textured_gltf("../../../../etc/hostname"))
    wide.page.wait_for_selector("#classify-caption .title:text-is('thief.gltf')")
    assert "may not be read" in wide.page.inner_text("#classify-caption")


def test_a_long_reading_shows_that_it_goes_on(wide, screenshot):
    content = b"".join(b"%d.5 %d.25 0.125\n" % (i % 977, i % 331) for i in range(900_000))
    upload(wide.page, "scan.xyz", content)
    wide.page.wait_for_selector("#classify-view [data-testid='status-tracker']:not(.hide)")
    screenshot(wide.page, "classify_loading", settle=0)
    wide.page.wait_for_function(
        "document.querySelector('#classify-caption .title')?.textContent === 'scan.xyz'"
        " || document.querySelector('#classify-problem .problem')"
    )
    assert "200,000 of its 900,000 points are used." in wide.page.inner_text("#classify-caption")


def test_a_text_finds_what_it_says(wide, screenshot, collection):
    wide.page.get_by_role("tab", name="Search").click()
    wide.page.fill("#query textarea", "a red armchair")
    wide.page.click("#search-button")
    wait_for_results(wide.page)
    assert sum("chair" in name.lower() for name in names(wide.page)) >= 6, names(
        wide.page
    )  # of 12; a tenth of all are
    heading = wide.page.inner_text("#results-heading h2")
    assert heading == f"The 12 nearest of {len(collection)} shapes, with their cosine to the query"
    cosines = [
        float(text.rpartition(" · ")[2]) for text in wide.page.locator("#results .caption-label").all_inner_texts()
    ]
    assert cosines == sorted(cosines, reverse=True)
    assert_something_is_drawn(wide.page, "#search-view")
    third = wide.page.locator("#results .gallery-item").nth(2)
    third.locator("button").click()
    wide.page.wait_for_function(
        "name => document.querySelector('#search-caption .title')?.textContent === name", arg=names(wide.page)[2]
    )
    assert "CC" in wide.page.inner_text("#search-caption .quiet")  # the licence
    screenshot(wide.page, "search_text")


def test_a_text_without_words_is_explained(wide, screenshot):
    wide.page.get_by_role("tab", name="Search").click()
    wide.page.click("#search-button")
    assert problem(wide.page, "#search-problem") == "Type what to look for, such as: a red armchair."
    assert wide.page.inner_text("#results-heading h2") == "Nearest shapes"
    wide.page.fill("#query textarea", "chair " * 100)
    wide.page.click("#search-button")
    wide.page.wait_for_selector("#search-problem .problem:has-text('599 characters')")
    screenshot(wide.page, "search_error")


def test_a_picture_of_the_collection_finds_its_shapes(wide, screenshot, encoder, collection):
    wide.page.get_by_role("tab", name="Search").click()
    wide.page.get_by_role("tab", name="By picture").click()
    assert "cannot be uploaded here" in wide.page.inner_text("#search-tab")
    assert not wide.page.locator("#picture").is_visible()
    wide.page.locator("#search-pictures button.thumbnail-item").nth(1).click()
    wait_for_results(wide.page)
    # The same by numpy: the picture's cached embedding against all shapes'.
    name = wide.page.locator("#search-pictures .caption-label").nth(1).inner_text()
    embed = pipeline("point-cloud-feature-extraction", str(encoder))
    clouds = collection.select_columns(["points", "colors"]).with_format("numpy")
    shapes = np.stack([np.array(e) for e in embed(clouds, batch_size=64, normalize=True)])
    expected = []
    all_names = collection["name"][:]
    for row in (row for row, found in enumerate(all_names) if found == name):
        picture = np.asarray(collection[row]["image_embeds"][0], dtype=np.float32)
        expected.append([all_names[hit] for hit in np.argsort(-(shapes @ picture), kind="stable")[:12]])
    assert names(wide.page) in expected
    screenshot(wide.page, "search_picture")


def test_a_shape_finds_itself_first(wide, screenshot):
    wide.page.get_by_role("tab", name="Search").click()
    wide.page.get_by_role("tab", name="By shape").click()
    name = wide.page.locator("#search-shapes .caption-label").nth(3).inner_text()
    wide.page.locator("#search-shapes button.thumbnail-item").nth(3).click()
    wait_for_results(wide.page)
    assert wide.page.locator("#results .caption-label").first.inner_text() == f"{name} · 1.00"
    upload(wide.page, "box.glb", glb(), "#search-file")
    wide.page.wait_for_selector("#search-caption .title:text-is('box.glb')")
    wide.page.wait_for_function(
        "first => document.querySelector('#results .caption-label')?.textContent.trim() !== first",
        arg=f"{name} · 1.00",
    )
    screenshot(wide.page, "search_shape")
