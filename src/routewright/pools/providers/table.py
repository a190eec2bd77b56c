"""The providers by name; importing one happens on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.pools.providers.base import Provider

PROVIDERS: Table[type[Provider]] = Table(
    "provider",
    {
        "openai": "routewright.pools.providers.openai:OpenAI",
        "anthropic": "routewright.pools.providers.anthropic:Anthropic",
        "local": "routewright.pools.providers.local:Local",
        "litellm": "routewright.pools.providers.litellm:LiteLLM",
        "recorded": "routewright.pools.providers.recorded:Recorded",
        "simulated": "routewright.pools.providers.simulated:Simulated",
        "echo": "routewright.pools.providers.echo:Echo",
    },
)
