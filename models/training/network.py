"""The network in Keras: an unrolled GRU beside a linear path that starts at the ridge solution."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import features
from models.training.examples import Examples
from models.training.ridge import Linear

UNITS = 16
HIDDEN = 24
EPOCHS = 12
BATCH = 256
LEARNING_RATE = 1e-3
SKIP_PULL = 3e-3  # towards the ridge solution
BAND_START = 0.0  # before the softplus
TAUS = (0.1, 0.9)


class TowardsStart(tf.keras.regularizers.Regularizer):  # type: ignore[misc]
    """Penalises the distance from the weights that training started with."""

    def __init__(self, start: np.ndarray, strength: float) -> None:
        self.start, self.strength = tf.constant(start, tf.float32), strength

    def __call__(self, weights: Any) -> Any:
        return self.strength * tf.reduce_sum(tf.square(weights - self.start))


def build(linear: Linear, seed: int) -> Any:
    """The model: sequence (48, 3) and flat (F) to knots x (centre, below, above), flattened.

    Seeds everything random here and in `fit`.
    """
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    knots = len(features.KNOTS)
    kernel = np.zeros((len(linear.weights), knots, 3), dtype=np.float32)
    kernel[:, :, 0] = linear.weights
    bias = np.full((knots, 3), BAND_START, dtype=np.float32)
    bias[:, 0] = linear.bias
    start = kernel.reshape(len(kernel), -1)
    layers, initial = tf.keras.layers, tf.keras.initializers
    sequence = tf.keras.Input((features.SEQUENCE_STEPS, features.CHANNELS), name="sequence")
    flat = tf.keras.Input((len(start),), name="flat")
    skip = layers.Dense(
        3 * knots,
        kernel_initializer=lambda shape, dtype=None: tf.constant(start, dtype),
        bias_initializer=lambda shape, dtype=None: tf.constant(bias.reshape(-1), dtype),
        kernel_regularizer=TowardsStart(start, SKIP_PULL),
        name="skip",
    )(flat)
    state = layers.GRU(UNITS, unroll=True, name="gru")(sequence)
    hidden = layers.Dense(HIDDEN, activation="relu", name="hidden")(
        layers.Concatenate()([state, flat])
    )
    bend = layers.Dense(3 * knots, kernel_initializer=initial.Zeros(), name="bend")(hidden)
    return tf.keras.Model([sequence, flat], layers.Add(name="answer")([skip, bend]))


def loss(truth_and_weight: Any, answer: Any) -> Any:
    """Squared error of the centre plus pinball of the band's two edges, which leave it alone."""
    truth, weight = truth_and_weight[..., 0], truth_and_weight[..., 1]
    knots = tf.reshape(answer, (-1, len(features.KNOTS), 3))
    centre, below, above = tf.unstack(
        tf.einsum("lk,bkq->blq", tf.constant(features.INTERPOLATION, tf.float32), knots), axis=2
    )
    total = weight * tf.square(truth - centre)
    fixed = tf.stop_gradient(centre)
    edges = (fixed - tf.nn.softplus(below), fixed + tf.nn.softplus(above))
    for tau, edge in zip(TAUS, edges, strict=True):
        gap = truth - edge
        total += tf.sqrt(weight) * tf.maximum(tau * gap, (tau - 1.0) * gap)
    return tf.reduce_mean(total)


def fit(model: Any, learn: Examples, check: Examples) -> list[float]:
    """Train and keep the weights of the epoch that was best on `check`; returns its losses."""
    model.compile(optimizer=tf.keras.optimizers.Adam(LEARNING_RATE), loss=loss)
    stop = tf.keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    rate = tf.keras.callbacks.LearningRateScheduler(
        lambda epoch: LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS)) + 1e-5
    )
    history = model.fit(
        [learn.sequence, learn.flat],
        np.stack([learn.truth, learn.weight], axis=2),
        validation_data=([check.sequence, check.flat], np.stack([check.truth, check.weight], 2)),
        batch_size=BATCH,
        epochs=EPOCHS,
        callbacks=[stop, rate],
        verbose=0,
    )
    return [float(value) for value in history.history["val_loss"]]


def linear_path(model: Any) -> np.ndarray:
    """The trained linear path, (1 + F, 3 knots); the first row is the bias."""
    kernel, bias = model.get_layer("skip").get_weights()
    return np.concatenate([bias[None], kernel])


def export(model: Any, folder: Path) -> None:
    """Write what is beside the linear path, as a saved model for batches of one."""
    beside = tf.keras.Model(model.inputs, model.get_layer("bend").output)
    sequence = tf.keras.Input(batch_shape=(1, *model.inputs[0].shape[1:]), name="sequence")
    flat = tf.keras.Input(batch_shape=(1, *model.inputs[1].shape[1:]), name="flat")
    single = tf.keras.Model({"sequence": sequence, "flat": flat}, beside([sequence, flat]))
    single.export(str(folder), verbose=False)
