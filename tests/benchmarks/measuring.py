"""Time, floating-point operations and memory of one call."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

Call = Callable[[], object]


class TooSlow(Exception):
    """A contender took longer than one call may take."""


def seconds(call: Call) -> float:
    """How long one call takes; work that was queued on a GPU is waited for."""
    _finish()
    start = time.perf_counter()
    call()
    _finish()
    return time.perf_counter() - start


def paired(
    contenders: Mapping[str, Call], rounds: int, limit: float = 120.0
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time calls against each other: all of them in each round, every round in another order.

    Args:
        contenders: the calls by name.
        rounds: how often each is timed, after one call that is not.
        limit: seconds that the first call may take.

    Returns:
        Seconds of each round by name, and the reason for each contender that has none.
    """
    times: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for name, call in contenders.items():
        try:
            with at_most(limit):
                call()
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            reasons[name] = text.splitlines()[0][:90]
        else:
            times[name] = []
    names = list(times)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(contenders[name]))
    return times, reasons


@contextmanager
def at_most(limit: float) -> Iterator[None]:
    """Raise `TooSlow` after so many seconds, between two Python instructions."""

    def stop(*_: object) -> None:
        raise TooSlow(f"over {limit:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ratios(of: list[float], to: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest ratio of two sides that were timed in the same rounds."""
    each = [one / other for one, other in zip(of, to, strict=True)]
    return statistics.median(each), min(each), max(each)


class _Flops(TorchDispatchMode):
    """Counts where operations are dispatched, so that every kind of second derivative counts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet is torch.ops.aten.convolution_backward:
            self.total += _conv_backward_flops(*args)
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def _conv_backward_flops(grad: Any, input: Any, weight: Any, *rest: Any) -> int:
    # Each of both gradients costs what the forward pass did. Torch's own formula says the same
    # for one group, but counts the weight's gradient once too often for each further group.
    transposed, mask = rest[4], rest[7]
    forward = conv_flop_count(input.shape, weight.shape, grad.shape, transposed)
    return int(forward) * (bool(mask[0]) + bool(mask[1]))


def flops(call: Call) -> int:
    """Counted floating-point operations of one call: two for a multiplication and its addition."""
    counter = _Flops()
    # Attention as plain products: the fused kernels of the CPU are not in torch's registry.
    with sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.total


def peak_megabytes(make: Callable[..., Call], *arguments: object) -> float:
    """Peak resident memory of a process of its own that makes the call and calls it once."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(sender, make, *arguments))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        return float("nan")
    finally:
        process.join()


def _report_peak(sender: Any, make: Callable[..., Call], *arguments: object) -> None:
    torch.set_num_threads(2)
    make(*arguments)()
    sender.send(_own_peak_kilobytes() / 1024)


def _own_peak_kilobytes() -> int:
    # Linux hands ``ru_maxrss`` on from the process that started this one.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
