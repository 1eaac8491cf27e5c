"""The encoders' pipelines, and how they travel with a saved encoder."""

import os
from typing import Any

from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME


def pipeline_classes() -> dict[str, type]:
    """By task. Importing them takes a while, which models alone need not wait for."""
    # transformers copies to a saved folder what these lines name, since configurations import this file.
    from .pipeline_point_cloud_feature_extraction import PointCloudFeatureExtractionPipeline
    from .pipeline_point_cloud_similarity import PointCloudSimilarityPipeline
    from .pipeline_zero_shot_point_cloud_classification import ZeroShotPointCloudClassificationPipeline

    return {
        "zero-shot-point-cloud-classification": ZeroShotPointCloudClassificationPipeline,
        "point-cloud-feature-extraction": PointCloudFeatureExtractionPipeline,
        "point-cloud-similarity": PointCloudSimilarityPipeline,
    }


# The Hub's own name for what an encoder does, which the code that it shows beside a model asks for. In folders alone:
# registered, it would take the place of transformers' pipeline for texts.
HUB_TASKS = {"feature-extraction": "point-cloud-feature-extraction"}


class CarriesPipelines(PreTrainedConfig):
    """Of an encoder: its folder names the pipelines, for `pipeline(task, model=folder, trust_remote_code=True)`.

    transformers itself adds to a folder only the one pipeline that is saved, and only by the pipeline's own
    `save_pretrained`.
    """

    def __post_init__(self, **kwargs: Any) -> None:
        # The package's own pipelines are registered. Were the folder's named as well, transformers would insist on
        # running those, and ask for `trust_remote_code`.
        if not type(self).__module__.startswith(f"{TRANSFORMERS_DYNAMIC_MODULE_NAME}."):
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        """As [`~PreTrainedConfig.save_pretrained`]; the pipelines are named in it, where their files go with it."""
        if type(self).__module__.rpartition(".")[0] != __name__.rpartition(".")[0]:
            # A user's own encoder: transformers copies what its file imports from beside it, and so not these.
            super().save_pretrained(save_directory, push_to_hub, **kwargs)
            return
        named = {
            task: {"impl": f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}", "pt": ["AutoModel"]}
            for task, kind in pipeline_classes().items()
        }
        self.custom_pipelines = named | {task: named[ours] for task, ours in HUB_TASKS.items()}
        try:
            super().save_pretrained(save_directory, push_to_hub, **kwargs)
        finally:
            del self.custom_pipelines
