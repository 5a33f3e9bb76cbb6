"""The web studio: pages over the same queue, gallery and settings as the HTTP API. Everything is served from here."""
