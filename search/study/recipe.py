"""What a trainer trains: one configuration, put into what the study fixes."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from search.study.mlp import MLP
from search.study.space import Config
from search.study.training import Training

if TYPE_CHECKING:
    import keras

BuildModel: TypeAlias = Callable[[Config], "keras.Model"]


@dataclass(frozen=True)
class Recipe:
    """One configuration with everything the study fixes: all a trainer needs besides a seed."""

    config: Config
    model: MLP | BuildModel
    training: Training

    @classmethod
    def of(cls, config: Config, model: MLP | BuildModel, training: Training) -> Self:
        """Put a configuration's values where a study's settings have fields of their names.

        With a model of one's own all keys are its author's, and what ``build`` does not ask for
        is settled by `search.trainers.own`. The batch size alone can be nobody else's.

        Raises:
            SpecError: a value of the configuration is not usable.

        """
        settings = _settings(config, Training)
        if isinstance(model, MLP):
            model = model.with_settings(_settings(config, MLP))
        else:
            settings = {name: value for name, value in settings.items() if name == "batch_size"}
        return cls(config, model, replace(training, **settings))


def setting_names(record: type[MLP] | type[Training]) -> set[str]:
    """Return the names of a record's settings."""
    return {field.name for field in fields(record)}


def _settings(config: Config, record: type[MLP] | type[Training]) -> dict[str, Any]:
    names = setting_names(record)
    return {name: value for name, value in config.items() if name in names}
