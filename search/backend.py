"""The seam: all that differs between the backends of Keras, TensorFlow and JAX.

The rest of the package writes arrays in `keras.ops` and never asks which backend runs.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import psutil
from numpy.typing import NDArray

from search.errors import LanesExhausted
from search.machine.caches import CompiledPrograms, compiled_programs, is_of_a_process
from search.machine.hardware import THREADS_VARIABLE, threads

if keras.backend.backend() == "jax":
    import jax
elif keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    raise ImportError(
        f"KERAS_BACKEND is {keras.backend.backend()}; lanes run on tensorflow and on jax"
    )

_JAX = keras.backend.backend() == "jax"
_DEVICE_ERRORS = (jax.errors.JaxRuntimeError,) if _JAX else (tf.errors.OpError,)
_EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|out of memory|OOM", re.IGNORECASE)


def _set_flags() -> None:
    """Say how XLA is to compile for a CPU; it reads that with the first program.

    None of this changes what NaN and infinity do, and flags that the user sets win.
    """
    # The default of 256 bits leaves half of AVX-512 idle: 4 % of an epoch on Zen 5.
    flags = ["--xla_cpu_prefer_vector_width=512"]
    # TensorFlow 2.21 multiplies with YNNPACK unless this list is empty. The alternative, Eigen,
    # takes 8 % less of an epoch. XLA ends the process over a flag that it does not know, so this
    # goes only to the release it was measured with. JAX's list is empty by default.
    if not _JAX and tf.__version__.startswith("2.21."):
        flags.append("--xla_cpu_experimental_ynn_fusion_type=")
    given = os.environ.get("XLA_FLAGS", "").split()  # those of a process that started this one, too
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in flags if flag not in given), *given])


_set_flags()


def _keep_programs() -> CompiledPrograms | None:
    """Have XLA keep what it compiles for the next process; it reads that with the first program.

    Flags that the user sets win.
    """
    option = "--tf_xla_persistent_cache_directory="
    given = os.environ.get("TF_XLA_FLAGS", "").split()
    # The folder of a process that started this one is that one's alone.
    flags = [flag for flag in given if not (flag.startswith(option) and is_of_a_process(flag))]
    own = jax.config.jax_compilation_cache_dir if _JAX else any(option in flag for flag in flags)
    programs = None if own else compiled_programs()
    if programs is None:
        return None
    if _JAX:
        jax.config.update("jax_compilation_cache_dir", str(programs.folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    else:
        os.environ["TF_XLA_FLAGS"] = " ".join([*flags, f"{option}{programs.folder}"])
    return programs


_PROGRAMS = _keep_programs()


def prepare() -> None:
    """Make ready for compiling, which a folder that was cleared away would fail."""
    if _PROGRAMS is not None:
        _PROGRAMS.ready()


# What Keras would take from ``keras.json``, from variables like KERAS_MAX_EPOCHS, or from what a
# study's file says to Keras as a whole. A study is trained alike by every worker, so it has
# Keras' own defaults; a layer may still be given a type of its own.
_SETTINGS: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


def _overrule() -> tuple[str, ...]:
    """Give Keras these settings, and return a line about each that was another one."""
    found = {name: getattr(keras.config, name)() for name in _SETTINGS}
    other = {name: value for name, value in found.items() if value != _SETTINGS[name]}
    for name in other:
        getattr(keras.config, f"set_{name}")(_SETTINGS[name])
    policy = keras.config.dtype_policy().name
    if policy != "float32":
        keras.config.set_dtype_policy("float32")
        if policy != other.get("floatx"):
            other["dtype_policy"] = policy
    return tuple(
        f"Keras' {name} is {value} on this machine, by keras.json, the environment or the study's "
        f"file; studies are trained with {_SETTINGS.get(name, 'float32')} everywhere."
        for name, value in other.items()
    )


OVERRULED = _overrule()


@contextmanager
def defaults() -> Iterator[None]:
    """Give Keras the same settings again after a block that runs code of the study's own."""
    try:
        yield
    finally:
        _overrule()


