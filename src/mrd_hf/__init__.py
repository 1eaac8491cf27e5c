"""Multi-modal Relation Distillation (MRD) for 3D shapes, on the Hugging Face stack.

Importing the package registers its models with transformers' Auto classes, and its pipelines.
"""

from importlib.metadata import version

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSemanticSegmentation,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .encoder import fastest_dtype
from .models.configuration_mrd import MRDConfig
from .models.configuration_point_bert import POINT_BERT_PRESETS, PointBertConfig
from .models.configuration_point_encoder import PointEncoderConfig
from .models.configuration_uni3d import UNI3D_PRESETS, Uni3DConfig
from .models.custom_pipelines import pipeline_classes
from .models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .models.modeling_mrd import MRDForPretraining, MRDForPretrainingOutput
from .models.modeling_point_bert import PointBertForShapeClassification, PointBertModel, PointBertOutput
from .models.modeling_point_bert_parts import PointBertForPartSegmentation
from .models.modeling_uni3d import Uni3DModel, Uni3DOutput
from .models.pipeline_point_cloud_feature_extraction import PointCloudFeatureExtractionPipeline
from .models.pipeline_point_cloud_similarity import PointCloudSimilarityPipeline
from .models.pipeline_zero_shot_point_cloud_classification import ZeroShotPointCloudClassificationPipeline
from .models.point_features import point_features
from .models.processing_mrd import MRDProcessor
from .models.text_tower import TextTower


__version__ = version("mrd-hf")

AutoConfig.register("point_bert", PointBertConfig)
AutoConfig.register("uni3d", Uni3DConfig)
AutoConfig.register("mrd", MRDConfig)
AutoModel.register(PointBertConfig, PointBertModel)
AutoModel.register(Uni3DConfig, Uni3DModel)
AutoModel.register(MRDConfig, MRDForPretraining)
AutoModelForPreTraining.register(MRDConfig, MRDForPretraining)
AutoModelForSemanticSegmentation.register(PointBertConfig, PointBertForPartSegmentation)
AutoFeatureExtractor.register(PointBertConfig, PointCloudFeatureExtractor)
AutoFeatureExtractor.register(Uni3DConfig, PointCloudFeatureExtractor)
AutoFeatureExtractor.register(MRDConfig, PointCloudFeatureExtractor)
AutoProcessor.register(PointBertConfig, MRDProcessor)
AutoProcessor.register(Uni3DConfig, MRDProcessor)
AutoProcessor.register(MRDConfig, MRDProcessor)
for _task, _pipeline_class in pipeline_classes().items():
    PIPELINE_REGISTRY.register_pipeline(_task, _pipeline_class, pt_model=AutoModel, type="multimodal")

# Saved folders carry the code as well, for those who load them by `trust_remote_code=True`, without this package.
for _config in (PointBertConfig, Uni3DConfig, MRDConfig):
    _config.register_for_auto_class()
PointBertModel.register_for_auto_class("AutoModel")
Uni3DModel.register_for_auto_class("AutoModel")
MRDForPretraining.register_for_auto_class("AutoModelForPreTraining")
PointBertForPartSegmentation.register_for_auto_class("AutoModelForSemanticSegmentation")
PointCloudFeatureExtractor.register_for_auto_class()
MRDProcessor.register_for_auto_class()

__all__ = [
    "POINT_BERT_PRESETS",
    "UNI3D_PRESETS",
    "MRDConfig",
    "MRDForPretraining",
    "MRDForPretrainingOutput",
    "MRDProcessor",
    "PointBertConfig",
    "PointBertForPartSegmentation",
    "PointBertForShapeClassification",
    "PointBertModel",
    "PointBertOutput",
    "PointCloudFeatureExtractionPipeline",
    "PointCloudSimilarityPipeline",
    "PointCloudFeatureExtractor",
    "PointEncoderConfig",
    "TextTower",
    "Uni3DConfig",
    "Uni3DModel",
    "Uni3DOutput",
    "ZeroShotPointCloudClassificationPipeline",
    "fastest_dtype",
    "point_features",
]
