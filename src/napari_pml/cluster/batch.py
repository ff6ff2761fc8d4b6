"""Jobs on dask.distributed: the workers, and what becomes of jobs whose worker dies."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import uuid4

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker
from distributed.client import FutureCancelledError

from napari_pml.cluster.jobs import Job
from napari_pml.cluster.report import Outcome, State
from napari_pml.cluster.run_job import run_job
from napari_pml.embedding.device import choose_device
from napari_pml.embedding.memory import keep_freed_memory
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.errors import ClusterError, PmlError

CONNECT_SECONDS = 10
"""Seconds to wait for a scheduler to answer."""

RESTART_SECONDS = 60
"""Seconds to wait for a worker to start again."""

IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What a worker runs first: a terminal sends Ctrl-C to every process, but it is ours to end them."""


@dataclass(frozen=True)
class Network:
    """The network that all jobs of a batch use; every worker process loads it once.

    Attributes:
        embedder: its name, see `load_embedder`.
        device: "cuda", "mps" or "cpu"; None: the best that a worker has.
        batch: another one for every batch, since weights may change while workers stay.
    """

    embedder: str
    device: str | None = None
    batch: str = field(default_factory=lambda: uuid4().hex)

    def load(self) -> Embedder:
        """Return the network in this process, on its device.

        Raises:
            WeightsError: it cannot be loaded.
            DeviceError: there is no such device.
        """
        with _loading:
            embedder = _load(self)
            device = choose_device(self.device)
            if embedder.device != device:  # an earlier job found the GPU's memory too small
                embedder.to(device)
        return embedder


@lru_cache(maxsize=1)
def _load(network: Network) -> Embedder:
    keep_freed_memory()
    return load_embedder(network.embedder, choose_device(network.device))


_loading = threading.Lock()


@contextmanager
def local_workers(n: int) -> Iterator[Client]:
    """Start worker processes on this computer, each with one job at a time and its share of the cores.

    OMP_NUM_THREADS, where it is set, is the share instead.

    Args:
        n: how many.
    """
    share = os.environ.get("OMP_NUM_THREADS", str(max(1, CPU_COUNT // n)))
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": {}}),  # which would change this process, too
        LocalCluster(
            n_workers=n,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",  # any free port
            silence_logs=logging.CRITICAL,  # we say ourselves what matters of it
            preload=[IGNORE_CTRL_C],
            env={"OMP_NUM_THREADS": share},
            scheduler_kwargs={"allowed_failures": 0},  # so that we hear of every death, and decide
        ) as cluster,
        Client(cluster, set_as_default=False) as client,  # dask's own work stays where it was
    ):
        yield client


@contextmanager
def running_cluster(address: str) -> Iterator[Client]:
    """Connect to a cluster.

    Raises:
        ClusterError: no scheduler answers at `address`.
    """
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No scheduler answers at {address!r} ({error}). Start one with `dask scheduler`, and give the address "
            "that it shows, such as tcp://host:8786."
        ) from error
    with client:
        yield client


def run_jobs(
    jobs: Sequence[Job], network: Network, client: Client, *, retries: int = 1, workers: int | None = None
) -> Iterator[Outcome]:
    """Do jobs on the workers of a cluster; each asks for one `GPU` if workers announce that they have some.

    It waits until there is a worker, and returns when one has tried the network. Stop it at any time: what waits is
    taken back, and what is under way ends with the frame that it is at.

    Args:
        jobs: to do.
        network: to do them with.
        client: of the cluster, which sees the same files.
        retries: number of times a job is given out again after its worker has died.
        workers: their number; each takes one job at a time, and they come back when they died: then no job waits
            at a worker, to be blamed for its death. None: not known, and all jobs are given out.

    Returns:
        How each job ended, in the order in which they end.

    Raises:
        WeightsError: workers cannot load the network.
        DeviceError: they have no such device.
        ClusterError: they cannot run napari-pml, or the scheduler is gone.
    """
    scheduler = client.scheduler_info(n_workers=1)
    if not scheduler["workers"]:
        logging.getLogger(__name__).warning(
            "The scheduler has no workers. Waiting for one: dask worker %s", scheduler["address"]
        )
        try:
            client.wait_for_workers(1)
        except OSError as error:
            raise ClusterError("The scheduler is gone. Start it again, with workers.") from error
    announced = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    resources = {"GPU": 1} if any("GPU" in resource for resource in announced) else None
    _check(client.submit(_try, network, pure=False, resources=resources), network)
    return _outcomes(jobs, network, client, resources, retries, workers)


def _outcomes(
    jobs: Sequence[Job],
    network: Network,
    client: Client,
    resources: dict[str, int] | None,
    retries: int,
    workers: int | None,
) -> Iterator[Outcome]:
    """Do jobs on workers that can run them."""
    waiting = [(job, retries) for job in reversed(jobs)]
    running: dict[Future[Outcome], tuple[Job, int]] = {}
    ended = as_completed(loop=client.loop)

    def give_out() -> None:
        job, left = waiting.pop()
        future = client.submit(_work, job, network, pure=False, resources=resources)
        running[future] = job, left
        ended.add(future)

    try:
        for _ in jobs[:workers]:
            give_out()
        for future in ended:
            job, left = running.pop(future)
            outcome = _outcome(future, job)
            if outcome is None:
                _wait_for(workers, client)
                if left:
                    logging.getLogger(__name__).warning("%s: its worker died; it is given out again", job.video)
                    waiting.append((job, left - 1))
                else:
                    reason = "Its worker died; perhaps memory did not suffice. Call again with fewer workers."
                    outcome = Outcome(job, State.failed, error=reason)
            if outcome is not None:
                yield outcome
            if waiting:
                give_out()
    finally:
        client.cancel(list(running))


def _check(attempt: Future[None], network: Network) -> None:
    """Wait until a worker has tried the network; ClusterError or PmlError if it cannot be used."""
    try:
        attempt.result()
    except PmlError:
        raise
    except KilledWorker as error:
        raise ClusterError(
            f"A worker died when it loaded {network.embedder}; perhaps memory did not suffice. Call again with fewer "
            "workers or a smaller embedder, or start workers that have more memory."
        ) from error
    except Exception as error:
        raise ClusterError(
            f"A worker cannot run napari-pml with {network.embedder} ({type(error).__name__}: {error}). Install the "
            "same versions of everything where the scheduler and the workers are."
        ) from error


def _outcome(future: Future[Outcome], job: Job) -> Outcome | None:
    """Return how a job ended; None if its worker died."""
    try:
        outcome: Outcome = future.result()
        return outcome
    except KilledWorker:
        return None
    except FutureCancelledError as error:
        raise ClusterError("The scheduler is gone. What is finished is kept: call again to go on.") from error
    except Exception as error:  # on the way to the worker or back
        return Outcome(job, State.failed, error=f"{type(error).__name__}: {error}")


def _wait_for(workers: int | None, client: Client) -> None:
    """Wait until a worker that died is there again; if it does not come, go on with the others."""
    if workers is not None:
        with suppress(TimeoutError):
            client.wait_for_workers(workers, timeout=RESTART_SECONDS)


def _try(network: Network) -> None:
    network.load()


def _work(job: Job, network: Network) -> Outcome:
    """Do a job in a worker, as long as anybody wants it."""
    worker = get_worker()
    key = worker.get_current_task()
    masks = run_job(job, network.load())
    try:
        while worker.state.tasks[key].state != "cancelled":
            next(masks)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    masks.close()
    return Outcome(job, State.failed, error="It was cancelled.")
