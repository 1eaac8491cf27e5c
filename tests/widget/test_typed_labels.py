"""Labels that a visitor types: nothing is fetched before they agree; then they are embedded as the package does."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import Route
from support.paths import DEMO_DATA
from support.widget_page import impatient, open_page
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace


CHAIR = DEMO_DATA / "shapes/chair.glb"
WORDS = ["[UNK]", "a", "point", "cloud", "model", "of", ".", "chair", "lamp", "red", "sofa"]
ALLOWED = {"access-control-allow-origin": "*", "access-control-expose-headers": "x-linked-size, content-length"}


def text_model(table: np.ndarray, output: str = "text_embeds") -> bytes:
    """The mean of the words' rows."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("ReduceMean", ["rows", "axes"], [output], keepdims=0),
    ]
    weights = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", table.shape[1]])]
    graph = helper.make_graph(nodes, "text", inputs, outputs, weights)
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def hub_files(width: int) -> tuple[dict[str, bytes], Tokenizer, np.ndarray]:
    """The files of a model as transformers.js reads them, and what they are made of."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    table = np.random.default_rng(0).standard_normal((len(WORDS), width)).astype(np.float32)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77, "unk_token": "[UNK]"}
    files = {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "onnx/text_model.onnx": text_model(table),
    }
    return files, tokenizer, table


def test_they_are_embedded_here_by_the_teachers_text_model(browser, server, settings, onnx_encoder):
    files, tokenizer, table = hub_files(settings["output"]["embedding_dim"])
    shown = open_page(browser, server, 900, 900)
    asked = []

    def answer(route: Route) -> None:
        asked.append(f"{route.request.method} {route.request.url}")
        # Of the second name that is tried, as of CLIP's.
        content = files.get(route.request.url.partition("/Xenova/texts/resolve/main/")[2])
        size = {} if content is None else {"x-linked-size": str(len(content))}
        route.fulfill(status=404 if content is None else 200, headers={**ALLOWED, **size}, body=content or b"")

    shown.page.context.route("https://huggingface.co/**", answer)
    shown.give(CHAIR)
    own = shown.labels
    shown.page.click("summary")
    assert asked == []
    shown.page.click("#texts-size")
    shown.page.wait_for_selector("#texts-form:not([hidden])")
    assert "Xenova/texts on huggingface.co" in shown.page.inner_text("#texts-facts")
    assert asked and all(line.startswith("HEAD ") for line in asked)
    shown.page.fill("#texts-labels", "lamp, chair, red sofa, chair")
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_function("document.querySelectorAll('#bars li').length === 3")
    assert not any(b"chair" in line.encode() or "lamp" in line for line in asked)
    labels = ["lamp", "chair", "red sofa"]
    rows = [table[tokenizer.encode(f"a point cloud model of {label}.").ids].mean(axis=0) for label in labels]
    assert_ranked(shown, labels, rows, onnx_encoder, settings)
    shown.page.click("#texts-back")
    shown.page.wait_for_function("document.querySelectorAll('#bars li').length > 3")
    assert shown.labels == own
    shown.page.close()


def assert_ranked(shown, labels, rows, onnx_encoder, settings):
    """That the chair's bars are those of these embeddings of the labels."""
    embeds = np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    shape = onnx_encoder.embed(onnx_encoder.extractor.point_values(CHAIR))[0]
    logits = settings["logit_scale"] * embeds @ (shape / np.linalg.norm(shape))
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    order = np.argsort(-shares)
    assert shown.labels == [labels[i] for i in order]
    percents = [float(text.rstrip("%")) for text in shown.page.locator("#bars li span:last-child").all_inner_texts()]
    np.testing.assert_allclose(percents, 100 * shares[order], atol=0.15)


def serve(shown, files: dict[str, bytes]) -> None:
    """A Hub whose models all have these files."""

    def answer(route: Route) -> None:
        name = route.request.url.partition("/resolve/main/")[2]
        size = {"x-linked-size": str(len(files.get(name, b"")))}
        route.fulfill(status=200 if name in files else 404, headers={**ALLOWED, **size}, body=files.get(name, b""))

    shown.page.context.route("https://huggingface.co/**", answer)


def type_labels(shown, labels: str) -> None:
    shown.page.click("summary")
    shown.page.click("#texts-size")
    shown.page.fill("#texts-labels", labels)
    shown.page.keyboard.press("Enter")


def test_siglips_texts_are_of_one_length(browser, server, settings, onnx_encoder):
    """It sees what they are filled with, which transformers does by `padding="max_length"`."""
    files, tokenizer, table = hub_files(settings["output"]["embedding_dim"])
    files["onnx/text_model.onnx"] = text_model(table, "pooler_output")
    files["config.json"] = json.dumps(
        {"model_type": "siglip", "text_config": {"max_position_embeddings": 12}}
    ).encode()
    described = json.loads(files["tokenizer_config.json"]) | {"pad_token": "sofa"}
    files["tokenizer_config.json"] = json.dumps(described).encode()
    shown = open_page(browser, server, 900, 900)
    serve(shown, files)
    shown.give(CHAIR)
    # What `replace` of JavaScript would take for the place of the label is a label like others.
    type_labels(shown, "Lamp, red red red red red red chair, $& chair")
    shown.page.wait_for_function("document.querySelectorAll('#bars li').length === 3")
    labels = ["Lamp", "red red red red red red chair", "$& chair"]
    # Nor does it see capitals, whatever its tokenizer does of itself.
    ids = [tokenizer.encode(f"a point cloud model of {label}.".lower()).ids for label in labels]
    assert [len(each) for each in ids] == [7, 13, 8]
    fitted = [each + [WORDS.index("sofa")] * (12 - len(each)) for each in ids]
    fitted[1] = [*ids[1][:11], ids[1][-1]]
    assert_ranked(shown, labels, [table[each].mean(axis=0) for each in fitted], onnx_encoder, settings)
    shown.page.close()


