"""`pdata build`: source traces in, branch-tagged records out, the rejected ones with their reasons.

Every input line ends up in exactly one of the two files, in input order, for any worker count.
Knows the flow; sources, what becomes of a line, filters and judge have files of their own.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pbranch.console import say
from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine, LineFile, read_objects
from pbranch.format.trace_record import UniqueIds, parse_completion
from pbranch.format.tree import plain_text
from pdata.build.counts import Counts
from pdata.build.filters import TraceFilter, take_fingerprint
from pdata.build.outputs import check_out, check_resume, describe_source
from pdata.build.process_line import (
    Accepted,
    LineOptions,
    Rewriter,
    grade_line,
    process_line,
    rewrite_line,
)
from pdata.record import (
    Record,
    Rejection,
    dump_line,
    dump_rejected,
    read_records,
    rejected_path,
)
from pdata.roles.field_map import parse_overrides
from pdata.rules.rewriter import rewrite
from pdata.sources.reader import look_at_files, say_fields
from pdata.worker_processes import map_in_processes

if TYPE_CHECKING:
    from pdata.judge.judge import Judge

CHUNK = 64  # lines that a worker takes at a time


def build(
    source: str,
    out: Path,
    *,
    overrides: Iterable[str] = (),
    rewriter: Rewriter | None = None,
    judge: "Judge | None" = None,
    resume: bool = False,
    workers: int = 1,
    drop_wrong: bool = False,
    max_words: int | None = None,
    drop_near_duplicates: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Counts:
    """Rewrite linear traces into branch-tagged ones.

    Args:
        source: A file, a folder, `hf:DATASET[:SPLIT]`, or `-`.
        out: FILE.jsonl; what is rejected goes to FILE.rejected.jsonl with its reason.
        overrides: `role=key` pairs that replace the guess at the source's keys.
        rewriter: In the place of the rules, one that waits for a server.
        judge: Measures each block, and may veto it.
        resume: Go on with what an earlier run has written.
        workers: Processes; with a rewriter, threads. The result is the same for any number.
        drop_wrong, max_words, drop_near_duplicates: Reject what these name.
        settings: What else the records depend on, as plain values: of the rewriter and the judge.

    Returns:
        The counts of the whole file, resumed or not: in = out + rejected. An id that an earlier
        record has becomes `ID-2`, `ID-3`, ….

    Raises:
        DataError: The source cannot be read, `out` is one of its files or another process writes
            it, a run goes on with other files or settings, or the disk is full.
    """
    mapping = parse_overrides(overrides)
    looked = look_at_files(check_out(out, source), mapping)
    facts = {
        "source": describe_source(looked), "--map": mapping, "--drop-wrong": drop_wrong,
        "--max-words": max_words, "--drop-near-duplicates": drop_near_duplicates,
        **(settings or {}),
    }  # fmt: skip
    counts, ids, trace_filter = Counts(), UniqueIds(), None
    if max_words is not None or drop_near_duplicates:
        trace_filter = TraceFilter(max_words, drop_near_duplicates)
    with LineFile(out, resume) as kept, LineFile(rejected_path(out), resume) as rejected:
        check_resume(out, facts, resume)
        names = {file.name for file in looked}
        done = _read_done(out, names, counts, ids, trace_filter) if resume else set()
        for file in looked:
            say_fields(file.path, file.schemas)
            said = set(file.schemas.maps)
            options = LineOptions(
                file.schemas, rewriter or rewrite, drop_wrong, trace_filter is not None
            )
            todo = (line for line in file.read() if line.origin not in done)
            process = _process(todo, options, workers, threads=rewriter is not None)
            with closing(process) as every:  # else workers that have begun hold up the end
                for line, processed in every:
                    if isinstance(processed, Accepted) and processed.fields not in said:
                        say(f"{line.origin}: {processed.fields}")
                        said.add(processed.fields)
                    outcome = _finish(line, processed, trace_filter, judge)
                    if isinstance(outcome, Rejection):
                        rejected.write(dump_rejected(line, outcome))
                    else:
                        outcome = replace(outcome, id=ids.make(outcome.id))
                        kept.write(dump_line(outcome))
                    counts.add(outcome)
                    if counts.total["in"] % 10_000 == 0:
                        say(f"{counts.total['in']:,} traces")
    return counts


def _finish(
    line: JsonLine,
    processed: Accepted | Rejection,
    trace_filter: TraceFilter | None,
    judge: "Judge | None",
) -> Record | Rejection:
    """What needs the lines before this one, or a model that is loaded once."""
    if isinstance(processed, Rejection):
        return processed
    record, fingerprint = processed.record, processed.fingerprint
    if trace_filter and fingerprint:
        if rejection := trace_filter.check(line.origin, fingerprint):
            return rejection
    if judge is None or record.meta["form"] != "branches":
        return record
    from pdata.judge.judge import judge_record

    return judge_record(record, judge)


def _read_done(
    out: Path, names: set[str], counts: Counts, ids: UniqueIds, trace_filter: TraceFilter | None
) -> set[str]:
    """Origins of the lines that an earlier run has written, which are counted. names: what origins
    call the files of this run. Raises DataError on a line that no such run has written."""
    done = set()
    for number, record in read_records(out, drop_torn=True):
        if isinstance(record, DataError):
            raise record
        where = f"{out}:{number}"
        origin = _read_origin(record.meta, names, where)
        try:
            text = plain_text(parse_completion(record.completion, record.meta))
        except DataError as e:
            raise DataError(f"{where}: {e}") from e
        if record.meta.get("form") not in ("branches", "linear"):
            raise DataError(f"{where}: no meta.form; expected a record of an earlier run")
        counts.add(record)
        ids.make(record.id)
        done.add(origin)
        if trace_filter:
            trace_filter.add(origin, take_fingerprint(record.prompt, text))
    rejected = rejected_path(out)
    for number, row in enumerate(read_objects(rejected), 1):
        counts.add(Rejection(str(row.get("reason"))))
        done.add(_read_origin(row, names, f"{rejected}:{number}"))
    return done


def _read_origin(row: Mapping[str, Any], names: set[str], where: str) -> str:
    origin = str(row.get("origin"))
    name, _, number = origin.rpartition(":")
    if name not in names or not number.isdecimal():
        raise DataError(
            f"{where}: of {origin}, expected lines of {', '.join(sorted(names)[:3])}; --resume "
            "goes on with the same source"
        )
    return origin


def _process(
    lines: Iterator[JsonLine], options: LineOptions, workers: int, threads: bool
) -> Generator[tuple[JsonLine, Accepted | Rejection], None, None]:
    """Each line and what becomes of it, in order; read only as far as the workers need."""
    if threads:
        from pdata.llm.ordered_threads import map_in_order

        rewritten = map_in_order(lambda line: (line, rewrite_line(options, line)), lines, workers)
        yield from ((line, grade_line(options, result)) for line, result in rewritten)
    elif workers <= 1:
        yield from ((line, process_line(options, line)) for line in lines)
    else:
        chunks = iter(lambda: list(islice(lines, CHUNK)), [])
        process = partial(_process_all, options)
        for chunk, results in map_in_processes(process, chunks, workers):
            yield from zip(chunk, results, strict=True)


def _process_all(options: LineOptions, lines: list[JsonLine]) -> list[Accepted | Rejection]:
    return list(map(partial(process_line, options), lines))
