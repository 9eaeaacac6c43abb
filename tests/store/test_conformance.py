"""Optuna's own suite for storages, over the one that stands in its place here."""

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from search.store import Store


class TestStorage(StorageTestCase):
    """All of the suite, on both databases, but for what is waived by name below."""

    @pytest.fixture
    def storage(self, store: Store) -> BaseStorage:
        return store.storage

    @pytest.mark.skip("every process opens a store by its URL; a pickle would hold its password")
    def test_pickle_storage(self, storage: BaseStorage) -> None:
        """Waived."""
