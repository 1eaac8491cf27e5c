"""A few training steps by each path that only a GPU has: fp16 with its scaler, pinned memory, SyncBatchNorm."""

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_parts.part import Part, shape_clouds


TINY: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY |= {"num_patches": 16, "patch_size": 16, "patch_radius": 0.4, "patch_feature_size": 32, "projection_dim": 32}


def train(part: Part, precision: torch.dtype, pinned: bool) -> None:
    """Steps with batches from a loader, in half precision with what accelerate would put around it."""
    from mrd_hf import MRDConfig, MRDForPretraining

    torch.manual_seed(0)
    model = MRDForPretraining(MRDConfig(point_config=TINY)).to(part.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(part.device.type, enabled=precision == torch.float16)
    steps = 2 if part.tiny else 12
    shapes = torch.utils.data.TensorDataset(shape_clouds(8 * steps, 256), *torch.randn(2, 8 * steps, 32))
    losses = []
    for clouds, image, text in torch.utils.data.DataLoader(shapes, batch_size=8, pin_memory=pinned):
        assert clouds.is_pinned() == pinned
        clouds, image, text = (tensor.to(part.device, non_blocking=True) for tensor in (clouds, image, text))
        with torch.autocast(part.device.type, precision, enabled=precision != torch.float32):
            loss = model(point_values=clouds, image_embeds=image, text_embeds=text).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    part.row(
        "Training steps",
        precision=str(precision).removeprefix("torch."),
        pinned_memory=pinned,
        steps=steps,
        first_loss=round(losses[0], 3),
        last_loss=round(losses[-1], 3),
        last_gradient_norm=round(norm.item(), 3),
        scale=scaler.get_scale() if scaler.is_enabled() else None,
        finite=bool(torch.tensor(losses).isfinite().all()),
    )


def half_a_batch(rank: int, device: str, file: str, encoder: nn.Module, clouds: torch.Tensor) -> None:
    """One of two processes: the gradient of its half, averaged over both."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    model: Any = nn.SyncBatchNorm.convert_sync_batchnorm(encoder).to(device).train()
    model.get_point_features(clouds.chunk(2)[rank].to(device)).square().mean().backward()
    gradients = torch.cat([parameter.grad.flatten().cpu() for parameter in model.parameters()])
    torch.distributed.all_reduce(gradients)
    if rank == 0:
        torch.save(gradients / 2, f"{file}.gradients")
    torch.distributed.destroy_process_group()


def sync_batch_norm(part: Part) -> None:
    """Two processes on one device, with half a batch each, beside one with the whole."""
    from mrd_hf import PointBertConfig, PointBertModel

    torch.manual_seed(0)
    model: Any = PointBertModel(PointBertConfig(**TINY)).train()
    clouds = shape_clouds(8, 256)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "meeting")
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine without a network has no other
        torch.multiprocessing.spawn(half_a_batch, (str(part.device), file, model, clouds), nprocs=2)
        joined = torch.load(f"{file}.gradients", weights_only=True)
    model.to(part.device).get_point_features(clouds.to(part.device)).square().mean().backward()
    whole = torch.cat([parameter.grad.flatten().cpu() for parameter in model.parameters()])
    part.fact(
        "SyncBatchNorm, two processes beside one, gradient differs by", f"{(joined - whole).norm() / whole.norm():.1e}"
    )


def pretraining_command(part: Part) -> None:
    """The command itself, with its loader, accelerate's scaler and SyncBatchNorm."""
    from mrd_hf.commands import pretrain

    with tempfile.TemporaryDirectory() as folder:
        steps = "2" if part.tiny else "10"
        options = [
            "--config",
            "demo",
            "--output-dir",
            folder + "/run",
            "--num-train-steps",
            steps,
            "--num-workers",
            "1",
        ]
        options += ["--mixed-precision", "fp16", "--sync-batch-norm", "true"] if part.on_gpu else []
        pretrain.main(options)
    part.fact("mrd-hf pretrain, fp16, SyncBatchNorm, a loading process", f"{steps} steps")


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    failures = []
    for name, call in (
        ("float32", lambda: train(part, torch.float32, False)),
        ("bfloat16", lambda: train(part, torch.bfloat16, part.on_gpu)),
        ("float16", lambda: train(part, torch.float16, True) if part.on_gpu else None),
        ("SyncBatchNorm", lambda: sync_batch_norm(part) if part.on_gpu else part.note("SyncBatchNorm needs a GPU.")),
        ("mrd-hf pretrain", lambda: None if part.tiny else pretraining_command(part)),
    ):
        try:
            call()
        except Exception as error:  # of any kind; the others are to run
            failures.append(name)
            part.note(f"{name} failed: {type(error).__name__}: {str(error)[-600:]}")
    part.finish()
    if failures:
        raise SystemExit(f"failed: {', '.join(failures)}")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
