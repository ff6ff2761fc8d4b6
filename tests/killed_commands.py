"""Commands that are killed at any moment: run in processes of their own, which begin as copies of one that is ready."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch
import torch._dynamo  # here, as the next ones: once for all processes, instead of when it is first needed in each
from typer.testing import CliRunner

from napari_pml.cli import app
from napari_pml.training import loop

PATIENCE_S = 60


def segment(*args: str) -> None:
    """Run `napari-pml segment`."""
    torch.set_num_threads(1)
    result = CliRunner().invoke(app, ["segment", *args, "--device", "cpu"])
    assert result.exit_code == 0, result.output


class Toy(loop.Training):
    """A network of one layer learns to say 1, of random numbers."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        net = torch.nn.Linear(500, 100)
        super().__init__([Path("toys")], loop.LoopConfig(steps=60, learning_rate=1e-2), net, {net: 1.0})

    def add_gradients(self) -> dict[str, float]:
        loss = (self.net(torch.rand(8, 500, generator=self.generator)) - 1).square().mean()
        loss.backward()
        return {"toy": loss.item()}


def train(out: str) -> None:
    """Run what `napari-pml train` runs, but with a toy, and with a checkpoint every other step."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_EVERY = 2
    for _ in loop.run(Toy(), Path(out), "toy"):
        pass


class Commands:
    """Starts commands, one at a time, and kills them."""

    def __init__(self) -> None:
        """Prepare the process that all others are copies of; it looks for this module in $PYTHONPATH."""
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self.run(print)

    def run(self, command: Callable[..., object], *args: str) -> float:
        """Run a command to its end; return how many seconds it took."""
        began = time.monotonic()
        process = self._context.Process(target=command, args=args)
        process.start()
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        return time.monotonic() - began

    def kill(self, seconds: float, command: Callable[..., None], *args: str) -> bool:
        """Kill a command after some seconds; return whether it was still at work."""
        process = self._context.Process(target=command, args=args)
        process.start()
        process.join(seconds)
        was_at_work = process.is_alive()
        process.kill()
        process.join()
        assert was_at_work or process.exitcode == 0
        return was_at_work
