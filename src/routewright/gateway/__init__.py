"""The server: an OpenAI-compatible endpoint in front of a pool and its coordinators.

`settings.py` is its configuration, `app.py` puts it together, `server.py` runs it. It uses policies, pools, episodes and
stores, and neither trains nor evaluates. Extra `gateway`.
"""
