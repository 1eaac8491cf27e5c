"""Which encoder a run trains, and towards which teacher: recorded, and refused where it is not what is meant."""

import json

import pytest
import torch
from support.tiny_encoders import clouds, tiny_encoder
from support.toy_encoder import ToyModel

from mrd_hf import PointBertConfig, PointBertModel, Uni3DModel
from mrd_hf.errors import UserError
from mrd_hf.training.arguments import ModelArguments
from mrd_hf.training.model_building import build_model


COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_encoder(folder, **teacher):
    PointBertModel(PointBertConfig(**TINY, projection_dim=12, **teacher)).save_pretrained(folder)
    return str(folder)


def tiny(**arguments) -> ModelArguments:
    return ModelArguments(point_config=json.dumps(TINY), **arguments)


def test_the_embeddings_origin_goes_into_the_encoders_configuration():
    config = build_model(tiny(), 12, f"org/clip@{COMMIT}").point_bert.config
    assert (config.teacher_id, config.teacher_revision) == ("org/clip", COMMIT)
    config = build_model(tiny(), 12, "my-clip").point_bert.config
    assert (config.teacher_id, config.teacher_revision) == ("my-clip", None)


def test_a_teachers_text_tower_goes_with_it():
    towers = json.dumps({"my-teacher": "package:words/model", f"org/clip@{COMMIT}": "org/words"})
    for teacher, expected in (
        ("my-teacher", "package:words/model"),
        ("org/clip", "org/words"),
        (f"org/clip@{COMMIT}", "org/words"),
        ("org/clip@fffffff", None),
        ("org/siglip", None),
    ):
        config = build_model(tiny(text_towers=towers), 12, teacher).point_bert.config
        assert config.text_tower_id == expected, teacher
    for tower in ("/home/me/words", 3, ["a"]):
        with pytest.raises(UserError, match=r"text_towers, of t: text_tower_id must be|text_towers, of t: .* string"):
            build_model(tiny(text_towers=json.dumps({"t": tower})), 12, "org/siglip")
    with pytest.raises(UserError, match="text_towers is not valid JSON"):
        build_model(tiny(text_towers="words"), 12, "org/siglip")


def test_an_encoder_keeps_its_text_tower_with_its_teacher(tmp_path):
    mine = save_encoder(tmp_path / "mine", teacher_id="org/clip", text_tower_id="org/words")
    change = '{"teacher_id": null, "teacher_revision": null}'
    for arguments, teacher, expected in (
        (ModelArguments(encoder=mine), "org/clip", "org/words"),
        (ModelArguments(encoder=mine, text_towers='{"org/clip": "org/others"}'), "org/clip", "org/others"),
        (ModelArguments(encoder=mine, point_config=change), "org/siglip", None),
        (ModelArguments(encoder=mine, point_config=change), "org/clip", "org/words"),
        (ModelArguments(encoder=mine, point_config='{"teacher_id": "org/siglip"}'), f"org/siglip@{COMMIT}", None),
    ):
        assert build_model(arguments, 12, teacher).point_bert.config.text_tower_id == expected


def test_a_text_tower_that_is_asked_for_wins_over_the_recipes(tmp_path):
    mine = save_encoder(tmp_path / "mine", teacher_id="org/clip", text_tower_id="org/words")
    towers = '{"org/clip": "org/others"}'
    for given in ("org/asked", None):
        change = json.dumps({"text_tower_id": given})
        for encoder in (mine, None):
            arguments = ModelArguments(encoder=encoder, text_towers=towers, point_config=change)
            assert build_model(arguments, 12 if encoder else 384, "org/clip").point_bert.config.text_tower_id == given


def test_embeddings_of_another_teacher_than_asked_for():
    build_model(tiny(teacher_id="org/clip"), 12, f"org/clip@{COMMIT}")
    with pytest.raises(UserError, match=f"those of the teacher org/clip@{COMMIT}, and teacher_id asks for org/siglip"):
        build_model(tiny(teacher_id="org/siglip"), 12, f"org/clip@{COMMIT}")
    with pytest.raises(UserError, match="asks for org/clip@ffffffff"):
        build_model(tiny(teacher_id="org/clip@ffffffff"), 12, f"org/clip@{COMMIT}")


