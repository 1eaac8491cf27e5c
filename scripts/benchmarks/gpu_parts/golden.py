"""The recordings of the original networks (tests/golden) on the device, in float32 and bfloat16."""

import importlib
import sys

import torch

from gpu_parts.part import ROOT, Part


NAMES = (
    "openshape_pointbert_scaling1",
    "openshape_pointbert_vitl14",
    "ulip2_pointbert",
    "uni3d_tiny",
    "uni3d_base",
)
PRESETS = dict(zip(NAMES, ("openshape-1", "openshape-vitl14", "ulip-2", "tiny", "base"), strict=True))
LIMITS = {torch.float32: 2e-5, torch.bfloat16: 3e-2}


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    sys.path.insert(0, str(ROOT / "tests"))
    golden = importlib.import_module("support.golden")

    from mrd_hf import PointBertConfig, PointBertModel, Uni3DConfig, Uni3DModel

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in NAMES[3:4] if part.tiny else NAMES:
        if part.seconds_left() < 3:
            part.note(f"no time was left for {name}")
            continue
        recorded = golden.recording(name)
        model = (
            Uni3DModel(Uni3DConfig.from_preset(PRESETS[name]))
            if name.startswith("uni3d")
            else PointBertModel(PointBertConfig.from_preset(PRESETS[name]))
        ).eval()
        model.load_state_dict(golden.original_weights(name))
        points = recorded["points"].to(part.device)
        for dtype in (torch.float32, torch.bfloat16):
            model = model.to(part.device)
            half = torch.autocast(part.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
            with torch.no_grad(), half:
                found = torch.cat([model.get_point_features(cloud[None]).float() for cloud in points]).cpu()
            error = ((found - recorded["embedding"]).norm(dim=-1) / recorded["embedding"].norm(dim=-1)).max().item()
            verdict = "good" if error < LIMITS[dtype] else "DIFFERS"
            precision = str(dtype).removeprefix("torch.")
            part.row("Golden files", network=name, precision=precision, relative_error=f"{error:.1e}", verdict=verdict)
    part.finish()


if __name__ == "__main__":
    main()
