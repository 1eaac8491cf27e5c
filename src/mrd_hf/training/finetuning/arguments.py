"""What a fine-tuning run can be told, on the command line or in a YAML recipe."""

from dataclasses import dataclass, field

from ...errors import UserError
from ..arguments import parse_recipe_and_options
from ..loop.run_arguments import RunArguments, check_least
from ..recipe_files import FINETUNING_RECIPES


@dataclass
class LabeledDataArguments:
    """Which shapes to learn from."""

    dataset: str = field(metadata={"help": "The benchmark's folder; of triplets also an id on the Hub."})
    benchmark: str = field(
        default="shape-folder",
        metadata={
            "help": "What dataset is: one that mrd-hf evaluate reads (modelnet40, scanobjectnn, shape-folder, "
            "triplets, ...), to learn the classes of shapes; or shapenetpart, to learn the parts of objects."
        },
    )
    variant: str | None = field(default=None, metadata={"help": "Of scanobjectnn: obj_only, obj_bg or pb_t50_rs."})
    train_split: str = field(default="train", metadata={"help": "Split to learn from; of shapenetpart also trainval."})
    eval_split: str = field(default="test", metadata={"help": "Split to report on."})
    up_axis: str | None = field(
        default=None,
        metadata={
            "help": "Which axis is up in its files; default: what each file declares, otherwise y.",
            "choices": ["y", "z"],
        },
    )
    allow_partial: bool = field(default=False, metadata={"help": "Take a part of a published split as well."})
    num_points: int | None = field(
        default=None, metadata={"help": "Points of a shape that the network sees; default: the encoder's, or 1024."}
    )
    augmentation: str = field(
        default="{}",
        metadata={
            "help": "Changes to mrd_hf.training.finetuning.arguments.AUGMENTATION, as JSON (in a recipe: a mapping), "
            "in the fields of mrd_hf.data.loaders.augmentation.AugmentationConfig."
        },
    )

    def __post_init__(self) -> None:
        check_least(self, num_points=1)


@dataclass
class FinetunedModelArguments:
    """What to start from."""

    model: str | None = field(
        default=None,
        metadata={"help": "Pretrained PointBERT: a folder or a Hub id; default: none, a new one of point_config."},
    )
    point_config: str = field(
        default="{}",
        metadata={
            "help": "Changes to the encoder's PointBertConfig, as JSON (in a recipe: a mapping), such as "
            '{"drop_path_rate": 0.1, "classifier_dropout": 0.3}.'
        },
    )


@dataclass
class FinetuningArguments(RunArguments):
    """How to train."""

    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate of the head."})
    layer_decay: float = field(
        default=0.75,
        metadata={
            "help": "Learning rate of each block, relative to the one above it; the last block has this share of the "
            "head's. 1: all alike."
        },
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "Share of each label that is spread over all classes."}
    )
    votes: int = field(
        default=1,
        metadata={
            "help": "Also report the mean prediction over n versions of each shape: the first as it is, the others "
            "scaled by 0.8 to 1.2 and, for classes of shapes with more points, of other points; for parts of the same "
            "points. 1: no more than the plain scores."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, learning_rate=0, votes=1)
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay must be above 0 and at most 1, got {self.layer_decay}.")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}.")


FINETUNING_CLASSES = (LabeledDataArguments, FinetunedModelArguments, FinetuningArguments)
# Of benchmarks without colours and with few shapes; Point-BERT's in size and place.
AUGMENTATION = {
    "point_dropout": 0.0,
    "scale_min": 0.67,
    "scale_max": 1.5,
    "shift": 0.2,
    "jitter_std": 0.0,
    "rotate": False,
    "color_dropout": 0.0,
}


def parse_finetuning(
    argv: list[str],
) -> tuple[LabeledDataArguments, FinetunedModelArguments, FinetuningArguments]:
    """Arguments from `--config RECIPE` and the rest of the command line, which has the last word.

    Raises:
        UserError: when the recipe cannot be read, an argument is unknown or missing, or its value is out of range.
    """
    data, model, training = parse_recipe_and_options(
        argv,
        FINETUNING_CLASSES,
        FINETUNING_RECIPES,
        prog="mrd-hf finetune",
        description="Fine-tune PointBERT on labels: classes of shapes, or parts of objects.",
        epilog="Example: mrd-hf finetune --model outputs/demo/encoder --dataset shapes --output-dir outputs/classes "
        "--num-train-steps 2000 --warmup-steps 100. The package's recipes are named after the published figure that "
        "they aim at; none is reproduced here yet. Several GPUs: accelerate launch -m mrd_hf.commands.finetune ...",
    )
    return data, model, training
