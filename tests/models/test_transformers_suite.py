"""transformers' own tests of models and configurations, on ours. `make test` fetches them; see transformers_suite."""

import copy
import functools
import unittest
from typing import Any
from unittest.mock import patch

import torch
from support.tiny_encoders import TINY, TINY_UNI3D, clouds
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.testing_utils import torch_device
from transformers_suite.test_configuration_common import ConfigTester
from transformers_suite.test_modeling_common import ModelTesterMixin

from mrd_hf import (
    MRDConfig,
    MRDForPretraining,
    MRDForPretrainingOutput,
    PointBertConfig,
    PointBertForPartSegmentation,
    PointBertForShapeClassification,
    PointBertModel,
    Uni3DConfig,
    Uni3DModel,
)


OBJECT_PARTS = {"chair": [0, 1, 2], "lamp": [3, 4]}


class PointBertTester:
    """Sizes and inputs, under the names that the suite reads."""

    batch_size = 7
    is_training = True
    hidden_size = TINY["hidden_size"]
    num_hidden_layers = 2
    num_attention_heads = TINY["num_attention_heads"]
    seq_length = 1 + TINY["num_patches"]

    def get_config(self) -> PointBertConfig:
        return PointBertConfig(**{**TINY, "num_hidden_layers": self.num_hidden_layers})

    def get_inputs(self) -> dict[str, Any]:
        return {"point_values": clouds(self.batch_size, num_points=50).to(torch_device)}

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Any]]:
        return self.get_config(), self.get_inputs()


class PartSegmentationTester(PointBertTester):
    def get_config(self) -> PointBertConfig:
        return PointBertConfig(**{**super().get_config().to_dict(), "num_labels": 5, "object_parts": OBJECT_PARTS})

    def get_inputs(self) -> dict[str, Any]:
        return {**super().get_inputs(), "object_classes": torch.arange(self.batch_size).to(torch_device) % 3 - 1}


class Uni3DTester(PointBertTester):
    def get_config(self) -> Uni3DConfig:
        return Uni3DConfig(**{**TINY_UNI3D, "num_hidden_layers": self.num_hidden_layers})


class MRDTester(PointBertTester):
    def get_config(self, **changes: Any) -> MRDConfig:
        return MRDConfig(point_config=super().get_config().to_dict(), **changes)

    def get_inputs(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1)
        embeds = torch.randn(2, self.batch_size, TINY["projection_dim"], generator=generator).to(torch_device)
        return {**super().get_inputs(), "image_embeds": embeds[0], "text_embeds": embeds[1]}


class EmbeddingsTest:
    """What replaces a test of the suite that takes for granted that inputs are looked up in a table of tokens."""

    def test_model_get_set_embeddings(self) -> None:
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            new = copy.deepcopy(model.get_input_embeddings())
            self.assertIsInstance(new, torch.nn.Linear)
            model.set_input_embeddings(new)
            self.assertIs(model.get_input_embeddings(), new)
            self.assertIsNone(model.get_output_embeddings())


class PointBertModelTest(EmbeddingsTest, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (PointBertModel, PointBertForShapeClassification)
    test_resize_embeddings = False  # no tokens, no table of them
    test_can_init_all_missing_weights_before_2023 = True  # the suite finds no year in our files and takes them for old

    def setUp(self) -> None:
        self.model_tester = PointBertTester()
        self.config_tester = ConfigTester(self, PointBertConfig, has_text_modality=False, **TINY)
        # The suite knows by name which models are without a loss and which take class labels.
        for names, model_class in (
            (modeling_auto.MODEL_MAPPING_NAMES, PointBertModel),
            (modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, PointBertForShapeClassification),
        ):
            patcher = patch.dict(names, {PointBertConfig.model_type: model_class.__name__})
            patcher.start()
            self.addCleanup(patcher.stop)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class PointBertForPartSegmentationTest(EmbeddingsTest, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (PointBertForPartSegmentation,)
    additional_model_inputs = ["object_classes"]
    test_resize_embeddings = False  # no tokens, no table of them
    test_can_init_all_missing_weights_before_2023 = True  # the suite finds no year in our files and takes them for old

    def setUp(self) -> None:
        self.model_tester = PartSegmentationTester()
        two_parts = {"chair": [0], "lamp": [1]}  # as many as a configuration has labels if it is told nothing
        self.config_tester = ConfigTester(
            self, PointBertConfig, has_text_modality=False, **TINY, object_parts=two_parts
        )

    def _prepare_for_class(
        self, inputs_dict: dict[str, Any], model_class: type, return_labels: bool = False
    ) -> dict[str, Any]:
        """The suite makes labels of each pixel of an image; these are of each point."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs["labels"] = torch.zeros(inputs["point_values"].shape[:2], dtype=torch.long, device=torch_device)
        return inputs

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class Uni3DModelTest(EmbeddingsTest, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (Uni3DModel,)
    test_resize_embeddings = False  # no tokens, no table of them
    test_can_init_all_missing_weights_before_2023 = True  # the suite finds no year in our files and takes them for old

    def setUp(self) -> None:
        self.model_tester = Uni3DTester()
        self.config_tester = ConfigTester(self, Uni3DConfig, has_text_modality=False, **TINY_UNI3D)
        patcher = patch.dict(modeling_auto.MODEL_MAPPING_NAMES, {Uni3DConfig.model_type: "Uni3DModel"})
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class MRDForPretrainingTest(EmbeddingsTest, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MRDForPretraining,)
    additional_model_inputs = ["image_embeds", "text_embeds"]
    test_resize_embeddings = False  # no tokens, no table of them
    test_can_init_all_missing_weights_before_2023 = True  # the suite finds no year in our files and takes them for old
    _is_composite = True

    def setUp(self) -> None:
        self.model_tester = MRDTester()
        self.config_tester = ConfigTester(
            self,
            MRDConfig,
            has_text_modality=False,
            common_properties=["point_config", "relation_weight"],
            relation_weight=0.5,
            mask_self_pairs=False,
        )

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def test_batching_equivalence(self) -> None:
        """Of what is a sample's own: losses and accuracies are a whole batch's and no sums over its rows."""
        forward = MRDForPretraining.forward

        @functools.wraps(forward)
        def embeddings_alone(*arguments: Any, **inputs: Any) -> MRDForPretrainingOutput:
            output = forward(*arguments, **inputs)
            return MRDForPretrainingOutput(point_embeds=output.point_embeds, hidden_states=output.hidden_states)

        with patch.object(MRDForPretraining, "forward", embeddings_alone):
            super().test_batching_equivalence()
