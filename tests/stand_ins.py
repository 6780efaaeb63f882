"""The demo's stand-ins in a process of their own, for the measurements beside this file."""

import contextlib
import os
import subprocess
import tempfile


@contextlib.contextmanager
def demo(fedaudit, *arguments):
    """Starts them; gives their process and the configuration that reaches them, in a folder that goes with them."""
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "c.toml")
        process = subprocess.Popen(
            [fedaudit, "demo", "--hold", "--no-tour", *arguments, "--config-out", config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while "go on answering" not in (line := process.stderr.readline()):
                if not line:
                    raise SystemExit("the demo did not start")
            yield process, config
        finally:
            process.kill()
