"""Hyperparameter search that proves its winner: what a study is written with, and run by.

    from search import MLP, Confirm, StudySpec, Table, Training, off_or, optimize

Importing it loads none of the libraries that train or store: a study's file opens at once.
"""

from search.optimum import optimize
from search.study.mlp import MLP
from search.study.space import off_or
from search.study.spec import Confirm, StudySpec
from search.study.table import Table
from search.study.training import Training

__all__ = ["MLP", "Confirm", "StudySpec", "Table", "Training", "off_or", "optimize"]
