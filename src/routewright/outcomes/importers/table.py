"""The importers there are: the name of a published format and the class that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.outcomes.importers.base import Importer

IMPORTERS: Table[type[Importer]] = Table(
    "import format",
    {
        "generic": "routewright.outcomes.importers.generic:Generic",
        "llmrouter": "routewright.outcomes.importers.llmrouter:LLMRouter",
        "llmrouterbench": "routewright.outcomes.importers.llmrouterbench:LLMRouterBench",
        "routellm": "routewright.outcomes.importers.routellm:RouteLLM",
        "routerbench": "routewright.outcomes.importers.routerbench:RouterBench",
        "uniform": "routewright.outcomes.importers.uniform:Uniform",
    },
)
