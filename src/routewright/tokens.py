"""What counts as a token where nobody says: one regular expression for tables, prices and estimates."""

PATTERN = r"[A-Za-z]{1,8}|[0-9]{1,3}|\n+|[^\sA-Za-z0-9]"
"""A token: up to 8 letters, up to 3 digits, a run of line breaks, or any other character that is no space."""
