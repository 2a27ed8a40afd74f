"""Reach of pods by NetworkPolicies: computed from the manifests, as a network would do it.

A connection needs a rule on both sides. A pod that no policy selects may do everything. Addresses of pods count for
``ipBlock`` too, as they do in some networks: what is allowed nowhere here is allowed in none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.k8s.reading import Tree

HOME = "lookout"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pod, or an address that is none: then ``namespace`` is empty."""

    name: str
    namespace: str = HOME
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.244.0.77"


def ways(policies: Sequence[Tree], places: Iterable[Place], ports: Iterable[int]) -> set[tuple[str, str, int]]:
    """(from, to, port) of all that is allowed; only ways that begin or end in the namespace of the policies."""
    every = list(places)
    return {
        (source.name, target.name, port)
        for source in every
        for target in every
        for port in ports
        if HOME in (source.namespace, target.namespace) and source is not target
        if _passes(policies, source, target, port, "egress") and _passes(policies, target, source, port, "ingress")
    }


def _passes(policies: Sequence[Tree], own: Place, other: Place, port: int, direction: str) -> bool:
    if own.namespace != HOME:
        return True
    chosen = [
        policy["spec"]
        for policy in policies
        if direction.title() in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], own.labels)
    ]
    if not chosen:
        return True
    peers = "to" if direction == "egress" else "from"
    return any(
        _has_port(rule, port) and (peers not in rule or any(_is_peer(peer, other) for peer in rule[peers]))
        for spec in chosen
        for rule in spec.get(direction, [])
    )


def _has_port(rule: Tree, port: int) -> bool:
    return "ports" not in rule or any(one["port"] <= port <= one.get("endPort", one["port"]) for one in rule["ports"])


def _is_peer(peer: Tree, other: Place) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], ip_address(other.address)
        return _holds(block["cidr"], address) and not any(_holds(one, address) for one in block.get("except", []))
    if not other.namespace:
        return False
    namespace = {"kubernetes.io/metadata.name": other.namespace}
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], namespace):
            return False
    elif other.namespace != HOME:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _holds(cidr: str, address: object) -> bool:
    return address in ip_network(cidr)


def _selects(selector: Tree, labels: Mapping[str, str]) -> bool:
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    assert not unknown, f"expected a selector of labels, got {unknown}"
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _satisfies(one, labels) for one in selector.get("matchExpressions", [])
    )


def _satisfies(one: Tree, labels: Mapping[str, str]) -> bool:
    match one["operator"]:
        case "Exists":
            return one["key"] in labels
        case "DoesNotExist":
            return one["key"] not in labels
        case "In":
            return labels.get(one["key"]) in one["values"]
        case "NotIn":
            return labels.get(one["key"]) not in one["values"]
        case other:
            raise AssertionError(f"unknown operator {other}")
