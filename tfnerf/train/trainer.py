"""The training step: batch, loss, gradients, update; many steps in one call into the graph."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.field import Loss
from tfnerf.fields.model import make_model
from tfnerf.scenes import Scene
from tfnerf.scenes.extent import scene_box
from tfnerf.settings import Config
from tfnerf.train.batches import Batch, TrainingBatches
from tfnerf.train.optimizer import GroupedAdam
from tfnerf.volume.devices import compute_exactly, training_rays_per_chunk, uses_xla
from tfnerf.volume.scene_renderer import SceneRenderer

_log = logging.getLogger(__name__)
_STEPS_PER_REFRESH = 16
"""Between two looks of the grid at the field."""
_MAX_ASKED_RESOLUTION = 256
"""Of a grid whose cells are drawn at random: there are random numbers for no more."""
_MUCH_LESS = 4
"""Chunks so many times smaller than they might be are warned of."""


class BatchStatistics(NamedTuple):
    """Of a batch, or summed over several; float32 scalars."""

    loss: tf.Tensor
    """What training lowers: the weighted sum of the next."""
    losses: dict[str, tf.Tensor]
    """Each term by its name; "final" is the mean squared error of the final colours."""
    blank_error: tf.Tensor
    """Mean squared error that a picture of nothing but background would have."""
    contrast: tf.Tensor
    """Mean squared difference between the final colours and the background."""
    live_rays: tf.Tensor
    """How many were looked at; the others meet nothing."""
    not_finite: tf.Tensor
    """More than 0 if a loss or a gradient was not finite."""


class Progress(NamedTuple):
    """What a call of `Trainer.run` did."""

    num_steps: int
    num_rays: int
    """That were drawn in these steps, over all devices together."""
    statistics: BatchStatistics
    """Sums over these steps."""
    seconds_per_step: float
    """What the workers passed in, averaged over them."""
    stop: bool
    """Whether any worker asked to stop."""


class Trainer:
    """Networks, optimizer and the compiled training step.

    Args:
      scene: to train on.
      config: of the run.
      strategy: devices to train on.
      step: that the run begins or goes on from; shapes may depend on it.
      pixels: of the training views, if a trainer before this one has them.

    Raises:
      UserError: the batch cannot be shared evenly by the devices, the grid of a network has too
        many cells, or samples should be spaced in disparity and cannot.
    """

    def __init__(
        self,
        scene: Scene,
        config: Config,
        strategy: tf.distribute.Strategy,
        *,
        step: int = 0,
        pixels: tf.Tensor | None = None,
    ):
        num_replicas = strategy.num_replicas_in_sync
        _check_trainable(config, num_replicas)
        self._scene = scene
        self._config = config
        self._strategy = strategy
        keras.utils.set_random_seed(config.training.seed)
        # Under the scope and before the first trace, or each replica would train on its own.
        refined = [refined for refined in config.refined_at if refined <= step]
        with strategy.scope():
            self.model = make_model(config, step=step, num_images=len(scene.train))
            self.optimizer = GroupedAdam(
                self.model.rate_groups(), config.training, restart=max(refined, default=0)
            )
        self._knows_empty = bool(refined)
        if self.model.grid is not None:
            compute_exactly()
            if step == 0:  # later on the box is restored, or that of the trainer before is shrunk
                self.model.place(scene_box(scene))
        self.renderer = SceneRenderer.of(scene, self.model, config.rendering)
        self._batches = TrainingBatches(scene, self.renderer.sampler, config, step, pixels)
        self.rays_per_step = self._batches.size
        """Over all devices together."""
        self._loss_names = (
            "final",
            *self.renderer.sampler.loss_names,
            *(penalty.name for penalty in self._penalties()),
        )
        rays_per_chunk = training_rays_per_chunk(
            config.rendering, self.renderer.sampler, self.model.final
        )
        self._rays_per_replica = self.rays_per_step // num_replicas
        self._num_chunks = _num_chunks(self._rays_per_replica, rays_per_chunk)
        if uses_xla(config.rendering):
            # Only what is inside a replica compiles: XLA knows no reduction over CPU devices.
            self._loss_and_gradients = tf.function(
                self.loss_and_gradients, jit_compile=True, autograph=False
            )
        else:
            self._loss_and_gradients = self.loss_and_gradients
        self._run = tf.function(self._run_in_graph, autograph=False)

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.optimizer.step)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.optimizer.learning_rate

    def run(self, num_steps: int, *, seconds_per_step: float = 0, stop: bool = False) -> Progress:
        """Trains for some steps, or until a loss or a gradient is not finite.

        Args:
          num_steps: at least 1; the same on all workers.
          seconds_per_step: this worker's; all workers get the average, to act alike on it.
          stop: this worker was asked to stop; all workers learn it.
        """
        num_done, sums, shared = self._run(
            tf.constant(num_steps), tf.constant([seconds_per_step, float(stop)])
        )
        seconds_per_step, stop_votes = shared.numpy().tolist()
        num_done = int(num_done)
        return Progress(
            num_done,
            num_done * self.rays_per_step,
            self._named(sums.numpy().tolist()),
            seconds_per_step,
            stop_votes > 0,
        )

    def _run_in_graph(
        self, num_steps: tf.Tensor, own: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Steps done, sums of their statistics, and the average over all workers of `own` [2]."""

        def step(done: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            self._refresh_grid_if_due()
            parts = self._strategy.run(self._replica_step)
            return done + 1, sums + self._strategy.reduce("SUM", parts, axis=None)

        def goes_on(done: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
            return (done < num_steps) & (self._named(tf.unstack(sums)).not_finite == 0)

        no_sums = tf.zeros([len(tf.nest.flatten(self._template))])
        num_done, sums = tf.while_loop(goes_on, step, [tf.constant(0), no_sums])
        shared = self._strategy.run(lambda: tf.identity(own))
        return num_done, sums, self._strategy.reduce("MEAN", shared, axis=None)

    def _refresh_grid_if_due(self) -> None:
        """Has the grid of densities, if there is one, look at the field every so many steps."""
        grid = self.model.grid
        if grid is None:
            return

        def refresh() -> None:
            grid.refresh(self.model.final, self._config.training.seed, self.optimizer.step)
            if self._knows_empty:
                grid.mark_occupied()

        tf.cond(self.optimizer.step % _STEPS_PER_REFRESH == 0, refresh, lambda: None)

    @property
    def refines_now(self) -> bool:
        """Whether the next step is to be done by the `refined` trainer."""
        return self.step in self._config.refined_at

    def refined(self) -> Trainer:
        """A trainer that goes on from this step with a finer field in a smaller box."""
        # Graphs are never let go of, and with this one's the pixels would stay as many times.
        finer = Trainer(
            self._scene, self._config, self._strategy, step=self.step, pixels=self._batches.pixels
        )
        finer.model.refine(self.model)
        finer.optimizer.start_at(self.step)
        return finer

    @property
    def extent(self) -> dict[str, float]:
        """How fine the field is and how much is occupied, by name; nothing without a grid."""
        if self.model.grid is None:
            return {}
        resolution = self.model.final.num_cells_per_side or self.model.grid.resolution
        return {"resolution": resolution, "occupied_share": self.model.grid.occupied_share}

    @property
    def _template(self) -> BatchStatistics:
        """The statistics without their values."""
        return BatchStatistics(0.0, dict.fromkeys(self._loss_names, 0.0), 0.0, 0.0, 0.0, 0.0)

    def _named(self, values: list[Any]) -> BatchStatistics:
        """Statistics that travelled as one vector, because one reduction is faster than many."""
        packed: BatchStatistics = tf.nest.pack_sequence_as(self._template, values)
        return packed

    def _replica_step(self) -> tf.Tensor:
        """One step of one replica: its part of the batch, its part of the statistics.

        batch of the step   |------ replica 0 ------|------ replica 1 ------|
        chunks of each      |- 0 -|- 1 -|- 2 -|- 3 -|- 0 -|- 1 -|- 2 -|- 3 -|
        gradients           summed chunk by chunk, then over the replicas, then one update
        """
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.cast(replica, tf.int64) * self._rays_per_replica
        step = self.optimizer.step
        num_rays = self._rays_per_replica // self._num_chunks

        def chunk(index: tf.Tensor | int) -> tuple[tf.Tensor, list[tf.Tensor]]:
            start = first + tf.cast(index, tf.int64) * num_rays
            statistics, gradients = self._loss_and_gradients(self._batches(step, start, num_rays))
            return tf.stack(tf.nest.flatten(statistics)), gradients

        def add_chunk(index: tf.Tensor, sums: tf.Tensor, totals: list[tf.Tensor]) -> tuple:
            statistics, gradients = chunk(index)
            return index + 1, sums + statistics, [a + b for a, b in zip(totals, gradients)]

        sums, gradients = chunk(0)
        if self._num_chunks > 1:
            # One after the other, or all their activations would be in memory together.
            _, sums, gradients = tf.while_loop(
                lambda index, *_: index < self._num_chunks,
                add_chunk,
                (tf.constant(1), sums, gradients),
                parallel_iterations=1,
            )
        self.optimizer.apply(gradients)
        return sums

    def _penalties(self) -> list[Loss]:
        return self.model.final.penalties(self._config.training, self.optimizer.rate_share)

    def loss_and_gradients(self, batch: Batch) -> tuple[BatchStatistics, list[tf.Tensor]]:
        """A batch's share of the global batch's statistics and gradients.

        Means are taken over the global batch, so that the sum over the replicas is the statistic or
        the gradient of the whole (section 5.3, equation 6, divided by the number of rays).
        """

        def mean(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(values) / self.rays_per_step

        def mean_square(difference: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(difference**2) / (3 * self.rays_per_step)

        def error(rgb: tf.Tensor) -> tf.Tensor:
            return mean_square(rgb - batch.colors)

        share = mean(tf.ones_like(batch.colors[:, 0]))
        with tf.GradientTape() as tape:
            rays = self.model.of_images(batch.rays, batch.views)
            rendering = self.renderer.render(rays, batch.draws)
            losses = [
                Loss("final", 1.0, error(rendering.final.rgb)),
                *self.renderer.sampler.losses(rendering, error, mean),
                # The shares of all parts of the batch add up to one.
                *(term._replace(value=share * term.value) for term in self._penalties()),
            ]
            loss = sum(term.weight * term.value for term in losses)
        if tuple(term.name for term in losses) != self._loss_names:
            raise ValueError(f"found other losses than {self._loss_names}, which were announced")
        gradients = tape.gradient(
            loss,
            [variable.value for variable in self.optimizer.trained],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # Those of codes come as the rows of a few images, which cannot be added up.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        background = 1.0 if self.renderer.white_background else 0.0
        finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        statistics = BatchStatistics(
            loss=loss,
            losses={term.name: term.value for term in losses},
            blank_error=mean_square(batch.colors - background),
            contrast=mean_square(rendering.final.rgb - background),
            live_rays=tf.cast(rendering.num_live, tf.float32),
            not_finite=tf.cast(~finite, tf.float32),
        )
        return statistics, gradients


def _check_trainable(config: Config, num_replicas: int) -> None:
    batch_size, resolution = config.training.batch_size, config.rendering.grid_resolution
    if batch_size % num_replicas:
        raise UserError(
            f"--batch_size={batch_size}: expected a multiple of the {num_replicas} devices"
        )
    if config.network.field == "mlp" and resolution > _MAX_ASKED_RESOLUTION:
        raise UserError(
            f"--grid_resolution={resolution}: expected at most {_MAX_ASKED_RESOLUTION} with "
            "--field=mlp"
        )


def _num_chunks(num_rays: int, most: int) -> int:
    """How few equal chunks of at most so many rays make up the rays of a replica."""
    fewest = math.ceil(num_rays / most)
    found = next(n for n in range(fewest, num_rays + 1) if num_rays % n == 0)
    per_chunk = num_rays // found
    if per_chunk < min(most, num_rays) / _MUCH_LESS:
        _log.warning(
            "a batch of %d rays a device comes apart into equal chunks of %d rays only, where %d "
            "fit, and takes long; give a --batch_size with more divisors",
            *(num_rays, per_chunk, most),
        )
    return found
