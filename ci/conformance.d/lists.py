"""The lists beside this file: cases that pass with our daemon, and why others that need no OpenFlow do not."""

import os

HERE = os.path.dirname(os.path.realpath(__file__))
GAPS = f"{HERE}/gaps.txt"
GAPS_HEAD = """\
# Cases of the peer's suites that need no OpenFlow and do not pass with our daemon, each under the
# reason. `ci/conformance --update` takes out those that pass; it never adds one.
"""


class Lists:
    """`known`: names of the cases that pass. `gaps`: name -> why it does not pass yet, for both suites."""

    def __init__(self, suite):
        self.suite = suite
        self.file = f"{HERE}/{suite}.txt"
        self.known = {line for line in lines(self.file) if not line.startswith("#")}
        self.gaps, reason = {}, None
        for line in lines(GAPS):
            if line.startswith("["):
                reason = line.strip("[]")
            elif not line.startswith("#"):
                self.gaps[line] = reason

    def mistakes(self, cases):
        """What cannot be true of the lists, given all cases of the suite."""
        by_name = {case.name: case for case in cases}
        files = {case.file for case in cases}
        for name, reason in self.gaps.items():
            if reason is None:
                yield f"no reason is given for {name}"
            if name in self.known:
                yield f"listed as passing and as a gap: {name}"
            if name.split(":")[0] in files:
                if name not in by_name:
                    yield f"a gap that is no case: {name}"
                elif by_name[name].needs_openflow:
                    yield f"a gap that needs OpenFlow: {name}"

    def why_not(self, case):
        """Why a case that is not listed may fail; None if there is no reason."""
        if case.needs_openflow:
            return "needs " + ", ".join(case.needs)
        return self.gaps.get(case.name)

    def update(self, passed, cases):
        """Adds cases that passed to the one list and takes them out of the other."""
        order = {case.name: place for place, case in enumerate(cases)}
        known = sorted(self.known | set(passed), key=lambda name: (order.get(name, len(order)), name))
        with open(self.file, "w") as file:
            file.write(f"# Cases of the peer's {self.suite} suite that pass with our daemon, as FILE: TITLE.\n"
                       "# Written by `ci/conformance --update`; it only grows.\n" + "\n".join(known) + "\n")
        left = {name: reason for name, reason in self.gaps.items() if name not in passed}
        with open(GAPS, "w") as file:
            file.write(GAPS_HEAD)
            last = None
            for name, reason in left.items():
                if reason != last:
                    file.write(f"\n[{reason}]\n")
                    last = reason
                file.write(name + "\n")


def lines(path):
    try:
        text = open(path).read()
    except FileNotFoundError:
        return []
    return [line for line in text.split("\n") if line]
