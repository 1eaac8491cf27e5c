"""The page in Chromium beside the Python package: first labels, embeddings, times, and what is fetched.

    mrd-hf export outputs/demo/encoder --to outputs/demo/onnx --class-texts scripts/demo_data/class_texts.parquet
    mrd-hf push outputs/demo/onnx --widget --output outputs/demo/page
    python scripts/benchmarks/exports/browser.py outputs/demo/encoder outputs/demo/page

Shapes of the demo data's test split go through the page as .npy files, and through torch. Those whose first label
differs are listed with their two best scores. It needs `pip install 'mrd-hf[browser]'` and Debian's chromium.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright

from mrd_hf.data.loading import load_triplets
from mrd_hf.encoder import load_encoder
from mrd_hf.models.label_ranking import rank_labels


TIME_LIMIT = 120_000
ISOLATED = {"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin"}
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="the encoder that was exported")
    parser.add_argument("page", type=Path, help="as mrd-hf push --widget --output wrote it")
    parser.add_argument("--dataset", default="scripts/demo_data")
    parser.add_argument("--shapes", type=int, default=100, help="how many of the test split (default: 100)")
    parser.add_argument("--single-thread", action="store_true", help="serve the page without isolation")
    return parser.parse_args()


class Server:
    """A server of the page's folder that notes what it sent."""

    def __init__(self, folder: Path, isolated: bool) -> None:
        sent: dict[str, int] = {}
        self.sent = sent

        class Handler(SimpleHTTPRequestHandler):
            def end_headers(self) -> None:
                for name, value in ISOLATED.items() if isolated else ():
                    self.send_header(name, value)
                super().end_headers()

            def log_request(self, *arguments: Any) -> None:
                file = folder / self.path.partition("?")[0].lstrip("/")
                sent[self.path] = os.path.getsize(file / "index.html" if file.is_dir() else file)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"


def classify(page: Page, content: bytes) -> tuple[np.ndarray, str, float, float]:
    """Embedding, first label, seconds from the file to the labels as seen from outside, and as the page says."""
    page.evaluate("delete document.body.dataset.result")
    start = time.perf_counter()
    page.set_input_files("#file", {"name": "shape.npy", "mimeType": "", "buffer": content})
    page.wait_for_selector("body[data-result]")
    seconds = time.perf_counter() - start
    embedding = np.array(page.evaluate("Array.from(window.lastEmbedding)"), dtype=np.float32)
    bars = page.locator("#bars li span:first-child")
    label = bars.first.inner_text() if bars.count() else ""
    said = float(page.inner_text("#status").split(" in ")[1].split()[0])
    return embedding, label, seconds, said


def main() -> None:
    arguments = parse_arguments()
    encoder = load_encoder(arguments.encoder)
    facts = json.loads((arguments.page / "encoder/encoder.json").read_text(encoding="utf-8"))
    labels = facts["classes"]["labels"] if facts["classes"] else []
    class_embeds = np.empty((0, encoder.embedding_dim), np.float32)
    if labels:
        table = np.fromfile(arguments.page / "encoder/class_embeddings.bin", dtype="<f4")
        class_embeds = table.reshape(len(labels), -1)
    shapes = load_triplets(arguments.dataset, "test").with_format("numpy")
    server = Server(arguments.page, not arguments.single_thread)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(TIME_LIMIT)
        # Drawn in software, a shape that turns 60 times a second would leave the encoder no processor.
        page.add_init_script("window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 1000)")
        start = time.perf_counter()
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        print(f"loaded in {time.perf_counter() - start:.1f} s: {page.inner_text('#runtime')}")
        before = {path: size for path, size in server.sent.items() if not path.startswith("/encoder/")}
        print(
            f"before the encoder {sum(before.values()) / 1e6:.2f} MB, the encoder's files "
            f"{(sum(server.sent.values()) - sum(before.values())) / 1e6:.2f} MB"
        )
        times, said, distances, different = [], [], [], []
        for number in range(min(arguments.shapes, len(shapes))):
            points = np.concatenate([shapes[number]["points"], shapes[number]["colors"]], axis=1).astype(np.float32)
            content = io.BytesIO()
            np.save(content, points)
            found, label, seconds, its_own = classify(page, content.getvalue())
            values = encoder.extractor(points[:, :3], shapes[number]["colors"])["point_values"]
            with torch.inference_mode():
                expected = encoder.model.get_point_features(values)[0].numpy()
            cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
            distances.append(1 - float(cosine))
            times.append(seconds)
            said.append(its_own)
            ranked = rank_labels(expected, labels, class_embeds, facts["logit_scale"], top_k=2) if labels else []
            if ranked and ranked[0]["label"] != label:
                different.append((number, label, ranked))
        browser.close()
    print(
        f"from file to labels: median {statistics.median(times):.2f} s, longest {max(times):.2f} s; as it says "
        f"{statistics.median(said):.2f} and {max(said):.2f} s"
    )
    print(f"cosine distance to torch's embedding: largest {max(distances):.1e}")
    if labels:
        print(f"first label as torch's: {len(times) - len(different)} of {len(times)}")
    for number, label, ranked in different:
        best = ", ".join(f"{guess['label']} {guess['score']:.3f}" for guess in ranked)
        print(f"  shape {number}: {label} in the browser; {best} in Python")


if __name__ == "__main__":
    main()
