"""napari-pml segment-many."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from napari_pml.cli.common import Device, Embedder, Strict, app, clear_errors
from napari_pml.errors import ClusterError, ExportError


@app.command()
def segment_many(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="JOBS.csv",
            help="One video a row: video, out, annotations and/or strokes (several t=path with ; between them), "
            "and if need be method and config (KEY=VALUE with ; between them). Paths begin at its folder.",
        ),
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a running dask cluster, such as tcp://host:8786; otherwise on this computer."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Videos at a time on this computer; half as many as cores if not given.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Number of further attempts when a worker dies.")] = 1,
    report: Annotated[
        Path | None, typer.Option(help="How each job ended (.csv); JOBS.report.csv beside JOBS.csv if not given.")
    ] = None,
    embedder: Embedder = "compact",
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Segment many videos, each as `segment` does it, several at a time.

    Stop it at any time and call it again to go on: what is finished with the same inputs and settings is skipped.
    """
    with clear_errors():
        try:
            import distributed  # noqa: F401 (whether it is there)
        except ImportError as error:
            raise ClusterError("segment-many needs dask.distributed: pip install 'napari-pml[cluster]'.") from error
        if scheduler is not None and workers is not None:
            raise ClusterError("--workers is for this computer; a running cluster (--scheduler) has its own.")

        from dask.system import CPU_COUNT
        from tqdm import tqdm

        from napari_pml.cluster.batch import Network, local_workers, run_jobs, running_cluster
        from napari_pml.cluster.jobs import read_jobs
        from napari_pml.cluster.report import Outcome, State, write_report
        from napari_pml.io.destination import Inputs

        jobs = [replace(job, strict=strict) for job in read_jobs(table)]
        report = report or table.with_suffix(".report.csv")
        lost = Inputs([table, *(path for job in jobs for path in job.inputs)]).overwritten_by(report)
        if lost is not None:
            raise ExportError(f"The report would overwrite {lost}. Give another place with --report.")
        n = min(len(jobs), workers or max(1, CPU_COUNT // 2))
        ended: dict[Path, Outcome | None] = dict.fromkeys(job.out for job in jobs)  # in the order of the rows
        try:
            with running_cluster(scheduler) if scheduler else local_workers(n) as client:
                known = None if scheduler else n
                found = run_jobs(jobs, Network(embedder, device), client, retries=retries, workers=known)
                write_report([], report)  # what cannot be written is known before any work is done
                for outcome in tqdm(found, total=len(jobs), unit="video"):
                    ended[outcome.job.out] = outcome
                    write_report(filter(None, ended.values()), report)
                    if outcome.state is State.failed:
                        tqdm.write(f"{outcome.job.video}: {outcome.error}", file=sys.stderr)
        except KeyboardInterrupt:
            typer.echo("\nStopped; finished videos are kept. Call again to go on.", err=True)
            raise typer.Exit(130) from None
        counts = Counter(outcome.state for outcome in ended.values() if outcome is not None)
        typer.echo(", ".join(f"{counts[state]} {state}" for state in State) + f"; report in {report}")
        if counts[State.failed]:
            raise typer.Exit(1)
