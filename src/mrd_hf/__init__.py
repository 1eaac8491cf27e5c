"""Multi-modal Relation Distillation (MRD) for 3D shapes, on the Hugging Face stack.

Importing the package registers its models with transformers' Auto classes.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForPreTraining

from .models.configuration_mrd import MRDConfig
from .models.configuration_point_bert import PointBertConfig
from .models.feature_extraction_point_cloud import PointCloudFeatureExtractor
from .models.modeling_mrd import MRDForPretraining, MRDForPretrainingOutput
from .models.modeling_point_bert import PointBertModel, PointBertOutput


__version__ = "0.1.0"

AutoConfig.register("point_bert", PointBertConfig)
AutoConfig.register("mrd", MRDConfig)
AutoModel.register(PointBertConfig, PointBertModel)
AutoModel.register(MRDConfig, MRDForPretraining)
AutoModelForPreTraining.register(MRDConfig, MRDForPretraining)
AutoFeatureExtractor.register(PointBertConfig, PointCloudFeatureExtractor)
AutoFeatureExtractor.register(MRDConfig, PointCloudFeatureExtractor)

__all__ = [
    "MRDConfig",
    "MRDForPretraining",
    "MRDForPretrainingOutput",
    "PointBertConfig",
    "PointBertModel",
    "PointBertOutput",
    "PointCloudFeatureExtractor",
]
