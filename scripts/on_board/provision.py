"""Runs on the board through `mpremote run`, with a call of provision() put after it: checks and stores settings.

Owns the answer, one line of JSON: [what came of it, details]. A value is never printed, nor the text of an exception,
which may quote one.
"""

import json


def store(changes: dict) -> tuple:
    """("stored", []), ("refused", why) or ("no-app", [])."""
    try:
        from app import settings
    except ImportError:
        return "no-app", []
    known = settings.SCHEMA
    problems = [f"there is no setting {name}" for name in sorted(changes) if name not in known]
    if problems:
        problems.append("the settings are " + ", ".join(sorted(known)))
    else:
        problems = settings.change(settings.load()[0], changes)
    return "refused" if problems else "stored", problems


def provision(changes: dict) -> None:
    try:
        answer = store(changes)
    except OSError as error:
        answer = "failed", [f"OSError {error.errno}"]
    except Exception as error:  # what is not caught here, mpremote shows
        answer = "failed", [type(error).__name__]
    print(json.dumps(answer))
