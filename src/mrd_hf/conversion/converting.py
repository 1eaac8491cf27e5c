"""From a peer's checkpoint to a folder that `AutoModel` and `AutoFeatureExtractor` load."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData
from transformers import AutoFeatureExtractor, AutoModel

from ..errors import UserError
from ..files.atomic_folder import atomic_folder, check_not_current, check_not_read
from ..hub.model_card import CONVERTED_TEMPLATE, card_title
from ..models.configuration_uni3d import Uni3DConfig
from ..models.modeling_point_bert import PointBertModel
from ..models.modeling_uni3d import Uni3DModel
from . import mixcon3d, openshape, point_patch_transformer, tamm, ulip, uni3d
from .checkpoint_file import Checkpoint, read_checkpoint
from .peer_encoder import PeerEncoder
from .renaming import fit, listing, rename
from .sources import Source, find_checkpoint


# Those who took over OpenShape's network are asked before OpenShape.
PEERS = (mixcon3d, tamm, openshape, ulip, uni3d)
NETWORKS = {
    "the PointBERT of OpenShape, MixCon3D and TAMM": (
        point_patch_transformer.NAMES,
        point_patch_transformer.LEFT_OUT,
    ),
    "ULIP's PointBERT": (ulip.NAMES, ulip.LEFT_OUT),
    "Uni3D": (uni3d.NAMES, uni3d.LEFT_OUT),
}
# Largest relative difference between the embeddings of the model in memory and of the one that was written: in half
# precision they are not computed alike.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Conversion:
    """What was made of a checkpoint.

    Args:
        source ([`Source`])
        checkpoint ([`Checkpoint`])
        encoder ([`PeerEncoder`])
        model ([`PointBertModel`] or [`Uni3DModel`])
    """

    source: Source
    checkpoint: Checkpoint
    encoder: PeerEncoder
    model: PointBertModel | Uni3DModel

    def facts(self) -> dict[str, str]:
        """What there is to know of the result, for a table."""
        config, extractor = self.encoder.config, self.encoder.extractor
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        patches = f"{config.num_patches} of {config.patch_size} points, "
        if isinstance(config, Uni3DConfig) or config.grouping == "nearest":
            patches += "the nearest to each center"
        else:
            patches += f"the first within {config.patch_radius} of each center"
        return {
            "peer": f"{self.encoder.peer} (arXiv {self.encoder.paper})",
            "source": self.source.name + (f", commit {self.source.commit}" if self.source.commit else ""),
            "network": f"{type(self.model).__name__}, {config.num_hidden_layers} layers of width {config.hidden_size}",
            "parameters": f"{parameters / 1e6:.1f}M, {str(self.model.dtype).removeprefix('torch.')}",
            "embedding": f"width {config.embedding_dim}",
            "teacher": config.teacher_id or "-",
            "points": f"{extractor.num_points}, without colors {extractor.default_color}",
            "patches": patches,
            "up axis": f"{extractor.encoder_up_axis} (of the clouds it was trained on)",
            "left out": ", ".join(self.left_out()) or "-",
            "note": "; ".join(self.encoder.notes) or "-",
        }

    def left_out(self) -> list[str]:
        """What the file holds besides the encoder: how many tensors, by the beginnings of their names, and others."""
        tensors = [f"{name} ({count} tensors)" for name, count in self.encoder.renamed.left_out.items()]
        return [*tensors, *self.checkpoint.others]


def convert_checkpoint(
    source: str,
    folder: Path,
    filename: str | None = None,
    preset: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write a peer's encoder as a folder for `AutoModel.from_pretrained`, with its feature extractor and a model card.

    Args:
        source (`str`): A checkpoint: a file, a folder with one in it, or a repository's id on the Hub, also as
            `id@revision`.
        folder (`Path`): To write to; complete or not there.
        filename (`str`, *optional*): Which file of the folder or repository.
        preset (`str`, *optional*): Whose patches a PointBERT of OpenShape's kind has, if its sizes do not tell.
        overwrite (`bool`, defaults to `False`): Whether a model in `folder` may be replaced.

    Raises:
        UserError: when the checkpoint cannot be read, is of another network or lies in `folder`, or that is taken.
    """
    _check_vacant(folder, overwrite, source)
    if preset is not None and preset not in point_patch_transformer.presets():
        raise UserError(
            f"--preset {preset}: there is no such preset of {point_patch_transformer.NETWORK}; choose of "
            f"{', '.join(point_patch_transformer.presets())}."
        )
    found = find_checkpoint(source, filename)
    check_not_read(folder, found.file)
    checkpoint = read_checkpoint(found.file)
    try:
        encoder = recognize(checkpoint, preset)
        model = build_encoder(encoder)
    except UserError as error:
        raise UserError(f"{found.name}: {error}", error.exit_code) from None
    conversion = Conversion(found, checkpoint, encoder, model)
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        encoder.extractor.save_pretrained(temporary)
        _write_card(conversion, temporary, str(folder))
        _check_written(conversion, temporary)
    return conversion


