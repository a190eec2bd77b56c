"""The lab: a pool of tiny specialist language models trained here, and the tasks they were made for.

    asked = questions("composed", 1_000, "test", seed=0)

Here: the tasks (`questions.py`), their world and families, the text that models read and write (`text.py`). Nothing of it needs
torch.
"""
