"""The multi-step policies by name; importing one happens on use. Every scorer is a policy too, through `single`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.policies.base import Policy

POLICIES: Table[type[Policy]] = Table(
    "policy",
    {
        "single": "routewright.policies.single:Single",
        "cascade": "routewright.policies.cascade:Cascade",
        "hops": "routewright.policies.hops:Hops",
        "relay": "routewright.policies.relay:Relay",
        "vote": "routewright.policies.vote:Vote",
        "mixture": "routewright.policies.mixture:Mixture",
        "decompose": "routewright.policies.decompose:Decompose",
        "self_refine": "routewright.policies.pipeline:SelfRefine",
        "pipeline": "routewright.policies.pipeline:Pipeline",
        "r1": "routewright.policies.r1:R1",
        "r2": "routewright.policies.r2:R2",
        "preference": "routewright.policies.preference:Preference",
    },
)
