"""Settings of the node's programs, the kubelet's among them: flags and files. Knows no process and no namespace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8s.local.site import CGROUP, DNS_IP, NODE, NODE_IP, PODS, SERVICES, Refused, Site

PAUSE_IMAGE: Final = "lookout/pause:dev"
CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"
_CNI_PLUGINS: Final = "/usr/lib/cni"
_ETCD: Final = "127.0.0.1:2379"
_API: Final = f"{NODE_IP}:6443"

# Of its own cgroup the kubelet makes one for each class of pods; where this one is, cluster-down ends and removes them.
_KUBELET: Final = f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: %(pki)s/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: %(pki)s/kubelet-server.crt
tlsPrivateKeyFile: %(pki)s/kubelet-server.key
containerRuntimeEndpoint: unix://{CONTAINERD_SOCKET}
cgroupDriver: cgroupfs
cgroupRoot: /{CGROUP}
failCgroupV1: false
failSwapOn: false
clusterDNS: ["{DNS_IP}"]
clusterDomain: cluster.local
resolvConf: %(config)s/resolv.conf
serializeImagePulls: false
maxPods: 200
# There is no registry to pull an image from again, and a disk that is nearly full would have all images deleted that
# no pod uses at that moment, the one of every pod's sandbox among them. So no image is collected and nothing is evicted
# for the sake of the disk: ``up`` asks for free space instead.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 200Mi}}
# The machine's, not the node's: left as they are.
protectKernelDefaults: false
"""
# What kube-proxy would set for connection tracking is the whole machine's.
_PROXY: Final = f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {PODS}
clientConnection: {{kubeconfig: %(config)s/kube-proxy.kubeconfig}}
conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
hostnameOverride: {NODE}
nodePortAddresses: ["{NODE_IP}/32"]
"""
# Without the right to lower a process's oom_score_adj, which a machine in a machine may lack, no container would start
# but for restrict_oom_score_adj.
_CONTAINERD: Final = f"""\
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PLUGINS}"
    conf_dir = "%(config)s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
# A wire to each pod and a route over it: between pods, and to services, everything goes through the node's routing.
_CNI: Final = {
    "cniVersion": "0.4.0",
    "name": NODE,
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": str(PODS)}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """``after`` is the address that must answer before it is started: ``host:port``, a socket's path, or nothing."""

    name: str
    command: tuple[str, ...]
    log: str
    after: str = ""


def write_configuration(site: Site) -> None:
    """Write the files that the programs read."""
    (site.config / "cni").mkdir(parents=True, exist_ok=True)
    folders = {"pki": site.pki, "config": site.config}
    for name, text in {
        "kubelet.yaml": _KUBELET % folders,
        "kube-proxy.yaml": _PROXY % folders,
        "containerd.toml": _CONTAINERD % folders,
        "cni/lookout.conflist": json.dumps(_CNI, indent=1),
        "resolv.conf": "",
    }.items():
        file = site.config / name
        # containerd reads its network's whenever it is written.
        if not file.exists() or file.read_text(encoding="ascii") != text:
            part = file.with_name(f"{file.name}.part")
            part.write_text(text, encoding="ascii")
            part.replace(file)


def programs(site: Site) -> tuple[Program, ...]:
    """Return all programs of the node, in the order in which they start. Raises Refused for one that is missing."""
    return (*_control_plane(site), *_node(site))


def _control_plane(site: Site) -> Iterator[Program]:
    pki = site.pki
    yield _program(
        site,
        "etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls=http://{_ETCD}",
        f"--advertise-client-urls=http://{_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        # What a killed process has written is kept; what a machine loses with its power, a new cluster replaces.
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    yield _program(site, "containerd", f"--config={site.config}/containerd.toml", found=_installed("containerd"))
    yield _program(
        site,
        "kube-apiserver",
        f"--etcd-servers=http://{_ETCD}",
        f"--advertise-address={NODE_IP}",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-to-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-to-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        after=_ETCD,
    )
    yield _controller(
        site,
        "kube-controller-manager",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        "--use-service-account-credentials=true",
    )
    yield _controller(site, "kube-scheduler")


def _node(site: Site) -> Iterator[Program]:
    config = site.config
    yield _program(
        site,
        "kubelet",
        f"--config={config}/kubelet.yaml",
        f"--kubeconfig={config}/kubelet.kubeconfig",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
        after=CONTAINERD_SOCKET,
    )
    yield _program(site, "kube-proxy", f"--config={config}/kube-proxy.yaml", after=_API)
    # It enforces NetworkPolicies, and does nothing else.
    yield _program(
        site,
        "kube-router",
        f"--kubeconfig={config}/kube-router.kubeconfig",
        f"--hostname-override={NODE}",
        f"--service-cluster-ip-range={SERVICES}",
        after=_API,
    )


def _program(site: Site, name: str, *flags: str, after: str = "", found: Path | None = None) -> Program:
    command = (str(found or site.program(name)), *flags)
    return Program(name=name, command=command, log=str(site.logs / f"{name}.log"), after=after)


def _controller(site: Site, name: str, *flags: str) -> Program:
    kubeconfig = f"--kubeconfig={site.config}/{name}.kubeconfig"
    return _program(site, name, kubeconfig, "--leader-elect=false", *flags, after=_API)


def _installed(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise Refused(f"{name} is not installed: on Debian, apt-get install {name}.")
    return Path(found)
