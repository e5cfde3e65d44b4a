"""How much memory this process holds, and the most it has held, in MiB."""

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET_PEAK = ("/proc/self/clear_refs", "5")


def held() -> float:
    """Memory in use now, in MiB, after unused memory has been given back.

    With GPUs it is the memory in use on them, by any process. Without GPUs it is the resident memory; on a system
    without /proc, the most that this has been.
    """
    gc.collect()
    with suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return _on_gpus() if torch.cuda.is_available() else _resident("VmRSS")


def start_peak() -> None:
    """Count :func:`peak` from now on. That needs Linux; elsewhere the peak is counted from the process's start."""
    with suppress(OSError):
        Path(RESET_PEAK[0]).write_text(RESET_PEAK[1])


def peak() -> float:
    """The most memory held, in MiB; on GPUs the memory in use now, since no engine gives back what it has taken."""
    return _on_gpus() if torch.cuda.is_available() else _resident("VmHWM")


def _on_gpus() -> float:
    torch.cuda.synchronize()
    memory = [torch.cuda.mem_get_info(device) for device in range(torch.cuda.device_count())]
    return sum(total - free for free, total in memory) / 2**20


def _resident(name: str) -> float:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    # Not the first choice: a process inherits this figure from the process that started it.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
