"""The web page at `/`: what is served just now, what it costs, who is asked. `views.py` has its routes."""
