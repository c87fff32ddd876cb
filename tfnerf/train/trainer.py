"""The training step: batch, loss, gradients, update; many steps in one call into the graph."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.mlp import NeRF
from tfnerf.scenes import Scene
from tfnerf.settings import Config, TrainingSettings
from tfnerf.train.batches import Batch, TrainingBatches
from tfnerf.train.schedule import DecayWithWarmup
from tfnerf.volume.renderer import render_rays, uses_xla


class Metrics(NamedTuple):
    """Of a batch, or summed over several; float32 scalars."""

    loss: tf.Tensor
    """The sum of the next two."""
    fine_error: tf.Tensor
    """Mean squared error of the final colours."""
    coarse_error: tf.Tensor
    """The same of the coarse pass; 0 where there is no fine one."""
    blank_error: tf.Tensor
    """Mean squared error that a picture of nothing but background would have."""
    contrast: tf.Tensor
    """Mean squared difference between the final colours and the background."""
    unsound: tf.Tensor
    """More than 0 if a loss or a gradient was not finite."""


class Progress(NamedTuple):
    """What a call of `Trainer.run` did."""

    num_steps: int
    metrics: Metrics
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

    Raises:
      UserError: the batch cannot be shared evenly by the devices, or the scene begins at depth 0
        and samples should be spaced in disparity.
    """

    def __init__(self, scene: Scene, config: Config, strategy: tf.distribute.Strategy):
        num_replicas = strategy.num_replicas_in_sync
        batch_size = config.training.batch_size
        if batch_size % num_replicas:
            raise UserError(
                f"--batch_size={batch_size}: expected a multiple of the {num_replicas} devices"
            )
        if config.rendering.lindisp and scene.near <= 0:
            raise UserError(f"--lindisp: needs near > 0, found near {scene.near:g}")
        self._scene = scene
        self._config = config
        self._strategy = strategy
        self._rays_per_replica = batch_size // num_replicas
        self._num_chunks = _smallest_divisor(
            self._rays_per_replica,
            at_least=math.ceil(self._rays_per_replica / config.rendering.rays_per_chunk),
        )
        self._batches = TrainingBatches(scene, config.rendering, config.training)
        keras.utils.set_random_seed(config.training.seed)
        # Under the scope and before the first trace, or each replica would train on its own.
        with strategy.scope():
            self.model = NeRF.from_settings(
                config.network, with_fine=config.rendering.num_fine_samples > 0
            )
            self.optimizer = make_optimizer(self.model, config.training)
        if uses_xla(config.rendering):
            # Only what is inside a replica compiles: XLA knows no reduction over CPU devices.
            self._loss_and_gradients = tf.function(self.loss_and_gradients, jit_compile=True)
        else:
            self._loss_and_gradients = self.loss_and_gradients
        self._run = tf.function(self._run_in_graph)

    @property
    def step(self) -> int:
        """Steps done."""
        return int(tf.convert_to_tensor(self.optimizer.iterations.value))

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.learning_rate)

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
        return Progress(
            int(num_done), Metrics(*sums.numpy().tolist()), seconds_per_step, stop_votes > 0
        )

    def _run_in_graph(
        self, num_steps: tf.Tensor, own: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Steps done, sums of their metrics [6], and the average over all workers of `own` [2]."""
        unsound = Metrics._fields.index("unsound")

        def step(done: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            parts = self._strategy.run(self._replica_step)
            return done + 1, sums + self._strategy.reduce("SUM", parts, axis=None)

        num_done, sums = tf.while_loop(
            lambda done, sums: (done < num_steps) & (sums[unsound] == 0),
            step,
            [tf.constant(0), tf.zeros([len(Metrics._fields)])],
        )
        shared = self._strategy.run(lambda: tf.identity(own))
        return num_done, sums, self._strategy.reduce("MEAN", shared, axis=None)

    def _replica_step(self) -> tf.Tensor:
        """One step of one replica: its part of the batch, its part of the metrics [6]."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.cast(replica, tf.int64) * self._rays_per_replica
        step = tf.convert_to_tensor(self.optimizer.iterations.value)
        num_rays = self._rays_per_replica // self._num_chunks

        def chunk(index: tf.Tensor | int) -> tuple[tf.Tensor, list[tf.Tensor]]:
            start = first + tf.cast(index, tf.int64) * num_rays
            metrics, gradients = self._loss_and_gradients(self._batches(step, start, num_rays))
            return tf.stack(metrics), gradients

        def add_chunk(index: tf.Tensor, sums: tf.Tensor, totals: list[tf.Tensor]) -> tuple:
            metrics, gradients = chunk(index)
            return index + 1, sums + metrics, [a + b for a, b in zip(totals, gradients)]

        sums, gradients = chunk(0)
        if self._num_chunks > 1:
            # One after the other, or all their activations would be in memory together.
            _, sums, gradients = tf.while_loop(
                lambda index, *_: index < self._num_chunks,
                add_chunk,
                (tf.constant(1), sums, gradients),
                parallel_iterations=1,
            )
        # Keras sums the gradients over the replicas.
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return sums

    def loss_and_gradients(self, batch: Batch) -> tuple[Metrics, list[tf.Tensor]]:
        """A batch's share of the global batch's metrics and gradients.

        Means are taken over the global batch, so that the sum over the replicas is the metric or
        the gradient of the whole (section 5.3, equation 6, divided by the number of rays).
        """
        config, scene = self._config, self._scene
        num_values = 3 * config.training.batch_size

        def mean_square(difference: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(difference**2) / num_values

        with tf.GradientTape() as tape:
            rendering = render_rays(
                self.model,
                batch.rays,
                scene.near,
                scene.far,
                config.rendering,
                white_background=scene.white_background,
                draws=batch.draws,
            )
            loss = fine_error = mean_square(rendering.fine.rgb - batch.colors)
            coarse_error = tf.constant(0.0)
            if config.rendering.num_fine_samples:
                coarse_error = mean_square(rendering.coarse.rgb - batch.colors)
                loss += coarse_error
        weights = [variable.value for variable in self.model.trainable_variables]
        gradients = tape.gradient(loss, weights)
        background = 1.0 if scene.white_background else 0.0
        sound = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        metrics = Metrics(
            loss=loss,
            fine_error=fine_error,
            coarse_error=coarse_error,
            blank_error=mean_square(batch.colors - background),
            contrast=mean_square(rendering.fine.rgb - background),
            unsound=tf.cast(~sound, tf.float32),
        )
        return metrics, gradients


def make_optimizer(model: NeRF, settings: TrainingSettings) -> keras.optimizers.Adam:
    """Adam for the weights of a model, at step 0."""
    schedule = DecayWithWarmup(
        settings.learning_rate,
        settings.learning_rate_decay_steps,
        settings.learning_rate_warmup_steps,
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)
    return optimizer


def _smallest_divisor(number: int, *, at_least: int) -> int:
    return next(n for n in range(at_least, number + 1) if number % n == 0)
