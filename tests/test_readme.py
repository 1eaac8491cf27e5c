"""The README's Python snippets run as they stand, in order, on a small encoder in the demo's place."""

import os
import re
import subprocess
import sys
from pathlib import Path

from mrd_hf import PointBertConfig, PointBertModel, PointCloudFeatureExtractor


ROOT = Path(__file__).parent.parent


def test_the_snippets_run(tmp_path):
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 2
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    encoder = tmp_path / "outputs" / "demo" / "encoder"
    config = PointBertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=8,
        patch_size=8,
        projection_dim=384,
    )
    PointBertModel(config).save_pretrained(encoder)
    PointCloudFeatureExtractor(num_points=256).save_pretrained(encoder)
    (tmp_path / "chair.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\n")
    subprocess.run(
        [sys.executable, "-c", "\n".join(snippets)],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
        timeout=300,
    )
