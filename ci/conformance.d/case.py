"""Runs one case in a process of its own, with a time bound, and leaves no process behind.

Takes a JSON object as its argument, prints one: {"verdict": ok|FAILED|skipped, "seconds", "why"}.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

VERDICT = re.compile(r"^ *\d+: .*?(ok|skipped \([^)]*\)|FAILED \([^)]*\)|expected failure[^\n]*|UNEXPECTED PASS)\s*$", re.M)
WHY = [
    (r"ovs-ofctl: \S+ is not a (bridge) or a socket", "no OpenFlow with the {}"),
    (r"\"([^\"]+)\" is not a valid command", "no command {}"),
    (r"of unknown type (\S+)", "no devices of type {}"),
    (r"(?:^|[ /])(\S+): (?:command )?not found", "no {}"),
    (r"exit code was (\d+), expected \d+", "exit code {}"),
    (r"\S+\.at:(\d+): wait failed", "line {}: wait failed"),
    (r"^[-+]\d{4}-\d\d-\d\dT\S+\|\d+\|(.*)$", "log: {}"),
    (r"\S+\.at:(\d+): hard failure", "line {}: hard failure"),
]
LOGS = ("testsuite.log", "ovs-vswitchd.log", "ovsdb-server.log")


def main():
    ask = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    # Daemons that detach become our children, so that they can be found and ended.
    libc.prctl(36, 1, 0, 0, 0)
    # A network of its own, where we may: no case can touch the machine or another case.
    if ask["private"] and libc.unshare(0x40000000) == 0:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    os.makedirs(ask["dir"])
    for name in ("atconfig", "atlocal"):
        os.symlink(f"{ask['work']}/{name}", f"{ask['dir']}/{name}")
    command = ["bash", ask["script"], "-C", ask["dir"], "AUTOTEST_PATH=" + ask["path"], str(ask["number"])]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.environ.get("HOME", "/root"), "LC_ALL": "C"}
    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    begin = time.monotonic()
    run = subprocess.Popen(
        command, env=environment, start_new_session=True, preexec_fn=unblock, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=open(ask["dir"] + "/output", "w+"), stderr=subprocess.STDOUT,
    )
    why = "" if finished(run.pid, ask["bound"]) else f"not done after {ask['bound']} s"
    if why:
        os.kill(run.pid, signal.SIGTERM)
        finished(run.pid, 5)
    end_all()
    output = open(ask["dir"] + "/output", errors="replace").read()
    seen = VERDICT.search(output)
    verdict = "FAILED" if why or not seen else {"o": "ok", "s": "skipped"}.get(seen.group(1)[0], "FAILED")
    group = next((entry.path for entry in os.scandir(ask["dir"] + "/testsuite.dir") if entry.name.isdigit()), None) \
        if os.path.isdir(ask["dir"] + "/testsuite.dir") else None
    if verdict != "ok":
        why = why or reason(group, verdict, output)
    if verdict == "FAILED":
        os.makedirs(ask["logs"], exist_ok=True)
        shutil.copy(ask["dir"] + "/output", ask["logs"])
        for name in LOGS:
            if group and os.path.exists(f"{group}/{name}"):
                with open(f"{group}/{name}", "rb") as log, open(f"{ask['logs']}/{name}", "wb") as kept:
                    kept.write(log.read(2_000_000))
    shutil.rmtree(ask["dir"], ignore_errors=True)
    print(json.dumps({"verdict": verdict, "seconds": time.monotonic() - begin, "why": why}))


def unblock():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def finished(pid, bound):
    """Waits for a child; meanwhile buries daemons that end, since a case may wait until they are gone."""
    deadline = time.monotonic() + bound
    while time.monotonic() < deadline:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if ended == pid:
                    return True
        except ChildProcessError:
            return True
        # Woken by the end of a child, or now and then.
        signal.sigtimedwait([signal.SIGCHLD], 0.5)
    return False


def stop(*_):
    end_all()
    os._exit(1)


def end_all():
    """Ends all descendants; new ones may appear while we look."""
    for _ in range(50):
        children = descendants(os.getpid())
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def descendants(top):
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = open(f"/proc/{name}/stat", errors="replace").read()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(name))
    found, look = [], [top]
    while look:
        below = parents.get(look.pop(), [])
        found += below
        look += below
    return found


def reason(group, verdict, output):
    try:
        log = open(f"{group}/testsuite.log", errors="replace").read()
    except OSError:
        return seen.group(1) if (seen := VERDICT.search(output)) else output.strip()[-90:]
    if verdict == "skipped":
        lines = re.findall(r"^\S+\.at:\d+: (.*)$", log, re.M)
        return lines[-1][:90] if lines else ""
    for pattern, text in WHY:
        if found := re.search(pattern, log, re.M):
            return text.format(found.group(1))[:90]
    return "output differs"


main()
