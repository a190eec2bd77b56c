"""Asking every model of a pool every query, and writing what they answered as an outcome table.

    plan = make_plan(read_queries("queries.jsonl"), read_pool("pool.toml"), Settings())
    with Journal.open(journal_path(out), plan.facts()) as journal:
        done = asyncio.run(collect(plan, journal))
        write_table(plan, journal, out)

Called by the command `collect`. Not here: scores (`routewright.tasks`), calls (`routewright.pools`).
"""
