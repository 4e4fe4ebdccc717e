"""When to try again. Plain numbers in, plain numbers out; no clock, no I/O."""


def backoff_ms(failures: int, base_ms: int, cap_ms: int, random_32: int) -> int:
    """Full-jitter exponential backoff: uniform in [base, min(cap, base * 2**failures)].

    `failures` counts from 1; `random_32` is 32 random bits. Full jitter keeps a fleet that lost its server together
    from coming back together; never going below the base keeps one board from hammering it.
    """
    top_ms = min(cap_ms, base_ms << min(failures, 16))
    return base_ms + random_32 % (top_ms - base_ms + 1)
