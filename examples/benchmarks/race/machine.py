"""What the race ran on."""

import datetime
import os
import platform
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "neon")


def describe(versions: dict[str, str], onednn: str | None) -> str:
    """Write the machine, the versions and the settings as a list in Markdown."""
    model, flags = processor()
    setting = "not set" if onednn is None else onednn
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return "\n".join(
        [
            f"- {model}, {cores()} cores, {', '.join(flags) or 'no AVX2'}, "
            f"{memory_gib()} GiB; {platform.system()}, Python {platform.python_version()}",
            f"- {packages}",
            f"- TF_ENABLE_ONEDNN_OPTS {setting}; {datetime.date.today()}",
        ]
    )


def processor() -> tuple[str, list[str]]:
    """Give the processor's name and those of FLAGS that it has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    flags = fields.get("flags", fields.get("Features", "")).split()
    return fields.get("model name", platform.machine()), [f for f in FLAGS if f in flags]


def memory_gib() -> int:
    """Give the size of the memory."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def busy_seconds() -> float | None:
    """Give the processors' time that all processes have taken so far, None if unknown."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, steal = map(int, fields[:8])
    ticks = user + nice + system + interrupts + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """Give the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
