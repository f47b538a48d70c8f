"""XLA's flags for tests, which compile much and compute little."""

import importlib.metadata

# Unoptimised code takes half the time in all, and the older emitter of fused loops half of that. Newer jaxlib lacks the
# choice, and a flag that XLA does not know ends the process.
FAST_COMPILATION = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"


def flags(devices: int) -> str:
    """`XLA_FLAGS` of a process with so many virtual devices."""
    return f"--xla_force_host_platform_device_count={devices} {FAST_COMPILATION}"
