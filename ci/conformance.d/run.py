"""Selects cases, runs them several at a time (here, or in guests of ci/lab), compares with the list."""

import argparse
import concurrent.futures
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from lists import Lists
from suite import Suite

HERE = os.path.dirname(os.path.realpath(__file__))
CACHE = os.environ["ROVS_LAB_CACHE"]
BOUNDS = {"dummy": 150, "kmod": 300}
# A guest that booted a moment ago: the stock daemon finds no CPU to serve before that.
SETTLED = 12


def say(text):
    print("conformance:", text, file=sys.stderr, flush=True)


def options():
    parser = argparse.ArgumentParser(prog="ci/conformance", add_help=False)
    parser.add_argument("--suite", choices=list(BOUNDS), required=True)
    parser.add_argument("--vswitchd", default="/usr/sbin/ovs-vswitchd")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--expected", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bound", type=int)
    parser.add_argument("--kernel", default="uml")
    parser.add_argument("--no-programs", action="store_true")
    parser.add_argument("--no-openflow", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--list", action="store_true")
    # Written by this program for itself: the cases of one guest.
    parser.add_argument("--guest", help=argparse.SUPPRESS)
    return parser.parse_args()


def select(suite, lists, options):
    cases = suite.cases
    if options.expected:
        # Those that must pass: also one that nobody has listed and that has no excuse.
        cases = [case for case in cases if case.name in lists.known or not lists.why_not(case)]
    if options.no_openflow:
        cases = [case for case in cases if not case.needs_openflow]
    if options.no_programs:
        cases = [case for case in cases if not case.needs_programs]
    if options.only:
        cases = [case for case in cases if re.search(options.only, case.name)]
    which, of = map(int, options.shard.split("/"))
    cases = cases[which - 1::of]
    if options.minutes:
        # With too little time for all, every file gets its share of it.
        place, last = {}, {}
        for case in cases:
            place[case.name] = last[case.file] = last.get(case.file, -1) + 1
        cases = sorted(cases, key=lambda case: place[case.name] / (last[case.file] + 1))
    return cases


def prepare(suite, work, vswitchd, programs):
    """What every case finds in its directory or on its path."""
    os.makedirs(work + "/bin")
    os.makedirs(work + "/tests")
    shutil.copy(vswitchd, work + "/bin/ovs-vswitchd")
    if programs:
        shutil.copy(programs + "/ovstest", work + "/bin/ovstest")
    else:
        with open(work + "/bin/ovstest", "w") as file:
            file.write('#!/bin/sh\n[ "$1 $2" = "test-netlink-conntrack flush" ] && exec conntrack -F\n'
                       'echo "ovstest: not found" >&2\nexit 127\n')
        os.chmod(work + "/bin/ovstest", 0o755)
    source = suite.source
    with open(work + "/atconfig", "w") as file:
        file.write(
            f"at_testdir=tests\nabs_builddir={work}/tests\nat_srcdir={source}/tests\nabs_srcdir={source}/tests\n"
            f"at_top_srcdir={source}\nabs_top_srcdir={source}\nat_top_build_prefix=../\nabs_top_builddir={work}\n"
            "at_top_builddir=../\nEXEEXT=\nSHELL=${CONFIG_SHELL-/bin/sh}\n")
    text = open(source + "/tests/atlocal.in").read()
    known = {"HAVE_OPENSSL": "yes", "OPENSSL_SUPPORTS_SNI": "yes", "HAVE_UNBOUND": "yes", "EGREP": "grep -E",
             "PYTHON3": "/usr/bin/python3", "CFLAGS": ""}
    for name, value in known.items():
        text = text.replace(f"@{name}@", value)
    with open(work + "/atlocal.probe", "w") as file:
        file.write(re.sub(r"'@[A-Z0-9_]+@'", "'no'", text))
    # The probes take a second: once is enough. What they found is kept as plain assignments.
    script = (f"cd {work}/tests; . ../atconfig; before=$(compgen -v | sort); exec 3>&1 >/dev/null 2>&1; . ../atlocal.probe; "
              "for v in $(comm -13 <(echo \"$before\") <(compgen -v | sort)); do "
              "case $v in before|var|status|result|v|_|BASH*|PIPESTATUS|FUNCNAME) continue ;; esac; "
              "printf '%s=%q; export %s\\n' $v \"${!v}\" $v >&3; done; "
              "echo unset http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY >&3; "
              "declare -f find_l7_lib find_command >&3")
    probe = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"] if suite.name == "dummy" else []
    found = subprocess.run(
        [*probe, "bash", "-c", script], capture_output=True, text=True, check=True,
        env={"PATH": f"{work}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"}).stdout
    with open(work + "/atlocal", "w") as file:
        file.write(found)


class Runner:
    """Runs cases one or several at a time, and ends what it started."""

    def __init__(self, suite, work, out, bound, private):
        self.suite, self.work, self.out, self.bound, self.private = suite, work, out, bound, private
        self.running = set()
        self.stopped = False
        source = suite.source
        self.path = ":".join([work + "/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", source + "/tests", source + "/utilities"])
        self.numbers = itertools.count(1)

    def run(self, case):
        logs = f"{self.out}/{case.file.removesuffix('.at')}/{case.number}"
        shutil.rmtree(logs, ignore_errors=True)
        ask = {"script": case.script, "number": case.number, "work": self.work, "dir": f"{self.work}/{next(self.numbers)}",
               "path": self.path, "bound": self.bound, "logs": logs, "private": self.private}
        if self.stopped:
            return None
        child = subprocess.Popen([sys.executable, "-B", HERE + "/case.py", json.dumps(ask)], stdout=subprocess.PIPE, text=True)
        self.running.add(child)
        answer = child.communicate()[0]
        self.running.discard(child)
        if self.stopped or not answer:
            return None
        return json.loads(answer)

    def stop(self):
        self.stopped = True
        for child in list(self.running):
            child.terminate()


def in_guest(options):
    """Inside a guest of ci/lab: the cases of a file, one after the other; a JSON object a case."""
    ask = json.load(open(options.guest))
    suite = Suite(options.suite, CACHE)
    by_name = {case.name: case for case in suite.cases}
    while float(open("/proc/uptime").read().split()[0]) < SETTLED:
        time.sleep(0.5)
    # As on a host with a firewall: some cases expect that the local stack tracks connections.
    rules = ["add table inet conformance"]
    for hook in ("input", "output"):
        rules += [f"add chain inet conformance {hook} {{ type filter hook {hook} priority 0 ; }}",
                  f"add rule inet conformance {hook} ct state new counter"]
    for rule in rules:
        subprocess.run(["nft", *rule.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    modules = "vport-vxlan vport-geneve vport-gre vxlan geneve ip_gre ip6_gre tun bonding 8021q nf_conntrack nf_nat nf_conntrack_ftp"
    subprocess.run(["modprobe", "-aq", *modules.split()], check=False)
    with tempfile.TemporaryDirectory(prefix="ovs.") as work:
        prepare(suite, work + "/w", ask["vswitchd"], ask["programs"])
        runner = Runner(suite, work + "/w", ask["out"], ask["bound"], False)
        for name in ask["cases"]:
            result = runner.run(by_name[name])
            print(json.dumps([name, result]), flush=True)
            sweep()


def sweep():
    """Takes away what a case left in the guest that failed half-way."""
    for namespace in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL, check=False)
    subprocess.run("for dp in $(ovs-dpctl dump-dps 2>/dev/null); do ovs-dpctl del-dp $dp; done;"
                   "for t in veth tun dummy bond bridge vxlan geneve gretap ip6gretap erspan ip6erspan; do"
                   " for d in $(ip -br link show type $t 2>/dev/null | sed 's/[@ ].*//'); do"
                   " case $d in *0|lo) ip link del $d 2>/dev/null ;; *) ip link del $d 2>/dev/null ;; esac; done; done",
                   shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def guests(options, suite, cases, out, programs, report):
    """Deals the cases out to guests of ci/lab and reads what they print."""
    children = []
    with tempfile.TemporaryDirectory(prefix="guest.", dir=out) as asks:
        def one(number, share):
            ask = f"{asks}/{number}"
            with open(ask, "w") as file:
                json.dump({"vswitchd": os.path.realpath(options.vswitchd), "programs": programs, "out": out,
                           "bound": options.bound, "cases": [case.name for case in share]}, file)
            os.environ["ROVS_LAB_ENV"] = "ROVS_LAB_CACHE"
            command = [f"{HERE}/../lab", "--kernel", options.kernel, "--timeout", str(6 * 3600), "--rw", out, "--",
                       "python3", "-B", HERE + "/run.py", "--suite", options.suite, "--guest", ask]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace")
            children.append(child)
            by_name = {case.name: case for case in share}
            for line in child.stdout:
                try:
                    name, result = json.loads(line)
                    report(by_name[name], result)
                except (ValueError, KeyError, TypeError):
                    print(line, end="", file=sys.stderr)
            child.wait()

        begin = time.monotonic()
        shares = [cases[number::options.jobs] for number in range(options.jobs)]
        threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(shares) if pair[1]]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.5)
                if options.minutes and time.monotonic() - begin > 60 * options.minutes:
                    break
        finally:
            for child in children:
                if child.poll() is None:
                    child.terminate()
            for thread in threads:
                thread.join(20)


def here(options, suite, cases, out, programs, report):
    """Runs the cases on this machine, each in a network of its own."""
    with tempfile.TemporaryDirectory(prefix="ovs.") as work:
        prepare(suite, work + "/w", options.vswitchd, programs)
        runner = Runner(suite, work + "/w", out, options.bound, True)
        deadline = time.monotonic() + 60 * options.minutes if options.minutes else None

        def one(case):
            if runner.stopped or (deadline and time.monotonic() > deadline):
                return
            report(case, runner.run(case))

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            try:
                for _ in pool.map(one, cases):
                    pass
            except BaseException:
                runner.stop()
                raise


def main():
    opts = options()
    if opts.guest:
        return in_guest(opts)
    if opts.update and not opts.ours:
        raise SystemExit("conformance: --update is for our own daemon")
    opts.bound = opts.bound or BOUNDS[opts.suite]
    say(f"preparing suite {opts.suite}")
    suite = Suite(opts.suite, CACHE)
    lists = Lists(opts.suite)
    known = lists.known
    if mistakes := list(lists.mistakes(suite.cases)):
        print("\n".join(mistakes))
        return 1
    cases = select(suite, lists, opts)
    if opts.list:
        for case in cases:
            print(case.name + (f"   # needs {', '.join(case.needs)}" if case.needs else ""))
        return 0
    if not cases:
        say("no case selected")
        return 125
    programs = None if opts.no_programs or not any(case.needs_programs for case in cases) else suite.programs(say)
    out = os.path.realpath(opts.out or f"{HERE}/../../target/conformance/{opts.suite}")
    os.makedirs(out, exist_ok=True)
    results = {}
    lock = threading.Lock()
    total, again = len(cases), False

    def report(case, result):
        if result is None:
            return
        with lock:
            results[case.name] = result
            verdict = result["verdict"]
            note = f"   # {result['why']}" if result["why"] else ""
            if verdict == "FAILED" and case.name in known:
                note += " (listed)"
            elif opts.ours and verdict == "FAILED":
                note += f" ({lists.why_not(case) or 'no reason is known'})"
            elif opts.ours and verdict == "ok" and case.name not in known:
                note += "   # not listed yet"
            count = "again" if again else f"{len(results)}/{total}"
            print(f"[{count:>7}] {verdict:7} {result['seconds']:6.1f} s  {case.name}{note}", flush=True)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    run = guests if opts.suite == "kmod" else here
    begin = time.monotonic()
    interrupted = False
    try:
        run(opts, suite, cases, out, programs, report)
        # Suites that wait for seconds on a busy machine fail now and then: a second try, alone.
        failed = [case for case in cases if case.name in known and results.get(case.name, {}).get("verdict") == "FAILED"]
        if failed and len(failed) <= max(10, total // 10):
            again, opts.jobs, opts.minutes = True, 1, None
            run(opts, suite, failed, out, programs, report)
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted")
    return summary(opts, suite, cases, results, lists, out, time.monotonic() - begin, interrupted)


def table(opts, cases, results, lists):
    """How each suite file fared."""
    heads = ["file", "cases", "ok", *["OpenFlow", "gaps"] * opts.ours, "failed", "skipped"]
    rows = {}
    for case in cases:
        if result := results.get(case.name):
            row = rows.setdefault(case.file, dict.fromkeys(heads[1:], 0))
            verdict = {"FAILED": "failed"}.get(result["verdict"], result["verdict"])
            if verdict == "failed" and opts.ours and case.name not in lists.known and lists.why_not(case):
                verdict = "OpenFlow" if case.needs_openflow else "gaps"
            row["cases"] += 1
            row[verdict] += 1
    rows["all"] = {head: sum(row[head] for row in rows.values()) for head in heads[1:]}
    print(f"{heads[0]:26}" + "".join(f"{head:>10}" for head in heads[1:]))
    for file, row in rows.items():
        print(f"{file:26}" + "".join(f"{row[head]:10}" for head in heads[1:]))


def summary(opts, suite, cases, results, lists, out, seconds, interrupted):
    known = lists.known
    with open(f"{out}/results.txt", "w") as file:
        for case in cases:
            if result := results.get(case.name):
                file.write(f"{result['verdict']:7} {result['seconds']:6.1f} s  {case.name}   # {result['why']}\n")
    names = {verdict: [case.name for case in cases if results.get(case.name, {}).get("verdict") == verdict]
             for verdict in ("ok", "FAILED", "skipped")}
    new = [name for name in names["ok"] if name not in known]
    broken = [name for name in names["FAILED"] if name in known]
    not_run = len(cases) - len(results)
    unknown = [case.name for case in cases if opts.ours and case.name in names["FAILED"]
               and case.name not in known and not lists.why_not(case)]
    if not opts.expected:
        table(opts, cases, results, lists)
    if new and opts.ours:
        if opts.update:
            lists.update(new, suite.cases)
            print(f"{len(new)} cases added to the list")
        else:
            print(f"{len(new)} cases pass that are not listed; --update adds them")
    if unknown:
        print(f"{len(unknown)} cases failed that are neither listed nor gaps:")
        for name in unknown:
            print(f"  {name}   # {results[name]['why']}")
    if broken:
        print(f"{len(broken)} listed cases failed:")
        for name in broken:
            print(f"  {name}   # {results[name]['why']}")
    if names["FAILED"]:
        print(f"logs: {out}/FILE/NUMBER")
    if not_run:
        print(f"{not_run} cases not run")
    say(f"took {seconds / 60:.1f} minutes")
    print(f"{len(names['ok'])} passed, {len(names['FAILED'])} failed, {len(names['skipped'])} skipped")
    return 130 if interrupted else int(bool(broken or unknown) or not results)


sys.exit(main())