def recognize(checkpoint: Checkpoint, preset: str | None = None) -> PeerEncoder:
    """Whose encoder a checkpoint holds.

    Raises:
        UserError: when it is nobody's that is known here; the message lists tensors that do not fit the most similar.
    """
    for peer in PEERS:
        encoder = peer.recognize(checkpoint, preset)
        if encoder is not None:
            encoder.config.logit_scale = checkpoint.logit_scale
            return encoder
    misfits = {
        network: rename(network, checkpoint.tensors, names, left_out).unknown
        for network, (names, left_out) in NETWORKS.items()
    }
    nearest = min(misfits, key=lambda network: len(misfits[network]))
    fitting = len(checkpoint.tensors) - len(misfits[nearest])
    raise UserError(
        f"the tensors are none of those of {', '.join(NETWORKS)}"
        + (f"; {fitting} of {len(checkpoint.tensors)} have names as in {nearest}" if fitting else "")
        + listing("that do not fit", misfits[nearest])
    )


def build_encoder(encoder: PeerEncoder) -> PointBertModel | Uni3DModel:
    """The model with a recognised encoder's weights.

    Raises:
        UserError: when the weights are not exactly those of the model, or not finite.
    """
    model_class = Uni3DModel if isinstance(encoder.config, Uni3DConfig) else PointBertModel
    model = fit(model_class, encoder.config, encoder.renamed)
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise UserError(
                f"the tensor {encoder.renamed.sources[name]} has values that are not finite; is the file damaged?"
            )
    return model


def facts_table(facts: dict[str, str]) -> str:
    """Rows of a name and a value, the values below each other."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _check_vacant(folder: Path, overwrite: bool, source: str) -> None:
    check_not_current(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; expected a folder for the model.")
    check_not_read(folder, source)  # to which --overwrite would be no remedy
    if not overwrite:
        raise UserError(f"{folder}: is not empty; choose another folder, or replace the model in it with --overwrite.")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: is not empty and holds no model (config.json) to replace; choose another folder.")


def _write_card(conversion: Conversion, folder: Path, name: str) -> None:
    encoder, source = conversion.encoder, conversion.source
    data = ModelCardData(
        # Of the texts that its embeddings are compared with.
        language="en" if encoder.config.teacher_id else None,
        license=encoder.license or "unknown",
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["point-cloud", "3d", "mrd-hf"],
        base_model=source.repo_id,
    )
    ModelCard.from_template(
        data,
        template_str=CONVERTED_TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        title=card_title(name),
        peer=encoder.peer,
        width=encoder.config.embedding_dim,
        paper=encoder.paper,
        weights_license=encoder.license,
        teacher=encoder.config.teacher_id,
        encoder_up_axis=encoder.extractor.encoder_up_axis,
        facts=conversion.facts(),
    ).save(folder / "README.md")


def _check_written(conversion: Conversion, folder: Path) -> None:
    """Load the folder as its users will, and compare the weights and an embedding with those in memory."""
    model, loaded = conversion.model, AutoModel.from_pretrained(folder).eval()
    values = AutoFeatureExtractor.from_pretrained(folder)(np.random.default_rng(0).standard_normal((1024, 3)))
    with torch.no_grad():
        expected = model.get_point_features(**values).float()
        error = (loaded.get_point_features(**values).float() - expected).norm() / expected.norm()
    # Some modules are loaded in float32 whatever the file has.
    weights = loaded.state_dict()
    same = all(torch.equal(weights[name].to(weight.dtype), weight) for name, weight in model.state_dict().items())
    if not same or not error < TOLERANCE:
        raise UserError(
            f"{conversion.source.name}: the model as it was written differs from the converted one (embeddings by "
            f"{error:.1e}, weights {'do not' if same else 'do'}); nothing was kept. Please report it.",
            exit_code=1,
        )
