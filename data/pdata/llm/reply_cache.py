"""Replies of a model kept on disk, so that nothing is asked twice. Knows no server.

One SQLite file: whole whatever ends the process, shared by threads and by processes.
"""

import sqlite3
from dataclasses import astuple, dataclass
from pathlib import Path
from threading import Lock

from pbranch.errors import DataError

_TABLE = """CREATE TABLE IF NOT EXISTS replies (question TEXT PRIMARY KEY, content TEXT NOT NULL,
finish_reason TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER) WITHOUT ROWID"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, and the tokens that were paid for it."""

    content: str
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ReplyCache:
    """Replies by question, a hash; without a path they are gone with the process."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = Lock()
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path or "", timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute(_TABLE)
        except (OSError, sqlite3.Error) as e:
            raise DataError(f"{path}: not a cache of replies that can be used ({e})") from e

    def find(self, question: str) -> Reply | None:
        """The reply that was stored first."""
        row = self._execute("SELECT * FROM replies WHERE question = ?", question)
        return Reply(*row[1:]) if row else None

    def store(self, question: str, reply: Reply) -> Reply:
        """Keep `reply`, unless another thread was faster; returns the one that is kept."""
        self._execute("INSERT OR IGNORE INTO replies VALUES (?,?,?,?,?)", question, *astuple(reply))
        return self.find(question) or reply

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _execute(self, command: str, *values: object) -> tuple | None:
        try:
            with self._lock:
                return self._db.execute(command, values).fetchone()
        except sqlite3.Error as e:
            raise DataError(f"{self.path}: cannot use this cache of replies ({e})") from e
