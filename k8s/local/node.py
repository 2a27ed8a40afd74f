"""The node: a set of namespaces with one first process, in which Kubernetes runs as on a machine of its own.

That is why nothing is left of it: with the first process the kernel ends all others, and what they mounted, linked,
routed and filtered was never the machine's. The machine itself gets one link with an address and two routes, which go
with the node's end of the wire, and a cgroup and a few kernel settings, which ``stop`` sees to.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from devkit.servers.pids import ProcessId
from k8s.local.commands import CommandFailed, run, say, succeeds
from k8s.local.program_settings import Program
from k8s.local.site import CGROUP, HOST_IP, LINK, NODE, NODE_IP, PODS, SERVICES, WIRE, Refused, Site

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNSHARE: Final = (
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
    "--net", "--uts", "--ipc", "--",
)  # fmt: skip
_START_S: Final = 60.0
_END_S: Final = 20.0
_TAIL_LINES: Final = 15
_LOOK_EVERY_S: Final = 0.05
# The kubelet sets these for the whole machine.
_KERNEL_SETTINGS: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


class Node:
    """The node of a site, running or not. A process that changes it holds the site's lock."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._plan = site.cluster / "plan.json"

    def find_first_process(self) -> ProcessId | None:
        """Return the node's process 1 as the machine numbers it; None when there is no node."""
        started = self._find_started()
        children = _children(started.pid) if started else []
        return ProcessId.find(children[0]) if children else None

    def find_program(self, name: str) -> ProcessId | None:
        """Return the process of a program of the node, such as ``kubelet``, as the machine numbers it."""
        first = self.find_first_process()
        if first is None:
            return None
        return next((ProcessId.find(pid) for pid in _children(first.pid) if Path(_command(pid)[0]).name == name), None)

    def enter(self, *command: str | Path) -> tuple[str, ...]:
        """Return the command that runs a command in the node's namespaces. Raises Refused when there is no node."""
        first = self.find_first_process()
        if first is None:
            raise Refused("The cluster is not up: make cluster.")
        # All but the user's, and the process's own, which would cost another process.
        return ("nsenter", "--target", str(first.pid), "--mount", "--net", "--uts", "--ipc", "--", *map(str, command))

    def start(self, programs: Sequence[Program]) -> bool:
        """Have the node run these programs; False if it did so already. One that runs others is replaced.

        Raises Refused when this machine has another such cluster, or its network is in the way.
        """
        plan = json.dumps({"programs": [asdict(program) for program in programs]}, indent=1)
        runs = self.find_first_process() is not None
        if (
            runs
            and self._plan.exists()
            and json.loads(self._plan.read_text())["programs"] == json.loads(plan)["programs"]
        ):
            return False
        if runs:
            say("the node's programs or their flags have changed: starting it anew")
        self._end()
        self.check_machine()
        self._note_kernel_settings()
        for folder in (*self._own_folders().values(), self._site.logs):
            folder.mkdir(parents=True, exist_ok=True)
        for hierarchy in _cgroup_hierarchies():
            # What a node that was killed has left there would cost a kubelet three seconds each, whenever it starts.
            _remove_cgroup(hierarchy / CGROUP)
            (hierarchy / CGROUP).mkdir()
        self._launch(programs)
        self._await(lambda: _find_owner() == str(self._site.cluster), "network", "node")
        containerd = self.enter("ctr", "version")
        self._await(lambda: succeeds(*containerd), "containerd", "containerd")
        return True

    def check_machine(self) -> None:
        """Raise Refused when the machine has another cluster, or uses the addresses that this one needs."""
        owner = _find_owner()
        if owner not in (None, str(self._site.cluster)):
            raise Refused(
                f"This machine has a cluster already, that of {owner}, and can have one."
                f" Use it, or take it down: LOOKOUT_CLUSTER={owner} make cluster-down."
            )
        for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all")):
            if route["dst"] != "default" and route.get("type", "unicast") == "unicast" and route.get("dev") != LINK:
                _check_route(IPv4Network(route["dst"]), route.get("dev"))

    def stop(self) -> None:
        """End the node, if there is one, and take all that was of it from the machine, but for its folder."""
        self._end()
        for hierarchy in _cgroup_hierarchies():
            _remove_cgroup(hierarchy / CGROUP)
        self._restore_kernel_settings()

    # ---- starting ----

    def _launch(self, programs: Sequence[Program]) -> None:
        with Path("/proc/self/ns/net").open() as machines_net, (self._site.logs / "node.log").open("ab") as log:
            there = machines_net.fileno()
            plan = {
                "programs": [asdict(program) for program in programs],
                "commands": self._first_commands(there),
                "keep_open": [there],
            }
            self._plan.write_text(json.dumps(plan, indent=1), encoding="utf-8")
            subprocess.Popen(  # noqa: S603
                (*_UNSHARE, sys.executable, "-I", *self._init),
                pass_fds=(there,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"},
            )

    @property
    def _init(self) -> tuple[str, str]:
        """The last words of the node's command, by which it is found again: no note of it can be lost or be wrong."""
        return str(Path(__file__).with_name("init.py")), str(self._plan)

    def _find_started(self) -> ProcessId | None:
        """Return the process that ``_launch`` has started, the parent of the node's first one."""
        for path in Path("/proc").glob("[0-9]*"):
            command = _command(int(path.name))
            if command[0] == _UNSHARE[0] and tuple(command[-2:]) == self._init:
                return ProcessId.find(int(path.name))
        return None

    def _await(self, is_there: Callable[[], bool], what: str, log_name: str) -> None:
        """Return when it is there. Raises Refused with the end of a log if the node has ended, or after a deadline."""
        deadline_s = time.monotonic() + _START_S
        while not is_there():
            ended = self._find_started() is None
            if ended or time.monotonic() > deadline_s:
                log = self._site.logs / f"{'node' if ended else log_name}.log"
                tail = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
                fate = "has ended" if ended else f"has no {what} after {_START_S:.0f} s"
                raise Refused("\n".join([f"The node {fate}. {log} ends:", *tail]))
            time.sleep(_LOOK_EVERY_S)

    def _own_folders(self) -> dict[str, Path]:
        """Return the machine's folders that the node has its own of."""
        return {"/var/lib": self._site.cluster / "node" / "lib", "/var/log": self._site.cluster / "node" / "log"}

    def _first_commands(self, machines_net: int) -> list[list[str]]:
        """Return the commands that make the namespaces a machine: its own folders, its name, and a link to this
        machine."""
        there = f"/proc/self/fd/{machines_net}"
        here_ip = f"nsenter --net={there} ip"
        lines = [
            *(f"mount --bind {shlex.quote(str(own))} {path}" for path, own in self._own_folders().items()),
            "mount -t tmpfs -o mode=755 tmpfs /run",
            f"hostname {NODE}",
            "sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
            "ip link set lo up",
            f"ip link add {LINK} type veth peer name eth0",
            # It appears on the machine with its owner's name on it.
            f"ip link set {LINK} alias {shlex.quote(str(self._site.cluster))}",
            f"ip link set {LINK} netns {there}",
            f"ip addr add {NODE_IP}/{WIRE.prefixlen} dev eth0",
            "ip link set eth0 up",
            f"{here_ip} addr add {HOST_IP}/{WIRE.prefixlen} dev {LINK}",
            f"{here_ip} link set {LINK} up",
            *(f"{here_ip} route add {net} via {NODE_IP}" for net in (PODS, SERVICES)),
            # Never taken: kube-proxy sends these on to pods. But without a route nothing is sent at all. No other
            # route leads out, so what a pod sends elsewhere fails at once, and no test can mail anybody.
            f"ip route add {SERVICES} via {HOST_IP}",
        ]
        return [shlex.split(line) for line in lines]

    # ---- ending ----

    def _end(self) -> None:
        first, started = self.find_first_process(), self._find_started()
        for process in (first, started):
            if process is not None:
                process.end(_END_S)
        # The kernel takes the wire away in its own time after the last process of the node.
        deadline_s = time.monotonic() + _END_S
        while _find_owner() == str(self._site.cluster):
            if time.monotonic() > deadline_s:
                raise Refused(f"The link {LINK} is still there {_END_S:.0f} s after all that used it was ended.")
            time.sleep(_LOOK_EVERY_S)

    # ---- the machine's ----

    def _note_kernel_settings(self) -> None:
        file = self._site.cluster / "kernel-settings.json"
        if not file.exists():
            part = file.with_name(f"{file.name}.part")
            part.write_text(json.dumps({name: (Path("/proc/sys") / name).read_text() for name in _KERNEL_SETTINGS}))
            part.rename(file)

    def _restore_kernel_settings(self) -> None:
        file = self._site.cluster / "kernel-settings.json"
        if file.exists():
            for name, value in json.loads(file.read_text()).items():
                (Path("/proc/sys") / name).write_text(value)


def _children(pid: int) -> list[int]:
    """Return the processes that it has started or inherited; none when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command(pid: int) -> list[str]:
    """Return the words of the process's command; one empty word when it is gone, or has none."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def _find_owner() -> str | None:
    """Return the folder of the cluster that has the machine's link; None when there is no such link."""
    try:
        links = json.loads(run("ip", "-json", "link", "show", "dev", LINK))
    except CommandFailed as exc:
        if "does not exist" in exc.said:
            return None
        raise
    return str(links[0].get("ifalias", ""))


def _check_route(taken: IPv4Network, link: str | None) -> None:
    for wanted in (WIRE, PODS, SERVICES):
        if taken.overlaps(wanted):
            raise Refused(f"The cluster needs {wanted}, but this machine routes {taken} to {link}.")


def _cgroup_hierarchies() -> list[Path]:
    """Return the folders for cgroups: one for each hierarchy of version 1, the one of version 2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    found = {path.resolve() for path in _CGROUPS.iterdir() if (path / "cgroup.procs").exists()}
    return sorted(path for path in found if not (path / "cgroup.controllers").exists())


def _remove_cgroup(folder: Path) -> None:
    """Remove a cgroup and those below it, whose processes have just been killed and may take a moment to be gone."""
    deadline_s = time.monotonic() + _END_S
    while folder.exists():
        try:
            for path, _, _ in os.walk(folder, topdown=False):
                Path(path).rmdir()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_LOOK_EVERY_S)
