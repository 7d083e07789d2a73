"""Where and of what a result was measured."""
import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys


def _cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _git(*words):
    return subprocess.run(["git", *words], stdout=subprocess.PIPE, text=True).stdout.strip()


def describe(args, peer=None):
    """`peer`: what was measured beside us; None = llama.cpp, of which the package tells the version."""
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    return {"cpu": _cpu(), "cpus": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.release()}", "commit": commit,
            "date": datetime.date.today().isoformat(), "command": shlex.join(sys.argv), "flags": getattr(args, "flags", ""),
            "peer": peer or f"llama-cpp-python {importlib.metadata.version('llama_cpp_python')}"}


def header(where):
    """The line above every table: `where` is what `describe` says."""
    peer = "" if where["peer"] == "none" else f" {where['peer']}."
    return f"{where['cpu']}, {where['cpus']} CPUs, {where['system']}. Commit {where['commit']}, {where['date']}.{peer} `{where['command']}`"
