"""The fine-tuning loop: one accelerate loop over shuffled batches, whatever the number of processes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from tqdm.auto import tqdm

from ...data.loaders.augmentation import AugmentationConfig, change_points, draw_points
from ...data.loaders.batch_sampler import ShuffledBatchSampler
from ...errors import UserError
from ...models.modeling_point_bert_parts import PointBertForPartSegmentation
from ..checkpoints import TrainerState, check_step, load_checkpoint, save_checkpoint
from ..loop.finite_steps import LOSS, NORM, FiniteSteps
from ..loop.stopping import Ending, StopRequest
from ..loop.throughput import Throughput
from ..optimization import MovingAverage, keep_fused, keep_weight_decay, warmup_cosine
from ..sharding import requested_sharding
from ..training_log import TrainingLog
from .arguments import FinetuningArguments
from .labeled_clouds import LabeledClouds
from .layer_rates import layer_wise_groups
from .network_building import Network


LOG_FILE = "training_log.jsonl"
# Share of objects whose class the network is not told, so that it learns to do without.
UNKNOWN_CLASSES = 0.1
Evaluate = Callable[[Network], dict[str, float]]


@dataclass(frozen=True)
class FinetuningResult:
    """What a run ends with.

    Args:
        model ([`Network`]): The trained network: the moving average where there is one.
        train_loss (`float`): The last step's, over the global batch.
        steps (`int`): Optimizer steps done, those before it was resumed among them.
        ending ([`Ending`]): Why the run ended.
    """

    model: Network
    train_loss: float
    steps: int
    ending: Ending


def to_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """A copy there; a GPU makes it while the processor goes on."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Finetuning:
    """One run: network, shapes and optimizer, from a step to the last.

    Args:
        model ([`Network`])
        clouds ([`LabeledClouds`]): To learn from; with parts, where the network says parts.
        arguments ([`FinetuningArguments`])
        accelerator (`Accelerator`): One process, or DDP.
        augmentation ([`AugmentationConfig`])
        num_points (`int`): Points of a shape that the network sees.
        evaluate (`Callable`): From the network to metrics; called on the main process.
    """

    def __init__(
        self,
        model: Network,
        clouds: LabeledClouds,
        arguments: FinetuningArguments,
        accelerator: Accelerator,
        augmentation: AugmentationConfig,
        num_points: int,
        evaluate: Evaluate,
    ) -> None:
        sharded = requested_sharding(arguments.mixed_precision) is not None
        if sharded or accelerator.distributed_type == DistributedType.DEEPSPEED:
            raise UserError("fine-tuning runs on one device or by DDP; leave FSDP and DeepSpeed out.")
        self.clouds = clouds
        self.arguments = arguments
        self.accelerator = accelerator
        self.augmentation = augmentation
        self.num_points = num_points
        self.evaluate = evaluate
        self.output_dir = Path(arguments.output_dir)
        self.says_parts = isinstance(model, PointBertForPartSegmentation)
        self.ignored = model.config.semantic_loss_ignore_index if self.says_parts else -100
        model = model.to(accelerator.device)
        self.average = MovingAverage(model, arguments.ema_decay) if arguments.ema_decay > 0 else None
        groups = layer_wise_groups(
            model,
            model.config.num_hidden_layers,
            arguments.learning_rate,
            arguments.weight_decay,
            arguments.layer_decay,
        )
        self.peak_rates = [group["lr"] for group in groups]
        self.weight_decays = [group["weight_decay"] for group in groups]
        self.torch_optimizer = torch.optim.AdamW(groups, fused=True)
        self.model, self.optimizer = accelerator.prepare(model, self.torch_optimizer)
        self.finite = FiniteSteps(self.output_dir, accelerator.device.type == "cpu", accelerator.device)
        self.stop = StopRequest(arguments.max_train_minutes)
        self.generator = torch.Generator(device=accelerator.device)
        self.step = 0
        self.sampler()  # or its errors come when the run's folder is already there

    def plain_model(self) -> Network:
        """The network to evaluate and export: the moving average, or the trained weights."""
        trained = self.average.module if self.average is not None else self.accelerator.unwrap_model(self.model)
        return cast(Network, trained)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, with the same number of processes exactly as the run that saved it would have.

        Raises:
            UserError: It is of a later step than the last one, or does not fit; see [`load_checkpoint`].
        """
        check_step(checkpoint, self.arguments.num_train_steps)
        state = load_checkpoint(self.accelerator, checkpoint, self.average)
        keep_weight_decay(self.optimizer, self.weight_decays)
        self.step, self.finite.last_loss = state.step, state.loss
        keep_fused(self.torch_optimizer)

    def sampler(self) -> ShuffledBatchSampler:
        """Which shapes each of the remaining batches has.

        Raises:
            UserError: when there are fewer shapes than a batch has.
        """
        size, steps = self.arguments.per_device_batch_size, self.arguments.num_train_steps
        place = (self.accelerator.process_index, self.accelerator.num_processes, self.step)
        return ShuffledBatchSampler(len(self.clouds), size, steps, self.arguments.seed, *place)

    def inputs(self, rows: list[int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the network sees of some shapes in this step, augmented, and what it should say; on the device."""
        device = self.accelerator.device
        # Seeded by step and rank, so that there is no state to save and a resumed run draws the same.
        entropy = np.random.SeedSequence([self.arguments.seed, self.step, self.accelerator.process_index])
        points_seed, augmentation_seed, global_seed = (int(w) >> 1 for w in entropy.generate_state(3, np.uint64))
        self.generator.manual_seed(augmentation_seed)
        torch.manual_seed(global_seed)  # for dropout and stochastic depth
        values, parts = self.clouds.batch(rows, self.num_points, np.random.default_rng(points_seed))
        batch = to_device(values, device)
        order = draw_points(len(rows), self.num_points, self.num_points, self.augmentation, self.generator)
        batch = batch.gather(1, order[..., None].expand(-1, -1, 6))
        point_values = change_points(
            batch[..., :3], batch[..., 3:], self.augmentation, self.generator, self.clouds.up_axis
        )
        labels = to_device(self.clouds.labels[rows], device)
        if parts is None:
            return {"point_values": point_values}, labels
        unknown = torch.rand(len(rows), device=device, generator=self.generator) < UNKNOWN_CLASSES
        labels = labels.masked_fill(unknown, -1)
        targets = to_device(parts, device).gather(1, order)
        return {"point_values": point_values, "object_classes": labels}, targets

    def train_step(self, rows: list[int]) -> None:
        """One optimizer step. [`FiniteSteps.read`] has the loss over the global batch.

        Raises:
            UserError: when the loss or its gradient is not finite. The weights are then still those of the last step.
        """
        arguments = self.arguments
        factor = warmup_cosine(self.step, arguments.warmup_steps, arguments.num_train_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        self.finite.begin(self.step + 1, [self.clouds.ids[row] for row in rows])
        inputs, targets = self.inputs(rows)
        logits = self.model(**inputs).logits.float()
        smoothing = arguments.label_smoothing
        loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=self.ignored, label_smoothing=smoothing)
        self.finite.watch(LOSS, self.accelerator.reduce(loss.detach(), reduction="mean"))
        scaler = self.accelerator.scaler
        self.accelerator.backward(self.finite.guard(loss, self.torch_optimizer, scaler))
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), arguments.max_grad_norm)
        if scaler is None:  # in fp16 the loss scaler meets such gradients by skipping the step
            self.finite.watch(NORM, torch.as_tensor(norm))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.accelerator.unwrap_model(self.model))

    def run(self) -> FinetuningResult:
        """Train to the last step, or until the time is over or SIGTERM comes; log, evaluate and save on the way."""
        arguments, accelerator = self.arguments, self.accelerator
        log = TrainingLog(self.output_dir / LOG_FILE, self.step) if accelerator.is_main_process else None
        ending = Ending.LAST_STEP
        progress = tqdm(
            total=arguments.num_train_steps,
            initial=self.step,
            desc="fine-tuning",
            unit="step",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
        )
        global_batch = accelerator.num_processes * arguments.per_device_batch_size
        throughput = Throughput(global_batch, accelerator.device)
        # A run may have ended between a checkpoint and the evaluation that follows it.
        if self.step > 0 and self.evaluation_is_due():
            self.run_evaluation(log)
        with progress, self.stop.listening():
            for rows in throughput.timed(self.batches()):
                self.model.train()
                self.train_step(rows)
                self.step += 1
                stopped = self.stop.agreed()
                last = stopped is not None or self.step == arguments.num_train_steps
                logged = last or self.step % arguments.logging_steps == 0
                evaluated = not last and self.evaluation_is_due()
                saved = last or self.step % arguments.save_steps == 0
                if logged or evaluated or saved:
                    self.finite.read()
                progress.update()
                if logged:
                    rate = self.optimizer.param_groups[-1]["lr"]
                    metrics = {"loss": self.finite.last_loss, "learning_rate": rate, **throughput.read()}
                    if log is not None:
                        log.write(self.step, metrics)
                    progress.set_postfix_str(
                        f"loss {metrics['loss']:.3f}, {metrics['shapes_per_second']:.3g} shapes/s"
                    )
                with throughput.pause():
                    if saved:  # first, for an evaluation can fail
                        state = TrainerState(self.step, self.finite.read())
                        limit = arguments.save_total_limit
                        save_checkpoint(accelerator, self.output_dir, state, self.average, limit)
                        stopped = Ending.SIGTERM if self.stop.agreed() is Ending.SIGTERM else stopped
                    # Whoever sends SIGTERM does not wait for scores.
                    if evaluated and stopped is not Ending.SIGTERM:
                        self.run_evaluation(log)
                if stopped is not None:
                    ending = stopped
                    break
        return FinetuningResult(self.plain_model(), self.finite.read(), self.step, ending)

    def batches(self) -> Iterator[list[int]]:
        """The rows of this process's remaining batches."""
        for batch in self.sampler():
            yield [row for row, _ in batch]

    def evaluation_is_due(self) -> bool:
        """Whether the plan has one on the way after this step. The command evaluates what the last one leaves."""
        eval_steps = self.arguments.eval_steps
        return bool(eval_steps and self.step % eval_steps == 0) and self.step < self.arguments.num_train_steps

    def run_evaluation(self, log: TrainingLog | None) -> None:
        """Evaluate on the main process, which has the log, while the others wait; once for each step."""
        if log is not None and self.step not in log.scored:
            scores = {f"eval/{name}": value for name, value in self.evaluate(self.plain_model()).items()}
            log.write(self.step, scores)
            tqdm.write(f"step {self.step}: " + ", ".join(f"{k.split('/')[1]} {v:.3f}" for k, v in scores.items()))
        self.accelerator.wait_for_everyone()
