"""The packaged app: Briefcase names the module that it starts after the app."""
