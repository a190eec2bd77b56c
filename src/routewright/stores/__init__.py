"""What a gateway keeps: decisions, and the feedback on them. `base.py` has the contract, `table.py` the kinds."""
