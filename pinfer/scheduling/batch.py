"""What a pass feeds, and what is sampled from it."""

from dataclasses import dataclass

from pinfer.request.state import Lane, Logprob, Request, Row


@dataclass(frozen=True, slots=True)
class Batch:
    """One pass: rows grouped by request, in feeding order; `drawn` indexes those drawn from."""

    rows: list[Row]
    drawn: list[int]

    def take(self, request: Request, count: int) -> None:
        """Move the next rows of a request's queue here."""
        for _ in range(count):
            row = request.queue.popleft()
            if row.draws:
                self.drawn.append(len(self.rows))
            self.rows.append(row)

    @property
    def lanes(self) -> list[Lane]:
        """Lanes of the drawn rows."""
        return [self.rows[i].lane for i in self.drawn]


@dataclass(frozen=True, slots=True)
class Choice:
    """A token drawn for a lane; `legal`: whether the model's own choice was; `wanted`: what had
    been drawn if no limit kept the lane from a fork; `logprob` where the request asks for it."""

    token: int
    legal: bool
    wanted: int = -1
    logprob: Logprob | None = None
