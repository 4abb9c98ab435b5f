"""The peer's suites: unpacked, made into scripts, listed. Everything is kept in the cache."""

import concurrent.futures
import dataclasses
import fcntl
import hashlib
import os
import re
import shutil
import subprocess

PACKAGE = "openvswitch-source"
TARBALL = "/usr/src/openvswitch/openvswitch.tar.gz"
# The file that lists a suite's parts, and its parts that are macros.
TOP = {"dummy": "testsuite.at", "kmod": "system-kmod-testsuite.at"}
MACROS = {"ovs-macros", "ovsdb-macros", "ofproto-macros", "system-common-macros", "system-kmod-macros"}
INCLUDE = re.compile(r"m4_include\(\[tests/(.*)\.at\]\)")
# A shell function, or a macro, that is for cases to use.
DEFINES = re.compile(r"^(\w+) *\(\) *\{|^m4_define\(\[(\w+)\]", re.M)
# In a case's code: it starts the daemon, so there is something to judge.
STARTS_DAEMON = re.compile(r"ovs-vswitchd( |\.pid|$)", re.M)
# In a case's code: it calls a C program of the suite, other than to flush conntrack (conntrack(8) does that).
NEEDS_PROGRAMS = re.compile(r"\bovstest (?!test-netlink-conntrack)|\btest-(?:sflow|netflow|jsonrpc|unixctl)\b(?!\.)")
# What a case needs of a switch, by what its code says.
NEEDS = {
    need: re.compile(pattern) for need, pattern in {
        "OpenFlow": r"\bovs-ofctl\b|\bofproto/trace|\bset-controller\b|\bovs-testcontroller\b|\.mgmt\b",
        "conntrack": r"\bct\(|dpctl/\w*(?:conntrack|ct-)|dump-conntrack",
        "tunnels": r"type=(?:gre|vxlan|geneve|lisp|stt|erspan|ip6gre|ip6erspan|gtpu|srv6|bareudp)\b|\btnl/|\bovs/route/|_(?:OVS_)?TUNNEL\b",
        "bonds": r"\badd-bond\b|\bbond_mode\b|\bbond/|\blacp[=/]",
        "BFD or CFM": r"\bbfd[:/]|\bcfm_mpid\b|\bcfm/",
        "spanning trees": r"\br?stp_enable\b|\br?stp/",
        "mirrors": r"create [Mm]irror\b",
        "multicast snooping": r"\bmcast_snooping_enable\b|\bmdb/",
        "NetFlow, sFlow or IPFIX": r"create (?:NetFlow|netflow|sFlow|sflow|IPFIX|ipfix)\b|\btest-(?:sflow|netflow)\b",
        "LLDP": r"\blldp:|\bautoattach\b",
        "QoS": r"create [Qq][Oo][Ss]\b|\bingress_policing|\bmeter=",
        "threads of user space": r"\bdummy-pmd\b|\bpmd-|\bdpif-netdev/pmd|\bhw-offload\b|\bodp-execute/|\bPMD auto load\b",
    }.items()
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One case of a suite. `name` is its place in the lists of cases."""

    script: str
    number: int
    file: str
    title: str
    name: str
    needs_programs: bool
    needs: tuple

    @property
    def needs_openflow(self):
        return "OpenFlow" in self.needs


class Suite:
    def __init__(self, name, cache):
        self.name = name
        self.dir = os.path.join(cache, "conformance")
        os.makedirs(self.dir, exist_ok=True)
        with open(self.dir + "/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.source = self._unpack()
            self.cases = self._cases()

    def _unpack(self):
        version = subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", PACKAGE], text=True)
        source = f"{self.dir}/source-{version}"
        if not os.path.exists(source):
            part = source + ".part"
            shutil.rmtree(part, ignore_errors=True)
            os.makedirs(part)
            subprocess.run(["tar", "xzf", TARBALL, "-C", part, "--strip-components=1"], check=True)
            os.rename(part, source)
        return source

    def _cases(self):
        """A script for each part: small ones start faster than one with a thousand cases."""
        top = open(f"{self.source}/tests/{TOP[self.name]}").read().split("\n")
        parts = [m.group(1) for line in top if (m := INCLUDE.match(line)) and m.group(1) not in MACROS]
        texts = {part: open(f"{self.source}/tests/{part}.at", errors="replace").read() for part in parts}
        parts = [part for part in parts if "vswitchd" in texts[part].lower()]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            scripts = list(pool.map(lambda part: self._script(top, part, borrowed(part, texts)), parts))
        return [case for part, script in zip(parts, scripts) for case in listed(part + ".at", script)]

    def _script(self, top, part, others):
        lines = [line for line in top if not (m := INCLUDE.match(line)) or m.group(1) in MACROS | {part} | others]
        text = "\n".join(lines)
        key = hashlib.sha1((self.source + text).encode()).hexdigest()[:12]
        # Its name names the directory that it works in.
        script = f"{self.dir}/scripts/{self.name}-{part}-{key}/testsuite"
        if not os.path.exists(script):
            os.makedirs(os.path.dirname(script), exist_ok=True)
            with open(script + ".at", "w") as file:
                file.write(text)
            command = ["autom4te", "--language=autotest", "-I", self.source, "-o", script + ".part", script + ".at"]
            subprocess.run(command, cwd=self.source, check=True)
            os.rename(script + ".part", script)
        return script

    def programs(self, say):
        """The directory with `ovstest`, built from the source package."""
        out = f"{self.dir}/programs-{os.path.basename(self.source)}"
        with open(self.dir + "/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.exists(out):
                return out
            say("building the suite's own programs, once")
            build = self.dir + "/build"
            shutil.rmtree(build, ignore_errors=True)
            os.makedirs(build)
            subprocess.run(["tar", "xzf", TARBALL, "-C", build, "--strip-components=1"], check=True)
            # Only what ovstest needs: generated headers first, as `make all` would.
            with open(build + "/programs.mk", "w") as file:
                file.write("include Makefile\ngenerated: $(BUILT_SOURCES)\n")
            for command in (
                ["./configure", "--disable-ssl", "--disable-libcapng", "CFLAGS=-O0 -w"],
                ["make", "-s", "-f", "programs.mk", "generated"],
                ["make", "-s", f"-j{os.cpu_count()}", "tests/ovstest"],
            ):
                with open(build + "/build.log", "a") as log:
                    if subprocess.run(command, cwd=build, stdout=log, stderr=log).returncode:
                        raise SystemExit(f"conformance: cannot build ovstest, see {build}/build.log")
            os.makedirs(out + ".part", exist_ok=True)
            shutil.copy(build + "/tests/ovstest", out + ".part")
            os.rename(out + ".part", out)
            shutil.rmtree(build)
        return out


def borrowed(part, texts):
    """Parts whose shell functions or macros this one uses."""
    words = set(re.findall(r"\w+", texts[part]))
    own = set(DEFINES.findall(texts[part]))
    return {
        other for other, text in texts.items()
        if other != part and {name for pair in DEFINES.findall(text) for name in pair if name} & (words - {w for pair in own for w in pair})
    }


def listed(file, script):
    """The cases of a script, in order."""
    text = open(script, errors="replace").read()
    table = re.search(r"^at_help_all=\"(.*?)^\"", text, re.S | re.M).group(1)
    bodies = {int(m.group(1)): m.group(2) for m in re.finditer(r"^#AT_START_(\d+)$(.*?)^#AT_STOP_\1$", text, re.S | re.M)}
    cases, seen = [], {}
    for line in table.split("\n"):
        field = line.split(";")
        if len(field) < 3 or not field[1].startswith(file + ":"):
            continue
        number, title = int(field[0]), field[2].replace("\\", "")
        # Two cases of one title: the second is told from the first.
        seen[title] = seen.get(title, 0) + 1
        name = f"{file}: {title}" + (f" #{seen[title]}" if seen[title] > 1 else "")
        body = bodies.get(number, "")
        if STARTS_DAEMON.search(body):
            needs = tuple(need for need, pattern in NEEDS.items() if pattern.search(body))
            cases.append(Case(script, number, file, title, name, bool(NEEDS_PROGRAMS.search(body)), needs))
    return cases