def test_an_encoder_goes_on_towards_its_own_teacher(tmp_path):
    unknown = save_encoder(tmp_path / "unknown")
    mine = save_encoder(tmp_path / "mine", teacher_id="org/clip", teacher_revision=COMMIT)
    for encoder in (unknown, mine):
        assert build_model(ModelArguments(encoder=encoder), 12, "org/clip").point_bert.config.teacher_id == "org/clip"
    message = f"mine was trained towards the teacher org/clip@{COMMIT}, and the embeddings are those of org/siglip"
    with pytest.raises(UserError, match=message):
        build_model(ModelArguments(encoder=mine), 12, "org/siglip")
    with pytest.raises(UserError, match="those of org/clip@fffffff"):
        build_model(ModelArguments(encoder=mine), 12, "org/clip@fffffff")


def test_an_encoder_changes_its_teacher_as_the_message_says(tmp_path):
    mine = save_encoder(tmp_path / "mine", teacher_id="org/clip", teacher_revision=COMMIT)
    with pytest.raises(UserError) as refused:
        build_model(ModelArguments(encoder=mine), 12, "org/siglip")
    changes = str(refused.value).split("'")[-2]
    config = build_model(ModelArguments(encoder=mine, point_config=changes), 12, "org/siglip").point_bert.config
    assert (config.teacher_id, config.teacher_revision) == ("org/siglip", None)


def test_the_encoder_is_of_the_kind_that_is_asked_for():
    config = json.dumps({"model_type": "uni3d", **TINY})
    model = build_model(ModelArguments(point_config=config), 12, "org/clip")
    assert type(model.encoder) is Uni3DModel and model.encoder.config.hidden_size == 16
    assert (model.encoder.config.embedding_dim, model.encoder.config.teacher_id) == (12, "org/clip")
    assert type(build_model(ModelArguments(point_config='{"model_type": "toy_points"}'), 12, "t").encoder) is ToyModel


@pytest.mark.parametrize("kind", ["openshape", "ulip", "uni3d"])
def test_an_encoder_of_any_kind_goes_on(kind, tmp_path):
    mine = tiny_encoder(kind)
    mine.save_pretrained(tmp_path)
    model = build_model(ModelArguments(encoder=str(tmp_path), point_config='{"drop_path_rate": 0.25}'), 20, "t").eval()
    assert model.encoder.config.drop_path_rate == 0.25 and model.encoder.config.teacher_id == "t"
    assert torch.equal(model.get_point_features(clouds()), mine.get_point_features(clouds()))


def test_a_recipes_encoder_that_the_weights_do_not_fit_is_named(tmp_path):
    mine = save_encoder(tmp_path / "mine")
    recipe = json.dumps({"hidden_size": 32, "num_hidden_layers": 4, "drop_path_rate": 0.1, "teacher_id": "t"})
    message = r"the weights of .*mine do not fit point_config \(hidden_size, num_hidden_layers\); leave these"
    with pytest.raises(UserError, match=message):
        build_model(ModelArguments(encoder=mine, point_config=recipe), 12, "t")
    build_model(ModelArguments(encoder=mine, point_config="{}"), 12, "t")  # as the message says


def test_encoders_that_there_are_not(tmp_path):
    tiny_encoder("uni3d").save_pretrained(tmp_path)
    for arguments, message in (
        (ModelArguments(point_config='{"model_type": "clip"}'), "model_type is 'clip', which is no encoder of shapes"),
        (ModelArguments(point_config='{"model_type": "unid"}'), "model_type is 'unid', which is no encoder of shapes"),
        (ModelArguments(point_config='{"model_type": "uni3d", "patch_radius": 1}'), "unknown key 'patch_radius'"),
        (ModelArguments(encoder=str(tmp_path), point_config='{"patch_radius": 1}'), "unknown key 'patch_radius'"),
        (
            ModelArguments(encoder=str(tmp_path), point_config='{"model_type": "point_bert"}'),
            "is a uni3d, and point_config's model_type is point_bert; leave it out",
        ),
    ):
        with pytest.raises(UserError, match=message):
            build_model(arguments, 20, "t")
