"""The protocols clients speak: reading a request, writing an answer. `base.py` has the contract, `table.py` the names."""
