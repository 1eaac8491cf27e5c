"""What is said of an exported encoder: whose space it is in, and how logits are scaled."""

import pytest
from exported import save_encoder

from mrd_hf.encoder import load_encoder
from mrd_hf.exporting.writing import describe


@pytest.mark.parametrize("logit_scale", [None, 3.5])
def test_the_encoders_own_teacher_revision_tower_and_scale(tmp_path, logit_scale):
    told = {"teacher_id": "org/teacher", "teacher_revision": "a" * 40, "text_tower_id": "org/tower"}
    encoder = load_encoder(str(save_encoder(tmp_path / "encoder", logit_scale=logit_scale, **told)))
    description = describe(encoder, "float32", 18)
    assert {name: getattr(description, name) for name in told} == told
    assert description.logit_scale == (100.0 if logit_scale is None else logit_scale)
    assert description.embedding_dim == encoder.embedding_dim == 20
    assert description.input["encoder_up_axis"] == "z" and description.input["num_points"] == 128
