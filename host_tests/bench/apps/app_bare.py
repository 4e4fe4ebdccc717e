"""No server at all: what the VM, its starter script and one line of output hold. Started by bench_bare.py: PORT."""

import gc


def main(port, keep):
    gc.collect()
    print(gc.mem_alloc())
