"""The same POST by `requests`, which is part of the firmware, as a plain script does it."""

import gc
import json

import post_world


def main(url, mode, path, builds, free_bytes=0):
    """Post the body in the file `path`, which is there before it counts; if it `builds`, its readings are, as lists,
    and the body is made of them. Prints no figures where there is no `requests`."""
    try:
        import requests
    except ImportError:
        print("FIGURES {}")
        return
    gc.threshold(post_world.BOARDS_THRESHOLD_BYTES)
    gc.collect()
    before = gc.mem_alloc()
    with open(path) as file:
        body = file.read()
    count = body.count("],[") + 1
    if builds:
        body = json.loads(body)
    gc.collect()
    held = gc.mem_alloc() - before

    def post():
        text = json.dumps(body, separators=(",", ":")) if builds else body
        answer = requests.post(url, data=text, headers={"Content-Type": "application/json"})
        status = answer.status_code
        answer.close()
        return count if status == 200 else 0

    post()
    done, error = 0, None
    post_world.begin(mode, free_bytes)
    try:
        done = post()
    except (MemoryError, OSError) as failure:
        error = failure
    post_world.end(done, error, held)
