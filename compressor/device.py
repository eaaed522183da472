"""Owns the choice of device, of the number format that it is fast in, and of how batches share its cores."""

import ctypes
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

from compressor.errors import DeviceFull, DeviceLost, ModelError

_OPENING = threading.Lock()
_HERE = threading.local()  # has_one_core: True in threads where tensors take one core
_CPU_FULL = "DefaultCPUAllocator"  # what torch says where the system gives it no memory; it has no class for that
# Of a tensor whose memory comes from the system alone, and goes back there. That costs a fault for each of its pages:
# from 1 MiB on a codec's batches take twice as long, from 8 MiB on a tenth longer.
LARGE_BYTES = 1 << 23
KEPT_BYTES = 1 << 26  # free, at the end of the heap of all that is smaller
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
Part = TypeVar("Part")
Result = TypeVar("Result")


def choose_device(device: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU; "cpu", "cuda" and "cuda:N" are kept. Raises ModelError."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ModelError(f"there is no device {device!r}; choose auto, cpu, cuda or cuda:N")
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise ModelError(f"the device is set to {device}, but there is no CUDA device here")
    if device != "auto":
        return device
    return "cuda" if available else "cpu"


@contextmanager
def device_faults(device: str) -> Iterator[None]:
    """Turns what a device fails with into this package's errors: DeviceFull, DeviceLost."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise DeviceFull(f"the memory of {device} is too small for this batch: {error}") from error
    except torch.AcceleratorError as error:
        raise DeviceLost(f"{device} failed, a new process is needed: {error}") from error
    except RuntimeError as error:
        if _CPU_FULL not in str(error):
            raise
        raise DeviceFull(f"the memory of {device} is too small for this batch: {error}") from error


def has_native_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device != "cpu":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def free_memory(device: str) -> int:
    """Bytes that may still be taken on the device: of a CPU the machine's, or what its container leaves."""
    if device != "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_machine_memory(), _container_memory())


def _machine_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}
        return found["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_memory(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves; beyond any machine's memory where there is no limit."""
    try:
        limit, used = (int((root / name).read_text()) for name in ("memory.max", "memory.current"))
        counted = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(counted["inactive_file"]))  # cached file contents make room
    except (OSError, KeyError, ValueError):
        return 1 << 62


def keep_no_holes(device: str) -> None:
    """Has this process give memory of large tensors back as soon as they go, where the C library is glibc.

    Left to itself glibc learns from the first large ones that go to keep what is freed, up to 32 MiB each: of a chunk
    in a decoder, hundreds of megabytes stay as holes that fit nothing. Small tensors are kept at hand as before.
    """
    if device != "cpu":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def rounded(count: int, step: int) -> int:
    """A batch's size rounded up: to a power of two below `step`, to whole steps above.

    On a CPU every new shape costs a compilation and memory that oneDNN keeps: without this a process that meets
    thousands of lengths grows by gigabytes.
    """
    if count < step:
        return 1 << max(0, count - 1).bit_length()
    return -(-count // step) * step


def pad_rows(batch: torch.Tensor, step: int) -> torch.Tensor:
    """Rows of zeros behind a batch, up to its rounded size."""
    missing = rounded(len(batch), step) - len(batch)
    return torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])]) if missing else batch


def side_by_side(work: Callable[[Part], Result], parts: Iterable[Part], *, device: str) -> list[Result]:
    """`work` on every part, in order; on a CPU one core to a part and as many parts at once as there are cores.

    Sharing out every operator instead makes each of them wait for the core that something else, such as the parser,
    is using, and spin meanwhile; and small parts stay in a core's own memory. A thread that has one core only takes
    one part after the other.
    """
    if device != "cpu" or getattr(_HERE, "has_one_core", False):
        return [work(part) for part in parts]
    return list(one_core_threads("tensors").map(work, parts))


def one_core_threads(name: str, count: int | None = None) -> ThreadPoolExecutor:
    """Threads of this process under a name, the same ones each time, in each of which tensors take one core.

    As many as there are cores where no count is given; callers that come at once queue for them. Those of a caller that
    gives way to others do so, too, and no others.
    """
    with _OPENING:
        return _pool(name, count, os.getpid(), _policy())


def _policy() -> int:
    """How the system shares out its cores to this thread, and to those that it starts."""
    return os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else 0


@cache
def _pool(name: str, count: int | None, process_id: int, policy: int) -> ThreadPoolExecutor:
    """The threads themselves: of each process, for each way in which its cores are shared out."""
    with ThreadPoolExecutor(1) as new:  # where FAISS has searched, torch says what that was told
        cores = new.submit(torch.get_num_threads).result()
        threads = count or cores
        pool = ThreadPoolExecutor(threads, name, initializer=_take_one_core)
        all_started = threading.Barrier(threads + 1)
        for _ in range(threads):
            pool.submit(all_started.wait)
        all_started.wait()
        # What a thread sets for itself, torch also gives to threads that begin later.
        new.submit(torch.set_num_threads, cores).result()
    return pool


def _take_one_core() -> None:
    _HERE.has_one_core = True
    torch.set_num_threads(1)
    torch.get_num_threads()  # its first call in a thread would else come later, and take over what others have set
