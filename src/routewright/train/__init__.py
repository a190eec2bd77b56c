"""Training of policies that decide step by step: shared rollouts, PPO, evolution. Imported on use; torch only in `ppo.py`."""
