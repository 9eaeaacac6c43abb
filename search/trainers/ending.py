"""What an author's model ends in: its loss and its last activation, by the names that Keras has."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who only reads what was found needs no Keras
    import keras

    from search.trainers.asked import AskedLoss


def own_loss(model: "keras.Model") -> "AskedLoss | None":
    """Return a loss of the author's own; None where a model has one of Keras' or none."""
    if computes_loss(model):
        return partial(_computed, model)
    loss = model.loss if callable(getattr(model, "loss", None)) else _loss_itself(model)[0]
    own = loss_of(model)[0] is None and callable(loss) and not isinstance(loss, type)
    return loss if own else None


def _computed(model: "keras.Model", true: Any, said: Any) -> Any:
    """Return what an author's compute_loss makes of answers."""
    return model.compute_loss(x=None, y=true, y_pred=said)


def loss_of(model: "keras.Model") -> tuple[str | None, bool]:
    """Return the name of a model's loss, and whether it takes logits.

    The name is Keras' own, in lower case and without underscores. It is None where there is no
    loss, or one of the author's that nothing is known of.
    """
    loss, keywords = _loss_itself(model)
    if isinstance(loss, str):
        return _plain(loss), False
    if isinstance(loss, type):
        return next(_named(loss), None), False
    if hasattr(loss, "get_config"):
        from_logits = getattr(loss, "from_logits", None)
        if from_logits is None:
            from_logits = getattr(loss, "_fn_kwargs", {}).get("from_logits", False)
        return next(_named(type(loss)), None), bool(from_logits)
    if str(getattr(loss, "__module__", "")).startswith("keras."):
        return _plain(loss.__name__), bool(keywords.get("from_logits", False))
    return None, False


def computes_loss(model: "keras.Model") -> bool:
    """Say whether an author computes the loss in another way than it is compiled."""
    own = next(kind for kind in type(model).__mro__ if "compute_loss" in vars(kind))
    return "compute_loss" in vars(model) or not _is_of_keras(own)


def _loss_itself(model: "keras.Model") -> tuple[Any, dict[str, Any]]:
    """Return a model's one loss, and the keywords that a partial function gives it."""
    loss: Any = getattr(model, "loss", None)
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, list | tuple):
        loss = loss[0] if len(loss) == 1 else None
    if hasattr(loss, "func"):  # a functools.partial
        return loss.func, loss.keywords
    return loss, {}


def _named(kind: type) -> Iterator[str]:
    """Yield the names of the losses of Keras that a class is or extends, but the bare base.

    One that computes in its own way is none of them, whatever it extends.
    """
    for one in kind.__mro__:
        if not one.__module__.startswith("keras.") and {"call", "__call__"} & vars(one).keys():
            return
        if one.__module__.startswith("keras.") and one.__name__ not in (
            *("Loss", "LossFunctionWrapper", "KerasSaveable", "Operation"),
        ):
            yield _plain(one.__name__)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def last_activation(model: "keras.Model") -> str | None:
    """Return the name of the function that a model's outputs come from; None if it hides it.

    Layers that only copy or rearrange are passed. A subclassed model hides it, and so does a layer
    of the author's own.
    """
    try:
        (tensor,) = model.outputs
    except (AttributeError, TypeError, ValueError):
        return None
    while True:
        layer, node, _ = tensor._keras_history
        if type(layer).__name__ not in _PASSED or not _is_of_keras(type(layer)):
            break
        (tensor,) = layer._inbound_nodes[node].input_tensors[:1]
    if getattr(layer, "outputs", None):
        return last_activation(layer)
    if type(layer).__name__ == "InputLayer" or not _is_of_keras(type(layer)):
        return None  # what an author's layer calls its activation need not be its last step
    if any(getattr(layer, name, None) for name in ("max_value", "negative_slope", "threshold")):
        return None  # it is a ReLU of another shape
    if (function := getattr(layer, "activation", None)) is not None:
        name = getattr(function, "__name__", None) or type(function).__name__
        return _plain(name)
    return _plain(type(layer).__name__)


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.startswith("keras.")


_PASSED = {
    *("Dropout", "Flatten", "Reshape", "Identity", "ActivityRegularization"),
    *("SpatialDropout1D", "GaussianNoise", "GaussianDropout"),
}