def test_a_model_that_only_happens_to_have_that_width_is_refused(browser, server, settings):
    files, _, table = hub_files(settings["output"]["embedding_dim"])
    files |= {"onnx/text_model.onnx": text_model(table, "pooler_output"), "config.json": b'{"model_type": "bert"}'}
    shown = open_page(browser, server, 900, 900)
    serve(shown, files)
    type_labels(shown, "lamp, chair")
    shown.page.wait_for_selector("#texts-problem:not([hidden])")
    assert "no output text_embeds" in shown.page.inner_text("#texts-problem")
    shown.page.close()


def test_typed_labels_are_not_those_of_the_shape_before(browser, server, settings):
    files, *_ = hub_files(settings["output"]["embedding_dim"])
    shown = open_page(browser, server, 900, 900)
    serve(shown, files)
    shown.give(CHAIR)
    assert shown.labels
    shown.give({"name": "bad.glb", "mimeType": "", "buffer": b"glTF"})
    assert shown.labels == [] and shown.problem
    type_labels(shown, "lamp, chair")
    shown.page.wait_for_function("document.querySelector('#texts-go').textContent === 'Classify'")
    assert shown.labels == [] and shown.page.inner_text("#status") == "The labels are ready. Give it a shape."
    shown.give(CHAIR)
    assert sorted(shown.labels) == ["chair", "lamp"]
    # Nor are its bars brought back by other labels once another shape could not be read.
    shown.give({"name": "empty.glb", "mimeType": "", "buffer": b""})
    assert shown.labels == [] and "it is empty" in shown.problem
    shown.page.click("#texts-back")
    shown.page.wait_for_function("document.querySelector('#status').textContent.startsWith('The labels are ready')")
    assert shown.labels == [] and not shown.page.is_visible("#view")
    shown.page.close()


def test_a_hub_without_a_text_model_is_told(browser, server):
    shown = open_page(browser, server, 900, 900)
    shown.page.context.route("https://huggingface.co/**", lambda route: route.fulfill(status=404, headers=ALLOWED))
    shown.page.click("summary")
    shown.page.click("#texts-size")
    shown.page.wait_for_selector("#texts-problem:not([hidden])")
    assert "no text model for this encoder (openai/texts, Xenova/texts)" in shown.page.inner_text("#texts-problem")
    shown.give(CHAIR)
    assert shown.labels
    shown.page.close()


def test_another_encoder_takes_the_text_model_of_its_own_teacher(browser, server, exported, settings):
    """Of `?model=`: the page's own encoder knows openai/texts, and this one google/texts, in the same width."""
    asked = []

    def answer(route: Route) -> None:
        folder = "https://huggingface.co/other/model/resolve/main/onnx/"
        asked.append(route.request.url)
        if not route.request.url.startswith(folder):
            return route.fulfill(status=404, headers=ALLOWED)
        name = route.request.url.removeprefix(folder)
        described = json.dumps({**settings, "text_tower_id": "google/texts"}).encode()
        content = described if name == "encoder.json" else (exported / name).read_bytes()
        return route.fulfill(headers=ALLOWED, body=content)

    routes = {"https://huggingface.co/**": answer}
    shown = open_page(browser, f"{server}?model=other/model", 900, 900, routes=routes)
    shown.page.click("summary")
    shown.page.click("#texts-size")
    shown.page.wait_for_selector("#texts-problem:not([hidden])")
    assert "(google/texts, Xenova/texts)" in shown.page.inner_text("#texts-problem")
    assert not any("openai/texts" in url for url in asked)
    shown.page.close()


def test_labels_are_not_offered_where_the_teacher_has_no_repository(browser, server, settings):
    described = json.dumps({**settings, "text_tower_id": "package:texts"})
    routes = {"**/encoder/encoder.json": lambda route: route.fulfill(body=described)}
    shown = open_page(browser, server, 900, 900, routes=routes)
    assert not shown.page.is_visible("#texts")
    shown.page.close()


def test_a_shape_waits_for_the_download_of_a_text_model(browser, server, settings):
    """However long that takes: half a second stands for the limit of a shape."""
    files, *_ = hub_files(settings["output"]["embedding_dim"])
    shown = open_page(browser, server, 900, 900, script=impatient())

    def answer(route: Route) -> None:
        name = route.request.url.partition("/resolve/main/")[2]
        if route.request.method == "GET" and name.endswith(".onnx"):
            shown.page.set_input_files("#file", CHAIR)
            shown.page.wait_for_timeout(1500)
        size = {"x-linked-size": str(len(files.get(name, b"")))}
        route.fulfill(status=200 if name in files else 404, headers={**ALLOWED, **size}, body=files.get(name, b""))

    shown.page.context.route("https://huggingface.co/**", answer)
    shown.page.click("summary")
    shown.page.click("#texts-size")
    shown.page.fill("#texts-labels", "lamp, chair")
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_selector("body[data-result='chair.glb']")
    assert sorted(shown.labels) == ["chair", "lamp"] and not shown.problem
    assert shown.page.is_enabled("#texts-go") and shown.page.inner_text("#texts-go") == "Classify"
    shown.page.close()
