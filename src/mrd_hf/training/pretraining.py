"""The pretraining loop: one accelerate loop over global batches, whatever the number of processes."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.profiler import record_function
from torch.utils.data import DataLoader, Sampler
from tqdm.auto import tqdm

from ..data.loaders.augmentation import AugmentationConfig, augment_point_clouds
from ..data.loaders.batch_sampler import ShuffledBatchSampler
from ..data.loaders.hard_negatives import HardNegativeBatchSampler
from ..data.loaders.triplet_dataset import TripletDataset
from ..data.loaders.triplet_shards import TripletShards
from ..data.loaders.triplet_stream import TripletStream
from ..errors import UserError
from ..models.modeling_mrd import MRDForPretraining, MRDForPretrainingOutput
from ..models.mrd_objective import ALIGNMENT_TERMS
from ..models.shapes import UpAxis
from ..teacher import Teacher
from .arguments import PretrainingArguments
from .checkpoints import TrainerState, check_step, load_checkpoint, save_checkpoint
from .distributed import DistributedGather
from .loop.compilation import compile_encoder, not_compiled
from .loop.finite_steps import LOSS, NORM, FiniteSteps
from .loop.profiling import StepProfiler
from .loop.stopping import Ending, StopRequest, outlive_sigterm
from .loop.throughput import Throughput, beside_progress
from .optimization import MovingAverage, adamw, keep_fused, keep_weight_decay, warmup_cosine
from .sharded_state import ShardedState
from .sharding import average_gradients, broadcast_from_first, requested_sharding, shard, whole_model
from .training_log import TrainingLog
from .zero import fit_deepspeed


LOG_FILE, PROFILE_FOLDER = "training_log.jsonl", "profile"
Evaluate = Callable[[MRDForPretraining], dict[str, float]]


@dataclass(frozen=True)
class PretrainingResult:
    """What a run ends with.

    Args:
        model (`MRDForPretraining`): The trained model: the moving average where there is one.
        metrics (`dict`): The last evaluation's, with "train_loss", the last step's loss over the global batch.
        seconds (`float`): Duration of this process's part of the run.
        steps (`int`): Optimizer steps done, those before it was resumed among them.
        ending ([`Ending`]): Why the run ended.
    """

    model: MRDForPretraining
    metrics: dict[str, float]
    seconds: float
    steps: int
    ending: Ending


class Pretraining:
    """One run: model, data and optimizer, from a step to the last.

    Args:
        model (`MRDForPretraining`)
        dataset (`TripletDataset` or `TripletShards`)
        arguments (`PretrainingArguments`)
        accelerator (`Accelerator`)
        augmentation (`AugmentationConfig`)
        num_points (`int`): Points of a shape that the encoder sees.
        num_workers (`int`): Processes that read data.
        prefetch_factor (`int`): Batches that each of them has ready.
        teacher (`Teacher`, *optional*): Embeds images and texts, where the dataset has no cached embeddings.
        evaluate (`Callable`, *optional*): From the model to metrics; called on the main process.
        up_axis (`"y"` or `"z"`, defaults to `"y"`): Which axis points up in what the encoder takes.

    Set `neighbors` before [`run`] to train on hard negatives, see [`HardNegativeBatchSampler`].
    """

    def __init__(
        self,
        model: MRDForPretraining,
        dataset: TripletDataset | TripletShards,
        arguments: PretrainingArguments,
        accelerator: Accelerator,
        augmentation: AugmentationConfig,
        num_points: int,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        teacher: Teacher | None = None,
        evaluate: Evaluate | None = None,
        up_axis: UpAxis = "y",
    ) -> None:
        self.dataset = dataset
        self.arguments = arguments
        self.accelerator = accelerator
        self.augmentation = augmentation
        self.up_axis = up_axis
        self.num_points = num_points
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.teacher = teacher
        self.evaluate = evaluate
        self.output_dir = Path(arguments.output_dir)
        if arguments.sync_batch_norm:
            if accelerator.device.type != "cuda":
                raise UserError("sync_batch_norm needs GPUs; leave it out on CPUs.")
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if arguments.tf32:
            if accelerator.device.type != "cuda":
                raise UserError("tf32 needs GPUs; leave it out on CPUs.")
            torch.backends.cuda.matmul.allow_tf32 = True
        model = model.to(accelerator.device)
        fit_deepspeed(accelerator, arguments, model.objective)
        sharding = requested_sharding(arguments.mixed_precision)
        if sharding is not None:
            # As DDP does by itself, and before the average's copy of the model.
            broadcast_from_first(model.state_dict().values())
        self.average = MovingAverage(model, arguments.ema_decay) if arguments.ema_decay > 0 else None
        if sharding is not None:
            shard(model, sharding)
            if self.average is not None:
                shard(cast(MRDForPretraining, self.average.module), sharding)
        # After the average's copy, which does neither.
        if arguments.gradient_checkpointing:
            with warnings.catch_warnings():  # of its new name, which early versions of transformers 5 do not know
                warnings.simplefilter("ignore", FutureWarning)
                try:
                    model.gradient_checkpointing_enable({"use_reentrant": False})
                except ValueError as error:  # of an encoder of one's own
                    raise UserError(f"gradient_checkpointing: {error} Leave it out.") from None
        if arguments.compile:
            compile_encoder(model.encoder, accelerator.device)
        # Of the sharded parameters, where they are.
        deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
        rates = (arguments.learning_rate, arguments.loss_learning_rate)
        # DeepSpeed steps by itself, and reads the numbers in each step.
        self.fused = not deepspeed
        optimizer = adamw(model, *rates, arguments.weight_decay, self.fused)
        self.peak_rates = [group["lr"] for group in optimizer.param_groups]
        self.weight_decays = [group["weight_decay"] for group in optimizer.param_groups]
        self.sharded: ShardedState | None = None
        if sharding is None:
            self.model, self.optimizer = accelerator.prepare(model, optimizer)
        else:
            # For evaluation, that is: accelerate adds its autocast, and does not wrap the model in DDP.
            self.model = accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
            self.optimizer = accelerator.prepare_optimizer(optimizer, device_placement=False)
            self.sharded = ShardedState(model, optimizer, self.average)
        self.torch_optimizer = optimizer
        at_once = deepspeed or accelerator.device.type == "cpu"
        self.finite = FiniteSteps(self.output_dir, at_once, accelerator.device)
        # Samplers and streams give whole batches alone.
        self.gather = DistributedGather(arguments.per_device_batch_size)
        self.stop = StopRequest(arguments.max_train_minutes)
        self.generator = torch.Generator(device=accelerator.device)
        self.neighbors: np.ndarray | None = None
        self.step = 0
        self.data_source()  # or its errors come when the run's folder is already there

    def plain_model(self) -> MRDForPretraining:
        """The model to evaluate and export: the moving average, or the trained weights. Called by all processes."""
        trained = self.average.module if self.average is not None else self.accelerator.unwrap_model(self.model)
        model = cast(MRDForPretraining, trained)
        return model if self.sharded is None else whole_model(model)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, with the same number of processes exactly as the run that saved it would have.

        Raises:
            UserError: It is of a later step than the last one, or does not fit; see [`load_checkpoint`].
        """
        check_step(checkpoint, self.arguments.num_train_steps)
        state = load_checkpoint(self.accelerator, checkpoint, self.average, self.sharded)
        keep_weight_decay(self.optimizer, self.weight_decays)
        self.step, self.finite.last_loss = state.step, state.loss
        if self.fused:
            keep_fused(self.torch_optimizer)

    def data_source(self) -> tuple[TripletDataset | TripletStream, Sampler | None]:
        """What the loader reads, and in which order.

        Raises:
            UserError: when the dataset is smaller than a batch.
        """
        arguments = self.arguments
        size = (arguments.per_device_batch_size, arguments.num_train_steps)
        place = (arguments.seed, self.gather.rank, self.gather.world_size, self.step)
        if isinstance(self.dataset, TripletShards):
            stream = TripletStream(self.dataset, *size, *place)
            stream.check_shares(self.num_workers)
            return stream, None
        if self.neighbors is not None and arguments.hard_negatives is not None:
            return self.dataset, HardNegativeBatchSampler(self.neighbors, arguments.hard_negatives, *size, *place)
        return self.dataset, ShuffledBatchSampler(len(self.dataset), *size, *place)

    def batches(self) -> Iterator[dict[str, Any]]:
        """The remaining batches of this process, which its data processes read ahead, all the run long."""
        source, sampler = self.data_source()
        # batch_size None: the sampler yields whole batches and the dataset reads them at once.
        return iter(
            DataLoader(
                source,
                sampler=sampler,
                batch_size=None,
                num_workers=self.num_workers,
                prefetch_factor=self.prefetch_factor if self.num_workers > 0 else None,
                worker_init_fn=outlive_sigterm,
                # From there a GPU takes them by itself, while the steps before are still at work.
                pin_memory=self.accelerator.device.type == "cuda",
                # Workers draw nothing at random; an own generator keeps the global one out of the loader's hands.
                generator=torch.Generator().manual_seed(self.arguments.seed),
            )
        )

    def model_inputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Augmented points and the teacher's embeddings, on the device."""
        device = self.accelerator.device
        # Seeded by step and rank, so that there is no state to save and a resumed run draws the same, whatever number
        # of processes saved it. The second one is for dropout and stochastic depth.
        entropy = np.random.SeedSequence([self.arguments.seed, self.step, self.gather.rank])
        augmentation_seed, global_seed = (int(word) >> 1 for word in entropy.generate_state(2, np.uint64))
        self.generator.manual_seed(augmentation_seed)
        torch.manual_seed(global_seed)
        point_values = augment_point_clouds(
            batch["points"].to(device, non_blocking=True),
            batch["colors"].to(device, non_blocking=True),
            self.num_points,
            self.augmentation,
            self.generator,
            self.up_axis,
        )
        if self.teacher is not None:
            image_embeds = self.teacher.embed_images(batch["images"])
            text_embeds = self.teacher.embed_texts(batch["texts"])
        else:
            image_embeds, text_embeds = batch["image_embeds"], batch["text_embeds"]
        return {
            "point_values": point_values,
            "image_embeds": image_embeds.to(device, non_blocking=True),
            "text_embeds": text_embeds.to(device, non_blocking=True),
        }

    def train_step(self, batch: dict[str, Any]) -> MRDForPretrainingOutput:
        """One optimizer step; returns this process's output. [`read_loss`] has the loss over the global batch.

        Raises:
            UserError: when the loss or its gradient is not finite. The weights are then still those of the last step.
        """
        factor = warmup_cosine(self.step, self.arguments.warmup_steps, self.arguments.num_train_steps)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        self.finite.begin(self.step + 1, batch["ids"])
        with record_function("inputs"):
            inputs = self.model_inputs(batch)
        with record_function("forward"):
            output = self.model(**inputs, gather=self.gather, encoder_batch_size=self.arguments.encoder_batch_size)
            self.finite.watch(LOSS, self.accelerator.reduce(output.loss.detach(), reduction="mean"))
        scaler = self.accelerator.scaler
        loss = self.finite.guard(output.loss, self.torch_optimizer, scaler)
        with record_function("backward"):
            self.accelerator.backward(loss)
        with record_function("update"):
            self.update(watched=scaler is None)  # in fp16 the loss scaler meets such gradients by skipping the step
        return output

    def update(self, watched: bool) -> None:
        """Clip the gradients, change the weights by them, and average those."""
        if self.sharded is not None:
            average_gradients(self.sharded.model.objective)
        # A number with DeepSpeed, which has clipped and stepped already.
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.arguments.max_grad_norm)
        if watched:
            self.finite.watch(NORM, torch.as_tensor(norm))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.accelerator.unwrap_model(self.model))

    def read_loss(self) -> float:
        """The last step's loss over the global batch. Called by all processes; waits for the device.

        Raises:
            UserError: when the loss or the gradient of a step since the last call was not finite.
        """
        return self.finite.read()

    def metrics(self, output: MRDForPretrainingOutput) -> dict[str, float]:
        """What to log of a step, but for times. All but the loss are this process's."""
        metrics = {"loss": self.finite.last_loss, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        single = ("alignment_loss", "relation_loss", "weighting_loss")
        for name in (*single, "logit_scale", "teacher_temperature", "student_temperature"):
            if name in output:
                metrics[name] = output[name].item()
        objective = cast(MRDForPretraining, self.accelerator.unwrap_model(self.model)).objective
        alignments = [f"{row}_to_{column}" for row, column in ALIGNMENT_TERMS]
        for name, terms in (
            ("alignment_losses", alignments),
            ("retrieval_accuracies", alignments),
            ("relation_losses", objective.loss_names),
            ("relation_weights", objective.terms),
        ):
            if name in output:
                metrics |= {f"{name}/{t}": value for t, value in zip(terms, output[name].tolist(), strict=True)}
        return metrics

    def run(self) -> PretrainingResult:
        """Train to the last step, or until the time is over or SIGTERM comes; log, evaluate and save on the way."""
        arguments, accelerator = self.arguments, self.accelerator
        started = time.monotonic()
        log = TrainingLog(self.output_dir / LOG_FILE, self.step) if accelerator.is_main_process else None
        # A run may have ended between a checkpoint and the evaluation that follows it. That of the last step is made
        # again for its report.
        scores = self.run_evaluation(log) if self.step > 0 and self.evaluation_is_due() else {}
        ending = Ending.LAST_STEP
        progress = tqdm(
            total=arguments.num_train_steps,
            initial=self.step,
            desc="pretraining",
            unit="step",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
        )
        self.model.train()
        throughput = Throughput(self.gather.world_size * arguments.per_device_batch_size, accelerator.device)
        recorded = arguments.profile if accelerator.is_main_process else None
        profiler = StepProfiler(recorded, self.output_dir / PROFILE_FOLDER)
        with progress, self.stop.listening(), profiler.recording():
            for batch in throughput.timed(self.batches()):
                output = self.train_step(batch)
                self.step += 1
                stopped = self.stop.agreed()
                last = stopped is not None or self.step == arguments.num_train_steps
                logged = last or self.step % arguments.logging_steps == 0
                evaluated = last or self.evaluation_is_due()
                saved = last or self.step % arguments.save_steps == 0
                if logged or evaluated or saved:
                    self.read_loss()
                progress.update()
                if logged:
                    metrics = {**self.metrics(output), **throughput.read()}
                    accelerator.log(metrics, step=self.step)
                    if log is not None:
                        log.write(self.step, metrics)
                    progress.set_postfix_str(beside_progress(metrics))
                profiler.step()
                with throughput.pause():
                    if saved:  # first, for an evaluation can fail
                        self.save()
                        stopped = Ending.SIGTERM if self.stop.agreed() is Ending.SIGTERM else stopped
                    # Whoever sends SIGTERM does not wait for scores.
                    if evaluated and stopped is not Ending.SIGTERM:
                        scores = self.run_evaluation(log)
                if stopped is not None:
                    ending = stopped
                    break
            # Or one that came in the last evaluation would count for nothing.
            ending = Ending.SIGTERM if self.stop.agreed() is Ending.SIGTERM else ending
        metrics = {"train_loss": self.read_loss(), **scores}
        return PretrainingResult(self.plain_model(), metrics, time.monotonic() - started, self.step, ending)

    def save(self) -> None:
        """Write a checkpoint. Called by all processes."""
        state, limit = TrainerState(self.step, self.read_loss()), self.arguments.save_total_limit
        save_checkpoint(self.accelerator, self.output_dir, state, self.average, limit, self.sharded)

    def evaluation_is_due(self) -> bool:
        """Whether the plan has one after this step."""
        arguments = self.arguments
        if self.step == arguments.num_train_steps:
            return True
        return bool(arguments.eval_steps and self.step % arguments.eval_steps == 0)

    def run_evaluation(self, log: TrainingLog | None) -> dict[str, float]:
        """Evaluate on the main process, which has the log, while the others wait.

        Where the log has scores of this step, they are not logged again, nor made again before the last step.
        """
        scores: dict[str, float] = {}
        model = self.plain_model() if self.evaluate is not None else None
        logged = log is not None and self.step in log.scored
        wanted = not logged or self.step == self.arguments.num_train_steps
        if self.evaluate is not None and model is not None and log is not None and wanted:
            with not_compiled():
                scores = {f"eval/{name}": value for name, value in self.evaluate(model).items()}
            if not logged:
                log.write(self.step, scores)
                self.accelerator.log(scores, step=self.step)
            tqdm.write(f"step {self.step}: " + ", ".join(f"{k.split('/')[1]} {v:.3f}" for k, v in scores.items()))
        self.accelerator.wait_for_everyone()
        return scores
