"""Files kept in the store itself, so that whoever has its URL has them too."""

import io
from typing import BinaryIO
from uuid import UUID, uuid5

import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy.dialects import postgresql, sqlite

from search.store.database import Database
from search.store.patience import read_transaction
from search.store.tables import artifacts

_NAMESPACE = UUID("7c0d4d0e-6c6f-4a55-9c43-5e1a0a1f6f0b")


class Artifacts:
    """Keeps bytes under keys; also an artifact store as Optuna and its dashboard want one.

    A key is a path, like ``NAME/model/7``. A file is written whole or not at all, and may be
    written again. Optuna, which wants UUIDs, knows it by an id that follows from its key.
    """

    @staticmethod
    def id(key: str) -> str:
        """Return what Optuna calls a file."""
        return str(uuid5(_NAMESPACE, key))

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._patience = database.patience

    def put(self, key: str, content: bytes) -> None:
        """Keep a file, in place of an older one."""

        # One statement: of two that write the same key, a deletion would not see the other's row.
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        statement = insert(artifacts).values(key=key, id=self.id(key), content=content)
        statement = statement.on_conflict_do_update(
            index_elements=[artifacts.c.key], set_={"content": content}
        )

        def write() -> None:
            with self._engine.begin() as connection:
                connection.execute(statement)

        self._patience(write)

    def get(self, key: str) -> bytes | None:
        """Return a file; None where there is none."""

        def read() -> bytes | None:
            query = sa.select(artifacts.c.content).where(artifacts.c.key == key)
            with read_transaction(self._engine) as connection:
                return connection.execute(query).scalar()

        return self._patience(read)

    def all(self, prefix: str) -> dict[str, bytes]:
        """Return the files whose keys begin so, by key, in one query."""

        def read() -> dict[str, bytes]:
            query = sa.select(artifacts.c.key, artifacts.c.content).where(_begins(prefix))
            with read_transaction(self._engine) as connection:
                return {row.key: row.content for row in connection.execute(query)}

        return self._patience(read)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, sorted."""

        def read() -> list[str]:
            query = sa.select(artifacts.c.key).where(_begins(prefix))
            with read_transaction(self._engine) as connection:
                return sorted(connection.execute(query).scalars())

        return self._patience(read)

    def delete(self, key: str) -> None:
        """Delete a file, where there is one."""

        def write() -> None:
            with self._engine.begin() as connection:
                connection.execute(artifacts.delete().where(artifacts.c.key == key))

        self._patience(write)

    def delete_all(self, prefix: str) -> None:
        """Delete the files whose keys begin so."""

        def write() -> None:
            with self._engine.begin() as connection:
                connection.execute(artifacts.delete().where(_begins(prefix)))

        self._patience(write)

    # -- what Optuna calls them --------------------------------------------------------------

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file.

        Raises:
            ArtifactNotFound: there is none of this id.

        """
        content = self.get(self._key(artifact_id))
        if content is None:
            raise ArtifactNotFound(f"there is no artifact {artifact_id}")
        return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep a file."""
        self.put(self._key(artifact_id), content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete a file.

        Raises:
            ArtifactNotFound: there is none of this id.

        """
        key = self._key(artifact_id)
        if not self.keys(key):
            raise ArtifactNotFound(f"there is no artifact {artifact_id}")
        self.delete(key)

    def _key(self, artifact_id: str) -> str:
        """Return a file's key; that of one which came through Optuna is its id."""

        def read() -> str | None:
            query = sa.select(artifacts.c.key).where(artifacts.c.id == artifact_id)
            with read_transaction(self._engine) as connection:
                return connection.execute(query).scalar()

        return self._patience(read) or artifact_id


def _begins(prefix: str) -> sa.ColumnElement[bool]:
    # Not LIKE, which on SQLite takes the study "a" for the study "A".
    return sa.func.substr(artifacts.c.key, 1, len(prefix)) == prefix
