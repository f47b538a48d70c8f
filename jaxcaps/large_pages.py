"""Large memory pages for a process that trains on a CPU.

XLA takes the memory of each step from the system and gives it back: tens of thousands of pages of 4 KB, which the
system clears one by one, a fifth of the time of a step of the preset `demo`. With a variable that glibc (2.35 or newer)
reads once, as a process starts, it asks for pages of 2 MB; they are used where the system allows
(/sys/kernel/mm/transparent_hugepage/enabled is not `never`).
"""

import os
import platform
import sys

VARIABLE = "GLIBC_TUNABLES"
SETTING = "glibc.malloc.hugetlb=1"


def use_large_pages() -> None:
    """Starts this program again with the variable set, in the same process.

    Does nothing where the variable is set already, whatever to, or the C library is not glibc.
    """
    if VARIABLE in os.environ or platform.libc_ver()[0] != "glibc":
        return
    os.environ[VARIABLE] = SETTING
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
