"""What cards are written from."""

FACTS = {
    "name": "outputs/run/encoder",
    "dataset": "org/data",
    "train_split": "train",
    "num_shapes": 5,
    "parameters": "1.0M",
    "width": 12,
    "num_points": 64,
    "num_patches": 8,
    "steps": 3,
    "global_batch_size": 4,
    "num_processes": 1,
    "mixed_precision": "no",
    "hardware": "a CPU",
    "minutes": "0.1",
    "train_loss": "1.0",
    "software": "torch",
    "changed_arguments": "dataset: org/data",
    "arguments": 'dataset: org/data\nencoder: "outputs/run/encoder"',
}


REPORT = {
    "version": 1,
    "model": {"name": "encoder", "sha256": "0" * 64},
    "benchmark": {"name": "ModelNet40", "split": "test", "num_shapes": 2468, "num_classes": 40},
    "teacher": "a-teacher",
    "templates": "openshape64",
    "seed": 0,
    "metrics": [
        {
            "key": "zero_shot_top1",
            "title": "zero-shot top-1 (40 classes)",
            "value": 0.5749,
            "low": 0.53,
            "high": 0.61,
            "num_shapes": 2468,
            "chance": 0.025,
            "majority": 0.04,
            "teacher": 0.6,
        },
        {
            "key": "shape_to_image_recall_at_1",
            "title": "shape to image, recall at 1",
            "value": 0.2,
            "low": 0.1,
            "high": 0.3,
            "num_shapes": 2468,
            "chance": 0.0004,
            "majority": None,
            "teacher": None,
        },
    ],
}
