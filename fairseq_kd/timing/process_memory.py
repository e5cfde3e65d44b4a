"""How much memory this process holds, and the most that it has held, in MiB."""

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET_PEAK = ("/proc/self/clear_refs", "5")


def held() -> float:
    """What is held now, after what is no longer needed has been given back.

    With GPUs, what is taken of them, by whichever process; else the resident memory, or on a system without /proc the
    most that it has been.
    """
    gc.collect()
    with suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return _on_gpus() if torch.cuda.is_available() else _resident("VmRSS")


def start_peak() -> None:
    """Count the :func:`peak` from now on, where the system is Linux; elsewhere it is counted from the start."""
    with suppress(OSError):
        Path(RESET_PEAK[0]).write_text(RESET_PEAK[1])


def peak() -> float:
    """The most that has been held; of GPUs what is held now, since neither engine gives back what it has taken."""
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
    # Not the first choice: a process inherits it from the one that started it.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
