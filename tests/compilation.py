"""XLA flags for tests, which spend more time on compilation than on computation."""

import importlib.metadata

# Without optimisation the tests take half the time, and with the older emitter of fused loops half of that. Newer
# jaxlib lacks this choice, and XLA exits on unknown flags.
FAST_COMPILATION = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"


def flags(devices: int) -> str:
    """Returns `XLA_FLAGS` for a process with this number of virtual devices."""
    return f"--xla_force_host_platform_device_count={devices} {FAST_COMPILATION}"