class Program:
    """A function of nested arrays, traced for each new set of shapes.

    Args:
        function: of the arrays.
        donated: the positions of arguments that the caller gives up, so that their memory may hold
            the results.
        rare: it runs so seldom that to compile it would take longer than that could ever gain;
            JAX has no other way.

    """

    def __init__(
        self,
        function: Callable[..., Any],
        donated: tuple[int, ...] = (),
        rare: bool = False,
    ) -> None:
        self.compilations = 0
        # TensorFlow warns of retracing by code object; a partial object has none of its own.
        traced = partial(self._traced, function)
        if _JAX:
            self._compiled = jax.jit(traced, donate_argnums=donated)
        else:
            self._compiled = tf.function(traced, jit_compile=not rare, autograph=False)

    def _traced(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.compilations += 1  # Python runs only while the program is traced
        prepare()
        return function(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        """Run the program, on the accelerator where there is one."""
        with _exhaustion_reported():
            return self._compiled(*arguments)


def rows(array: Any, indices: Any) -> Any:
    """Return the rows at these indices, all of which there must be."""
    if _JAX:  # which would otherwise check each one, and every number it copies
        return jax.numpy.take(array, indices, axis=0, mode="clip")
    return tf.gather(array, indices)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of arrays such that Python runs it once; it is not compiled.

    On TensorFlow the trace serves arrays of any size, on JAX each size has its own. The arrays'
    ranks and types must be those of the first call.
    """
    if _JAX:
        return jax.jit(function)  # type: ignore[no-any-return]
    traces: list[Any] = []

    def run(*arguments: Any) -> Any:
        if not traces:
            shapes = keras.tree.map_structure(_any_size, arguments)
            traces.append(tf.function(function, input_signature=shapes, autograph=False))
        return traces[0](*arguments)

    return run


def _any_size(array: Any) -> Any:
    return tf.TensorSpec([None] * len(array.shape), array.dtype)


def gradients_of(
    function: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]], arguments: Any
) -> tuple[Any, list[Any], Any]:
    """Differentiate a function of nested arrays, also in arrays that it makes on its way.

    The function returns a number and something besides. Its second argument is a function that it
    gives such an array to, and goes on with what comes back. It runs as it stands and is not
    compiled.

    Returns:
        The gradient in the arguments, nested as they are; that in the arrays on the way, in their
        order; and what was returned besides.

    """
    if _JAX:
        return _shifted_gradients(function, arguments)
    arguments = keras.tree.map_structure(tf.convert_to_tensor, arguments)
    inner: list[Any] = []
    with tf.GradientTape() as tape:

        def watched(array: Any) -> Any:
            tape.watch(array)
            inner.append(array)
            return array

        tape.watch(arguments)
        value, besides = function(arguments, watched)
    slopes = tape.gradient(value, (arguments, inner), unconnected_gradients="zero")
    return slopes[0], slopes[1], besides


def _shifted_gradients(
    function: Callable[..., tuple[Any, Any]], arguments: Any
) -> tuple[Any, list[Any], Any]:
    """To each array on the way add zeros; the gradient in them is that in the array."""
    zeros: list[Any] = []

    def noted(array: Any) -> Any:
        zeros.append(np.zeros(array.shape, array.dtype))
        return array

    jax.eval_shape(lambda values: function(values, noted)[0], arguments)

    def shifted(values: Any, shifts: list[Any]) -> tuple[Any, Any]:
        rest = iter(shifts)
        return function(values, lambda array: array + next(rest))

    both = jax.grad(shifted, argnums=(0, 1), has_aux=True)
    (slopes, deltas), besides = both(arguments, zeros)
    return slopes, deltas, besides


def to_numpy(array: Any) -> NDArray[Any]:
    """Wait for an array and copy it to the host."""
    with _exhaustion_reported():
        return np.array(keras.ops.convert_to_numpy(array))


def put(array: NDArray[Any]) -> Any:
    """Copy an array to the device."""
    with _exhaustion_reported():
        return keras.ops.convert_to_tensor(array)


def accelerated() -> bool:
    """Whether programs run on a device of its own memory rather than on the CPU."""
    if _JAX:
        return str(jax.default_backend()) != "cpu"
    return bool(tf.config.list_physical_devices("GPU"))


def models_use_xla() -> str | bool:
    """Return what `keras.Model.compile` is told of XLA.

    On a CPU it takes 2 to 3 s of processor time to compile the steps of a small network, and makes
    its epochs a tenth faster at best (`benchmarks/xla.py`). JAX has nothing else.
    """
    return "auto" if _JAX or accelerated() else False


def free_memory() -> float:
    """Return the bytes that arrays may still take; infinite where the device itself will say."""
    return math.inf if accelerated() else float(psutil.virtual_memory().available)


def set_threads(count: int) -> None:
    """Let this process compute with so many threads; only before its first array."""
    os.environ[THREADS_VARIABLE] = str(count)
    if _JAX:
        flags = f"--xla_cpu_multi_thread_eigen={str(count > 1).lower()}"
        flags += f" intra_op_parallelism_threads={count}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    else:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads on which this process runs several programs side by side."""
    return ThreadPoolExecutor(threads())


@contextmanager
def _exhaustion_reported() -> Iterator[None]:
    try:
        yield
    except (*_DEVICE_ERRORS, MemoryError) as error:
        if isinstance(error, MemoryError) or _EXHAUSTED.search(str(error)):
            raise LanesExhausted from error
        raise
